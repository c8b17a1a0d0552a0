"""The precision ladder: bytes by the loaders' rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.memory import precision
from hfmem.memory.precision import SCHEMES, LinearWeight, converted

# Llama-3.1-8B: 32 layers of q, k, v, o, gate, up, down; embedding and head 128,256 × 4,096 each.
LLAMA = tuple(
    LinearWeight("linear", out, in_, 32 * count)
    for out, in_, count in [
        (4096, 4096, 2),
        (1024, 4096, 2),
        (14336, 4096, 2),
        (4096, 14336, 1),
    ]
)
LLAMA_ELEMENTS = 8_030_261_248


@pytest.mark.parametrize(
    ("scheme", "gigabytes"),
    # (nf4-dq counts its tables too, 1,092 bytes for each of 224 weights: 5.7025, not 5.7023.)
    # Published sizes of the model in each scheme, and the formats' own arithmetic: int8 and nf4 by
    # bitsandbytes, AWQ and GPTQ as on the cards of 4-bit conversions (5.7 GB).
    [
        ("int8", 9.087),
        ("nf4", 6.028),
        ("nf4-dq", 5.703),
        ("awq-4bit", 5.728),
        ("gptq-4bit", 5.733),
        ("fp8", 9.083),
    ],
)
def test_llama_8b(scheme: str, gigabytes: float) -> None:
    found = next(entry for entry in SCHEMES if entry.name == scheme)
    size = converted(found, linears=LLAMA, total_elements=LLAMA_ELEMENTS)
    assert round(size / 1e9, 3) == gigabytes


@pytest.mark.parametrize(
    ("function", "out", "in_", "size"),
    [
        (precision.fp8_block_bytes, 256, 384, 256 * 384 + 4 * 2 * 3),
        (precision.int8_bytes, 100, 300, 100 * 300 + 400),
        (precision.nf4_bytes, 64, 64, 2048 + 4 * 64 + 64),
        # 16,384 elements: 256 absmax in one block of 256.
        (precision.nf4_double_bytes, 128, 128, 8192 + 256 + 4 + 64 + 1024 + 4),
        # qweight [16, 256], scales [1, 256], qzeros [1, 32], g_idx [128].
        (precision.gptq_bytes, 256, 128, 4 * 16 * 256 + 2 * 256 + 4 * 32 + 4 * 128),
        # qweight [128, 32], qzeros [1, 32], scales [1, 256].
        (precision.awq_bytes, 256, 128, 4 * 128 * 32 + 4 * 32 + 2 * 256),
    ],
)
def test_one_weight(function: object, out: int, in_: int, size: int) -> None:
    assert callable(function)
    assert function(out, in_) == size


def test_experts_stay_where_the_loader_leaves_them() -> None:
    experts = LinearWeight("experts", 2048, 1024, 64)
    sizes = {
        scheme.name: converted(scheme, linears=[experts], total_elements=64 * experts.elements)
        for scheme in SCHEMES
    }
    untouched = 2 * 64 * experts.elements
    assert sizes["nf4"] == sizes["nf4-dq"] == sizes["int8"] == untouched
    assert sizes["fp8"] < untouched
    assert sizes["gptq-4bit"] < untouched


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_odd_shapes_never_shrink_below_their_bits(out: int, in_: int) -> None:
    elements = out * in_
    assert precision.fp8_block_bytes(out, in_) > elements
    assert precision.int8_bytes(out, in_) > elements
    assert 2 * precision.nf4_double_bytes(out, in_) > elements
    assert 2 * precision.nf4_bytes(out, in_) > elements
