"""Bytes that a sequence keeps between two tokens, from the layers and the rule of a runtime.

Equal layers are counted once: ``group`` folds a model into a handful of groups, and everything else
is arithmetic over those, so that a search over contexts and batches costs microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

from msgspec import Struct

from hfmem.dtypes import BITS
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    Layer,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
    kind_name,
)

CellRule = Callable[[CacheKind, int], int]
"""``(kind, ctx)`` to the cells that a runtime holds for ``ctx`` tokens of one sequence in one
layer."""


class LayerGroup(Struct, frozen=True, kw_only=True):
    """``count`` equal cache kinds."""

    kind: CacheKind
    count: int


class GroupBytes(Struct, frozen=True, kw_only=True):
    """What the layers of one group keep together."""

    group: LayerGroup
    bytes: int


def group(layers: Iterable[Layer]) -> tuple[LayerGroup, ...]:
    """Fold layers into groups of equal kinds, in the order of their first appearance.

    Gemma-3-27B's 62 layers are two groups: 52 sliding, 10 full.
    """
    counts: dict[CacheKind, int] = {}
    for layer in layers:
        for kind in layer:
            counts[kind] = counts.get(kind, 0) + 1
    return tuple(LayerGroup(kind=kind, count=count) for kind, count in counts.items())


def dynamic_cells(kind: CacheKind, ctx: int) -> int:
    """Cells of transformers' dynamic cache: every token, or window − 1 of them between two steps.

    transformers 5.23.0 cache_utils.py: DynamicLayer, DynamicSlidingWindowLayer.update. A window of
    1,024 over 8,192 tokens holds 1,023.
    """
    match kind:
        case FullAttention():
            return ctx
        case SlidingWindow() | CompressedAttention():
            return min(ctx, kind.window - 1)
        case ChunkedAttention():
            return min(ctx, kind.chunk - 1)
        case LatentAttention():
            return ctx if kind.window is None else min(ctx, kind.window - 1)
        case RecurrentState() | CrossAttention() | SharedCache() | NoCache():
            return 0
        case _:
            assert_never(kind)


def cell_elements(kind: CacheKind) -> int:
    """Elements of one cell in one layer: kv_heads × (head_dim + v_head_dim), or the latent.

    Llama-3.1-8B: 8 × (128 + 128) = 2,048. DeepSeek-V3.2: 512 + 64 + 128 = 704.
    """
    match kind:
        case FullAttention():
            return kind.kv_heads * (kind.head_dim + kind.v_head_dim) + kind.indexer_dim
        case SlidingWindow() | ChunkedAttention() | CrossAttention():
            return kind.kv_heads * (kind.head_dim + kind.v_head_dim)
        case LatentAttention():
            return kind.rank + kind.rope_dim + kind.indexer_dim
        case CompressedAttention():
            return kind.head_dim
        case RecurrentState() | SharedCache() | NoCache():
            return 0
        case _:
            assert_never(kind)


def reference_elements(kind: CacheKind) -> int:
    """As ``cell_elements``, with the heads that transformers repeats before it caches them
    (Falcon)."""
    if isinstance(kind, FullAttention) and kind.repeated_heads:
        return kind.repeated_heads * (kind.head_dim + kind.v_head_dim) + kind.indexer_dim
    return cell_elements(kind)


def pooled_elements(kind: CompressedAttention, ctx: int) -> int:
    """What DeepSeek-V4 keeps beside its window: pooled keys, the unpooled rest, and the overlap.

    transformers 5.23.0 models/deepseek_v4/modeling_deepseek_v4.py. A heavy layer (ratio 128)
    buffers a key and a gate a token until a pool is full; a sparse one (ratio 4) two of each, and
    its indexer the same, and both carry the keys and gates of the last pool. 8,192 tokens at ratio
    4, a key of 512 and an indexer key of 128: 2,048 × 640 + 2 × 4 × 640.
    """
    series = kind.head_dim + kind.indexer_dim
    pools, rest = divmod(ctx, kind.ratio)
    overlapping = kind.indexer_dim > 0
    buffered = 2 * rest * series * (2 if overlapping else 1)
    overlap = 2 * kind.ratio * series if overlapping and pools else 0
    return pools * series + buffered + overlap


def cache_bytes(
    groups: Sequence[LayerGroup],
    *,
    ctx: int,
    batch: int = 1,
    kv_dtype: str,
    model_dtype: str,
    encoder_ctx: int = 0,
    cells: CellRule = dynamic_cells,
    elements: Callable[[CacheKind], int] = reference_elements,
) -> tuple[GroupBytes, ...]:
    """What each group of layers keeps of ``batch`` sequences of ``ctx`` tokens, in bytes.

    ``kv_dtype`` and ``model_dtype`` are safetensors names; the cache follows the first, a state
    without a type of its own the second. ``encoder_ctx`` is the length that cross-attention sees
    where the model does not fix it. Llama-3.1-8B, 8,192 tokens, BF16: 32 × 8,192 × 2,048 × 2 =
    1,073,741,824.
    """
    kv_bits, model_bits = BITS[kv_dtype], BITS[model_dtype]
    found = []
    for one in groups:
        kind = one.kind
        match kind:
            case RecurrentState():
                conv = kind.conv_elements * (
                    BITS[kind.conv_dtype] if kind.conv_dtype else model_bits
                )
                state = kind.state_elements * (
                    BITS[kind.state_dtype] if kind.state_dtype else model_bits
                )
                bits = conv + state
            case CrossAttention():
                seen = encoder_ctx if kind.source_tokens is None else kind.source_tokens
                bits = seen * elements(kind) * kv_bits
            case CompressedAttention():
                kept = cells(kind, ctx) * elements(kind) + pooled_elements(kind, ctx)
                bits = kept * kv_bits
            case _:
                bits = cells(kind, ctx) * elements(kind) * kv_bits
        found.append(GroupBytes(group=one, bytes=-(-bits // 8) * batch * one.count))
    return tuple(found)


def total_bytes(
    groups: Sequence[LayerGroup],
    *,
    ctx: int,
    batch: int = 1,
    kv_dtype: str,
    model_dtype: str,
    encoder_ctx: int = 0,
    cells: CellRule = dynamic_cells,
    elements: Callable[[CacheKind], int] = reference_elements,
) -> int:
    """The sum of ``cache_bytes`` over all groups."""
    parts = cache_bytes(
        groups,
        ctx=ctx,
        batch=batch,
        kv_dtype=kv_dtype,
        model_dtype=model_dtype,
        encoder_ctx=encoder_ctx,
        cells=cells,
        elements=elements,
    )
    return sum(part.bytes for part in parts)


def bytes_by_kind(parts: Iterable[GroupBytes]) -> dict[str, int]:
    """Totals by the name of the kind: ``{"sliding": 435781632, "full": 671088640}``."""
    found: dict[str, int] = {}
    for part in parts:
        name = kind_name(part.group.kind)
        found[name] = found.get(name, 0) + part.bytes
    return found


def bytes_per_token(
    groups: Sequence[LayerGroup],
    *,
    ctx: int,
    kv_dtype: str,
    model_dtype: str,
    cells: CellRule = dynamic_cells,
    elements: Callable[[CacheKind], int] = reference_elements,
) -> int:
    """What one more token of one sequence adds at this context; the mean over one pool where keys
    are pooled.

    Llama-3.1-8B in BF16: 131,072. Gemma-3-27B at 8,192 tokens: 81,920, for its 10 full layers only.
    """
    step = max(
        (one.kind.ratio for one in groups if isinstance(one.kind, CompressedAttention)), default=1
    )
    now, later = (
        total_bytes(
            groups,
            ctx=tokens,
            kv_dtype=kv_dtype,
            model_dtype=model_dtype,
            cells=cells,
            elements=elements,
        )
        for tokens in (ctx, ctx + step)
    )
    return (later - now) // step
