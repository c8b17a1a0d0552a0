"""What recurrent layers keep for the backward pass when the kernels that users have run them.

Derived from what the kernels are given and return (flash-linear-attention 0.4 ops/gated_delta_rule/
chunk.py, mamba-ssm 2.2 ops/triton/ssd_combined.py); nothing was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from hfmem.memory.training_tensors import Saved, Saving
from hfmem.model.forward_shapes import GatedDelta, Mamba2


def recurrent_saved(shape: GatedDelta | Mamba2, saving: Saving) -> Iterator[Saved]:
    """One recurrent mixer without the norm before it."""
    match shape:
        case GatedDelta():
            yield from _gated_delta(shape, saving)
        case Mamba2():
            yield from _mamba2(shape, saving)
        case _:
            assert_never(shape)


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
