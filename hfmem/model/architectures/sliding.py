"""Families that alternate windows and full attention, and those that share or chunk them."""

from __future__ import annotations

from collections.abc import Sequence

from hfmem.model.architectures.attention import LayerRule, full, heads, renamed, sliding
from hfmem.model.architectures.entry import Architecture, CacheRule
from hfmem.model.architectures.patterns import (
    CHUNKED,
    FULL,
    SLIDING,
    Pattern,
    bare_window,
    every,
    first_of_period,
    from_max_window_layers,
    last_of_period,
    layer_count,
    listed,
)
from hfmem.model.architectures.stacks import built, stack
from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.layers import FullAttention, Layer, SharedCache, SlidingWindow


def window_less_one(config: Config) -> Layer:
    """MiMo-V2: ``sliding_window_size`` does not count the token itself, and sliding layers have
    twice the kv heads."""
    said: dict[str, object] = {}
    size = config.integer_or_none("sliding_window_size")
    if size is not None:
        said["sliding_window"] = size + 1
    if not config.has("swa_num_key_value_heads"):
        said["swa_num_key_value_heads"] = 2 * config.integer("num_key_value_heads", low=1)
    return _swa_heads(config.with_values(said))


def _swa_heads(config: Config) -> Layer:
    """A window whose heads have sizes of their own: ``swa_num_key_value_heads``, ``swa_head_dim``
    …"""
    own = {
        "num_attention_heads": "swa_num_attention_heads",
        "num_key_value_heads": "swa_num_key_value_heads",
        "head_dim": "swa_head_dim",
        "v_head_dim": "swa_v_head_dim",
    }
    said = {key: value for key, name in own.items() if (value := config.value(name)) is not None}
    config = config.with_values(said)
    size = heads(config)
    return (
        SlidingWindow(
            kv_heads=size.kv,
            head_dim=size.head_dim,
            v_head_dim=config.integer_or_none("v_head_dim") or size.head_dim,
            window=config.integer("sliding_window", low=1),
        ),
    )


def uneven(config: Config) -> Layer:
    """Keys and values of different size: ``head_dim`` and ``v_head_dim`` (MiMo-V2: 192 and 128)."""
    size = heads(config)
    return (
        FullAttention(
            kv_heads=size.kv,
            head_dim=size.head_dim,
            v_head_dim=config.integer_or_none("v_head_dim") or size.head_dim,
        ),
    )


