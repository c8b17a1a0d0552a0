"""The closed union of what a decoder layer keeps between two tokens.

A model is one of these a layer, so a hybrid needs no special case anywhere: the runtime decides how
many cells a layer gets for n tokens, the layer decides how many elements a cell holds. Sizes are in
elements, never in bytes, because the runtime decides the type; only recurrent state brings its own.
"""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct


class FullAttention(Struct, frozen=True, kw_only=True):
    """Keys and values of every token. Llama-3.1-8B: 8 heads of 128 + 128, 2,048 elements a
    token."""

    kv_heads: int
    head_dim: int
    v_head_dim: int
    indexer_dim: int = 0
    """One key a token of a sparse-attention indexer beside them: 128 in MiniMax-M3; 0 without one.
    """
    repeated_heads: int = 0
    """Heads that transformers caches where it repeats them first: 128 of Falcon-40B's 8; 0 is
    ``kv_heads``."""


class SlidingWindow(Struct, frozen=True, kw_only=True):
    """Keys and values of the last ``window`` tokens. Gemma-3-27B: 16 heads of 128 + 128, window
    1,024."""

    kv_heads: int
    head_dim: int
    v_head_dim: int
    window: int


class ChunkedAttention(Struct, frozen=True, kw_only=True):
    """Keys and values of the current chunk of tokens. Llama 4: 8 heads of 128 + 128, chunk
    8,192."""

    kv_heads: int
    head_dim: int
    v_head_dim: int
    chunk: int


class LatentAttention(Struct, frozen=True, kw_only=True):
    """One compressed vector a token for all heads (MLA). DeepSeek-V3: 512 + 64 elements a token."""

    rank: int
    rope_dim: int
    heads: int
    """Query heads that the latent expands to; what a runtime without MLA would cache."""
    indexer_dim: int = 0
    """Key of the sparse-attention indexer, 128 in DeepSeek-V3.2; 0 without one."""
    window: int | None = None
    """Tokens that are kept where the layer slides (dots3-note); None keeps all."""


class CompressedAttention(Struct, frozen=True, kw_only=True):
    """DeepSeek-V4: one key a token in a window, and one pooled key every ``ratio`` tokens."""

    head_dim: int
    window: int
    ratio: int
    """Tokens that share a compressed key; 0 where the layer keeps the window only."""
    indexer_dim: int = 0
    """Elements of the indexer's own pooled key, every ``ratio`` tokens too."""


class RecurrentState(Struct, frozen=True, kw_only=True):
    """State that does not grow with the context: Mamba, gated delta net, KDA, lightning attention,
    short convolution."""

    conv_elements: int
    """A sequence's convolution window, as the reference implementation keeps it: channels × kernel
    columns."""
    state_elements: int
    conv_dtype: str | None
    """None follows the model's dtype."""
    state_dtype: str | None
    conv_kernel: int = 0
    """Columns in ``conv_elements``; engines that keep one column less need it."""


class CrossAttention(Struct, frozen=True, kw_only=True):
    """Keys and values of an encoder's output, computed once. Whisper-large-v3: 20 heads of 64 + 64,
    1,500 tokens."""

    kv_heads: int
    head_dim: int
    v_head_dim: int
    source_tokens: int | None
    """Fixed by the model (Whisper), or None where the workload says it."""
    usual_tokens: int | None = None
    """What the processor gives where the workload says nothing (Pix2Struct: 2,048 patches); None
    where the model fixes it, or nothing tells."""


class SharedCache(Struct, frozen=True, kw_only=True):
    """Reads another layer's cache and keeps none (Gemma 3n and 4, cross-layer attention, YOCO)."""

    of_layer: int | None


class NoCache(Struct, frozen=True, kw_only=True):
    """Keeps nothing: an MLP or expert layer of its own, a removed attention, an encoder."""


CacheKind = (
    FullAttention
    | SlidingWindow
    | ChunkedAttention
    | LatentAttention
    | CompressedAttention
    | RecurrentState
    | CrossAttention
    | SharedCache
    | NoCache
)

Layer = tuple[CacheKind, ...]
"""What one layer keeps: nearly always one kind; attention beside a state (Falcon-H1) or beside
cross-attention (encoder-decoder) is two."""


def kind_name(kind: CacheKind) -> str:
    """The stable name of a kind: full, sliding, chunked, latent, compressed, recurrent, cross,
    shared, none."""
    match kind:
        case FullAttention():
            return "full"
        case SlidingWindow():
            return "sliding"
        case ChunkedAttention():
            return "chunked"
        case LatentAttention():
            return "latent"
        case CompressedAttention():
            return "compressed"
        case RecurrentState():
            return "recurrent"
        case CrossAttention():
            return "cross"
        case SharedCache():
            return "shared"
        case NoCache():
            return "none"
        case _:
            assert_never(kind)


def heads_shown(kind: CacheKind | None) -> tuple[int | None, int | None]:
    """Key and value heads and their size as a model card gives them; None where a kind has none.

    A latent has one head of its rank and its rotated part: DeepSeek-V3, 1 of 512 + 64.
    """
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention():
            return kind.kv_heads, kind.head_dim
        case LatentAttention():
            return 1, kind.rank + kind.rope_dim
        case CompressedAttention():
            return 1, kind.head_dim
        case RecurrentState() | CrossAttention() | SharedCache() | NoCache() | None:
            return None, None
        case _:
            assert_never(kind)
