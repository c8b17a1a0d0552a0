"""What the encoders of pictures and sound keep in a training step, beside the decoder's layers.

An encoder runs first and its backward pass comes last but for the embedding's, so what it keeps is
there through the decoder's whole step. Nothing is kept where nothing in it wants a gradient:
adapters on the decoder alone, without checkpointing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.encoder_activations import encoder_activations
from hfmem.memory.training_layer import checkpoint_of, layer_of
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_phases import Layer, Tower
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_saved import LayerSaved, layer_saved, norm_saved
from hfmem.memory.training_sharding import Rank, shards_gradients
from hfmem.memory.training_states import gradient_width
from hfmem.memory.training_tensors import Saving
from hfmem.model.components import Component
from hfmem.model.lora import Adapter, Adapters
from hfmem.model.tower_layers import TowerLayers


class Towers(Struct, frozen=True, kw_only=True):
    """The encoders of a rank."""

    each: tuple[Tower, ...] = ()
    cast: int = 0
    """16-bit copies of their layers' matrices under autocast."""
    projector_cast: int = 0
    """Of the projector's, which are kept where layers are computed again too."""
    host_bytes: int = 0
    """Activations that offload moves to the host."""


def unsaved(run: TrainingRun, parameters: tuple[Parameter, ...]) -> tuple[str, ...]:
    """Encoders of this question that keep what is not described; none where they keep nothing."""
    if run.media is None:
        return ()
    trained = any(p.trained and p.component in _TOWERS for p in parameters)
    return run.media.unsaved if trained or run.checkpointing != "none" else ()


_TOWERS = frozenset({"vision", "audio", "encoder", "projector"})


def towers(
    run: TrainingRun,
    rank: Rank,
    saving: Saving,
    parameters: tuple[Parameter, ...],
    lora: Adapters | None,
    *,
    encoders: tuple[TowerLayers, ...],
) -> Towers:
    """What ``encoders`` keep on a rank; ``saving`` is the decoder's."""
    if not encoders or not rank.first:
        return Towers()
    found, host = [], 0
    idle = encoder_activations(
        () if run.media is None else run.media.encoders,
        batch=run.sequences,
        dtype_bytes=4 if run.precision == "fp32" else 2,
    )
    for one in encoders:
        own = [p for p in parameters if p.component in (one.component, "projector")]
        adapters = tuple(_adapters(one, lora))
        its = _saving(one, run, saving)
        tower, moved = _tower(one, run, rank, its, own, adapters)
        if tower.awake:
            more = _outside(one, own, lora, its, text_hidden=saving.hidden)
            tower = replace(tower, kept=tower.kept + more)
        forward = max(tower.forward, 0 if idle is None else idle.bytes)
        found.append(replace(tower, forward=forward))
        host += moved
    casting = {one.component for one, tower in zip(encoders, found, strict=True) if tower.awake}
    if saving.cast_bytes is None or not casting:
        return Towers(each=tuple(found), host_bytes=host)

    def cast(components: set[Component]) -> int:
        linear = (p for p in parameters if p.linear and p.component in components)
        return rank.total(linear, lambda p: 2 * p.elements, sharded=False)

    return Towers(
        each=tuple(found), cast=cast(casting), projector_cast=cast({"projector"}), host_bytes=host
    )


def _saving(one: TowerLayers, run: TrainingRun, saving: Saving) -> Saving:
    """How its pass saves: as the decoder's, in its own sizes."""
    of_text = one.component == "encoder"
    return replace(
        saving,
        cross=None,
        beside=None,
        dropouts=saving.dropouts if of_text else 0,
        drops_scores=saving.drops_scores and of_text,
        hidden=one.hidden,
        sequences=run.sequences * one.sequences,
        tokens=one.tokens,
        attention="eager" if one.eager else run.attention or "sdpa",
        backward=one.backward,
        packed=False,
        query_rank=0,
    )


def tower_saved(
    one: TowerLayers, saving: Saving, *, adapters: tuple[Adapter, ...] = ()
) -> LayerSaved:
    """What one of its layers keeps; ``saving`` is its own.

    SigLIP of 1,152 and 4,304 with 16 heads in bf16, trained: 16 × 1,152 + 4 × 4,304 + 80 bytes a
    patch.
    """
    saved = layer_saved(one.shape, saving, adapters=adapters)
    if one.values_normed:
        values = saving.tensor("values normed", saving.hidden, 4, "fp32", inner=True)
        saved = replace(saved, mixer=(*saved.mixer, values))
    if not one.scaled or saving.frozen:
        return saved
    result = saving.tensor("result before its scale", saving.hidden, saving.width, "")
    return replace(saved, mixer=(*saved.mixer, result), mlp=(*saved.mlp, result))


