"""Decoders whose layers keep a state: Mamba 1 and 2, and hybrids of them with attention."""

from __future__ import annotations

from collections.abc import Iterable

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    Part,
    Parts,
    attention,
    embedding,
    head,
    heads,
    layer_count,
    layers,
    linear,
    norm,
    norms,
    under,
)
from hfmem.model.declared.experts import granite_moe, shared_granite
from hfmem.model.declared.family import Family
from hfmem.model.declared.mixers import Mamba2, mamba
from hfmem.model.declared.style import (
    Style,
    expert_count,
    gated,
    hidden,
    routed,
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


def rwkv(config: Config) -> Parts:
    """RWKV-4: time mixing and channel mixing, a norm before the first block."""
    size = hidden(config)
    wide = config.integer_or_none("attention_hidden_size", low=1) or size
    inner = config.integer_or_none("intermediate_size", low=1) or 4 * size
    mixes = tuple(
        Part(f"{place}.time_mix_{name}", (1, 1, size))
        for place, names in (
            ("attention", ("key", "value", "receptance")),
            ("feed_forward", ("key", "receptance")),
        )
        for name in names
    )
    return (
        *embedding(config, "rwkv.embeddings"),
        *layers("rwkv.blocks", range(min(layer_count(config), 1)), norm("pre_ln", size, bias=True)),
        *layers(
            "rwkv.blocks",
            range(layer_count(config)),
            norms("ln1", "ln2", size=size, bias=True),
            (Part("attention.time_decay", (wide,)), Part("attention.time_first", (wide,))),
            mixes,
            *(linear(f"attention.{name}", wide, size) for name in ("key", "value", "receptance")),
            linear("attention.output", size, wide),
            linear("feed_forward.key", inner, size),
            linear("feed_forward.receptance", size, size),
            linear("feed_forward.value", size, inner),
        ),
        *norm("rwkv.ln_out", size, bias=True),
        *head(config, "head"),
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
        model_types=("rwkv",),
        classes=("RwkvForCausalLM",),
        parts=rwkv,
        source="rwkv/modeling_rwkv.py",
    ),
)
"""Families, one row each."""
