"""One rank's forward and backward pass in bytes, from the shapes of its layers."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.training_around import Ground, pass_of
from hfmem.memory.training_gradients import LayerGradients
from hfmem.memory.training_layer import checkpoint_of, layer_of
from hfmem.memory.training_loss import LossBytes, loss_bytes, ppo_loss_bytes
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_phases import Layer, Pass
from hfmem.memory.training_rollout import completion_tokens
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_saved import LayerSaved, layer_saved
from hfmem.memory.training_sharding import Rank
from hfmem.memory.training_tensors import Crossing, Saved, Saving
from hfmem.memory.training_towers import Towers, towers
from hfmem.model.backward_families import PICTURES_MASKED, backward
from hfmem.model.forward_shapes import Attention, ForwardPass, LayerShape
from hfmem.model.layers import CrossAttention, FullAttention
from hfmem.model.lora import Adapter, Adapters
from hfmem.model.model import Model
from hfmem.model.text_encoders import text_encoder
from hfmem.model.tower_layers import TowerLayers


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
    family = backward(model.decoder.model_type or model.model_type, forward)
    dropping = run.objective not in _UNDROPPED
    normed = bool(family.normed_scan) and model.decoder.text.flag(family.normed_scan)
    return Saving(
        hidden=forward.hidden,
        sequences=run.sequences,
        tokens=tokens,
        width=4 if wide or prepared else 2,
        kernel=4 if wide or (prepared and not run.mixed) else 2,
        stream=stream,
        attention=run.attention or forward.default_attention,
        backward=family,
        frozen=frozen,
        cast_bytes=2 if loaded_wide or (autocast and not frozen) else None,
        adapter_input=4 if wide or fp32_adapters else 2,
        adapter_copies=run.adapter_fp32 or stream == 4,
        adapter_dropout=run.lora.dropout,
        dora=run.method == "dora" or run.lora.dora,
        fused_layers=run.fused_layers,
        packed=run.packed or masks_pictures(model, run),
        keeps_inputs=run.method == "qlora" and run.quantize == "int8",
        fused_recurrence=run.fused_recurrence,
        dropouts=family.dropouts
        if dropping and _drops(model, _RESULTS, otherwise=family.drops)
        else 0,
        drops_scores=dropping and _drops(model, _SCORES, otherwise=family.drops_scores),
        scan_end="normed" if normed else family.scan_end,
        cross=_cross(model, tokens=tokens) if family.crosses else None,
        beside=_beside(model) if family.attention_beside else None,
        query_rank=model.decoder.text.integer_or_none("q_lora_rank") or 0,
    )


def masks_pictures(model: Model, run: TrainingRun) -> bool:
    """Whether pictures are part of the question and every layer's kernel is given their mask."""
    return run.media is not None and model.model_type in PICTURES_MASKED


def _cross(model: Model, *, tokens: int) -> Crossing | None:
    """The attention to an encoder's output, which is as long as the decoder where nothing tells."""
    for layer in model.decoder.layers:
        for kind in layer:
            if isinstance(kind, CrossAttention):
                return Crossing(
                    attention=_heads(model, kind),
                    tokens=kind.source_tokens or kind.usual_tokens or tokens,
                )
    return None


def _beside(model: Model) -> Attention | None:
    """The attention of a layer that has a recurrence too."""
    for layer in model.decoder.layers:
        for kind in layer:
            if isinstance(kind, FullAttention):
                return _heads(model, kind)
    return None


def _heads(model: Model, kind: CrossAttention | FullAttention) -> Attention:
    """The attention that keeps such a cache; where no number of queries is known, one a head."""
    return Attention(
        heads=model.decoder.attention_heads or kind.kv_heads,
        kv_heads=kind.kv_heads,
        head_dim=kind.head_dim,
        v_head_dim=kind.v_head_dim,
    )


_UNDROPPED = ("dpo", "ppo")
"""Objectives whose trainers turn dropout off (trl 1.16 dpo_config.py: disable_dropout)."""
_RESULTS = (
    *("hidden_dropout_prob", "resid_pdrop", "residual_dropout", "hidden_dropout"),
    *("resid_dropout", "dropout"),
)
_SCORES = ("attention_probs_dropout_prob", "attn_pdrop", "attention_dropout")


