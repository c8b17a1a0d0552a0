"""One decoder layer of a rank in bytes: what is kept, and what its own backward pass adds."""

from __future__ import annotations

from typing import assert_never

from hfmem.memory.training_phases import Layer
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_saved import LayerSaved
from hfmem.memory.training_tensors import Saved, Saving
from hfmem.model.forward_shapes import (
    Attention,
    Experts,
    GatedDelta,
    LayerShape,
    Mamba2,
    Mlp,
)


def layer_of(
    shape: LayerShape,
    saved: LayerSaved,
    checkpoint: Saved | None,
    run: TrainingRun,
    *,
    saving: Saving,
    asleep: bool,
) -> tuple[Layer, int]:
    """A layer's bytes on a rank, and what offload moves of it to the host.

    ``asleep`` is a layer below the first adapter: nothing there wants a gradient.
    """
    tp, sp = run.parallel.tp, run.parallel.sp
    mixer = sum(one.on_rank(tp=tp, sp=sp) for one in saved.mixer)
    mlp = sum(one.on_rank(tp=tp, sp=sp) for one in saved.mlp)
    kept = mixer + mlp if checkpoint is None else checkpoint.on_rank(tp=tp, sp=sp)
    if run.checkpointing == "core-attention":
        scores = sum(one.on_rank(tp=tp, sp=sp) for one in saved.mixer if one.name == "scores")
        kept = mixer + mlp - scores
    kept = 0 if asleep else kept
    moved = kept if run.activation_offload else 0
    mixer_extra, mlp_extra = _extra(shape, saving, tp=tp)
    return (
        Layer(
            kept=kept - moved,
            mixer=mixer,
            mlp=mlp,
            mixer_extra=mixer_extra,
            mlp_extra=mlp_extra,
            gradients=0,
            mlp_gradients=0,
            cast=0,
        ),
        moved,
    )


def checkpoint_of(run: TrainingRun, shape: LayerShape, saving: Saving) -> Saved | None:
    """What is kept of a layer that is computed again; None where all of it is."""
    match run.checkpointing:
        case "none" | "core-attention":
            return None
        case "full":
            return saving.tensor("layer input", saving.hidden, saving.stream, "computed again")
        case "selective":
            elements = saving.hidden + _selected(shape, saving)
            return saving.tensor(
                "layer input and products",
                elements,
                saving.stream,
                "every second product and the attention output (torchtitan "
                "distributed/activation_checkpoint.py: operator policy)",
            )


def _selected(shape: LayerShape, saving: Saving) -> int:
    """Outputs of the first, third, fifth and seventh product of a layer: q, v, gate and down."""
    kept = saving.hidden
    if isinstance(shape.mixer, Attention):
        a = shape.mixer
        kept += a.heads * (a.head_dim + a.v_head_dim) + a.kv_heads * a.v_head_dim + 2 * a.heads
    match shape.feed_forward:
        case Mlp(width=width):
            kept += width
        case Experts(width=width, top_k=top_k):
            kept += width * top_k
        case None:
            pass
    return kept


def _extra(shape: LayerShape, saving: Saving, *, tp: int) -> tuple[int, int]:
    """Gradients that are alive inside a layer's halves.

    Attention: those of query, keys and values, the kernel's fp32 accumulator of the query's; eager
    adds two fp32 tensors of scores (torch 2.13 _softmax_backward_data). MLP: those of gate and up.
    """
    mixer = mlp = 0
    if isinstance(shape.mixer, Attention):
        a = shape.mixer
        query = a.heads * a.head_dim
        mixer = query * (saving.kernel + 4) + 2 * a.kv_heads * a.head_dim * saving.kernel
        if saving.attention == "eager":
            mixer = query * saving.kernel + 8 * a.heads * saving.tokens
    if isinstance(shape.mixer, Mamba2 | GatedDelta):
        mixer = _recurrent_extra(shape.mixer, saving)
    match shape.feed_forward:
        case Mlp(width=width):
            mlp = 2 * width * saving.width
        case Experts(width=width, top_k=top_k, input_width=input_width):
            mlp = top_k * (2 * width + input_width) * saving.width
        case None:
            pass
    return -(-saving.rows * mixer // tp), -(-saving.rows * mlp // tp)


def _recurrent_extra(mixer: Mamba2 | GatedDelta, saving: Saving) -> int:
    """Gradients inside a recurrence that runs in PyTorch, in bytes a token.

    Mamba-2: of B and C for every head, of the states between chunks and of the scan's output in
    fp32, within a tenth of what the reference allocates over six shapes (transformers 5.23). A
    gated delta net: of query, keys and values. Kernels give the gradients of their inputs.
    """
    match mixer:
        case Mamba2(heads=heads, head_dim=head_dim, groups=groups, state=state, chunk=chunk):
            inner = heads * head_dim
            if saving.fused_recurrence:
                return (inner + 2 * groups * state) * saving.width
            return 8 * heads * state + 4 * inner * state // chunk + 4 * inner
        case GatedDelta(value_heads=heads, key_dim=key_dim, value_dim=value_dim):
            each = saving.width if saving.fused_recurrence else 4
            return heads * (2 * key_dim + value_dim) * each
        case _:
            assert_never(mixer)
