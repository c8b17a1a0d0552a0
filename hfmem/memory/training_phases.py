"""The instants of a training step on one rank, and which of them is the largest.

Forward ends at the loss with everything saved. Backward starts at the logits, walks the layers from
the last to the first, frees what a layer saved and fills its gradients, and ends at the embedding.
The step holds no activations and the optimizer's temporaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace


class Layer(Struct, frozen=True, kw_only=True):
    """One decoder layer of a rank, in bytes."""

    kept: int
    """From the forward pass until its backward pass."""
    mixer: int
    """What its mixer saves while the layer's own backward pass runs, computed again or not."""
    mlp: int
    mixer_extra: int
    """Gradients inside the mixer, while they are alive."""
    mlp_extra: int
    gradients: int
    """Of its trained parameters."""
    mlp_gradients: int
    """The part of them that is there when the mixer's backward pass begins."""
    cast: int
    """16-bit copies of its weights while it runs."""


class Tower(Struct, frozen=True, kw_only=True):
    """An encoder of pictures or sound, which runs before the layers and backward after them."""

    name: str
    kept: int
    """Of all its layers, from its forward to its backward pass."""
    layer: Layer
    forward: int
    """What it holds beside that while it runs forward."""
    awake: bool
    """Whether a gradient passes through it."""
    gradients: int
    """Of its own trained parameters and its projector's."""
    because: str


class Pass(Struct, frozen=True, kw_only=True):
    """Everything of a pass that is not a layer, in bytes."""

    layers: Sequence[Layer]
    outside_kept: int
    """Final norm, rope tables, token ids, and with a full set of casts the head's."""
    forward_casts: int
    """16-bit copies of weights that live to the end of the forward pass only."""
    loss_forward: int
    loss_backward: int
    loss_after: int
    head_gradients: int
    embedding_gradients: int
    hidden: int
    """A gradient of the hidden states."""
    in_flight: int
    """Micro-batches whose activations are alive at once: pipeline stages before this one's end."""
    accumulated: int
    """Gradients that are there before the backward pass begins."""
    transient_gradients: int
    """A gradient that is being made beside an accumulated one."""
    gathered: int
    """Of live blocks and buckets, in forward and backward passes."""
    workspace: int
    """De-quantized weights."""
    beside: int = 0
    """Hidden states that the objective asked for, through the whole pass."""
    loss_held: int = 0
    """Logits that live to the end of the backward pass."""
    scored: int | None = None
    """What the reference model's forward pass holds of one layer; None without such a pass."""
    critic: Pass | None = None
    """A value model's pass, which runs before this one and backward after it."""
    towers: tuple[Tower, ...] = ()

    @property
    def towers_kept(self) -> int:
        """What the encoders keep of one micro-batch."""
        return sum(tower.kept for tower in self.towers)


StepPhase = Literal["forward", "backward", "step"]


class Held(Struct, frozen=True, kw_only=True):
    """What an instant holds beside weights and optimizer states."""

    phase: StepPhase
    instant: str
    activations: int
    logits: int
    gradients: int


def instants(whole: Pass) -> Iterator[Held]:
    """All instants of the forward and backward pass that can be the largest.

    Autograd runs what was recorded last first, so a value model's tensors wait for the whole
    backward pass of the policy.
    """
    critic = whole.critic
    if critic is None:
        yield from _instants(whole)
        return
    waiting = critic.outside_kept + sum(layer.kept for layer in critic.layers)
    gradients = 0
    for held in _instants(whole):
        gradients = held.gradients
        yield replace(held, activations=held.activations + waiting)
    for later in _instants(critic):
        if later.phase == "backward" and not later.logits:
            yield replace(
                later,
                instant=f"value model, {later.instant}",
                gradients=later.gradients + gradients,
            )


