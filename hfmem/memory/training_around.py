"""A rank's whole pass: its layers, and everything of it that is no layer."""

from __future__ import annotations

from msgspec import Struct

from hfmem.memory.training_gradients import LayerGradients
from hfmem.memory.training_loss import LossBytes
from hfmem.memory.training_objective import runs_reference
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_phases import Layer, Pass
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_saved import norm_saved
from hfmem.memory.training_sharding import Rank, live_parts, shards_weights
from hfmem.memory.training_states import largest
from hfmem.memory.training_tensors import Saving
from hfmem.memory.training_towers import Towers
from hfmem.model.forward_shapes import ForwardPass


class Ground(Struct, frozen=True, kw_only=True):
    """What all parts of a rank's pass are read from."""

    forward: ForwardPass
    run: TrainingRun
    rank: Rank
    saving: Saving
    parameters: tuple[Parameter, ...]
    gradients: LayerGradients


def pass_of(ground: Ground, layers: list[Layer], *, loss: LossBytes | None, towers: Towers) -> Pass:
    """The pass of a rank from its layers, its loss and its encoders."""
    run, rank, saving = ground.run, ground.rank, ground.saving
    outside, forward_casts = _around(ground, layers, towers)
    outside += _tables(ground) + _final(ground, loss)
    trained = tuple(p for p in ground.parameters if p.trained)
    transient = largest(rank, trained, run)
    kept_whole = _accumulated(ground, layers)
    in_backward = transient if run.optimizer_in_backward else 0
    compute = 4 if run.precision == "fp32" else 2
    return Pass(
        layers=layers,
        towers=towers.each,
        outside_kept=outside,
        forward_casts=forward_casts,
        loss_forward=loss.forward if loss else 0,
        loss_backward=loss.backward if loss else 0,
        loss_after=loss.after if loss else 0,
        head_gradients=in_backward or ground.gradients.outside(first=False),
        embedding_gradients=ground.gradients.outside(first=True),
        hidden=saving.rows * ground.forward.hidden * saving.stream,
        in_flight=rank.in_flight(run.grad_accum),
        accumulated=kept_whole,
        transient_gradients=transient if kept_whole else 0,
        gathered=sum(part.bytes for part in live_parts(rank, ground.parameters, compute=compute)),
        workspace=_dequantized(rank, ground.parameters),
        beside=_hidden_states(ground) if run.objective == "ppo" else 0,
        loss_held=loss.held if loss else 0,
        scored=_scored(layers) if runs_reference(run) else None,
    )


def _tables(ground: Ground) -> int:
    """Cosine and sine, token ids, and the mask that keeps packed documents apart under sdpa."""
    saving = ground.saving
    width = 4 if saving.stream == 4 else saving.width
    size = saving.tokens * ground.forward.rope_elements * width + 8 * saving.rows
    if saving.packed and saving.attention == "sdpa":
        size += saving.rows * saving.tokens
    return size


def _around(ground: Ground, layers: list[Layer], towers: Towers) -> tuple[int, int]:
    """16-bit copies of weights: those kept for the backward pass, and those of the forward alone.

    Under autocast a product keeps the copy that it reads; where layers are computed again theirs
    are made anew.
    """
    run, rank, saving = ground.run, ground.rank, ground.saving
    if saving.cast_bytes is None or shards_weights(run.parallel):
        return 0, 0
    casts = sum(layer.cast for layer in layers) + towers.cast
    head = [
        p for p in ground.parameters if p.component == "head" or p.name.endswith("lm_head.weight")
    ]
    if not head:
        head = [p for p in ground.parameters if p.component == "embedding" and p.count == 1][:1]
    head_cast = sum(2 * p.elements // rank.split(p) for p in head) if rank.last else 0
    head_cast = towers.projector_cast + (0 if is_tiled(run) else head_cast)
    if run.checkpointing in ("full", "selective"):
        return head_cast, 0 if saving.frozen else casts
    return head_cast + casts, 0


def _final(ground: Ground, loss: LossBytes | None) -> int:
    """The last norm, the head's input, and what the loss keeps of its forward pass."""
    run, saving, layout = ground.run, ground.saving, ground.run.parallel
    if not ground.rank.last:
        return 0
    final = norm_saved(saving, ground.forward.hidden, "final")
    size = sum(one.on_rank(tp=layout.tp, sp=layout.sp) for one in final)
    # Liger's loss keeps gradients in place of what it reads.
    if not saving.frozen and not is_tiled(run) and run.loss != "fused":
        size += saving.rows * ground.forward.hidden * saving.kernel
    return size + (loss.kept if loss and run.loss != "standard" else 0)


def _accumulated(ground: Ground, layers: list[Layer]) -> int:
    """Gradients that are there from earlier micro-batches, or lie in buckets all the time."""
    run, grads = ground.run, ground.gradients
    if not (run.grad_accum > 1 or run.master == "megatron" or _in_buckets(run)):
        return 0
    outside = grads.outside(first=True) + grads.outside(first=False)
    return outside + sum(layer.gradients for layer in layers)


def is_tiled(run: TrainingRun) -> bool:
    """Whether TRL's fused head computes the loss."""
    return run.tiled_head and run.loss == "chunked" and run.objective != "ppo"


def _scored(layers: list[Layer]) -> int:
    """The larger half of a layer: a pass without gradients holds no more than that."""
    return max((max(layer.mixer, layer.mlp) for layer in layers), default=0)


def _hidden_states(ground: Ground) -> int:
    """PPO asks for every layer's output of the policy and of the value model."""
    saving = ground.saving
    each = saving.rows * ground.forward.hidden * (4 if ground.run.mixed else saving.stream)
    return 2 * (len(ground.rank.layers) + 1) * each


def _in_buckets(run: TrainingRun) -> bool:
    layout = run.parallel
    return layout.dp > 1 and layout.zero == 0 and layout.fsdp is None and layout.ddp


def _dequantized(rank: Rank, parameters: tuple[Parameter, ...]) -> int:
    """The largest quantized matrix, in 16 bits while a product reads it."""
    return max(
        (
            -(-2 * parameter.elements // rank.split(parameter))
            for parameter in parameters
            if parameter.packed
            and parameter.linear
            and len(parameter.shape) == 2
            and rank.tensors(parameter)
        ),
        default=0,
    )
