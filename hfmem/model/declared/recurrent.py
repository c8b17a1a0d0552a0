"""Decoders whose layers keep a state: Mamba, gated delta nets, and hybrids of them with
attention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Parts,
    attention,
    embedding,
    gated_mlp,
    head,
    heads,
    layer_count,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.latent import latent_attention
from hfmem.model.declared.mixers import Mamba2, delta_net, kimi_delta, mamba, short_convolution
from hfmem.model.declared.moe import granite_moe, shared_granite, stepped
from hfmem.model.declared.style import (
    Rule,
    Style,
    after,
    expert_count,
    gated,
    hidden,
    routed,
    shared_experts,
)
from hfmem.model.layers import Layer, RecurrentState

_BEHIND = ("input_layernorm", "pre_ff_layernorm")


def recurrent(layer: Layer) -> bool:
    """Whether a layer keeps a state."""
    return any(isinstance(kind, RecurrentState) for kind in layer)


def _mamba_model(config: Config, mixer: Parts) -> Parts:
    size = hidden(config)
    return (
        *under("backbone", embedding(config, "embeddings")),
        *layers("backbone.layers", range(layer_count(config)), norm("norm", size), mixer),
        *norm("backbone.norm_f", size),
        *head(config),
    )


def mamba1(config: Config) -> Parts:
    """Mamba and Falcon-Mamba: a mixer a layer, and nothing else."""
    size = hidden(config)
    mixer = mamba(
        size,
        inner=config.integer("expand", low=1) * size,
        state=config.integer("state_size", low=1),
        kernel=config.integer("conv_kernel", low=1),
        rank=_rank(config, "time_step_rank"),
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias"),
    )
    return _mamba_model(config, under("mixer", mixer))


def _rank(config: Config, key: str) -> int:
    """``auto`` is a sixteenth of the hidden size, rounded up."""
    if config.value(key) in (None, "auto"):
        return -(-hidden(config) // 16)
    return config.integer(key, low=1)


def mamba2(config: Config) -> Parts:
    """Mamba 2, as Codestral-Mamba."""
    size = hidden(config)
    mixer = Mamba2(
        hidden=size,
        inner=config.integer("expand", low=1) * size,
        heads=config.integer("num_heads", low=1),
        groups=config.integer("n_groups", low=1),
        state=config.integer("state_size", low=1),
        kernel=config.integer("conv_kernel", low=1),
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias"),
    )
    return _mamba_model(config, under("mixer", mixer.parts()))


def _bamba_mixer(config: Config) -> Parts:
    size = hidden(config)
    mixer = Mamba2(
        hidden=size,
        inner=config.integer("mamba_expand", low=1) * size,
        heads=config.integer("mamba_n_heads", low=1),
        groups=config.integer("mamba_n_groups", low=1),
        state=config.integer("mamba_d_state", low=1),
        kernel=config.integer("mamba_d_conv", low=1),
        bias=config.flag("mamba_proj_bias"),
        conv_bias=config.flag("mamba_conv_bias"),
    )
    return under("mamba", mixer.parts())


def _bamba_layer(config: Config, layer: Layer) -> Parts:
    if recurrent(layer):
        return _bamba_mixer(config)
    bias = config.flag("attention_bias")
    return attention(heads(config), bias=bias, output_bias=bias)


def _granite_feed_forward(config: Config) -> Parts:
    """Experts where there are any, and the shared MLP."""
    if config.integer_or_none("num_experts", high=MAX_LAYERS):
        return granite_moe(config)
    return shared_granite(config)


def _falcon_h1_layer(config: Config, layer: Layer) -> Parts:  # noqa: ARG001 all layers are alike
    """Falcon-H1: attention beside a Mamba 2 of a width of its own."""
    size = hidden(config)
    inner = config.integer_or_none("mamba_d_ssm", low=1)
    if inner is None:
        inner = config.integer("mamba_expand", low=1) * size
    mixer = Mamba2(
        hidden=size,
        inner=inner,
        heads=config.integer("mamba_n_heads", low=1),
        groups=config.integer("mamba_n_groups", low=1),
        state=config.integer("mamba_d_state", low=1),
        kernel=config.integer("mamba_d_conv", low=1),
        bias=config.flag("mamba_proj_bias"),
        conv_bias=config.flag("mamba_conv_bias"),
        output_bias=config.flag("projectors_bias"),
        normed=config.flag("mamba_rms_norm"),
    )
    bias = config.flag("attention_bias")
    return (
        *attention(heads(config), bias=bias, output_bias=bias),
        *under("mamba", mixer.parts()),
    )


def _jamba_layer(config: Config, layer: Layer) -> Parts:
    if not recurrent(layer):
        return attention(heads(config))
    size, state = hidden(config), config.integer("mamba_d_state", low=1)
    rank = _rank(config, "mamba_dt_rank")
    mixer = mamba(
        size,
        inner=config.integer("mamba_expand", low=1) * size,
        state=state,
        kernel=config.integer("mamba_d_conv", low=1),
        rank=rank,
        bias=config.flag("mamba_proj_bias"),
        conv_bias=config.flag("mamba_conv_bias"),
    )
    inner_norms = (*norm("dt_layernorm", rank), *norms("b_layernorm", "c_layernorm", size=state))
    return under("mamba", mixer, inner_norms)


def _jamba_sparse(config: Config) -> Iterable[int]:
    if expert_count(config) == 1:
        return ()
    period = config.integer("expert_layer_period", low=1)
    offset = config.integer("expert_layer_offset")
    return [n for n in range(layer_count(config)) if n % period == offset]


def _gated_attention(config: Config) -> Parts:
    """Qwen3-Next: the query's projection is twice as wide, its other half a gate."""
    size, bias = heads(config), config.flag("attention_bias")
    return under(
        "self_attn",
        linear("q_proj", 2 * size.query_size, size.hidden, bias=bias),
        linear("k_proj", size.kv_size, size.hidden, bias=bias),
        linear("v_proj", size.kv_size, size.hidden, bias=bias),
        linear("o_proj", size.hidden, size.query_size, bias=bias),
        norms("q_norm", "k_norm", size=size.head_dim),
    )


