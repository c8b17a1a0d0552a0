"""What recurrent layers keep for the backward pass, by who runs the recurrence.

PyTorch's own path, which transformers takes where the kernels are not installed: read from the
tensors that autograd saves in transformers 5.23 with torch 2.13, and exact but for terms of a chunk
(models/qwen3_next/modeling_qwen3_next.py: torch_chunk_gated_delta_rule; models/mamba2/
modeling_mamba2.py: torch_forward). The kernels that replace it: derived from what they are given
and return (flash-linear-attention 0.4 ops/gated_delta_rule/chunk.py, mamba-ssm 2.2 ops/triton/
ssd_combined.py); nothing was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import assert_never

from hfmem.memory.training_tensors import Saved, Saving
from hfmem.model.backward_families import ScanEnd
from hfmem.model.forward_shapes import GatedDelta, Mamba2


def recurrent_saved(shape: GatedDelta | Mamba2, saving: Saving) -> Iterator[Saved]:
    """One recurrent mixer without the norm before it."""
    match shape:
        case GatedDelta():
            yield from (
                _gated_delta(shape, saving)
                if saving.fused_recurrence
                else _gated_delta_in_torch(shape, saving)
            )
        case Mamba2():
            yield from (
                _mamba2(shape, saving)
                if saving.fused_recurrence
                else _mamba2_in_torch(shape, saving)
            )
        case _:
            assert_never(shape)


def _gated_delta_in_torch(shape: GatedDelta, saving: Saving) -> Iterator[Saved]:
    """Everything in fp32, five matrices of a chunk a head, a state a chunk.

    Trained, in bf16: 20 Hv C + 38 Hv + 32 Hv dk + 34 Hv dv + 8 Hk dk + 4 Hv dk dv / C bytes a token
    of Hk key and Hv value heads in chunks of C. Qwen3-Next: 32 value heads of 128, 16 key heads of
    128, C 64: 460,992.
    """
    heads, chunk = shape.value_heads, shape.chunk
    keys, values = heads * shape.key_dim, heads * shape.value_dim
    mixed = 2 * shape.key_heads * shape.key_dim + values
    width = saving.width
    yield saving.tensor("convolution", 2 * mixed, width, "input and output", inner=True)
    yield saving.tensor("chunk matrices", 5 * heads * chunk, 4, "fp32", inner=True)
    yield saving.tensor("query and keys", 8 * keys, 4, "normed, with beta and decay", inner=True)
    yield saving.tensor("values", 4 * values, 4, "with beta, solved", inner=True)
    yield saving.tensor("decay", 38 * heads, 1, "gates and deviations", inner=True)
    states = -(-keys * shape.value_dim // chunk)
    yield saving.tensor("states between chunks", states, 4, "one a chunk", inner=True)
    yield saving.tensor("gated norm", 2 * values, 4, "output and activated gate", inner=True)
    yield saving.tensor("gate", values, width, "", inner=True)
    if not saving.frozen:
        yield saving.tensor("gated norm products", 2 * values, width, "", inner=True)


def _mamba2_in_torch(shape: Mamba2, saving: Saving) -> Iterator[Saved]:
    """Everything in fp32; scores of a chunk a head, B and C repeated to all heads.

    Trained, in bf16: 12 heads C + 48 heads d + 20 heads n + 8 groups n + 8 heads d n / C + 12 heads
    bytes a token, with heads of d, a state of n and chunks of C.
    """
    heads, chunk = shape.heads, shape.chunk
    inner, groups = heads * shape.head_dim, shape.groups * shape.state
    width = saving.width
    yield saving.tensor("chunk matrices", 3 * heads * chunk, 4, "fp32 scores", inner=True)
    yield saving.tensor("B and C", 5 * heads * shape.state, 4, "of every head", inner=True)
    yield saving.tensor("convolution", 2 * (inner + 2 * groups), width, "both sides", inner=True)
    wide, products = _ENDS[saving.scan_end, saving.frozen]
    yield saving.tensor("scan", wide * inner, 4, "input, step, output, its end", inner=True)
    yield saving.tensor("gate", inner, width, "projected", inner=True)
    states = -(-2 * inner * shape.state // chunk)
    yield saving.tensor("states between chunks", states, 4, "two a chunk", inner=True)
    yield saving.tensor("steps", 12 * heads, 1, "time steps and decay", inner=True)
    if products:
        yield saving.tensor("gated products", products * inner, width, "", inner=True)


_ENDS: Mapping[tuple[ScanEnd, bool], tuple[int, int]] = {
    ("mamba2", False): (9, 3),
    ("mamba2", True): (8, 0),
    ("normed", False): (10, 1),
    ("normed", True): (8, 0),
    ("gated", False): (6, 2),
    ("gated", True): (5, 1),
}
"""Tensors of the scan's width in fp32 and in the model's type, by its end and whether it is frozen
(models/mamba2/modeling_mamba2.py, models/falcon_h1/modeling_falcon_h1.py)."""


def _gated_delta(shape: GatedDelta, saving: Saving) -> Iterator[Saved]:
    """Convolution before and after its activation; q, k (normed), v, gates; the output's norm."""
    keys, values = shape.key_heads * shape.key_dim, shape.value_heads * shape.value_dim
    mixed = 2 * keys + values
    repeated = 2 * shape.value_heads * shape.key_dim
    yield saving.tensor("convolution", 2 * mixed, saving.width, "input and output", inner=True)
    yield saving.tensor("recurrence", repeated + values, saving.width, "q, k and v", inner=True)
    yield saving.tensor("decay", 4 * shape.value_heads, 4, "gates and deviations", inner=True)
    yield saving.tensor(
        "chunk matrices", shape.value_heads * shape.chunk, saving.width, "of a chunk", inner=True
    )
    kept = 2 if saving.frozen else 3
    yield saving.tensor("gated norm", kept * values, 4, "output, gate, normed", inner=True)
    if not saving.frozen:
        yield saving.tensor("output product input", values, saving.width, "", inner=True)


def _mamba2(shape: Mamba2, saving: Saving) -> Iterator[Saved]:
    inner = shape.heads * shape.head_dim
    groups = 2 * shape.groups * shape.state
    yield saving.tensor(
        "projection", 2 * inner + groups + shape.heads, saving.width, "in_proj", inner=True
    )
    yield saving.tensor("convolution", inner + groups, saving.width, "output", inner=True)
    yield saving.tensor("scan output", inner, saving.width, "before its gate", inner=True)
    kept = 1 if saving.frozen else 2
    yield saving.tensor("gated norm", kept * inner, 4, "fp32", inner=True)
    if not saving.frozen:
        yield saving.tensor("output product input", inner, saving.width, "", inner=True)
