"""One rank's forward and backward pass in bytes, from the shapes of its layers."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.training_gradients import LayerGradients
from hfmem.memory.training_layer import checkpoint_of, layer_of
from hfmem.memory.training_loss import LossBytes, loss_bytes, ppo_loss_bytes
from hfmem.memory.training_objective import runs_reference
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_phases import Layer, Pass
from hfmem.memory.training_rollout import completion_tokens
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_saved import LayerSaved, layer_saved, norm_saved
from hfmem.memory.training_sharding import Rank, live_parts, shards_weights
from hfmem.memory.training_states import largest
from hfmem.memory.training_tensors import Saved, Saving
from hfmem.model.backward_families import backward
from hfmem.model.forward_shapes import ForwardPass, LayerShape
from hfmem.model.lora import Adapter, Adapters
from hfmem.model.model import Model


class Activations(Struct, frozen=True, kw_only=True):
    """A pass and what explains it."""

    whole: Pass
    shown: tuple[tuple[int, LayerSaved], ...]
    """Each kind of layer of this rank, with how many there are."""
    checkpoint: Saved | None
    """What is kept of a layer that is computed again."""
    loss: LossBytes | None
    host_bytes: int
    """Activations that offload moves to the host."""


def layer_order(forward: ForwardPass) -> tuple[LayerShape, ...]:
    """The layers' shapes in an order like the model's: kinds are interleaved evenly.

    A pass does not say which layer is of which kind, only how many and which is last.
    """
    total = sum(kind.count for kind in forward.kinds)
    placed = dict.fromkeys(range(len(forward.kinds)), 0)
    order: list[LayerShape] = []
    for index in range(total):
        behind = max(
            (k for k in placed if placed[k] < forward.kinds[k].count),
            key=lambda k: forward.kinds[k].count * (index + 1) / total - placed[k],
        )
        placed[behind] += 1
        order.append(forward.kinds[behind].shape)
    return tuple(order)


def saving_of(model: Model, forward: ForwardPass, run: TrainingRun, *, tokens: int) -> Saving:
    """How a pass of this model and run saves."""
    frozen = run.adapted
    wide = run.precision == "fp32"
    autocast = run.mixed and run.master == "autocast"
    prepared = run.method == "qlora" and run.kbit_fp32
    # Frozen fp32 weights are cast for each product as trained ones are, but autocast keeps no copy
    # of what wants no gradient (torch 2.13 autocast_mode.cpp: cached_cast).
    loaded_wide = autocast and frozen and run.frozen_fp32
    stream = 4 if wide or prepared or loaded_wide or (autocast and not frozen) else 2
    fp32_adapters = run.adapter_fp32 and not run.mixed
    return Saving(
        hidden=forward.hidden,
        sequences=run.sequences,
        tokens=tokens,
        width=4 if wide or prepared else 2,
        kernel=4 if wide or (prepared and not run.mixed) else 2,
        stream=stream,
        attention=run.attention or forward.default_attention,
        backward=backward(model.decoder.model_type or model.model_type, forward),
        frozen=frozen,
        cast_bytes=2 if loaded_wide or (autocast and not frozen) else None,
        adapter_input=4 if wide or fp32_adapters else 2,
        adapter_copies=run.adapter_fp32 or stream == 4,
        adapter_dropout=run.lora.dropout,
        dora=run.method == "dora" or run.lora.dora,
        fused_layers=run.fused_layers,
        packed=run.packed,
        keeps_inputs=run.method == "qlora" and run.quantize == "int8",
        fused_recurrence=run.fused_recurrence,
        query_rank=model.decoder.text.integer_or_none("q_lora_rank") or 0,
    )


def activations(
    model: Model,
    forward: ForwardPass,
    run: TrainingRun,
    rank: Rank,
    parameters: tuple[Parameter, ...],
    lora: Adapters | None,
    *,
    tokens: int,
    scored_head: bool = False,
) -> Activations:
    """The pass of one rank; ``scored_head`` is a value model's, which gives no logits."""
    saving = saving_of(model, forward, run, tokens=tokens)
    order = layer_order(forward)
    by_layer = _by_layer(lora)
    memo: dict[tuple[LayerShape, tuple[Adapter, ...]], LayerSaved] = {}
    layers: list[Layer] = []
    counts: dict[int, tuple[int, LayerSaved]] = {}
    first = _first_saving(run, by_layer)
    checkpoint = None
    host = 0
    grads = LayerGradients(rank, parameters, run)
    for index in rank.layers:
        shape, own = order[index], by_layer.get(index, ())
        key = (shape, own)
        if key not in memo:
            memo[key] = layer_saved(shape, saving, adapters=own)
        saved = memo[key]
        count, _ = counts.get(id(saved), (0, saved))
        counts[id(saved)] = (count + 1, saved)
        checkpoint = checkpoint_of(run, shape, saving)
        layer, moved = layer_of(shape, saved, checkpoint, run, saving=saving, asleep=index < first)
        host += moved
        layers.append(
            replace(
                layer,
                gradients=grads.of(index),
                mlp_gradients=grads.of(index) * 2 // 3,
                cast=grads.cast(index) if saving.cast_bytes is not None else 0,
            )
        )
    loss = _loss(forward, run, saving, parameters) if rank.last and not scored_head else None
    whole = _whole(forward, run, rank, saving, parameters, grads, layers, loss)
    return Activations(
        whole=whole,
        shown=tuple(counts.values()),
        checkpoint=checkpoint,
        loss=loss,
        host_bytes=host,
    )