def _qwen_layer(config: Config, layer: Layer) -> Parts:
    if not recurrent(layer):
        return _gated_attention(config)
    # Qwen3-Next joins in two matrices what Qwen3.5 keeps in four; the sizes are the same.
    return under("linear_attn", delta_net(config, joined=config.model_type == "qwen3_next"))


def _qwen_prediction(config: Config) -> Parts:
    """Qwen3.5's layers for multi-token prediction, where the file says how many."""
    if not config.has("mtp_num_hidden_layers"):
        return ()
    size, count = hidden(config), config.integer("mtp_num_hidden_layers", high=MAX_LAYERS)
    sparse = config.value("num_experts") is not None
    feed_forward = _QWEN_EXPERTS(config) if sparse else gated()(config)
    return under(
        "mtp",
        linear("fc", size, 2 * size),
        norms("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden", size=size),
        layers(
            "layers",
            range(count),
            _gated_attention(config),
            norms("input_layernorm", "post_attention_layernorm", size=size),
            feed_forward,
        ),
    )


_QWEN_EXPERTS: Rule = routed(
    shared=shared_experts(
        None,
        size="shared_expert_intermediate_size",
        name="shared_expert",
        gate="shared_expert_gate",
    )
)


def _lfm2_layer(config: Config, layer: Layer) -> Parts:
    if recurrent(layer):
        return under("conv", short_convolution(config))
    size = heads(config)
    return (
        *attention(size, output="out_proj"),
        *under("self_attn", norms("q_layernorm", "k_layernorm", size=size.head_dim)),
    )


