"""Families with state of fixed size, alone or between layers of attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hfmem.errors import MissingKeyError
from hfmem.model.architectures.attention import full, latent, nothing, renamed, sliding
from hfmem.model.architectures.dense import doubled
from hfmem.model.architectures.entry import Architecture
from hfmem.model.architectures.patterns import (
    CONV,
    FULL,
    HYBRID,
    HYBRID_SLIDING,
    LINEAR,
    NOTHING,
    SLIDING,
    every,
    last_of_period,
    layer_count,
    listed,
)
from hfmem.model.architectures.stacks import built, stack
from hfmem.model.architectures.states import (
    bamba,
    falcon_h1,
    gated_delta,
    inkling_convolutions,
    jamba,
    kimi_delta,
    lightning,
    mamba,
    mamba2,
    nemotron_h,
    rg_lru,
    rwkv4,
    short_conv,
    xlstm,
    zamba2,
    zaya,
)
from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.layers import Layer

_PUZZLE = {"mamba": LINEAR, "attention": FULL, "moe": NOTHING, "mlp": NOTHING}
_NEMOTRON = {"M": LINEAR, "*": FULL, "-": NOTHING, "E": NOTHING}


def nemotron(config: Config) -> tuple[Layer, ...]:
    """``layers_block_type``, the blocks of ``block_configs``, or the letters of
    ``hybrid_override_pattern``.

    M is Mamba 2, * attention, - an MLP, E experts; the number of letters is the number of layers.
    """
    rules = {LINEAR: nemotron_h, FULL: full, NOTHING: nothing}
    renames = {"n_groups": "mamba_n_groups", "conv_kernel": "mamba_d_conv"}
    config = config.with_values(
        {key: config.values[name] for key, name in renames.items() if name in config.values}
    )
    for key in ("layers_block_type", "layer_types"):
        types = listed(config.with_values({"num_hidden_layers": None}), key)
        if types:
            return built(config, types, rules)
    blocks = config.list("block_configs")
    if blocks is not None:
        return built(config, [_puzzle_type(config, block) for block in blocks], rules)
    letters = config.text("hybrid_override_pattern")
    if letters is None and not config.has("num_hidden_layers"):
        return built(config, (LINEAR, NOTHING, FULL, NOTHING), rules)
    if letters is None:
        raise MissingKeyError(
            f"{config.where} has neither layers_block_type nor hybrid_override_pattern.",
            hint="Without one of them it is not known which layers attend.",
        )
    if not 0 < len(letters) <= MAX_LAYERS or not set(letters) <= set(_NEMOTRON):
        raise config.invalid("hybrid_override_pattern", letters, "letters of M, *, - and E")
    return built(config, [_NEMOTRON[letter] for letter in letters], rules)


def _puzzle_type(config: Config, block: object) -> str:
    kind = block.get("block_type") if isinstance(block, Mapping) else None
    if kind not in _PUZZLE:
        raise config.invalid("block_configs", block, "a list of mamba, attention and moe blocks")
    return _PUZZLE[kind]


def bamba_types(config: Config, count: int) -> Sequence[str]:
    """``attn_layer_indices`` attend, the rest are Mamba 2."""
    attend = set(config.integer_list("attn_layer_indices", high=MAX_LAYERS) or ())
    return [FULL if i in attend else LINEAR for i in range(count)]


def jamba_types(config: Config, count: int) -> Sequence[str]:
    """Layer i attends where i modulo ``attn_layer_period`` is ``attn_layer_offset``."""
    period = config.integer("attn_layer_period", low=1)
    offset = config.integer("attn_layer_offset")
    return [FULL if i % period == offset else LINEAR for i in range(count)]


def zamba_types(config: Config, count: int) -> Sequence[str]:
    """Two Mamba layers, a hybrid, then a hybrid a period."""
    period = config.integer("attn_layer_period", low=1)
    offset = config.integer("attn_layer_offset")
    rest = [HYBRID if i % period == offset else LINEAR for i in range(max(count - 3, 0))]
    return [LINEAR, LINEAR, HYBRID, *rest][:count]


def zamba2_types(config: Config, count: int) -> Sequence[str]:
    """``hybrid_layer_ids``, or the 54 layers of the class's default."""
    ids = config.integer_list("hybrid_layer_ids", high=MAX_LAYERS)
    chosen = set(range(6, 43, 6)) | {47, 51} if ids is None else set(ids)
    return [HYBRID if i in chosen else LINEAR for i in range(count)]


