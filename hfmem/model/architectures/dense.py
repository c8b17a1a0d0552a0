"""Families whose layers are all alike: plain attention, or a window over all of them."""

from __future__ import annotations

from hfmem.model.architectures.attention import Heads, full, head_dim
from hfmem.model.architectures.entry import Architecture
from hfmem.model.architectures.patterns import FULL, every, layer_count
from hfmem.model.architectures.stacks import stack, with_cross_if_said
from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.layers import FullAttention, Layer, NoCache

_CACHE_RULE = "transformers/cache_utils.py: get_layer_types_and_kwargs"


def _full(size: Heads, *, repeated: int = 0) -> Layer:
    return (
        FullAttention(
            kv_heads=size.kv,
            head_dim=size.head_dim,
            v_head_dim=size.v_head_dim,
            repeated_heads=repeated,
        ),
    )


def falcon(config: Config) -> Layer:
    """One kv head where ``multi_query`` is set in the old design; the new one has ``num_kv_heads``.

    transformers caches the new design's keys once a query head (Falcon-40B: 8 heads, cached as
    128).
    """
    query = config.integer("num_attention_heads", low=1)
    size = head_dim(config, query)
    if config.flag("new_decoder_architecture"):
        kv = config.integer_or_none("num_key_value_heads") or query
        return _full(Heads(query, kv, size, size), repeated=query)
    kv = 1 if config.flag("multi_query") else config.integer_or_none("num_key_value_heads") or query
    return _full(Heads(query, kv, size, size))


def gpt_bigcode(config: Config) -> Layer:
    """One kv head where ``multi_query`` is set, else one a query head."""
    query = config.integer("num_attention_heads", low=1)
    size = head_dim(config, query)
    return _full(Heads(query, 1 if config.flag("multi_query", default=True) else query, size, size))


def kv_heads_in_attn_config(config: Config) -> Layer:
    """``attn_config.kv_n_heads`` of DBRX and MPT; absent is one a query head."""
    query = config.integer("num_attention_heads", low=1)
    attention = config.section("attn_config")
    kv = attention.integer_or_none("kv_n_heads") if attention is not None else None
    size = head_dim(config, query)
    return _full(Heads(query, kv or query, size, size))


def multi_head(config: Config) -> Layer:
    """One kv head a query head, whatever else the file says."""
    query = config.integer("num_attention_heads", low=1)
    size = head_dim(config, query)
    return _full(Heads(query, query, size, size))


def jetmoe(config: Config) -> Layer:
    """``num_key_value_heads`` heads of ``kv_channels``; experts choose the query heads."""
    kv, size = (
        config.integer("num_key_value_heads", low=1),
        config.integer("kv_channels", low=1),
    )
    return _full(Heads(kv, kv, size, size))


def hrm(config: Config) -> tuple[Layer, ...]:
    """The stack runs ``H_cycles × (L_cycles + 1)`` times and caches every time.

    A file with ``num_layers_per_stack`` states the product as ``num_hidden_layers`` already.
    """
    count = layer_count(config)
    if not config.has("num_layers_per_stack"):
        count *= config.integer("H_cycles", low=1) * (config.integer("L_cycles") + 1)
    if count > MAX_LAYERS:
        raise config.invalid("H_cycles", count, f"cycles of at most {MAX_LAYERS:,} layers")
    return (full(config),) * count


def doubled(config: Config) -> Layer:
    """Attention over twice the hidden size (Zamba): head_dim 2 × hidden / heads."""
    query = config.integer("num_attention_heads", low=1)
    size = (
        config.integer_or_none("attention_head_dim") or 2 * config.integer("hidden_size") // query
    )
    kv = config.integer_or_none("num_key_value_heads") or query
    return _full(Heads(query, kv, size, size))


