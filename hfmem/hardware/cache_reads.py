"""What one new token reads of the cache, and what attending to it computes, by layer kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import assert_never

from msgspec import Struct

from hfmem.checkpoint.ggml import BY_NAME
from hfmem.dtypes import BITS, from_name
from hfmem.memory.kv_cache import cell_elements
from hfmem.memory.workload import Workload
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)
from hfmem.model.model import Model

_DIGITS = re.compile(r"(?:fp|int)(\d)")


def kv_bits(name: str, dtype: str) -> Fraction:
    """Bits of one cached element by an engine's name of the type, scales included where known.

    ``kv_bits("q8_0", "BF16") == 8.5``; ``auto`` is the weights' type, and ``q8_0/f16`` the types of
    keys and values.
    """
    if "/" in name:
        keys, _, values = name.partition("/")
        return (kv_bits(keys, dtype) + kv_bits(values, dtype)) / 2
    known = from_name(name)
    if known is not None:
        return Fraction(BITS[known])
    ggml = BY_NAME.get(name.upper())
    if ggml is not None:
        return Fraction(8 * ggml.block_bytes, ggml.block_elements)
    found = _DIGITS.search(name)
    return Fraction(found[1]) if found else Fraction(BITS[dtype])


class CacheReads(Struct, frozen=True, kw_only=True):
    """Of one new token of one sequence, over all layers."""

    read: int
    """Bytes of keys, values, latents and indexer keys."""
    latent: int
    """Of ``read``, the latents."""
    state: int
    """Bytes of recurrent state, once."""
    operations: int
    """Of its attention."""
    prompt_operations: int
    """Of the attention of a whole prompt of this length."""


def cache_reads(model: Model, workload: Workload, *, ctx: int, bits: Fraction) -> CacheReads:
    """What a token after ``ctx`` others reads; ``bits`` are those of a cached element."""
    decoder, dtype = model.decoder, workload.dtype or model.dtype
    top = decoder.text.integer_or_none("index_topk") or ctx
    heads = decoder.attention_heads or 0
    source = _source_tokens(model, workload, ctx)
    read = latent = state = operations = prompt = 0
    for kind in _read_kinds(model):
        size = int(_elements(kind, ctx, top=top, source=source) * bits / 8)
        tokens = _tokens(kind, ctx, top=top, source=source)
        width = expanded = _head_width(kind)
        read += size
        if isinstance(kind, LatentAttention):
            latent += size
            expanded = _expanded_width(model) or width
        if isinstance(kind, RecurrentState):
            state += _state_bytes(kind, dtype)
        operations += 2 * heads * width * tokens
        # Causal: the mean query of a prompt sees half of it, or its window.
        prompt += 2 * heads * expanded * (ctx * tokens - tokens * tokens // 2)
    return CacheReads(
        read=read,
        latent=latent,
        state=state,
        operations=operations,
        prompt_operations=max(0, prompt),
    )


def _read_kinds(model: Model) -> Iterator[CacheKind]:
    """Every layer's kinds, those of another layer's cache in its place."""
    layers = model.decoder.layers
    last: CacheKind | None = None
    for layer in layers:
        for kind in layer:
            if isinstance(kind, SharedCache):
                of = kind.of_layer
                shared = layers[of][0] if of is not None and 0 <= of < len(layers) else last
                if shared is not None:
                    yield shared
                continue
            if not isinstance(kind, (NoCache, RecurrentState, CrossAttention)):
                last = kind
            yield kind


def _source_tokens(model: Model, workload: Workload, ctx: int) -> int:
    if workload.encoder_ctx is not None:
        return workload.encoder_ctx
    if workload.media is not None and workload.media.encoder_tokens:
        return workload.media.encoder_tokens
    kinds = [kind for layer in model.decoder.layers for kind in layer]
    crossing = [kind for kind in kinds if isinstance(kind, CrossAttention)]
    if crossing and crossing[0].usual_tokens is not None:
        return crossing[0].usual_tokens
    return ctx if 2 * len(crossing) == len(kinds) else 0


def _tokens(kind: CacheKind, ctx: int, *, top: int, source: int) -> int:
    """Tokens whose keys and values one new token attends to."""
    match kind:
        case FullAttention():
            return min(ctx, top) if kind.indexer_dim else ctx
        case LatentAttention():
            seen = ctx if kind.window is None else min(ctx, kind.window)
            return min(seen, top) if kind.indexer_dim else seen
        case SlidingWindow():
            return min(ctx, kind.window)
        case ChunkedAttention():
            return min(ctx, kind.chunk)
        case CompressedAttention():
            pools = ctx // kind.ratio if kind.ratio else 0
            return min(ctx, kind.window) + (min(pools, top) if kind.indexer_dim else pools)
        case CrossAttention():
            return source if kind.source_tokens is None else kind.source_tokens
        case RecurrentState() | SharedCache() | NoCache():
            return 0
        case _:
            assert_never(kind)


def _elements(kind: CacheKind, ctx: int, *, top: int, source: int) -> int:
    """Cached elements that one new token reads in a layer; an indexer reads every token's key."""
    tokens = _tokens(kind, ctx, top=top, source=source)
    match kind:
        case FullAttention() | LatentAttention() if kind.indexer_dim:
            return tokens * (cell_elements(kind) - kind.indexer_dim) + ctx * kind.indexer_dim
        case CompressedAttention() if kind.indexer_dim and kind.ratio:
            return tokens * kind.head_dim + ctx // kind.ratio * kind.indexer_dim
        case _:
            return tokens * cell_elements(kind)


def _head_width(kind: CacheKind) -> int:
    """Elements that a query head multiplies with for one token it sees: key and value."""
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention() | CrossAttention():
            return kind.head_dim + kind.v_head_dim
        case LatentAttention():
            return 2 * kind.rank + kind.rope_dim
        case CompressedAttention():
            return 2 * kind.head_dim
        case RecurrentState() | SharedCache() | NoCache():
            return 0
        case _:
            assert_never(kind)


def _expanded_width(model: Model) -> int | None:
    """Key and value of a head of latent attention, as a prompt computes them."""
    text = model.decoder.text
    plain = text.integer_or_none("qk_nope_head_dim")
    rotary = text.integer_or_none("qk_rope_head_dim")
    value = text.integer_or_none("v_head_dim")
    return plain + rotary + value if plain and rotary and value else None


def _state_bytes(kind: RecurrentState, dtype: str) -> int:
    convolution = kind.conv_elements * BITS[kind.conv_dtype or dtype]
    return (convolution + kind.state_elements * BITS[kind.state_dtype or dtype]) // 8
