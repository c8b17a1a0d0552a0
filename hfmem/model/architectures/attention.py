"""Attention layers from a section: heads, head sizes, windows, latents.

Each maker reads a section and returns what ONE layer keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hfmem.model.config import Config
from hfmem.model.layers import (
    ChunkedAttention,
    CompressedAttention,
    FullAttention,
    LatentAttention,
    Layer,
    NoCache,
    SharedCache,
    SlidingWindow,
)

LayerRule = Callable[[Config], Layer]
"""From a section (with one layer's overrides in it) to what that layer keeps."""


class Heads(NamedTuple):
    """Heads and head sizes of one attention layer."""

    query: int
    kv: int
    head_dim: int
    v_head_dim: int


def heads(config: Config) -> Heads:
    """Heads as transformers reads them: ``num_key_value_heads`` or all, ``head_dim`` or hidden /
    heads.

    Llama-3.1-8B: 32 query heads, 8 kv heads of 128. A 0 or null stands for absent.
    """
    query = config.integer("num_attention_heads", low=1)
    return Heads(
        query=query,
        kv=config.integer_or_none("num_key_value_heads") or query,
        head_dim=(size := head_dim(config, query)),
        v_head_dim=size,
    )


def head_dim(config: Config, query_heads: int) -> int:
    """``head_dim`` where it is said (never assume hidden / heads: Gemma-3-27B is 128, not 168)."""
    explicit = config.integer_or_none("head_dim")
    if explicit:
        return explicit
    hidden = config.integer("hidden_size", low=1)
    if hidden < query_heads:
        raise config.invalid("hidden_size", hidden, f"at least {query_heads:,}, the heads")
    return hidden // query_heads


def full(config: Config) -> Layer:
    """Keys and values of every token."""
    size = heads(config)
    return (FullAttention(kv_heads=size.kv, head_dim=size.head_dim, v_head_dim=size.v_head_dim),)


def sliding(config: Config) -> Layer:
    """Keys and values of ``sliding_window`` tokens."""
    size = heads(config)
    return (
        SlidingWindow(
            kv_heads=size.kv,
            head_dim=size.head_dim,
            v_head_dim=size.v_head_dim,
            window=config.integer("sliding_window", low=1),
        ),
    )


def chunked(config: Config) -> Layer:
    """Keys and values of ``attention_chunk_size`` tokens."""
    size = heads(config)
    return (
        ChunkedAttention(
            kv_heads=size.kv,
            head_dim=size.head_dim,
            v_head_dim=size.v_head_dim,
            chunk=config.integer("attention_chunk_size", low=1),
        ),
    )


def latent(config: Config) -> Layer:
    """Multi-head latent attention: ``kv_lora_rank + qk_rope_head_dim`` elements a token, 576 in
    DeepSeek-V3."""
    return (_latent(config),)


def latent_or_full(config: Config) -> Layer:
    """DeepSeek-V2's type without a latent: ``use_mla`` false, or no rank (DeepSeek-OCR)."""
    said = config.values.get("kv_lora_rank", 1)
    if config.flag("use_mla", default=True) and said:
        return latent(config)
    return full(config)


def latent_indexed(config: Config) -> Layer:
    """Latent attention with an indexer key of ``index_head_dim`` (DeepSeek-V3.2: 576 + 128)."""
    return (_latent(config, indexer_dim=config.integer("index_head_dim", low=1)),)


def latent_sliding(config: Config) -> Layer:
    """Latent attention that keeps ``sliding_window`` tokens."""
    return (_latent(config, window=config.integer("sliding_window", low=1)),)


def _latent(config: Config, *, indexer_dim: int = 0, window: int | None = None) -> LatentAttention:
    return LatentAttention(
        rank=config.integer("kv_lora_rank", low=1),
        rope_dim=config.integer("qk_rope_head_dim"),
        heads=config.integer("num_attention_heads", low=1),
        indexer_dim=indexer_dim,
        window=window,
    )


def full_indexed(config: Config) -> Layer:
    """Full attention with one indexer key a token beside it (MiniMax-M3: 128)."""
    size = heads(config)
    return (
        FullAttention(
            kv_heads=size.kv,
            head_dim=size.head_dim,
            v_head_dim=size.v_head_dim,
            indexer_dim=config.integer("index_head_dim", low=1),
        ),
    )


def compressed(kind: str, *, indexed: bool) -> LayerRule:
    """DeepSeek-V4: a window of keys, and one pooled key every ``compress_rates[kind]`` tokens."""

    def make(config: Config) -> Layer:
        rates = config.value("compress_rates")
        ratio = rates.get(kind) if isinstance(rates, dict) else None
        if type(ratio) is not int or not 1 <= ratio <= 2**20:
            raise config.invalid("compress_rates", rates, f"an object with a ratio for {kind}")
        return (
            CompressedAttention(
                head_dim=config.integer("head_dim", low=1),
                window=config.integer("sliding_window", low=1),
                ratio=ratio,
                indexer_dim=config.integer("index_head_dim", low=1) if indexed else 0,
            ),
        )

    return make


def nothing(config: Config) -> Layer:  # noqa: ARG001 a maker like the others
    """A layer of its own for an MLP or experts, or a removed attention."""
    return (NoCache(),)


def shared(config: Config) -> Layer:
    """Reads the cache of the layer that ``kv_source_layer`` names, and keeps none."""
    return (SharedCache(of_layer=config.integer_or_none("kv_source_layer")),)


def renamed(make: LayerRule, **keys: str) -> LayerRule:
    """``make`` with other keys read in place of its own, where they are said.

    ``renamed(full, head_dim="global_head_dim")`` is Gemma 4's global layer.
    """

    def read_others(config: Config) -> Layer:
        said = {key: config.value(other) for key, other in keys.items()}
        return make(config.with_values({key: v for key, v in said.items() if v is not None}))

    return read_others


def both(*makes: LayerRule) -> LayerRule:
    """A layer that keeps what each of the makers says (Falcon-H1: attention beside a state)."""

    def make(config: Config) -> Layer:
        return tuple(kind for one in makes for kind in one(config))

    return make