LLAMA_LIKE = Architecture(
    model_types=(
        "apertus",
        "arcee",
        "aria_text",
        "biogpt",
        "bitnet",
        "bloom",
        "cohere",
        "diffllama",
        "doge",
        "dots_ocr",
        "emu3_text_model",
        "ernie4_5",
        "ernie4_5_moe",
        "ernie4_5_vl_moe_text",
        "flex_olmo",
        "fuyu",
        "gemma",
        "glm",
        "glm4",
        "glm4_moe",
        "glm4v_text",
        "glm4v_moe_text",
        "glm_ocr_text",
        "granite",
        "granitemoe",
        "granitemoeshared",
        "helium",
        "hunyuan_v1_dense",
        "hunyuan_v1_moe",
        "hy_v3",
        "hyperclovax",
        "internlm3",
        "iquestcoder",
        "jais2",
        "llama",
        "minimax_m2",
        "ministral3",
        "mistral",
        "mixtral",
        "nanochat",
        "nemotron",
        "olmo",
        "olmo2",
        "olmoe",
        "cosmos3_edge_text",
        "deepseek_ocr2_text",
        "evolla",
        "granite4_vision_text",
        "granite_docling_text",
        "hunyuan_vl_text",
        "molmo2_text",
        "paddleocr_vl_text",
        "phi",
        "phi3",
        "phi4_multimodal",
        "phimoe",
        "qwen3_vl_text",
        "qwen3_vl_moe_text",
        "qwen3_omni_moe_text",
        "seed_oss",
        "solar_open",
        "stablelm",
        "starcoder2",
    ),
    cache=stack(),
    source=_CACHE_RULE,
)
GPT_LIKE = Architecture(
    model_types=(
        "codegen",
        "ctrl",
        "gpt-sw3",
        "gpt2",
        "gpt_neox",
        "gpt_neox_japanese",
        "gptj",
        "opt",
        "persimmon",
        "git",
        "kosmos_2_5_text_model",
        "kosmos_2_text_model",
        "xglm",
    ),
    cache=with_cross_if_said(stack(every(FULL), full=multi_head, keys=())),
    source="transformers/models/gpt2/modeling_gpt2.py: GPT2Attention",
)
GPT_NEO = Architecture(
    model_types=("gpt_neo",),
    cache=stack(every(FULL), full=multi_head, keys=()),
    source="transformers/models/gpt_neo/modeling_gpt_neo.py: local layers cache every token too",
)
GPT_BIGCODE = Architecture(
    model_types=("gpt_bigcode",),
    cache=stack(every(FULL), full=gpt_bigcode, keys=()),
    source="transformers/models/gpt_bigcode/modeling_gpt_bigcode.py: multi_query",
)
FALCON = Architecture(
    model_types=("falcon", "RefinedWeb", "RefinedWebModel"),
    cache=stack(every(FULL), full=falcon, keys=()),
    source="transformers/models/falcon/modeling_falcon.py: FalconAttention._split_heads",
)
ATTN_CONFIG = Architecture(
    model_types=("dbrx", "mpt"),
    cache=stack(every(FULL), full=kv_heads_in_attn_config, keys=()),
    source="transformers/models/dbrx/modeling_dbrx.py: kv_n_heads",
)

JETMOE = Architecture(
    model_types=("jetmoe",),
    cache=stack(every(FULL), full=jetmoe, keys=()),
    source="transformers/models/jetmoe/configuration_jetmoe.py: kv_channels",
)
OPENAI_GPT = Architecture(
    model_types=("openai-gpt",),
    cache=lambda config: ((NoCache(),),) * layer_count(config),
    source="transformers/models/openai/modeling_openai.py: no past_key_values",
)
HRM = Architecture(
    model_types=("hrm_text",),
    cache=hrm,
    source="transformers/models/hrm_text/configuration_hrm_text.py: __post_init__",
)

DENSE = (LLAMA_LIKE, GPT_LIKE, GPT_NEO, GPT_BIGCODE, FALCON, ATTN_CONFIG, JETMOE, OPENAI_GPT, HRM)