def _by_layer(lora: Adapters | None) -> dict[int, tuple[Adapter, ...]]:
    found: dict[int, list[Adapter]] = {}
    for adapter in lora.linear if lora else ():
        for layer in dict.fromkeys(adapter.layers):
            if layer >= 0:
                found.setdefault(layer, []).append(replace(adapter, layers=(-1,)))
    return {layer: tuple(members) for layer, members in found.items()}


def _first_saving(run: TrainingRun, by_layer: dict[int, tuple[Adapter, ...]]) -> int:
    """Below the first adapter nothing wants a gradient, unless checkpointing makes it want one."""
    if not run.adapted or run.checkpointing != "none" or not by_layer:
        return 0
    return min(by_layer)


def _loss(
    forward: ForwardPass, run: TrainingRun, saving: Saving, parameters: tuple[Parameter, ...]
) -> LossBytes:
    tp = run.parallel.tp
    width = saving.kernel if saving.cast_bytes or run.mixed else saving.width
    if run.objective == "ppo":
        return ppo_loss_bytes(
            rows=saving.rows,
            completion_rows=saving.sequences * completion_tokens(run, tokens=saving.tokens),
            vocab=-(-forward.vocab // tp),
            width=width,
            converted=run.mixed,
        )
    heads = [p for p in parameters if p.component == "head"]
    heads = heads or [p for p in parameters if p.component == "embedding"]
    return loss_bytes(
        run.loss,
        rows=saving.rows,
        vocab=-(-forward.vocab // tp),
        hidden=forward.hidden,
        width=width,
        capped=saving.backward.capped_logits,
        head_trained=any(p.trained for p in heads),
        tiled=run.tiled_head,
        weight_cast=saving.cast_bytes is not None,
        stream=saving.stream,
    )


def _whole(
    forward: ForwardPass,
    run: TrainingRun,
    rank: Rank,
    saving: Saving,
    parameters: tuple[Parameter, ...],
    grads: LayerGradients,
    layers: list[Layer],
    loss: LossBytes | None,
) -> Pass:
    layout = run.parallel
    rope = saving.tokens * forward.rope_elements * (4 if saving.stream == 4 else saving.width)
    outside = rope + 8 * saving.rows
    if run.packed and saving.attention == "sdpa":
        outside += saving.rows * saving.tokens
    casts = head_cast = 0
    if saving.cast_bytes is not None and not shards_weights(layout):
        head = [p for p in parameters if p.component == "head" or p.name.endswith("lm_head.weight")]
        if not head:
            head = [p for p in parameters if p.component == "embedding" and p.count == 1][:1]
        head_cast = sum(2 * p.elements // rank.split(p) for p in head) if rank.last else 0
        head_cast = 0 if _is_tiled(run) else head_cast
        casts = sum(layer.cast for layer in layers)
    if run.checkpointing in ("full", "selective"):
        forward_casts, outside = 0 if saving.frozen else casts, outside + head_cast
    else:
        forward_casts, outside = 0, outside + head_cast + casts
    if rank.last:
        final = list(norm_saved(saving, forward.hidden, "final"))
        outside += sum(one.on_rank(tp=layout.tp, sp=layout.sp) for one in final)
        if not saving.frozen and not _is_tiled(run):
            outside += saving.rows * forward.hidden * saving.kernel
        outside += loss.kept if loss and run.loss != "standard" else 0
    accumulates = run.grad_accum > 1 or run.master == "megatron" or _in_buckets(run)
    trained = tuple(p for p in parameters if p.trained)
    all_gradients = grads.outside(first=True) + grads.outside(first=False)
    all_gradients += sum(layer.gradients for layer in layers)
    in_backward = largest(rank, trained, run) if run.optimizer_in_backward else 0
    compute = 4 if run.precision == "fp32" else 2
    live = live_parts(rank, parameters, compute=compute)
    kept_whole = all_gradients if accumulates else 0
    return Pass(
        layers=layers,
        outside_kept=outside,
        forward_casts=forward_casts,
        loss_forward=loss.forward if loss else 0,
        loss_backward=loss.backward if loss else 0,
        loss_after=loss.after if loss else 0,
        head_gradients=in_backward or grads.outside(first=False),
        embedding_gradients=grads.outside(first=True),
        hidden=saving.rows * forward.hidden * saving.stream,
        in_flight=rank.in_flight(run.grad_accum),
        accumulated=kept_whole,
        transient_gradients=largest(rank, trained, run) if kept_whole else 0,
        gathered=sum(part.bytes for part in live),
        workspace=_dequantized(rank, parameters),
        beside=_hidden_states(forward, run, rank, saving) if run.objective == "ppo" else 0,
        loss_held=loss.held if loss else 0,
        scored=_scored(layers) if runs_reference(run) else None,
    )


def _is_tiled(run: TrainingRun) -> bool:
    return run.tiled_head and run.loss == "chunked" and run.objective != "ppo"


def _scored(layers: list[Layer]) -> int:
    """The larger half of a layer: a pass without gradients holds no more than that."""
    return max((max(layer.mixer, layer.mlp) for layer in layers), default=0)


def _hidden_states(forward: ForwardPass, run: TrainingRun, rank: Rank, saving: Saving) -> int:
    """PPO asks for every layer's output of the policy and of the value model."""
    each = saving.rows * forward.hidden * (4 if run.mixed else saving.stream)
    return 2 * (len(rank.layers) + 1) * each


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