def kimi_types(config: Config, count: int) -> Sequence[str]:
    """``linear_attn_config.full_attn_layers``, counted from 1; absent, every fourth after the
    first."""
    nested = config.value("linear_attn_config")
    chosen = nested.get("full_attn_layers") if isinstance(nested, Mapping) else None
    if chosen is None:
        return [FULL if i and i % 4 == 0 else LINEAR for i in range(count)]
    numbers = config.with_values({"full_attn_layers": chosen}).integer_list("full_attn_layers")
    attend = set(numbers or ())
    return [FULL if i + 1 in attend else LINEAR for i in range(count)]


def olmo_hybrid(config: Config) -> tuple[Layer, ...]:
    """Every fourth layer full, at least the last; unsaid head sizes follow from the hidden size."""
    query = config.integer("num_attention_heads", low=1)
    key_heads = config.integer_or_none("linear_num_key_heads", low=1) or query
    key_dim = config.integer_or_none("linear_key_head_dim", low=1) or int(
        0.75 * config.integer("hidden_size", low=1) / key_heads
    )
    config = config.with_values(
        {
            "linear_num_key_heads": key_heads,
            "linear_num_value_heads": config.integer_or_none("linear_num_value_heads") or query,
            "linear_key_head_dim": key_dim,
            "linear_value_head_dim": config.integer_or_none("linear_value_head_dim") or 2 * key_dim,
        }
    )
    types = listed(config)
    if types is None:
        types = tuple(last_of_period(4, rest=LINEAR)(config, layer_count(config)))
        if FULL not in types:
            types = (*types[:-1], FULL)
    return built(config, types, {FULL: full, LINEAR: gated_delta})


def lfm2_types(config: Config, count: int) -> Sequence[str]:
    """``full_attn_idxs`` attend; absent, all do."""
    said = config.integer_list("full_attn_idxs", high=MAX_LAYERS)
    attend = set(range(count) if said is None else said)
    return [FULL if i in attend else CONV for i in range(count)]


def lfm3_types(_config: Config, count: int) -> Sequence[str]:
    """Of four layers: a window (not the first layer), convolution, full, convolution."""
    return [FULL if i % 4 == 2 else SLIDING if i % 4 == 0 and i > 0 else CONV for i in range(count)]


def inkling_types(config: Config, count: int) -> Sequence[str]:
    """``local_layer_ids`` slide; absent, all but every sixth."""
    said = config.integer_list("local_layer_ids", high=MAX_LAYERS)
    local = {i for i in range(count) if (i + 1) % 6} if said is None else set(said)
    return [HYBRID_SLIDING if i in local else HYBRID for i in range(count)]


def recurrent_gemma_types(config: Config, count: int) -> Sequence[str]:
    """``block_types`` repeated over the layers."""
    blocks = config.text_list("block_types") or ("recurrent", "recurrent", "attention")
    return [LINEAR if blocks[i % len(blocks)] == "recurrent" else SLIDING for i in range(count)]


def minimax_types(config: Config, count: int) -> Sequence[str]:
    """``attn_type_list``: 1 is softmax attention, 0 lightning; absent, even layers are full."""
    kinds = config.integer_list("attn_type_list", high=1)
    if kinds is not None and len(kinds) >= count:
        return [FULL if kind else LINEAR for kind in kinds[:count]]
    return [FULL if i % 2 == 0 else LINEAR for i in range(count)]


_SWA = {
    "num_attention_heads": "swa_num_attention_heads",
    "num_key_value_heads": "swa_num_key_value_heads",
    "head_dim": "swa_head_dim",
}


def _source(name: str) -> str:
    return f"transformers/models/{name}/modeling_{name}.py: past_key_values.update"


