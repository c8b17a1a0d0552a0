"""What recurrent layers hold, on PyTorch's own path and with the fused kernels.

Without the kernels of fla or mamba-ssm, transformers runs a chunked scan in fp32 whose many
temporaries are all alive at its end. The fused kernels keep them on the chip: what is left is what
they are given and what they return. That is a lower bound, from the calling code: their own
workspaces were not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from hfmem.memory.instants import Instant, Part, Step, part
from hfmem.model.forward_shapes import ForwardPass, GatedDelta, Mamba2


def recurrent_instants(
    forward: ForwardPass, shape: GatedDelta | Mamba2, step: Step, *, residents: int
) -> Iterator[Instant]:
    """The instant of one recurrent layer."""
    wide = residents * forward.hidden
    stream = part("residual stream", step.rows, wide, step.width, f"{residents} wide")
    match shape:
        case GatedDelta():
            projected, scan = _gated_delta(shape, step)
            output = shape.value_heads * shape.value_dim
            state = output * shape.key_dim
            # torch_recurrent_gated_delta_rule: decayed state, update, sum.
            each = 3 * 4
        case Mamba2():
            projected, scan = _mamba2(shape, step)
            output = shape.heads * shape.head_dim
            state = output * shape.state
            # mamba2_selective_state_update: decay, product and sum in fp32; B and input in between.
            each = 3 * 4 + 2 * step.width
        case other:
            assert_never(other)
    if step.queries == 1:
        copies = part("recurrent state", step.batch, state, each, "one layer's, while it changes")
        yield Instant(name="recurrence", parts=(stream, *projected, copies))
    elif step.fused_recurrence:
        result = part("recurrence output", step.rows, output, step.width, "of the fused kernel")
        yield Instant(name="recurrence", parts=(stream, *projected, result))
    else:
        for held in scan:
            yield Instant(name="recurrence", parts=(stream, *projected, *held))


_Scan = tuple[tuple[Part, ...], tuple[tuple[Part, ...], ...]]
"""What is projected and lives through the scan, and what each instant of the scan holds."""


def _gated_delta(shape: GatedDelta, step: Step) -> _Scan:
    """models/qwen3_next/modeling_qwen3_next.py: torch_chunk_gated_delta_rule.

    At its last statement live: values padded, scaled by beta, new, read out, and their copy; keys
    scaled by beta, decayed, cumulated, and the query and key with their decay: ten in all. Three
    chunk-square matrices of each value head.
    """
    keys, values = shape.key_heads * shape.key_dim, shape.value_heads * shape.value_dim
    # One projection holds all four and its gate is copied out of it; or the gate is its own.
    gate = 2 * keys + 3 * values if shape.fused_projection else values
    projected = (
        part("projections", step.rows, gate, step.width, "query, keys, values, gate"),
        part("convolution", step.rows, 2 * keys + values, step.width, "query, keys, values"),
    )
    heads = shape.value_heads
    held = (
        part("scan values", step.rows, 5 * values, 4, "fp32"),
        part("scan keys", step.rows, 5 * heads * shape.key_dim, 4, "fp32, for all value heads"),
        part("scan matrices", step.rows, 3 * heads * shape.chunk, 4, f"chunks of {shape.chunk}"),
    )
    return projected, (held,)


def _mamba2(shape: Mamba2, step: Step) -> _Scan:
    """models/nemotron_h/modeling_nemotron_h.py: mamba2_chunk_scan.

    At its last contraction live: B and C for all heads, padded, B decayed and C copied; the chunk
    squares L, G and M; the inputs, their padded and skipped copies and two outputs; the states of
    all chunks twice. At its end, where the outputs are added and laid out: B and C, B decayed; the
    squares; the inputs and their skipped copy, and five outputs; the chunks' states once.
    """
    inner = shape.heads * shape.head_dim
    groups = 2 * shape.groups * shape.state
    projected = (
        part("projections", step.rows, 2 * inner + groups + shape.heads, step.width, "in_proj"),
        part("convolution", step.rows, inner + groups, step.width, "inputs, B and C"),
    )
    chunks = -(-step.queries // shape.chunk)
    rows = step.batch * chunks * shape.chunk
    squares = part("scan matrices", rows, 3 * shape.heads * shape.chunk, 4, "L, G and M")
    contraction, end = (4, 4, 2 * chunks + 1), (3, 7, chunks + 1)
    return projected, tuple(
        (
            part("scan B and C", rows, both * shape.heads * shape.state, 4, "fp32, for all heads"),
            squares,
            part("scan inputs", rows, inputs * inner, 4, "fp32, and outputs"),
            part("scan states", step.batch * states, inner * shape.state, 4, "of all chunks"),
        )
        for both, inputs, states in (contraction, end)
    )
