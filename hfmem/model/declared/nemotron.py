"""Nemotron-H and Nemotron 3: one mixer a layer, told by a letter."""

from __future__ import annotations

from collections.abc import Mapping

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Parts,
    embedding,
    heads,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.mixers import Mamba2
from hfmem.model.declared.style import (
    Rule,
    expert_count,
    hidden,
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
        model_types=("nemotron_h",),
        classes=("NemotronHForCausalLM",),
        parts=nemotron_h,
        source="nemotron_h/modeling_nemotron_h.py, names as published",
    ),
)
"""Families, one row each."""
