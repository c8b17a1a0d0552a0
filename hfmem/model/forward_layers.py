"""Reads the shape of one layer: its mixer, its MLP or experts, what it stores."""

from __future__ import annotations

from msgspec.structs import replace

from hfmem.model.config import Config
from hfmem.model.forward_families import ACTIVATION_COPIES, ExpertsFamily, Family
from hfmem.model.forward_mixers import UnknownLayerError, mixer_of
from hfmem.model.forward_shapes import (
    Experts,
    LayerShape,
    Mlp,
    Stored,
)
from hfmem.model.forward_states import recurrent
from hfmem.model.layers import (
    CrossAttention,
    FullAttention,
    Layer,
    RecurrentState,
    SharedCache,
)


def layer_shape(config: Config, family: Family, layer: Layer, index: int) -> LayerShape:
    """What the layer at ``index`` computes.

    Raises UnknownLayerError where its code is not described, and MissingKeyError or
    InvalidValueError where the configuration lacks a size or gives nonsense.
    """
    if "seq2seq" in family.flags and len(layer) == 2 and isinstance(layer[1], CrossAttention):
        # Cross-attention reads keys that the encoder's output gave once; the MLP is larger.
        layer = layer[:1]
    if "parallel_state" in family.flags and len(layer) == 2:
        return _beside_attention(config, family, layer)
    if "twice" in family.flags and len(layer) == 2 and layer[0] == layer[1]:
        shape = layer_shape(config, family, layer[:1], index)
        stored = replace(shape.stored, key=2 * shape.stored.key, value=2 * shape.stored.value)
        return replace(shape, stored=stored)
    if "supposed" in family.flags:
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
    mixer, stored = mixer_of(config, family, layer, index)
    if "nemotron_h" in family.flags:
        # A layer is attention, a Mamba mixer, an MLP or experts, and nothing beside it.
        alone = mixer is None
        sparse = alone and _nemotron_letter(config, index) == "E"
        feed_forward = _feed_forward(config, family, sparse=sparse) if alone else None
        return LayerShape(mixer=mixer, feed_forward=feed_forward, parallel_mlp=None, stored=stored)
    if mixer is None and "supposed" not in family.flags:
        raise UnknownLayerError
    if "alone" in family.flags:
        return LayerShape(mixer=mixer, feed_forward=None, parallel_mlp=None, stored=stored)
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


def _beside_attention(config: Config, family: Family, layer: Layer) -> LayerShape:
    """A layer with attention and a state (Falcon-H1, Zamba 2): the scan holds more."""
    state = next((kind for kind in layer if isinstance(kind, RecurrentState)), None)
    attention = next((kind for kind in layer if isinstance(kind, FullAttention)), None)
    if state is None or attention is None or family.recurrence is None:
        raise UnknownLayerError
    return LayerShape(
        mixer=recurrent(config, family.recurrence),
        feed_forward=_feed_forward(config, family, sparse=False),
        parallel_mlp=None,
        stored=Stored(
            key=attention.kv_heads * attention.head_dim,
            value=attention.kv_heads * attention.v_head_dim,
            conv_elements=state.conv_elements,
            state_elements=state.state_elements,
        ),
    )


def _feed_forward(config: Config, family: Family, *, sparse: bool) -> Mlp | Experts:
    if sparse:
        return _experts(config, family)
    if "lfm2" in family.flags:
        return _mlp(config, family, _lfm2_width(config))
    if family.first_dense is not None and (own := config.integer_or_none(family.first_dense)):
        return _mlp(config, family, own)
    listed = config.value("intermediate_size")
    if isinstance(listed, list) and (widths := config.integer_list("intermediate_size", low=1)):
        return _mlp(config, family, max(widths))
    for key in ("intermediate_size", "ffn_hidden_size", "hidden_dim"):
        width = config.integer_or_none(key)
        if width is not None:
            return _mlp(config, family, width)
    if family.width_multiple is None:
        return _mlp(config, family, config.integer("intermediate_size", low=1))
    return _mlp(config, family, family.width_multiple * config.integer("hidden_size", low=1))


def _lfm2_width(config: Config) -> int:
    """models/lfm2/modeling_lfm2.py: Lfm2MLP takes two thirds, rounded up: 12,288 → 8,192."""
    width = config.integer_or_none("block_ff_dim", low=1) or config.integer(
        "intermediate_size", low=1
    )
    if not config.flag("block_auto_adjust_ff_dim", default=True):
        return width
    width = int(2 * width / 3)
    factor = config.number("block_ffn_dim_multiplier")
    if factor is not None:
        width = int(factor * width)
    step = config.integer_or_none("block_multiple_of", low=1) or 256
    return -(-width // step) * step


def _mlp(config: Config, family: Family, width: int) -> Mlp:
    # T5 1.1 says "gated-gelu", the first T5 "relu".
    gated = (config.text("feed_forward_proj") or "").startswith("gated-")
    form = "gated" if gated else family.mlp
    return Mlp(
        width=width,
        form=form,
        activation_copies=_activation_copies(config, family),
        masked=config.text(family.activation) == "xielu",
        after_residents=family.after_residents,
    )


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
    if "llama4" in family.flags:
        return _llama4_routes(config, index)
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


def _llama4_routes(config: Config, index: int) -> bool:
    listed = config.integer_list("moe_layers")
    if listed is not None:
        return index in listed
    step = config.integer_or_none("interleave_moe_layer_step") or 1
    return (index + 1) % step == 0


def _experts(config: Config, family: Family) -> Experts:
    form: ExpertsFamily | None = family.experts
    if form is None:
        raise UnknownLayerError
    hidden = config.integer("hidden_size", low=1)
    width = (
        _largest(config, "moe_intermediate_size", optional=True)
        or config.integer_or_none("expert_ffn_hidden_size")
        or config.integer("intermediate_size", low=1)
    )
    return Experts(
        experts=config.integer("num_experts", low=1),
        top_k=_largest(config, "num_experts_per_tok"),
        width=width,
        input_width=config.integer_or_none("moe_latent_size") or hidden,
        gated=form.gated,
        gate_copies=form.gate_copies,
        router_bytes=4 if form.fp32_weights else None,
        bias=form.bias,
        shared_width=config.integer("intermediate_size", low=1)
        if form.always_shared
        else _shared_width(config, width),
        every_token=form.every_token,
        shared_form=family.mlp,
        shared_copies=_activation_copies(config, family),
        shared_first=form.shared_first,
    )


def _largest(config: Config, key: str, *, optional: bool = False) -> int:
    """A number, or the largest of a number for every layer (HunYuan); 0 where it may be missing."""
    if isinstance(config.value(key), list) and (listed := config.integer_list(key, low=1)):
        return max(listed)
    if optional:
        return config.integer_or_none(key) or 0
    return config.integer(key, low=1)


def _shared_width(config: Config, expert_width: int) -> int:
    for key in (
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
        "share_expert_dim",
    ):
        width = config.integer_or_none(key)
        if width is not None:
            return width
    for key in ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"):
        count = config.integer_or_none(key)
        if count is not None:
            return expert_width * count
    return 0


def _nemotron_letter(config: Config, index: int) -> str:
    kinds = config.text_list("layers_block_type")
    if kinds is not None and index < len(kinds):
        return "E" if kinds[index] == "moe" else "-"
    return (config.text("hybrid_override_pattern") or "")[index : index + 1]