RECURRENT = (
    Architecture(
        model_types=("mamba", "falcon_mamba"),
        cache=stack(every(LINEAR), linear=mamba, keys=()),
        source=_source("mamba"),
    ),
    Architecture(
        model_types=("mamba2",),
        cache=stack(every(LINEAR), linear=mamba2, keys=()),
        source=_source("mamba2"),
    ),
    Architecture(
        model_types=("jamba",),
        cache=stack(jamba_types, linear=jamba, keys=()),
        source=_source("jamba"),
    ),
    Architecture(
        model_types=("bamba",),
        cache=stack(bamba_types, linear=bamba, keys=()),
        source=_source("bamba"),
    ),
    Architecture(
        model_types=("granitemoehybrid",),
        cache=stack(every(LINEAR), linear=bamba, keys=("layer_types", "layers_block_type")),
        source=_source("granitemoehybrid"),
    ),
    Architecture(
        model_types=("falcon_h1",),
        cache=stack(every(HYBRID), linear=falcon_h1, keys=()),
        source=_source("falcon_h1"),
    ),
    Architecture(
        model_types=("nemotron_h", "nemotron_h_puzzle"),
        cache=nemotron,
        source=_source("nemotron_h"),
    ),
    Architecture(
        model_types=("zamba",),
        cache=stack(zamba_types, full=doubled, linear=jamba, keys=("layers_block_type",)),
        source=_source("zamba"),
    ),
    Architecture(
        model_types=("zamba2",),
        cache=stack(zamba2_types, full=doubled, linear=zamba2, keys=("layers_block_type",)),
        source=_source("zamba2"),
    ),
    Architecture(
        model_types=("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_5", "qwen3_5_moe"),
        cache=stack(
            last_of_period(4, key="full_attention_interval", rest=LINEAR), linear=gated_delta
        ),
        source=_source("qwen3_next"),
    ),
    Architecture(model_types=("olmo_hybrid",), cache=olmo_hybrid, source=_source("olmo_hybrid")),
    Architecture(
        model_types=("kimi_linear",),
        cache=stack(kimi_types, full=latent, linear=kimi_delta),
        source=_source("kimi_linear"),
    ),
    Architecture(
        model_types=("bailing_hybrid",),
        cache=stack(
            last_of_period(6, key="layer_group_size", rest=LINEAR),
            full=latent,
            linear=renamed(
                kimi_delta,
                linear_num_heads="num_attention_heads",
                linear_head_dim="head_dim",
                linear_conv_kernel_dim="short_conv_kernel_size",
            ),
        ),
        source=_source("bailing_hybrid"),
    ),
    Architecture(
        model_types=("lfm2", "lfm2_moe"),
        cache=stack(lfm2_types, linear=short_conv),
        source=_source("lfm2"),
    ),
    Architecture(
        model_types=("lfm3",), cache=stack(lfm3_types, linear=short_conv), source=_source("lfm3")
    ),
    Architecture(
        model_types=("zaya",), cache=stack(every(HYBRID), linear=zaya), source=_source("zaya")
    ),
    Architecture(
        model_types=("inkling_text", "inkling2_text"),
        cache=stack(
            inkling_types,
            others={
                HYBRID: inkling_convolutions(full),
                HYBRID_SLIDING: renamed(inkling_convolutions(sliding), **_SWA),
            },
        ),
        source=_source("inkling"),
    ),
    Architecture(
        model_types=("minimax", "minimax_m1", "minimax_text_01"),
        cache=stack(minimax_types, linear=lightning),
        source="transformers/models/minimax/modeling_minimax.py: MiniMaxCache",
    ),
    Architecture(
        model_types=("recurrent_gemma",),
        cache=stack(recurrent_gemma_types, linear=rg_lru, keys=()),
        source="transformers/models/recurrent_gemma/modeling_recurrent_gemma.py: conv1d_state",
    ),
    Architecture(
        model_types=("xlstm",),
        cache=stack(every(LINEAR), linear=xlstm, keys=()),
        source="transformers/models/xlstm/modeling_xlstm.py: xLSTMCache",
    ),
    Architecture(
        model_types=("rwkv",),
        cache=stack(every(LINEAR), linear=rwkv4, keys=()),
        source="transformers/models/rwkv/modeling_rwkv.py: RwkvModel.forward",
    ),
)