def _tower(
    one: TowerLayers,
    run: TrainingRun,
    rank: Rank,
    saving: Saving,
    own: list[Parameter],
    adapters: tuple[Adapter, ...],
) -> tuple[Tower, int]:
    """A tower's bytes on a rank, and what offload moves of it to the host."""
    trained = any(p.trained for p in own)
    awake = trained or (run.checkpointing != "none" and one.hooked)
    saved = tower_saved(one, saving, adapters=adapters)
    checkpoint = checkpoint_of(run, one.shape, saving)
    layer, moved = layer_of(one.shape, saved, checkpoint, run, saving=saving, asleep=not awake)
    first = 0
    if any(p.trained and not p.adapter and p.component == one.component for p in own):
        first = run.sequences * one.values * saving.width
    mask = run.sequences * one.mask_pairs * saving.width if awake else 0
    half = max(layer.mixer, layer.mlp) if layer.kept < layer.mixer + layer.mlp else 0
    return (
        Tower(
            name=one.name,
            kept=one.count * layer.kept + first + mask,
            layer=layer,
            forward=half if awake else 0,
            awake=awake,
            gradients=_gradients(own, run, rank),
            because=_because(one, layer, run, awake=awake),
        ),
        one.count * moved,
    )


def _because(one: TowerLayers, layer: Layer, run: TrainingRun, *, awake: bool) -> str:
    if not awake:
        return f"nothing in it wants a gradient ({one.source})"
    rows = run.sequences * one.positions
    kind = "their inputs" if run.checkpointing == "full" else "all that autograd saves"
    return (
        f"{one.count} layers × {layer.kept:,} bytes of {rows:,} positions, {kind}; pixel or mel "
        f"values and the projector's tensors ({one.source})"
    )


def _gradients(own: list[Parameter], run: TrainingRun, rank: Rank) -> int:
    if run.optimizer_in_backward or run.parallel.offload != "none":
        return 0
    return rank.total(
        (p for p in own if p.trained),
        lambda p: p.elements * gradient_width(p, run),
        sharded=shards_gradients(run),
    )


def _adapters(one: TowerLayers, lora: Adapters | None) -> Iterator[Adapter]:
    """Those of a layer of the tower."""
    for adapter in lora.linear if lora else ():
        if adapter.component == one.component and any(layer >= 0 for layer in adapter.layers):
            yield replace(adapter, component="language", layers=(-1,))


def _outside(
    one: TowerLayers,
    own: list[Parameter],
    lora: Adapters | None,
    saving: Saving,
    *,
    text_hidden: int,
) -> int:
    """What is kept beside the layers: of the last norm, of the projector and its adapters.

    A projector's trained products keep their inputs, the activations between them what they are
    given. LLaVA-1.5's: 576 patches × (1,024 + 2 × 4,096) × 2 bytes.
    """
    matrices = [p for p in own if p.component == "projector" and len(p.shape) == 2 and p.linear]
    adapters = [a for a in (lora.linear if lora else ()) if a.component == "projector"]
    rows = saving.sequences * one.tokens // _joined(one, matrices, text_hidden=text_hidden)
    inner = sum(p.count * p.shape[0] for p, _ in pairwise(matrices))
    wide = sum(p.count * p.shape[1] for p in matrices if p.trained)
    copied = sum(len(a.layers) * (a.in_features + a.rank) for a in adapters)
    norm = sum(saved.bytes for saved in norm_saved(saving, one.hidden, "final"))
    if one.component == "encoder" and (saving.keeps_inputs or not saving.frozen):
        # What all layers of the decoder make keys and values of.
        norm += saving.rows * one.hidden * saving.kernel
    return norm + rows * ((wide + inner) * saving.kernel + copied * saving.adapter_input)


def _joined(one: TowerLayers, matrices: list[Parameter], *, text_hidden: int) -> int:
    """Positions that the projector's first product reads as one: 4 of Qwen2-VL's."""
    return max(
        (
            p.shape[1] // one.hidden
            for p in matrices
            if p.shape[1] % one.hidden == 0 and p.shape[1] != text_hidden
        ),
        default=1,
    )