def _lfm2_feed_forward(config: Config) -> Parts:
    """Two thirds of the size that the file says, times a factor, rounded up to a multiple."""
    inner = config.integer_or_none("block_ff_dim", low=1) or config.integer(
        "intermediate_size", low=1
    )
    if config.flag("block_auto_adjust_ff_dim"):
        inner = int(2 * inner / 3)
        factor = config.number("block_ffn_dim_multiplier")
        if factor is not None:
            multiple = config.integer("block_multiple_of", low=1)
            inner = multiple * -(-int(factor * inner) // multiple)
    return under("feed_forward", gated_mlp(hidden(config), inner, names=("w1", "w3", "w2")))


def _kimi_layer(config: Config, layer: Layer) -> Parts:
    if recurrent(layer):
        return under("self_attn", kimi_delta(config))
    return latent_attention(config)


_KIMI = Style(
    by_cache=_kimi_layer,
    routed=routed(
        name="block_sparse_moe",
        names=("w1", "w3", "w2"),
        correction="gate.e_score_correction_bias",
        shared=shared_experts(),
    ),
    sparse=after("first_k_dense_replace", 1),
)


def kimi_linear(config: Config) -> Parts:
    """Kimi Linear: three delta layers to one of latent attention; the class never ties the
    head."""
    return _KIMI(
        config.with_values(
            {
                "tie_word_embeddings": False,
                "n_shared_experts": config.values.get("n_shared_experts")
                or config.values.get("num_shared_experts", 1),
            }
        )
    )


_NEMOTRON = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
_NEMOTRON_NAMES = {"linear_attention": "mamba", "full_attention": "attention"}
_OTHER_NAMES = {
    "n_groups": "mamba_n_groups",
    "conv_kernel": "mamba_d_conv",
    "expand": "mamba_expand",
    "use_conv_bias": "mamba_conv_bias",
}


def nemotron_h(config: Config) -> Parts:
    """Nemotron-H and Nemotron 3: one mixer a layer, which is Mamba 2, attention, an MLP or
    experts."""
    config = config.with_values(
        {key: config.values[name] for key, name in _OTHER_NAMES.items() if name in config.values}
    )
    types = _nemotron_types(config, "hybrid_override_pattern", "layers_block_type", "layer_types")
    if types is None and not config.has("num_hidden_layers"):
        types = ["mamba", "moe", "attention", "mlp"]
    if types is None:
        raise NotDeclaredError
    size = hidden(config)
    return (
        *embedding(config, "backbone.embeddings"),
        *_nemotron_layers(config, "backbone.layers", types),
        *norm("backbone.norm_f", size),
        *_nemotron_prediction(config),
        # The class never ties them, whatever the file says.
        *embedding(config, "lm_head"),
    )


def _nemotron_types(config: Config, pattern: str, *keys: str) -> list[str] | None:
    letters = config.text(pattern)
    if letters is not None and len(letters) <= MAX_LAYERS and set(letters) <= set(_NEMOTRON):
        return [_NEMOTRON[letter] for letter in letters]
    names = next((found for key in keys if (found := config.text_list(key)) is not None), None)
    if names is None:
        return None
    types = [_NEMOTRON_NAMES.get(name, name) for name in names]
    if not set(types) <= set(_NEMOTRON.values()):
        raise NotDeclaredError
    return types


def _nemotron_layers(config: Config, prefix: str, types: list[str]) -> Parts:
    mixers: Mapping[str, Rule] = {
        "mamba": _nemotron_mamba,
        "attention": _nemotron_attention,
        "mlp": _nemotron_mlp,
        "moe": _nemotron_experts,
    }
    numbers = {kind: [n for n, one in enumerate(types) if one == kind] for kind in mixers}
    return (
        *layers(prefix, range(len(types)), norm("norm", hidden(config))),
        *(
            part
            for kind, where in numbers.items()
            if where
            for part in layers(prefix, where, under("mixer", mixers[kind](config)))
        ),
    )


def _nemotron_mamba(config: Config) -> Parts:
    count = config.integer("mamba_num_heads", low=1)
    return Mamba2(
        hidden=hidden(config),
        inner=count * config.integer("mamba_head_dim", low=1),
        heads=count,
        groups=config.integer("n_groups", low=1),
        state=config.integer("ssm_state_size", low=1),
        kernel=config.integer("conv_kernel", low=1),
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias"),
    ).parts()


def _nemotron_attention(config: Config) -> Parts:
    size = heads(config)
    return (
        *linear("q_proj", size.query_size, size.hidden),
        *linear("k_proj", size.kv_size, size.hidden),
        *linear("v_proj", size.kv_size, size.hidden),
        *linear("o_proj", size.hidden, size.query_size),
    )


def _up_down(size: int, inner: int, *, bias: bool = False) -> Parts:
    return (
        *linear("up_proj", inner, size, bias=bias),
        *linear("down_proj", size, inner, bias=bias),
    )


def _nemotron_mlp(config: Config) -> Parts:
    inner = config.integer("intermediate_size", low=1)
    return _up_down(hidden(config), inner, bias=config.flag("mlp_bias"))


def _nemotron_experts(config: Config) -> Parts:
    """Experts without a gate, in a latent of their own where ``moe_latent_size`` says so; the
    router's correction is not in the published counts."""
    size, count, bias = hidden(config), expert_count(config), config.flag("mlp_bias")
    latent = config.integer_or_none("moe_latent_size", low=1)
    inner = config.integer("moe_intermediate_size", low=1)
    shared = config.integer("moe_shared_expert_intermediate_size", low=1)
    around: Parts = ()
    if latent is not None:
        around = (
            *linear("fc1_latent_proj", latent, size, bias=bias),
            *linear("fc2_latent_proj", size, latent, bias=bias),
        )
    return (
        *weight("gate", count, size),
        *layers("experts", range(count), _up_down(latent or size, inner)),
        *under("shared_experts", _up_down(size, shared, bias=bias)),
        *around,
    )


def _nemotron_prediction(config: Config) -> Parts:
    """Nemotron 3: layers of their own, the first with what joins the two inputs."""
    if not config.has("num_nextn_predict_layers"):
        return ()
    count = config.integer("num_nextn_predict_layers", high=MAX_LAYERS)
    types = _nemotron_types(config, "mtp_hybrid_override_pattern", "mtp_layers_block_type")
    if not count:
        return ()
    if count > 1 or types is None:
        raise NotDeclaredError
    size = hidden(config)
    return under(
        "mtp",
        _nemotron_layers(config, "layers", types),
        under("layers.0", norms("enorm", "hnorm", size=size), linear("eh_proj", size, 2 * size)),
        norm("layers.1.final_layernorm", size),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("mamba", "falcon_mamba"),
        classes=("MambaForCausalLM", "FalconMambaForCausalLM"),
        parts=mamba1,
        source="mamba/modeling_mamba.py, falcon_mamba/modeling_falcon_mamba.py",
    ),
    Family(
        model_types=("mamba2",),
        classes=("Mamba2ForCausalLM",),
        parts=mamba2,
        source="mamba2/modeling_mamba2.py",
    ),
    Family(
        model_types=("bamba",),
        classes=("BambaForCausalLM",),
        parts=Style(
            norms=_BEHIND,
            by_cache=_bamba_layer,
            mlp=gated(name="feed_forward", bias="mlp_bias"),
            last_norm="model.final_layernorm",
        ),
        source="bamba/modeling_bamba.py",
    ),
    Family(
        model_types=("granitemoehybrid",),
        classes=("GraniteMoeHybridForCausalLM",),
        parts=Style(by_cache=_bamba_layer, mlp=_granite_feed_forward),
        source="granitemoehybrid/modeling_granitemoehybrid.py, names as published",
    ),
    Family(
        model_types=("falcon_h1",),
        classes=("FalconH1ForCausalLM",),
        parts=Style(
            norms=_BEHIND,
            by_cache=_falcon_h1_layer,
            mlp=gated(name="feed_forward", bias="mlp_bias"),
            last_norm="model.final_layernorm",
        ),
        source="falcon_h1/modeling_falcon_h1.py",
    ),
    Family(
        model_types=("jamba",),
        classes=("JambaForCausalLM",),
        parts=Style(
            norms=_BEHIND,
            by_cache=_jamba_layer,
            mlp=gated(name="feed_forward"),
            routed=routed(name="feed_forward", gate="router", size="intermediate_size"),
            sparse=_jamba_sparse,
            last_norm="model.final_layernorm",
        ),
        source="jamba/modeling_jamba.py, names as published",
    ),
    Family(
        model_types=("qwen3_next",),
        classes=("Qwen3NextForCausalLM",),
        parts=Style(by_cache=_qwen_layer, routed=_QWEN_EXPERTS, sparse=stepped),
        source="qwen3_next/modeling_qwen3_next.py, names as published",
    ),
    Family(
        model_types=("qwen3_5_text",),
        classes=("Qwen3_5ForCausalLM",),
        parts=Style(by_cache=_qwen_layer, beside=_qwen_prediction),
        source="qwen3_5/modeling_qwen3_5.py",
    ),
    Family(
        model_types=("qwen3_5_moe_text",),
        classes=("Qwen3_5MoeForCausalLM",),
        parts=Style(by_cache=_qwen_layer, routed=_QWEN_EXPERTS, beside=_qwen_prediction),
        source="qwen3_5_moe/modeling_qwen3_5_moe.py, names as published",
    ),
    Family(
        model_types=("lfm2",),
        classes=("Lfm2ForCausalLM",),
        parts=Style(
            norms=("operator_norm", "ffn_norm"),
            by_cache=_lfm2_layer,
            mlp=_lfm2_feed_forward,
            last_norm="model.embedding_norm",
        ),
        source="lfm2/modeling_lfm2.py",
    ),
    Family(
        model_types=("kimi_linear",),
        classes=("KimiLinearForCausalLM",),
        parts=kimi_linear,
        source="kimi_linear/modeling_kimi_linear.py, names as published",
    ),
    Family(
        model_types=("nemotron_h",),
        classes=("NemotronHForCausalLM",),
        parts=nemotron_h,
        source="nemotron_h/modeling_nemotron_h.py, names as published",
    ),
)
"""Families, one row each."""
