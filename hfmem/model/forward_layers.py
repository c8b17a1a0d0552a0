"""Reads the shape of one layer: its attention or recurrence, its MLP or experts, what it stores."""

from __future__ import annotations

from hfmem.model.config import Config
from hfmem.model.forward_families import ACTIVATION_COPIES, ExpertsFamily, Family
from hfmem.model.forward_shapes import (
    Attention,
    Experts,
    GatedDelta,
    LatentProjection,
    LayerShape,
    Mamba2,
    Mlp,
    Stored,
)
from hfmem.model.layers import (
    CrossAttention,
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


def layer_shape(config: Config, family: Family, layer: Layer, index: int) -> LayerShape:
    """What the layer at ``index`` computes.

    Raises UnknownLayerError where its code is not described, and MissingKeyError or
    InvalidValueError where the configuration lacks a size or gives nonsense.
    """
    if "seq2seq" in family.flags and len(layer) == 2 and isinstance(layer[1], CrossAttention):
        # Cross-attention reads keys that the encoder's output gave once; the MLP is larger.
        layer = layer[:1]
    if len(layer) != 1:
        raise UnknownLayerError
    if "crossing" in family.flags and isinstance(layer[0], CrossAttention):
        return LayerShape(
            mixer=None,
            feed_forward=_feed_forward(config, family, sparse=False),
            parallel_mlp=None,
            stored=Stored(key=0, value=0),
        )
    mixer, stored = _mixer(config, family, layer, index)
    if "nemotron_h" in family.flags:
        # A layer is attention, a Mamba mixer, an MLP or experts, and nothing beside it.
        alone = mixer is None
        sparse = alone and _nemotron_letter(config, index) == "E"
        feed_forward = _feed_forward(config, family, sparse=sparse) if alone else None
        return LayerShape(mixer=mixer, feed_forward=feed_forward, parallel_mlp=None, stored=stored)
    if mixer is None:
        raise UnknownLayerError
    if "gemma4" in family.flags:
        wide = config.flag("use_double_wide_mlp") and isinstance(layer[0], SharedCache)
        dense = _mlp(config, family, config.integer("intermediate_size") * (2 if wide else 1))
        moe = _experts(config, family) if config.flag("enable_moe_block") else None
        return LayerShape(
            mixer=mixer,
            feed_forward=moe or dense,
            parallel_mlp=dense if moe else None,
            stored=stored,
            logits_rows_only=isinstance(layer[0], SharedCache),
        )
    return LayerShape(
        mixer=mixer,
        feed_forward=_feed_forward(config, family, sparse=_is_sparse(config, family, index)),
        parallel_mlp=None,
        stored=stored,
    )


def _mixer(
    config: Config, family: Family, layer: Layer, index: int
) -> tuple[Attention | GatedDelta | Mamba2 | None, Stored]:
    heads = config.integer("num_attention_heads", low=1)
    match layer[0]:
        case FullAttention(kv_heads=kv_heads, head_dim=key, v_head_dim=value):
            if "falcon" in family.flags and config.flag("new_decoder_architecture"):
                # FalconAttention._split_heads repeats K and V to all heads before the cache.
                kv_heads = heads
            stored = Stored(key=kv_heads * key, value=kv_heads * value)
            return _attention(config, family, heads, kv_heads, (key, value), None), stored
        case SlidingWindow(kv_heads=kv_heads, head_dim=key, v_head_dim=value, window=window):
            stored = Stored(key=kv_heads * key, value=kv_heads * value, window=window - 1)
            return _attention(config, family, heads, kv_heads, (key, value), window), stored
        case LatentAttention(rank=rank, rope_dim=rope, indexer_dim=indexer):
            return _latent(config, heads, rank, rope, indexer), Stored(
                key=rank + indexer, value=rope
            )
        case SharedCache() if "gemma4" in family.flags:
            sliding = (config.text_list("layer_types") or ())[index : index + 1] == (
                "sliding_attention",
            )
            name = "head_dim" if sliding else "global_head_dim"
            dim = config.integer_or_none(name) or config.integer("head_dim")
            span = config.integer_or_none("sliding_window") if sliding else None
            kv_heads = config.integer("num_key_value_heads", low=1)
            shape = _attention(config, family, heads, kv_heads, (dim, dim), span)
            return shape, Stored(key=0, value=0)
        case RecurrentState(conv_elements=conv, state_elements=state):
            stored = Stored(key=0, value=0, conv_elements=conv, state_elements=state)
            return _recurrent(config, family), stored
        case NoCache() if "nemotron_h" in family.flags:
            return None, Stored(key=0, value=0)
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
    share = rotary_share(config) if family.keeps_unrotated else 0
    query_and_keys = (heads + kv_heads) * dims[0]
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=dims[0],
        v_head_dim=dims[1],
        window=window,
        rotary=family.rotary,
        kept_rotation=int(query_and_keys * (1 + share)) if family.keeps_unrotated else 0,
        qk_norm=family.qk_norm,
        output_gate=family.output_gate,
        fused_qkv=family.fused_qkv,
        broadcast_kv=falcon and kv_heads != heads,
        eager_scores=family.eager_scores,
        position_bias="position_bias" in family.flags,
    )


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


