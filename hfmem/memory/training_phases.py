"""The instants of a training step on one rank, and which of them is the largest.

Forward ends at the loss with everything saved. Backward starts at the logits, walks the layers from
the last to the first, frees what a layer saved and fills its gradients, and ends at the embedding.
The step holds no activations and the optimizer's temporaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct


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


class Held(Struct, frozen=True, kw_only=True):
    """What an instant holds beside weights and optimizer states."""

    phase: str
    instant: str
    activations: int
    logits: int
    gradients: int


def instants(whole: Pass) -> Iterator[Held]:
    """All instants of the forward and backward pass that can be the largest."""
    kept = sum(layer.kept for layer in whole.layers)
    before = (whole.in_flight - 1) * (kept + whole.outside_kept)
    steady = before + whole.outside_kept + whole.gathered + whole.workspace
    yield Held(
        phase="forward",
        instant="loss",
        activations=steady + kept + whole.forward_casts,
        logits=whole.loss_forward,
        gradients=whole.accumulated,
    )
    if whole.layers:
        running = max(layer.mixer + layer.mlp - layer.kept for layer in whole.layers)
        yield Held(
            phase="forward",
            instant="last layer",
            activations=steady + kept + max(0, running) + whole.forward_casts,
            logits=0,
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
            logits=0,
            gradients=grown,
        )
        yield Held(
            phase="backward",
            instant=f"attention of layer {index}",
            activations=share + layer.mixer + layer.mixer_extra,
            logits=0,
            gradients=grown + (layer.mlp_gradients if fresh else 0),
        )
        if fresh:
            grown += layer.gradients
    yield Held(
        phase="backward",
        instant="embedding",
        activations=steady + whole.hidden,
        logits=0,
        gradients=grown + (whole.embedding_gradients if fresh else 0),
    )


def largest(whole: Pass, phase: str) -> Held:
    """The instant of a phase that holds most."""
    return max(
        (held for held in instants(whole) if held.phase == phase),
        key=lambda held: held.activations + held.logits + held.gradients,
    )
