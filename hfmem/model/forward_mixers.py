"""Reads a layer's attention or recurrence, and what it leaves in the cache."""

from __future__ import annotations

from msgspec.structs import replace

from hfmem.model.config import Config
from hfmem.model.forward_families import Family
from hfmem.model.forward_own_scores import compressed_attention, own_scores
from hfmem.model.forward_shapes import Attention, LatentProjection, Mixer, Stored
from hfmem.model.forward_states import recurrent
from hfmem.model.layers import (
    ChunkedAttention,
    CompressedAttention,
    FullAttention,
    LatentAttention,
    Layer,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)


class UnknownLayerError(Exception):
    """A layer whose code is not described; it never leaves ``forward_pass``."""


def mixer_of(
    config: Config, family: Family, layer: Layer, index: int
) -> tuple[Mixer | None, Stored]:
    """What a layer runs before its MLP, and what that leaves in the cache.

    Raises UnknownLayerError where its code is not described, and MissingKeyError or
    InvalidValueError where the configuration lacks a size or gives nonsense.
    """
    if isinstance(layer[0], RecurrentState):
        stored = Stored(
            key=0,
            value=0,
            conv_elements=layer[0].conv_elements,
            state_elements=layer[0].state_elements,
        )
        if "supposed" in family.flags:
            return None, stored
        if family.recurrence is None:
            raise UnknownLayerError
        return recurrent(config, family.recurrence), stored
    heads = config.integer("num_attention_heads", low=1)
    match layer[0]:
        case FullAttention(kv_heads=kv_heads, head_dim=key, v_head_dim=value) as kept:
            index_key = kept.indexer_dim
            if index_key and "minimax_m3" not in family.flags:
                raise UnknownLayerError
            if "falcon" in family.flags and config.flag("new_decoder_architecture"):
                # FalconAttention._split_heads repeats K and V to all heads before the cache.
                kv_heads = heads
            stored = Stored(key=kv_heads * key + index_key, value=kv_heads * value)
            shape = _attention(config, family, heads, kv_heads, (key, value), None)
            return replace(shape, block_mask=index_key > 0), stored
        case SlidingWindow(kv_heads=kv_heads, head_dim=key, v_head_dim=value, window=window):
            stored = Stored(key=kv_heads * key, value=kv_heads * value, window=window - 1)
            return _attention(config, family, heads, kv_heads, (key, value), window), stored
        case ChunkedAttention(kv_heads=kv_heads, head_dim=key, v_head_dim=value, chunk=chunk):
            stored = Stored(key=kv_heads * key, value=kv_heads * value, window=chunk - 1)
            return _attention(config, family, heads, kv_heads, (key, value), chunk), stored
        case LatentAttention(rank=rank, rope_dim=rope, indexer_dim=indexer):
            return _latent(config, heads, rank, rope, indexer), Stored(
                key=rank + indexer, value=rope
            )
        case CompressedAttention() as kept:
            return compressed_attention(heads, kept), Stored(
                key=kept.head_dim,
                value=0,
                window=kept.window - 1,
                pooled=kept.head_dim + kept.indexer_dim,
                ratio=kept.ratio,
            )
        case SharedCache() if family.flags & {"gemma3n", "gemma4"}:
            sliding = (config.text_list("layer_types") or ())[index : index + 1] == (
                "sliding_attention",
            )
            name = "head_dim" if sliding else "global_head_dim"
            dim = config.integer_or_none(name) or config.integer("head_dim")
            span = config.integer_or_none("sliding_window") if sliding else None
            kv_heads = config.integer("num_key_value_heads", low=1)
            shape = _attention(config, family, heads, kv_heads, (dim, dim), span)
            return shape, Stored(key=0, value=0)
        case NoCache() if "nemotron_h" in family.flags:
            return None, Stored(key=0, value=0)
        case NoCache() if family.own_scores is not None:
            return own_scores(config, family.own_scores), Stored(key=0, value=0)
        case NoCache() if "encoder" in family.flags:
            dim = config.integer_or_none("head_dim") or config.integer("hidden_size") // heads
            shape = _attention(config, family, heads, heads, (dim, dim), None)
            return shape, Stored(key=0, value=0)
        case _:
            raise UnknownLayerError


def _attention(
    config: Config,
    family: Family,
    heads: int,
    kv_heads: int,
    dims: tuple[int, int],
    window: int | None,
) -> Attention:
    falcon = "falcon" in family.flags
    if falcon and config.flag("alibi"):
        raise UnknownLayerError  # its own attention code, with alibi added to the mask
    share = rotary_share(config, family) if family.keeps_unrotated else 0
    query_and_keys = (heads + kv_heads) * dims[0]
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=dims[0],
        v_head_dim=dims[1],
        window=window,
        rotary="none" if window is None and "local_rope" in family.flags else family.rotary,
        kept_rotation=int(query_and_keys * (1 + share)) if family.keeps_unrotated else 0,
        rotated_dim=_rotated_dim(config, family, dims[0]),
        qk_norm=family.qk_norm,
        norms_late=family.norms_late,
        output_gate=family.output_gate,
        fused_qkv=family.fused_qkv,
        broadcast_kv=falcon and kv_heads != heads,
        eager_scores=family.eager_scores,
        position_bias="position_bias" in family.flags,
    )


def _rotated_dim(config: Config, family: Family, head_dim: int) -> int:
    dim = int(head_dim * rotary_share(config, family))
    return 0 if family.rotary == "none" or dim >= head_dim else dim


def _latent(config: Config, heads: int, rank: int, rope: int, indexer: int) -> Attention:
    nope = config.integer("qk_nope_head_dim", low=1)
    value = config.integer("v_head_dim", low=1)
    selected = config.integer_or_none("index_topk") or 0
    return Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=nope + rope,
        v_head_dim=value,
        latent=LatentProjection(
            rank=rank,
            rope_dim=rope,
            nope_dim=nope,
            query_rank=config.integer_or_none("q_lora_rank") or 0 if indexer else 0,
            indexer_heads=config.integer("index_n_heads") if indexer else 0,
            indexer_dim=indexer,
            selected=selected,
        ),
    )


def rotary_share(config: Config, family: Family) -> float:
    """The share of a head that is rotated; transformers 5 writes it into ``rope_parameters``."""
    scopes = (config, config.section("rope_parameters"))
    stated, dim = config.integer_or_none("rotary_dim"), config.integer_or_none("head_dim")
    if stated and dim and stated < dim:
        return stated / dim
    for key in ("partial_rotary_factor", "rotary_pct", "rope_pct"):
        for scope in scopes:
            share = None if scope is None else scope.number(key)
            if share is not None:
                return share
    return family.rotated_share
