"""Bytes of a scheme by its loader's rules: one weight, whole models, what is left, which cards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.errors import UsageError
from hfmem.hardware.catalogue import parse_gpu
from hfmem.memory.quantize import as_converted, choices, convert, scheme, sizes
from hfmem.memory.quantize.schemes import refusal
from hfmem.memory.quantize.sizes import Size
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.source.recorded import bundled

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def model(name: str) -> Model:
    found = bundled(name)
    assert found is not None
    return describe(found)


@pytest.mark.parametrize(
    ("size", "out", "in_", "expected"),
    # The tensors of each format, written out.
    [
        (sizes.fp8_block, 256, 384, 256 * 384 + 4 * 2 * 3),
        (sizes.fp8_channel, 100, 300, 100 * 300 + 4 * 100),
        (sizes.fp8_tensor, 100, 300, 100 * 300 + 4),
        (sizes.int8, 100, 300, 100 * 300 + 400),
        (sizes.nf4, 64, 64, 2048 + 4 * 64 + 64),
        # 16,384 elements: 256 absmax in one block of 256, two tables and an offset.
        (sizes.nf4_double, 128, 128, 8192 + 256 + 4 + 64 + 1024 + 4),
        # qweight [16, 256], scales [1, 256], qzeros [1, 32], g_idx [128].
        (sizes.gptq(4, 128), 256, 128, 4 * 16 * 256 + 2 * 256 + 4 * 32 + 4 * 128),
        # 3 bits: qweight [12, 256], scales [2, 256], qzeros [2, 24].
        (sizes.gptq(3, 64), 256, 128, 4 * 12 * 256 + 2 * 512 + 4 * 48 + 4 * 128),
        # A scale a row: qweight [32, 256] in 8 bits.
        (sizes.gptq(8, None), 256, 128, 4 * 32 * 256 + 2 * 256 + 4 * 64 + 4 * 128),
        # qweight [128, 32], qzeros [1, 32], scales [1, 256].
        (sizes.awq(4, 128), 256, 128, 4 * 128 * 32 + 4 * 32 + 2 * 256),
        # blocks [256, 4, 16] and scales [256, 4].
        (sizes.microscaled(32), 256, 128, 256 * 64 + 256 * 4),
        # weight [256, 64], block scales [256, 8], two scales of the tensor.
        (sizes.microscaled(16, extra=8), 256, 128, 256 * 64 + 256 * 8 + 8),
        # 5 bits a weight where rows and groups need no padding.
        (sizes.nvfp4_twice, 256, 128, 256 * 64 + 2 * 256 * 8 + 4),
        # weight U32 [256, 16], scales and biases [256, 2].
        (sizes.affine(4, 64), 256, 128, 4 * 256 * 16 + 4 * 256 * 2),
        # W_q U8 [512, 64], scale and zero [1024] of 16 bits.
        (sizes.hqq(4, 64), 512, 128, 512 * 64 + 4 * 1024),
        # Ten values of 3 bits in an int32, along 512 rows of groups.
        (sizes.hqq(3, 64), 256, 128, 4 * 52 * 64 + 4 * 512),
    ],
)
def test_one_weight(size: Size, out: int, in_: int, expected: int) -> None:
    assert size(out, in_) == expected


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    # 6,979,321,856 linear parameters of 8,030,261,248 by each format's arithmetic; the rest in
    # bfloat16 takes 2.102 GB. AWQ and GPTQ as on the cards of 4-bit conversions (5.7 GB). nf4-dq
    # counts its tables too, 1,092 bytes for each of 224 weights.
    [
        ("int8", 9.087),
        ("nf4", 6.028),
        ("nf4-dq", 5.703),
        ("awq-4bit", 5.728),
        ("gptq-4bit", 5.733),
        ("fp8", 9.083),
        ("fp8-tensor", 9.081),
        ("mxfp4", 5.810),
        ("nvfp4", 6.464),
        ("hqq-4bit", 6.028),
        ("torchao-int4", 5.810),
        ("mlx-4bit", 4.517),
        ("mlx-8bit", 8.532),
    ],
)
def test_llama_8b(name: str, gigabytes: float) -> None:
    found = convert(model(LLAMA), scheme(name), dtype="BF16")
    assert round(found.weights.bytes / 1e9, 3) == gigabytes
    assert found.converted + found.left == 8_030_261_248


def test_experts_stay_where_the_loader_leaves_them() -> None:
    found = model("Qwen/Qwen3-30B-A3B")
    # 128 experts of 48 layers: gate, up and down of 768 × 2,048.
    experts = 48 * 128 * 3 * 768 * 2048
    for name in ("nf4", "int8", "torchao-int4", "hqq-4bit"):
        assert convert(found, scheme(name), dtype="BF16").weights.bytes > 2 * experts
    for name in ("fp8", "gptq-4bit", "mxfp4", "mlx-4bit"):
        assert convert(found, scheme(name), dtype="BF16").weights.bytes < 2 * experts
    vllm = convert(found, scheme("nf4", runtime="vllm"), dtype="BF16").weights.bytes
    assert vllm < experts


def test_only_the_experts_of_gpt_oss_are_mxfp4() -> None:
    # The published checkpoint itself, from its 16-bit shapes.
    found = convert(model("openai/gpt-oss-20b"), scheme("mxfp4"), dtype="BF16")
    assert found.weights.bytes == 13_761_264_768
    assert found.converted == 19_110_297_600


def test_the_note_names_what_is_left_and_the_cards() -> None:
    note = convert(model("Qwen/Qwen3-30B-A3B"), scheme("nf4"), dtype="BF16").note.message
    assert "routed experts" in note
    assert "905,969,664 of 30,532,122,624 parameters" in note
    assert "NVIDIA" in note


@pytest.mark.parametrize("name", choices())
def test_every_choice_is_a_scheme(name: str) -> None:
    assert scheme(name).name == name
    assert scheme(name.upper()).name == name


@pytest.mark.parametrize("name", ["gptq-4bit-g32", "awq-4bit-g64", "mlx-6bit-g32", "hqq-2bit-g16"])
def test_groups(name: str) -> None:
    smaller = convert(model(LLAMA), scheme(name), dtype="BF16").weights.bytes
    larger = convert(model(LLAMA), scheme(name.partition("-g")[0]), dtype="BF16").weights.bytes
    assert smaller > larger


@pytest.mark.parametrize(
    "name", ["", "nf5", "gptq-5bit", "awq-3bit", "mlx-4bit-g48", "gptq-4bit-g0", "q4_k_xl", "٤bit"]
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(UsageError, match="There is no quantization") as caught:
        scheme(name)
    assert "q4_k_m" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "gpu", "runs"),
    [
        ("fp8", "h100-sxm", True),
        ("fp8", "a100-80gb", False),
        ("mlx-4bit", "h100-sxm", False),
        ("mlx-4bit", "m4-max-64gb", True),
        ("nf4", "m4-max-64gb", True),
        ("nf4", "v100-32gb", True),
        ("int8", "v100-32gb", False),
        ("int8", "t4", True),
        ("nvfp4", "h100-sxm", False),
        ("nvfp4", "b200-sxm", True),
        ("q4_k_m", "m4-max-64gb", True),
    ],
)
def test_cards(name: str, gpu: str, runs: bool) -> None:
    assert (refusal(scheme(name), parse_gpu(gpu).gpu) is None) is runs


def test_runs_for_an_engine_that_divides_them() -> None:
    found = model(LLAMA)
    converted = as_converted(found, scheme("nf4", runtime="vllm"), dtype="BF16")
    held = sum(run.run.total_bytes for run in converted.weights or () if run.loaded)
    assert held == convert(found, scheme("nf4"), dtype="BF16").weights.bytes
    with pytest.raises(UsageError, match="file type of llama"):
        as_converted(found, scheme("q4_k_m"), dtype="BF16")


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_odd_shapes_never_shrink_below_their_bits(out: int, in_: int) -> None:
    elements = out * in_
    for size in (sizes.fp8_block, sizes.fp8_channel, sizes.fp8_tensor, sizes.int8):
        assert size(out, in_) > elements
    for size in (
        sizes.nf4,
        sizes.nf4_double,
        sizes.awq(4, 128),
        sizes.gptq(4, 128),
        sizes.affine(4, 64),
        sizes.hqq(4, 64),
        sizes.microscaled(32),
        sizes.microscaled(16),
        sizes.nvfp4_twice,
    ):
        assert 2 * size(out, in_) > elements
