"""DeepSeek-V4's cache in vLLM: pages of four sizes in one block, and the compressors' states.

vLLM 0.33 models/deepseek_v4/attention.py and compressor.py, v1/attention/backends/mla/
sparse_swa.py: get_kv_cache_spec; v1/core/kv_cache_planning.py: _get_packed_kv_cache_groups. A layer
keeps a window of its keys; beside it, where it compresses, one key every 4 or 128 tokens, the
indexer's keys (4 only), and in fp32 what the compressors have not pooled yet. No rank divides any
of it.
"""

from __future__ import annotations

from collections import Counter

from hfmem.model.layers import CompressedAttention, Layer, SlidingWindow
from hfmem.runtimes.vllm_cache import CacheGroup, CachePlan
from hfmem.runtimes.vllm_settings import COMPRESSED_BLOCK, Settings

KEY_BYTES = 584
"""448 values in fp8, 64 rotated ones in bf16, seven scales and a byte of padding."""
ALIGNMENT = 576
"""What pages are padded to for FlashMLA."""
WINDOW_BLOCK = 64
"""Tokens of a block of the window (DeepseekV4SWACache)."""
_STATE_BLOCKS = {4: 4, 128: 8}
"""Tokens of a block of a compressor's state, by its ratio (CompressorStateCache)."""
OLDEST = (0, 21)
"""Of older versions no figure and no code was seen."""


def compressed_plan(layers: tuple[Layer, ...], settings: Settings, *, hybrid: bool) -> CachePlan:
    """The groups of DeepSeek-V4: compressed keys, windows, and the two kinds of state.

    V4-Flash at 30,000 tokens in 0.22: 6,800 blocks of 1,051,776 bytes are the 6.66 GiB that vLLM
    printed (vllm-project/vllm#44376, a step of 16,384 tokens). Raises LookupError for
    what is not known: an older version, other ratios or widths, the flag that makes every
    layer a full one.
    """
    found = _kinds(layers)
    if settings.behaviour.since < OLDEST or not hybrid or found is None:
        raise LookupError("compressed attention")
    scale = settings.block // COMPRESSED_BLOCK
    pooled: list[tuple[int, int]] = []
    windows: list[tuple[int, int]] = []
    states: dict[int, list[tuple[int, int]]] = {4: [], 128: []}
    span = 0
    for number, kind in found:
        span = kind.window
        windows.append((number, _page(WINDOW_BLOCK * KEY_BYTES)))
        if isinstance(kind, SlidingWindow) or not kind.ratio:
            continue
        rows = scale * COMPRESSED_BLOCK // kind.ratio
        pooled.append((number, _page(rows * KEY_BYTES)))
        overlap = 2 if kind.ratio == 4 else 1
        widths = [kind.head_dim]
        if kind.indexer_dim:
            # A key in fp8 and a scale of four bytes every 128 elements, as in DeepSeek-V3.2.
            pooled.append((number, _page(rows * (kind.indexer_dim + kind.indexer_dim // 128 * 4))))
            widths.append(kind.indexer_dim)
        for width in widths:  # sums and scores in fp32, twice where two windows overlap
            page = _page(_STATE_BLOCKS[kind.ratio] * 2 * overlap * width * 4)
            states[kind.ratio].append((number, page))
    groups = [
        CacheGroup(kind="full", span=0, block=settings.block, pages=tuple(pooled)),
        *_windows(windows, pooled, states, span=span),
    ]
    for ratio, pages in states.items():
        reach = 2 * ratio if ratio == 4 else ratio
        block = _STATE_BLOCKS[ratio]
        groups.append(CacheGroup(kind="sliding", span=reach, block=block, pages=tuple(pages)))
    kept = tuple(group for group in groups if group.pages)
    if settings.behaviour.packs_pages:
        return CachePlan(groups=kept, padding_layers=0, block=settings.block)
    sizes = {page for _, page in pooled}
    return CachePlan(
        groups=tuple(_padded(group, sizes) for group in kept),
        padding_layers=0,
        block=settings.block,
        repeated_bytes=sum(sizes),
    )


def _kinds(
    layers: tuple[Layer, ...],
) -> list[tuple[int, CompressedAttention | SlidingWindow]] | None:
    """The layers, where they are what the engine's kernels take."""
    found: list[tuple[int, CompressedAttention | SlidingWindow]] = []
    for number, kinds in enumerate(layers):
        match kinds:
            case (CompressedAttention(head_dim=512, ratio=0 | 4 | 128) as kind,):
                found.append((number, kind))
            case (SlidingWindow(head_dim=512) as kind,):
                found.append((number, kind))
            case _:
                return None
    return found if len({kind.window for _, kind in found}) == 1 else None


def _page(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _windows(
    windows: list[tuple[int, int]],
    pooled: list[tuple[int, int]],
    states: dict[int, list[tuple[int, int]]],
    *,
    span: int,
) -> list[CacheGroup]:
    """The windows' layers, dealt out to as many groups as make all groups about equally long.

    _approximate_gcd: the length that pads least, at least that of the ratio 4, whose two sizes of
    page repeat together. V4-Pro: 61 windows beside 30 and 31 states are two groups of 31.
    """
    repeats = Counter(page for _, page in states[4]).most_common(1)
    least = repeats[0][1] if repeats else 1
    lengths = [len(windows), least, len(states[128])]
    balanced = Counter(page for _, page in pooled)
    if len(set(balanced.values())) == 1:
        lengths.append(next(iter(balanced.values())))
    kept = [one for one in lengths if one]
    length = min(
        range(least, max(kept) + 1), key=lambda each: (sum(-one % each for one in kept), -each)
    )
    parts = -(-len(windows) // length)
    return [
        CacheGroup(kind="sliding", span=span, block=WINDOW_BLOCK, pages=tuple(windows[at::parts]))
        for at in range(parts)
    ]


def _padded(group: CacheGroup, sizes: set[int]) -> CacheGroup:
    """Up to 0.32 every page is as large as one of the compressed keys' or indexers' (seen in 0.22
    and 0.27: _get_kv_cache_groups_uniform_groups)."""
    pages = tuple(
        (layer, min((size for size in sizes if size >= page), default=page))
        for layer, page in group.pages
    )
    return CacheGroup(kind=group.kind, span=group.span, block=group.block, pages=pages)