def _drops(model: Model, keys: tuple[str, ...], *, otherwise: bool) -> bool:
    """Whether the first of the keys that the configuration has is above 0; else the class's."""
    for key in keys:
        found = model.decoder.text.number(key)
        if found is not None:
            return found > 0
    return otherwise


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
    ground = Ground(
        forward=forward,
        run=run,
        rank=rank,
        saving=saving_of(model, forward, run, tokens=tokens),
        parameters=parameters,
        gradients=LayerGradients(rank, parameters, run),
    )
    found = _layers(ground, lora)
    loss = _loss(ground) if rank.last and not scored_head else None
    seen = Towers()
    if not scored_head:
        encoders = _encoders(model, run, ground.saving)
        seen = towers(run, rank, ground.saving, parameters, lora, encoders=encoders)
    return Activations(
        whole=pass_of(ground, found.layers, loss=loss, towers=seen),
        shown=found.shown,
        checkpoint=found.checkpoint,
        loss=loss,
        host_bytes=found.host_bytes + seen.host_bytes,
    )


def _encoders(model: Model, run: TrainingRun, saving: Saving) -> tuple[TowerLayers, ...]:
    """Those of pictures and sound that a sequence brings, and an encoder-decoder's own."""
    brought = () if run.media is None else run.media.layers
    if saving.cross is None:
        return brought
    own = text_encoder(model.decoder.text, tokens=saving.cross.tokens)
    return brought if own is None else (*brought, own)


class _Layers(Struct, frozen=True, kw_only=True):
    """The decoder's layers of a rank."""

    layers: list[Layer]
    shown: tuple[tuple[int, LayerSaved], ...]
    checkpoint: Saved | None
    host_bytes: int


def _layers(ground: Ground, lora: Adapters | None) -> _Layers:
    """Every layer's bytes; layers of one shape with the same adapters are worked out once."""
    run, saving = ground.run, ground.saving
    order, by_layer = layer_order(ground.forward), _by_layer(lora)
    memo: dict[tuple[LayerShape, tuple[Adapter, ...]], LayerSaved] = {}
    counts: dict[int, tuple[int, LayerSaved]] = {}
    first = _first_saving(run, by_layer)
    layers: list[Layer] = []
    checkpoint, host = None, 0
    for index in ground.rank.layers:
        shape, own = order[index], by_layer.get(index, ())
        if (shape, own) not in memo:
            memo[shape, own] = layer_saved(shape, saving, adapters=own)
        saved = memo[shape, own]
        count, _ = counts.get(id(saved), (0, saved))
        counts[id(saved)] = (count + 1, saved)
        checkpoint = checkpoint_of(run, shape, saving)
        layer, moved = layer_of(shape, saved, checkpoint, run, saving=saving, asleep=index < first)
        host += moved
        gradients = ground.gradients.of(index)
        layers.append(
            replace(
                layer,
                gradients=gradients,
                mlp_gradients=gradients * 2 // 3,
                cast=ground.gradients.cast(index) if saving.cast_bytes is not None else 0,
            )
        )
    return _Layers(
        layers=layers, shown=tuple(counts.values()), checkpoint=checkpoint, host_bytes=host
    )


def _by_layer(lora: Adapters | None) -> dict[int, tuple[Adapter, ...]]:
    found: dict[int, list[Adapter]] = {}
    for adapter in lora.linear if lora else ():
        if adapter.component not in ("language", "experts"):
            continue
        for layer in dict.fromkeys(adapter.layers):
            if layer >= 0:
                found.setdefault(layer, []).append(replace(adapter, layers=(-1,)))
    return {layer: tuple(members) for layer, members in found.items()}


def _first_saving(run: TrainingRun, by_layer: dict[int, tuple[Adapter, ...]]) -> int:
    """Below the first adapter nothing wants a gradient, unless checkpointing makes it want one."""
    if not run.adapted or run.checkpointing != "none" or not by_layer:
        return 0
    return min(by_layer)


def _loss(ground: Ground) -> LossBytes:
    """The chain of the objective's loss."""
    forward, run, saving = ground.forward, ground.run, ground.saving
    vocab = -(-forward.vocab // run.parallel.tp)
    width = saving.kernel if saving.cast_bytes or run.mixed else saving.width
    if run.objective == "ppo":
        return ppo_loss_bytes(
            rows=saving.rows,
            completion_rows=saving.sequences * completion_tokens(run, tokens=saving.tokens),
            vocab=vocab,
            width=width,
            converted=run.mixed,
        )
    heads = [p for p in ground.parameters if p.component == "head"]
    heads = heads or [p for p in ground.parameters if p.component == "embedding"]
    return loss_bytes(
        run.loss,
        rows=saving.rows,
        vocab=vocab,
        hidden=forward.hidden,
        width=width,
        capped=saving.backward.capped_logits,
        head_trained=any(p.trained for p in heads),
        # Autocast computes a cross-entropy in fp32 (torch 2.13 autocast_mode.h).
        narrow=saving.backward.narrow_loss and not run.mixed,
        tiled=run.tiled_head,
        weight_cast=saving.cast_bytes is not None,
        stream=saving.stream,
    )
