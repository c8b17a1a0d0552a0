"""llama.cpp's caches: cells of every layer, rows of K and V, recurrent states.

src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp, llama-memory-recurrent.cpp and llama-model.cpp
(create_memory) of the llama.cpp in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from functools import lru_cache
from typing import assert_never

from msgspec import Struct

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
)
from hfmem.runtimes.llama_cpp_settings import CTX_PADDING, Settings, block_of


class KindBytes(Struct, frozen=True, kw_only=True):
    """What one layer of a kind keeps for all slots."""

    bytes: int
    because: str


def window_cells(settings: Settings, window: int) -> int:
    """Cells of one stream of a sliding layer.

    pad256(min(n_ctx_seq, window × slots of the stream + n_ubatch)); with --swa-full as many as the
    other layers have. A window of 1,024: 1,536 for one slot, 4,608 for four that share a cache.
    """
    if settings.swa_full:
        return settings.cells
    slots = settings.slots if settings.unified else 1
    cells = min(settings.cells, window * slots + settings.ubatch)
    return -(-cells // CTX_PADDING) * CTX_PADDING


def layer_bytes(kinds: Layer, settings: Settings, *, widest_value: int) -> KindBytes | None:
    """What one layer keeps; None for a cache that is not described (DeepSeek-V4).

    ``widest_value`` is the widest V row of any layer, which all have without flash attention.
    Llama-3.1-8B, 8,192 cells, f16: 8,192 × (1,024 + 1,024) × 2 = 33,554,432.
    """
    found = [_kind(kind, settings, widest_value) for kind in kinds]
    if any(one is None for one in found):
        return None
    known = [one for one in found if one is not None]
    return KindBytes(
        bytes=sum(one.bytes for one in known),
        because="; ".join(one.because for one in known if one.bytes) or "nothing is kept",
    )


@lru_cache(maxsize=256)
def layer_caches(
    layers: tuple[Layer, ...], settings: Settings
) -> tuple[tuple[int, str], ...] | None:
    """Bytes and formula of every layer's cache; None where one is not described."""
    widest = max((value_row(kind) for kinds in layers for kind in kinds), default=0)
    known: dict[Layer, tuple[int, str]] = {}
    for kinds in layers:
        if kinds not in known:
            found = layer_bytes(kinds, settings, widest_value=widest)
            if found is None:
                return None
            known[kinds] = (found.bytes, found.because)
    return tuple(known[kinds] for kinds in layers)


def value_row(kind: CacheKind) -> int:
    """Elements of a V row."""
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention():
            return kind.kv_heads * kind.v_head_dim
        case _:
            return 0


def row_bytes(elements: int, name: str) -> int:
    """Bytes of a row of a cache type: ``row_bytes(1024, "q8_0") == 1088``."""
    block, size = block_of(name)
    return -(-elements // block) * size


def _kind(kind: CacheKind, settings: Settings, widest: int) -> KindBytes | None:
    match kind:
        case FullAttention():
            return _rows(
                kind.kv_heads * kind.head_dim,
                kind.kv_heads * kind.v_head_dim,
                settings,
                settings.cells,
                widest,
                indexer=kind.indexer_dim,
            )
        case SlidingWindow() | ChunkedAttention():
            window = kind.window if isinstance(kind, SlidingWindow) else kind.chunk
            return _rows(
                kind.kv_heads * kind.head_dim,
                kind.kv_heads * kind.v_head_dim,
                settings,
                window_cells(settings, window),
                widest,
            )
        case LatentAttention():
            cells = settings.cells if kind.window is None else window_cells(settings, kind.window)
            return _rows(kind.rank + kind.rope_dim, 0, settings, cells, 0, indexer=kind.indexer_dim)
        case RecurrentState():
            return _state(kind, settings)
        case CrossAttention():
            return KindBytes(bytes=0, because="cross-attention is computed anew every step")
        case SharedCache() | NoCache():
            return KindBytes(bytes=0, because="")
        case CompressedAttention():
            return None
        case _:
            assert_never(kind)


def _rows(
    key: int, value: int, settings: Settings, cells: int, widest: int, *, indexer: int = 0
) -> KindBytes:
    if value and not settings.flash:
        value = widest
    each = row_bytes(key, settings.type_k) + row_bytes(indexer, settings.type_k)
    each += row_bytes(value, settings.type_v)
    streams = f"{settings.streams} × " if settings.streams > 1 else ""
    return KindBytes(
        bytes=cells * settings.streams * each,
        because=f"{streams}{cells:,} cells × (K {key + indexer:,} in {settings.type_k}"
        + (f" + V {value:,} in {settings.type_v})" if value else ")"),
    )


def _state(kind: RecurrentState, settings: Settings) -> KindBytes:
    """Both states in float32 for every slot; the convolution without its newest column.

    Mamba2 of Codestral-7B: (30,720 + 1,048,576) × 4 × 64 layers = 263.5 MiB a slot.
    """
    columns = kind.conv_kernel
    conv = kind.conv_elements * (columns - 1) // columns if columns else kind.conv_elements
    elements = conv + kind.state_elements
    return KindBytes(
        bytes=4 * elements * settings.slots,
        because=f"{settings.slots} slots × ({conv:,} + {kind.state_elements:,}) × 4 bytes",
    )