def _instants(whole: Pass) -> Iterator[Held]:
    """Of one model."""
    kept = sum(layer.kept for layer in whole.layers)
    each = kept + whole.outside_kept + whole.towers_kept
    before = (whole.in_flight - 1) * each + whole.beside + whole.towers_kept
    steady = before + whole.outside_kept + whole.gathered + whole.workspace
    for tower in whole.towers:
        yield Held(
            phase="forward",
            instant=tower.name,
            activations=steady - whole.outside_kept + tower.forward + whole.forward_casts,
            logits=0,
            gradients=whole.accumulated,
        )
    yield Held(
        phase="forward",
        instant="loss",
        activations=steady + kept + whole.forward_casts,
        logits=whole.loss_forward,
        gradients=whole.accumulated,
    )
    if whole.layers:
        # A layer that is computed again keeps nothing as it runs: its larger half bounds it.
        running = max(
            max(layer.mixer, layer.mlp) if layer.kept < layer.mixer + layer.mlp else 0
            for layer in whole.layers
        )
        yield Held(
            phase="forward",
            instant="last layer",
            activations=steady + kept + max(0, running) + whole.forward_casts,
            logits=0,
            gradients=whole.accumulated,
        )
    if whole.scored is not None:
        yield Held(
            phase="forward",
            instant="reference model",
            activations=steady + kept + whole.scored,
            logits=whole.loss_forward,
            gradients=whole.accumulated,
        )
    yield Held(
        phase="backward",
        instant="logits",
        activations=steady + kept,
        logits=whole.loss_backward,
        gradients=whole.accumulated,
    )
    fresh = whole.accumulated == 0
    grown = whole.head_gradients if fresh else whole.accumulated + whole.transient_gradients
    yield Held(
        phase="backward",
        instant="output head",
        activations=steady + kept + whole.hidden,
        logits=whole.loss_after,
        gradients=grown,
    )
    yield from _layers_backward(whole, kept=kept, before=before, gradients=grown)


def _layers_backward(whole: Pass, *, kept: int, before: int, gradients: int) -> Iterator[Held]:
    """From the last layer to the embedding: a layer frees what it saved and fills its gradients."""
    fresh, grown = whole.accumulated == 0, gradients
    steady = before + whole.gathered + whole.workspace
    for index in range(len(whole.layers) - 1, -1, -1):
        layer = whole.layers[index]
        kept -= layer.kept
        share = steady + kept + whole.hidden + layer.cast
        own = layer.mixer + layer.mlp
        yield Held(
            phase="backward",
            instant=f"MLP of layer {index}",
            activations=share + own + layer.mlp_extra,
            logits=whole.loss_held,
            gradients=grown,
        )
        yield Held(
            phase="backward",
            instant=f"attention of layer {index}",
            activations=share + layer.mixer + layer.mixer_extra,
            logits=whole.loss_held,
            gradients=grown + (layer.mlp_gradients if fresh else 0),
        )
        if fresh:
            grown += layer.gradients
    steady -= whole.towers_kept
    yield from _towers_backward(whole, steady=steady, gradients=grown)
    yield Held(
        phase="backward",
        instant="embedding",
        activations=steady + whole.hidden,
        logits=whole.loss_held,
        gradients=grown + (whole.embedding_gradients if fresh else 0),
    )


def _towers_backward(whole: Pass, *, steady: int, gradients: int) -> Iterator[Held]:
    """The encoders' own passes, the last layer and the first: in between one thing shrinks and
    another grows. The embedding's gradient waits."""
    left = whole.towers_kept
    for tower in reversed(whole.towers):
        if not tower.awake:
            continue
        layer = tower.layer
        own = layer.mixer + layer.mlp + max(layer.mixer_extra, layer.mlp_extra)
        fresh = tower.gradients if whole.accumulated == 0 else 0
        for kept, filled in ((left - layer.kept, 0), (left - tower.kept, fresh)):
            yield Held(
                phase="backward",
                instant=tower.name,
                activations=steady + whole.hidden + max(0, kept) + own,
                logits=whole.loss_held,
                gradients=gradients + filled,
            )
        left -= tower.kept
        gradients += fresh


def largest(whole: Pass, phase: StepPhase) -> Held:
    """The instant of a phase that holds most."""
    return max(
        (held for held in instants(whole) if held.phase == phase),
        key=lambda held: held.activations + held.logits + held.gradients,
    )