def halved_window(rule: LayerRule) -> LayerRule:
    """Bidirectional variants see half the window to each side (EmbeddingGemma): window // 2 + 1."""

    def make(config: Config) -> Layer:
        if config.value("use_bidirectional_attention") in (True, "all"):
            window = config.integer("sliding_window", low=1)
            config = config.with_values({"sliding_window": window // 2 + 1})
        return rule(config)

    return make


def shared_tail(cache: CacheRule) -> CacheRule:
    """The last ``num_kv_shared_layers`` layers read the cache of the last unshared layer of their
    kind."""

    def with_shared(config: Config) -> tuple[Layer, ...]:
        layers = cache(config)
        tail = min(
            config.integer_or_none("num_kv_shared_layers", high=MAX_LAYERS) or 0, len(layers)
        )
        own = layers[: len(layers) - tail]
        last = {type(layer[0]): index for index, layer in enumerate(own)}
        return own + tuple(
            (SharedCache(of_layer=last.get(type(layer[0]))),) for layer in layers[len(own) :]
        )

    return with_shared


def gemma4(config: Config) -> tuple[Layer, ...]:
    """Every sixth layer full, the last one always; full layers have heads of their own size.

    Gemma-4-31B: 10 full layers of 4 heads of 512, 50 sliding layers of 16 heads of 256.
    """
    types = listed(config) or last_of_period(6)(config, layer_count(config))
    types = (*types[:-1], FULL)
    # transformers takes num_global_key_value_heads only where attention_k_eq_v says so.
    own_heads = config.flag("attention_k_eq_v") and config.has("num_global_key_value_heads")
    keys = {"num_key_value_heads": "num_global_key_value_heads"} if own_heads else {}
    if not config.has("global_head_dim"):
        config = config.with_values({"global_head_dim": 512})
    rules = {
        FULL: renamed(full, head_dim="global_head_dim", **keys),
        SLIDING: halved_window(sliding),
    }
    return built(config, types, rules)


def exaone4(config: Config, count: int) -> Sequence[str]:
    """``sliding_window_pattern`` as a number (every n-th is full) or as letters (``LLLG``)."""
    if not config.integer_or_none("sliding_window"):
        return [FULL] * count
    pattern = config.value("sliding_window_pattern")
    if isinstance(pattern, str) and pattern:
        return [FULL if pattern[i % len(pattern)] == "G" else SLIDING for i in range(count)]
    return last_of_period(4, key="sliding_window_pattern")(config, count)


def beam(config: Config, count: int) -> Sequence[str]:
    """Every sixth layer full, the last one always."""
    return [*last_of_period(6)(config, count)[:-1], FULL]


def flint(_config: Config, count: int) -> Sequence[str]:
    """Full: layers 0 and 1, every i with i % 4 == 1, and the last."""
    return [FULL if i < 2 or i % 4 == 1 or i == count - 1 else SLIDING for i in range(count)]


def from_the_end(period: int) -> Pattern:
    """Full: the last layer, and every ``period``-th before it."""
    return lambda _config, count: [
        FULL if (count - 1 - i) % period == 0 else SLIDING for i in range(count)
    ]


def mimo(_config: Config, count: int) -> Sequence[str]:
    """Full: the first layer and every sixth."""
    return [FULL if i == 0 or (i + 1) % 6 == 0 else SLIDING for i in range(count)]


def hybrid_pattern(config: Config, count: int) -> Sequence[str]:
    """``hybrid_layer_pattern``: 1 slides, 0 is full (MiMo-V2's published files)."""
    listed_kinds = config.integer_list("hybrid_layer_pattern", high=1)
    if listed_kinds is None or len(listed_kinds) < count:
        return mimo(config, count)
    return [SLIDING if kind else FULL for kind in listed_kinds[:count]]


def llama4(config: Config, count: int) -> Sequence[str]:
    """``no_rope_layers``: 1 is chunked, 0 is full; absent, every fourth is full."""
    ropes = config.integer_list("no_rope_layers", high=1)
    if ropes and len(ropes) >= count:
        return [CHUNKED if rope else FULL for rope in ropes[:count]]
    period = config.integer_or_none("no_rope_layer_interval", low=1) or 4
    return [CHUNKED if (i + 1) % period else FULL for i in range(count)]


def smollm3(config: Config, count: int) -> Sequence[str]:
    """A window, where one is used, over the layers without rotary positions."""
    if not config.flag("use_sliding_window") or not config.integer_or_none("sliding_window"):
        return [FULL] * count
    return [FULL if kind == CHUNKED else SLIDING for kind in llama4(config, count)]


def switched(config: Config, count: int) -> Sequence[str]:
    """``use_sliding_window`` makes all layers slide (Qwen3-MoE)."""
    return bare_window(config, count) if config.flag("use_sliding_window") else [FULL] * count


def qwen2_moe(config: Config, count: int) -> Sequence[str]:
    """With ``use_sliding_window`` every other layer below ``max_window_layers`` slides."""
    if not config.flag("use_sliding_window"):
        return [FULL] * count
    below = config.integer_or_none("max_window_layers") or 0
    return [SLIDING if i % 2 == 0 and i < below else FULL for i in range(count)]


def cohere2_moe(config: Config, count: int) -> Sequence[str]:
    """The first dense layers have a period of their own."""
    dense = min(config.integer_or_none("first_k_dense_replace", high=MAX_LAYERS) or 0, count)
    prefix = last_of_period(1, key="prefix_dense_sliding_window_pattern")(config, dense)
    return [*prefix, *last_of_period(4, key="sliding_window_pattern")(config, count - dense)]


def dots1(config: Config, count: int) -> Sequence[str]:
    """Layers from ``max_window_layers`` on slide."""
    if not config.integer_or_none("sliding_window"):
        return [FULL] * count
    first = config.integer_or_none("max_window_layers") or 0
    return [SLIDING if i >= first else FULL for i in range(count)]


def modernbert_decoder(config: Config) -> tuple[Layer, ...]:
    """Every third layer full; the window is half of ``local_attention``."""
    window = config.integer_or_none("local_attention")
    if window and "sliding_window" not in config.values:
        config = config.with_values({"sliding_window": window // 2})
    return stack(first_of_period(3, key="global_attn_every_n_layers"))(config)


def _models(name: str) -> str:
    return f"transformers/models/{name}/configuration_{name}.py: layer_types"


SLIDING_FAMILIES = (
    Architecture(
        model_types=("gemma2", "vaultgemma"),
        cache=stack(last_of_period(2)),
        source=_models("gemma2"),
    ),
    Architecture(
        model_types=("gpt_oss",), cache=stack(last_of_period(2)), source=_models("gpt_oss")
    ),
    Architecture(
        model_types=("gemma3_text", "t5gemma2_text"),
        cache=stack(
            last_of_period(6, key="sliding_window_pattern"), sliding=halved_window(sliding)
        ),
        source=_models("gemma3"),
    ),
    Architecture(
        model_types=("gemma3n_text",),
        cache=shared_tail(stack(last_of_period(5))),
        source="transformers/models/gemma3n/configuration_gemma3n.py: kv_sharing_modes",
    ),
    Architecture(
        model_types=("gemma4_text", "gemma4_unified_text", "diffusion_gemma_text"),
        cache=shared_tail(gemma4),
        source="transformers/models/gemma4/configuration_gemma4.py: __post_init__",
    ),
    Architecture(
        model_types=("cohere2",),
        cache=stack(last_of_period(4, key="sliding_window_pattern")),
        source=_models("cohere2"),
    ),
    Architecture(
        model_types=("cohere2_moe",), cache=stack(cohere2_moe), source=_models("cohere2_moe")
    ),
    Architecture(model_types=("olmo3",), cache=stack(last_of_period(4)), source=_models("olmo3")),
    Architecture(
        model_types=("afmoe",),
        cache=stack(last_of_period(4, key="global_attn_every_n_layers")),
        source=_models("afmoe"),
    ),
    Architecture(
        model_types=("kolibri1",), cache=stack(last_of_period(5)), source=_models("kolibri1")
    ),
    Architecture(model_types=("beam",), cache=stack(beam), source=_models("beam")),
    Architecture(model_types=("flint",), cache=stack(flint), source=_models("flint")),
    Architecture(
        model_types=("exaone4", "exaone_moe"), cache=stack(exaone4), source=_models("exaone4")
    ),
    Architecture(model_types=("cwm",), cache=stack(first_of_period(4)), source=_models("cwm")),
    Architecture(
        model_types=("granite_swa", "granitemoe_swa"),
        cache=stack(first_of_period(4)),
        source=_models("granite_swa"),
    ),
    Architecture(
        model_types=("muse_glimmer_text", "muse_spark_text"),
        cache=stack(from_the_end(4)),
        source=_models("muse_spark"),
    ),
    Architecture(
        model_types=("mimo_v2_flash", "mimo_v2"),
        cache=stack(hybrid_pattern, full=uneven, sliding=window_less_one),
        source="transformers/models/mimo_v2_flash/configuration_mimo_v2_flash.py: __post_init__",
    ),
    Architecture(model_types=("llama4_text",), cache=stack(llama4), source=_models("llama4")),
    Architecture(model_types=("smollm3",), cache=stack(smollm3), source=_models("smollm3")),
    Architecture(
        model_types=(
            "qwen2",
            "qwen2_5_omni_text",
            "qwen2_5_vl_text",
            "qwen2_vl_text",
            "qwen3",
            "deepseek_ocr2_encoder",
        ),
        cache=stack(from_max_window_layers),
        source=_models("qwen2"),
    ),
    Architecture(
        model_types=("qwen3_moe",),
        cache=stack(switched),
        source="transformers/models/qwen3_moe/configuration_qwen3_moe.py: use_sliding_window",
    ),
    Architecture(
        model_types=("laguna", "mellum", "step3p5", "step3p7", "cohere_compass_text"),
        cache=stack(every(FULL)),
        source=_models("laguna"),
    ),
    Architecture(model_types=("qwen2_moe",), cache=stack(qwen2_moe), source=_models("qwen2_moe")),
    Architecture(model_types=("dots1",), cache=stack(dots1), source=_models("dots1")),
    Architecture(
        model_types=("ministral", "kyutai_speech_to_text", "moshi", "voxtral_realtime_text"),
        cache=stack(),
        source="transformers/cache_utils.py: get_layer_types_and_kwargs",
    ),
    Architecture(
        model_types=("modernbert-decoder",),
        cache=modernbert_decoder,
        source=_models("modernbert_decoder"),
    ),
    Architecture(
        model_types=("unlimited_ocr_text",),
        cache=stack(every(FULL), others={"reference_sliding_attention": full}),
        source="transformers/cache_utils.py: reference_sliding_attention keeps the whole prompt",
    ),
)
