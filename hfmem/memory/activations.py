"""What a forward pass of transformers holds beside weights and cache, when it holds most.

The rule. Nothing is kept for a backward pass, so what is alive at any moment is: the token ids, the
rope tables and masks that live through the whole pass; a few hidden-wide tensors (embeddings, layer
input, the sum after attention and its norm: four in a Llama layer while its MLP runs); and the
temporaries of ONE layer's instant. The instants of a layer are its norm, its query norm and rotary
embedding, its attention kernel, its experts or its MLP; the last one of the pass is the logits. The
peak is the largest instant, and since the cache fills layer by layer, that instant is taken at the
last layer of each kind, with the cache of the layers up to there. Prefill of a sliding-window layer
stores the whole prompt and keeps views of it until the next token: what later steps will not
keep counts here, as ``prompt cache``.

A gated dense decoder under sdpa therefore peaks at tokens * bytes * (4 H + 3 I). Llama-3.1-8B,
8,192 tokens, bf16: 8,192 * 2 * (4 * 4,096 + 3 * 14,336) = 973,078,528 bytes, and 4 MiB of rope
tables.

Read from the code of transformers 5.23 and torch 2.13; nothing is fitted. Not covered: workspaces
inside a CUDA kernel or cuBLAS, and the allocator's own rounding and fragments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, assert_never

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.attention_activations import attention_instants, mask_parts
from hfmem.memory.feed_forward_activations import feed_forward_instants
from hfmem.memory.instants import TRANSFORMERS, Instant, Part, Step, part
from hfmem.memory.listed_activations import listed_instants
from hfmem.memory.pass_parts import inputs, logits, per_layer_inputs, per_layer_projection
from hfmem.memory.recurrent_activations import recurrent_instants
from hfmem.model.forward_shapes import (
    Attention,
    ForwardPass,
    GatedDelta,
    LayerKind,
    Listed,
    Mamba2,
    Stored,
)

__all__ = ["Instant", "Part", "Peak", "decode_activations", "prefill_activations"]


class Peak(Struct, frozen=True, kw_only=True):
    """The instant of a pass that holds most."""

    instant: str
    """Such as ``mlp``, ``attention``, ``experts gate``, ``logits``."""
    parts: tuple[Part, ...]
    """Everything beside weights and the cache that stays, largest first."""
    cache_bytes: int
    """Of the cache that stays, what is stored by then: less than all of it at an early layer."""
    source: str
    """The modeling file that the instant was read from."""

    @property
    def activation_bytes(self) -> int:
        """The sum of the parts."""
        return sum(each.bytes for each in self.parts)

    @property
    def total_bytes(self) -> int:
        """Activations and the cache that is there; weights come on top."""
        return self.activation_bytes + self.cache_bytes


def prefill_activations(
    forward: ForwardPass,
    *,
    tokens: int,
    batch: int = 1,
    dtype_bytes: int = 2,
    attention: Literal["sdpa", "flash", "eager"] | None = None,
    device: Literal["cuda", "rocm", "mps", "cpu"] = "cuda",
    logits_rows: int = 1,
    fused_recurrence: bool = False,
) -> Peak:
    """The peak of one pass over a prompt of ``tokens`` tokens in each of ``batch`` sequences.

    ``attention`` None is the class's default. ``logits_rows`` is 1 under ``generate``, ``tokens``
    where a forward pass returns all logits. ``fused_recurrence`` supposes the kernels of fla or
    mamba-ssm instead of PyTorch's own scan. Llama-3.1-8B, 8,192 tokens, full logits: the logits are
    the peak, 8,192 * 128,256 * 2 = 2,101,346,304 bytes and the last hidden state.
    """
    step = Step(
        queries=tokens,
        keys=tokens,
        batch=batch,
        width=dtype_bytes,
        attention=attention or forward.default_attention,
        device=device,
        fused_recurrence=fused_recurrence,
    )
    return _peak(forward, step, _prefill_moments(forward, step, logits_rows))


def decode_activations(
    forward: ForwardPass,
    *,
    context: int,
    batch: int = 1,
    dtype_bytes: int = 2,
    attention: Literal["sdpa", "flash", "eager"] | None = None,
    device: Literal["cuda", "rocm", "mps", "cpu"] = "cuda",
    first_step: bool = True,
    fused_recurrence: bool = False,
) -> Peak:
    """The peak of the pass that brings each sequence to ``context`` tokens by one new token.

    The dynamic cache concatenates: old and new keys of one layer are alive together
    (cache_utils.py: DynamicLayer.update). ``first_step`` is the step after prefill, when
    sliding-window layers still hold the whole prompt. Llama-3.1-8B at 8,192 tokens: one layer's
    keys, 8,192 * 1,024 * 2 = 16,777,216 bytes.
    """
    step = Step(
        queries=1,
        keys=context,
        batch=batch,
        width=dtype_bytes,
        attention=attention or forward.default_attention,
        device=device,
        fused_recurrence=fused_recurrence,
    )
    return _peak(forward, step, _decode_moments(forward, step, first_step=first_step))


class _Moment(Struct, frozen=True):
    """An instant with all that is alive at it; of many, one is put into words."""

    instant: Instant
    held: tuple[Part, ...] = ()
    """What lives through the whole pass."""
    cache: int = 0
    prompt: Sequence[int] = ()
    """Of each kind of layer, how many hold the prompt beyond their window."""


def _peak(forward: ForwardPass, step: Step, moments: Iterable[_Moment]) -> Peak:
    """The moment that holds most, with its parts."""

    def held_bytes(moment: _Moment) -> int:
        size = moment.cache
        for each in moment.instant.parts:
            size += each.bytes
        for each in moment.held:
            size += each.bytes
        if any(moment.prompt):
            size += _prompt_bytes(forward, moment.prompt, step)
        return size

    most = max(moments, key=held_bytes)
    prompt = _prompt_parts(forward, most.prompt, step)
    parts = [
        replace(each, source=each.source or forward.source)
        for each in (*most.instant.parts, *most.held, *prompt)
        if each.bytes
    ]
    return Peak(
        instant=most.instant.name,
        parts=tuple(sorted(parts, key=lambda each: -each.bytes)),
        cache_bytes=most.cache,
        source=forward.source,
    )


def _prefill_moments(forward: ForwardPass, step: Step, logits_rows: int) -> Iterator[_Moment]:
    held = (*inputs(forward, step), *mask_parts(forward, step))
    kept = [_kept_bytes(kind.shape.stored, step) for kind in forward.kinds]
    if forward.per_layer_inputs:
        yield _Moment(per_layer_projection(forward, step), held[:1])
    alive = (*held, *per_layer_inputs(forward, step))
    rows = replace(step, queries=min(step.queries, logits_rows))
    windowed = _is_windowed(forward)
    for index, kind in enumerate(forward.kinds):
        cache = sum(n * size for n, size in zip(kind.filled, kept, strict=True))
        layer_step = rows if kind.shape.logits_rows_only else step
        for instant in _layer_instants(forward, kind, layer_step):
            own = 0 if instant.stored else 1
            prompt = _less(kind.filled, index, own) if windowed else ()
            yield _Moment(instant, alive, cache - own * kept[index], prompt)
    counts = [kind.count for kind in forward.kinds]
    cache = sum(count * size for count, size in zip(counts, kept, strict=True))
    yield _Moment(logits(forward, step, logits_rows), held[:1], cache, counts)


def _decode_moments(forward: ForwardPass, step: Step, *, first_step: bool) -> Iterator[_Moment]:
    held = (*inputs(forward, step), *mask_parts(forward, step))
    kinds = forward.kinds
    cache = sum(k.count * _kept_bytes(k.shape.stored, step) for k in kinds)
    held_on = first_step and _is_windowed(forward)
    for index, kind in enumerate(kinds):
        # Layers before the first of this kind have let go of the prompt already.
        left: Sequence[int] = ()
        if held_on:
            left = [k.count - gone for k, gone in zip(kinds, kind.before, strict=True)]
        for instant in _concatenation(kind, step):
            yield _Moment(instant, held, cache, left)
        left = _less(left, index, 1)
        for instant in _layer_instants(forward, kind, step):
            yield _Moment(instant, held, cache, left)
    yield _Moment(logits(forward, step, 1), held[:1], cache)


def _is_windowed(forward: ForwardPass) -> bool:
    """Whether any layer lets go of a part of the prompt: few models have one."""
    return any(kind.shape.stored.window is not None for kind in forward.kinds)


def _less(counts: Sequence[int], index: int, own: int) -> list[int]:
    return [count - own if place == index else count for place, count in enumerate(counts)]


def _prompt_bytes(forward: ForwardPass, counts: Sequence[int], step: Step) -> int:
    """What layers with a window hold of the prompt beyond it: ``counts`` of each kind."""
    size = 0
    for kind, count in zip(forward.kinds, counts, strict=True):
        stored = kind.shape.stored
        beyond = step.keys - _kept_tokens(stored, step)
        size += count * step.batch * beyond * (stored.key + stored.value) * step.width
    return size


def _prompt_parts(forward: ForwardPass, counts: Sequence[int], step: Step) -> tuple[Part, ...]:
    if not any(counts):
        return ()
    words = []
    for kind, count in zip(forward.kinds, counts, strict=True):
        stored = kind.shape.stored
        beyond = step.keys - _kept_tokens(stored, step)
        elements = stored.key + stored.value
        if count * beyond * elements:
            words.append(
                f"{count} layers × {step.batch} × {beyond:,} tokens × {elements:,} × "
                f"{step.width} bytes"
            )
    return (
        Part(
            name="prompt cache",
            bytes=_prompt_bytes(forward, counts, step),
            what=f"{' + '.join(words)}: keys and values of the prompt beyond the window, until "
            "the next token",
            source=f"{TRANSFORMERS} cache_utils.py: DynamicSlidingWindowLayer.update",
        ),
    )


def _layer_instants(forward: ForwardPass, kind: LayerKind, step: Step) -> Iterator[Instant]:
    # In the first layer the embeddings are the layer input: one tensor less.
    shared = 1 if kind.last == 0 else 0
    residents = forward.mixer_residents - shared
    match kind.shape.mixer:
        case Attention() as shape:
            yield from attention_instants(forward, shape, step, residents=residents)
        case (GatedDelta() | Mamba2()) as shape:
            yield from recurrent_instants(forward, shape, step, residents=residents)
        case Listed() as shape:
            yield from listed_instants(forward, shape, step, residents=residents)
        case None:
            pass
        case other:
            assert_never(other)
    if kind.shape.feed_forward is not None:
        weights = _attention_weights(kind, step)
        for instant in feed_forward_instants(
            forward, kind.shape, step, residents=forward.mlp_residents - shared
        ):
            yield replace(instant, parts=(*instant.parts, *weights)) if weights else instant


def _attention_weights(kind: LayerKind, step: Step) -> tuple[Part, ...]:
    """Eager attention returns its weights, and the layer holds them to its end: ``hidden_states, _
    = self.self_attn(…)`` (models/llama/modeling_llama.py: LlamaDecoderLayer.forward)."""
    mixer = kind.shape.mixer
    if step.attention != "eager" or not isinstance(mixer, Attention):
        return ()
    return (part("attention weights", step.pairs, mixer.heads, step.width, "returned, not used"),)


def _concatenation(kind: LayerKind, step: Step) -> Iterator[Instant]:
    """What a layer's cache holds twice while it grows.

    A full layer grows its keys, then its values; a sliding-window layer lets go of the old ones
    when both have grown (cache_utils.py: DynamicLayer and DynamicSlidingWindowLayer.update).
    """
    stored = kind.shape.stored
    if stored.window is None:
        widest, what = max(stored.key, stored.value), "a layer's grown keys or values"
    else:
        widest, what = stored.key + stored.value, "a layer's grown keys and values"
    if widest:
        name = "cache concatenation"
        rows = step.batch * _kept_tokens(stored, step)
        source = f"{TRANSFORMERS} cache_utils.py: update concatenates"
        yield Instant(name=name, parts=(part(name, rows, widest, step.width, what, source=source),))


def _kept_tokens(stored: Stored, step: Step) -> int:
    return step.keys if stored.window is None else min(step.keys, stored.window)


def _kept_bytes(stored: Stored, step: Step) -> int:
    cells = (stored.key + stored.value) * _kept_tokens(stored, step) * step.width
    if stored.ratio:
        cells += stored.pooled * (step.keys // stored.ratio) * step.width
    state = stored.conv_elements * step.width + stored.state_elements * 4
    return step.batch * (cells + state)