def _recurrent(config: Config, family: Family) -> GatedDelta | Mamba2:
    if "nemotron_h" in family.flags:
        return Mamba2(
            heads=config.integer("mamba_num_heads", low=1),
            head_dim=config.integer("mamba_head_dim", low=1),
            groups=config.integer("n_groups", low=1),
            state=config.integer("ssm_state_size", low=1),
            chunk=config.integer("chunk_size", low=1),
        )
    if not family.output_gate:
        raise UnknownLayerError
    return GatedDelta(
        key_heads=config.integer("linear_num_key_heads", low=1),
        value_heads=config.integer("linear_num_value_heads", low=1),
        key_dim=config.integer("linear_key_head_dim", low=1),
        value_dim=config.integer("linear_value_head_dim", low=1),
        fused_projection="fused_delta" in family.flags,
    )


def _feed_forward(config: Config, family: Family, *, sparse: bool) -> Mlp | Experts:
    if sparse:
        return _experts(config, family)
    for key in ("intermediate_size", "ffn_hidden_size", "hidden_dim"):
        width = config.integer_or_none(key)
        if width is not None:
            return _mlp(config, family, width)
    if family.width_multiple is None:
        return _mlp(config, family, config.integer("intermediate_size", low=1))
    return _mlp(config, family, family.width_multiple * config.integer("hidden_size", low=1))


def _mlp(config: Config, family: Family, width: int) -> Mlp:
    # T5 1.1 says "gated-gelu", the first T5 "relu".
    gated = (config.text("feed_forward_proj") or "").startswith("gated-")
    form = "gated" if gated else family.mlp
    return Mlp(width=width, form=form, activation_copies=_activation_copies(config, family))


def _activation_copies(config: Config, family: Family) -> int:
    if family.activation_copies is not None:
        return family.activation_copies
    name = config.text(family.activation) or config.text("hidden_activation") or "silu"
    if family.activation == "feed_forward_proj":
        # models/t5/configuration_t5.py: "gated-gelu" takes gelu_new.
        name = {"gated-gelu": "gelu_new"}.get(name, name.removeprefix("gated-"))
    # Gemma 1 configurations say gelu; the class reads hidden_activation and falls back to tanh.
    copies = ACTIVATION_COPIES.get(name)
    if copies is None:
        raise UnknownLayerError
    return copies


def _is_sparse(config: Config, family: Family, index: int) -> bool:
    """Whether a layer routes, by whichever of the known keys the configuration uses."""
    if family.experts is None or not (config.integer_or_none("num_experts") or 0):
        return False
    kinds = config.text_list("mlp_layer_types")
    if kinds is not None and index < len(kinds):
        return kinds[index] == "sparse"
    dense_first = config.integer_or_none("first_k_dense_replace")
    if dense_first is not None:
        return index >= dense_first
    step = config.integer_or_none("decoder_sparse_step")
    if step is not None and index in (config.integer_list("mlp_only_layers") or ()):
        return False
    return step is None or (step > 0 and (index + 1) % step == 0)


def _experts(config: Config, family: Family) -> Experts:
    form: ExpertsFamily | None = family.experts
    if form is None:
        raise UnknownLayerError
    hidden = config.integer("hidden_size", low=1)
    width = config.integer_or_none("moe_intermediate_size") or config.integer(
        "intermediate_size", low=1
    )
    return Experts(
        experts=config.integer("num_experts", low=1),
        top_k=config.integer("num_experts_per_tok", low=1),
        width=width,
        input_width=config.integer_or_none("moe_latent_size") or hidden,
        gated=form.gated,
        gate_copies=form.gate_copies,
        router_bytes=4 if form.fp32_weights else None,
        bias=form.bias,
        shared_width=_shared_width(config, width),
        shared_form=family.mlp,
        shared_copies=_activation_copies(config, family),
        shared_first=form.shared_first,
    )


def _shared_width(config: Config, expert_width: int) -> int:
    for key in ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"):
        width = config.integer_or_none(key)
        if width is not None:
            return width
    return expert_width * (config.integer_or_none("n_shared_experts") or 0)


def _nemotron_letter(config: Config, index: int) -> str:
    kinds = config.text_list("layers_block_type")
    if kinds is not None and index < len(kinds):
        return "E" if kinds[index] == "moe" else "-"
    return (config.text("hybrid_override_pattern") or "")[index : index + 1]


def rotary_share(config: Config) -> float:
    """The share of a head that is rotated; transformers 5 writes it into ``rope_parameters``."""
    scopes = (config, config.section("rope_parameters"))
    for key in ("partial_rotary_factor", "rotary_pct", "rope_pct"):
        for scope in scopes:
            share = None if scope is None else scope.number(key)
            if share is not None:
                return share
    return 1.0
