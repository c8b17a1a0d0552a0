"""From whole configurations to decoders: wrappers, missing types, hostile values, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.errors import (
    ConfigError,
    InvalidValueError,
    MissingKeyError,
    UnsupportedArchitectureError,
)
from hfmem.model.architectures import ARCHITECTURES, Decoder, layers
from hfmem.model.config import read
from hfmem.model.layers import FullAttention, NoCache

QWEN2_72B = {
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "sliding_window": 131072,
}
LLAMA = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}


def resolved(config: dict[str, Any]) -> Decoder:
    return layers(read(config))


# (what it shows, config.json, model type that is read, layers, kv heads, head_dim)
WHOLE: list[tuple[str, dict[str, Any], str | None, int, int, int]] = [
    (
        "LLaVA-Video-72B: a flat Qwen2 under the type llava",
        {"model_type": "llava", "architectures": ["LlavaQwenForCausalLM"], **QWEN2_72B},
        "qwen2",
        80,
        8,
        128,
    ),
    (
        "dolphin-vision-72b: a type that nobody knows",
        {"model_type": "llava-qwen2", "architectures": ["BunnyQwenForCausalLM"], **QWEN2_72B},
        "qwen2",
        80,
        8,
        128,
    ),
    (
        "llava-1.5-7b-hf: a section that is nearly empty takes Llama's defaults",
        {"model_type": "llava", "text_config": {"model_type": "llama"}},
        "llama",
        32,
        32,
        128,
    ),
    (
        "llava-1.5-7b-hf: no section at all",
        {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]},
        "llama",
        32,
        32,
        128,
    ),
    (
        "gemma-3-4b-it: heads and head_dim are the class's",
        {
            "model_type": "gemma3",
            "text_config": {
                "hidden_size": 2560,
                "num_hidden_layers": 34,
                "model_type": "gemma3_text",
                "sliding_window": 1024,
            },
        },
        "gemma3_text",
        34,
        4,
        256,
    ),
    (
        "paligemma-3b: head_dim is Gemma's 256",
        {
            "model_type": "paligemma",
            "text_config": {
                "model_type": "gemma",
                "hidden_size": 2048,
                "num_hidden_layers": 18,
                "num_attention_heads": 8,
                "num_key_value_heads": 1,
            },
        },
        "gemma",
        18,
        1,
        256,
    ),
    (
        "mistral3 without a section: the wrapper's own values, without a window",
        {"model_type": "mistral3"},
        "mistral",
        40,
        8,
        128,
    ),
    (
        "Qwen2.5-VL-3B: flat keys belong to the one text class that the wrapper has",
        {
            "model_type": "qwen2_5_vl",
            "hidden_size": 2048,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "use_sliding_window": False,
            "sliding_window": 32768,
        },
        "qwen2_5_vl_text",
        36,
        2,
        128,
    ),
    (
        "Qwen2.5-Omni-7B: two levels deep",
        {
            "model_type": "qwen2_5_omni",
            "thinker_config": {
                "model_type": "qwen2_5_omni_thinker",
                "text_config": {
                    "model_type": "qwen2_5_omni_text",
                    "hidden_size": 3584,
                    "num_hidden_layers": 28,
                    "num_attention_heads": 28,
                    "num_key_value_heads": 4,
                },
            },
        },
        "qwen2_5_omni_text",
        28,
        4,
        128,
    ),
    (
        "InternVL2-2B: llm_config",
        {
            "model_type": "internvl_chat",
            "llm_config": {"model_type": "internlm2", "num_key_value_heads": 8, **LLAMA},
        },
        "internlm2",
        32,
        8,
        128,
    ),
    (
        "VILA: llm_cfg, while the top level names a hidden size too",
        {
            "model_type": "llava_llama",
            "hidden_size": 4096,
            "llm_cfg": {"model_type": "llama", "num_key_value_heads": 8, **LLAMA},
        },
        "llama",
        32,
        8,
        128,
    ),
    (
        "MiniCPM3: no model_type, the class tells",
        {
            "architectures": ["MiniCPM3ForCausalLM"],
            "num_hidden_layers": 62,
            "num_attention_heads": 40,
            "hidden_size": 2560,
            "kv_lora_rank": 256,
            "qk_rope_head_dim": 32,
        },
        "minicpm3",
        62,
        1,
        288,
    ),
    (
        "a string in place of a section: the keys beside it count",
        {"model_type": "llava", "text_config": "lmsys/vicuna-7b-v1.5", **LLAMA},
        "llava",
        32,
        32,
        128,
    ),
    (
        "a class that is a string and not a list",
        {"architectures": "LlamaForCausalLM", **LLAMA},
        "llama",
        32,
        32,
        128,
    ),
    (
        "vision-encoder-decoder around GPT-2: the wrapper adds cross-attention",
        {
            "model_type": "vision-encoder-decoder",
            "encoder": {"model_type": "vit"},
            "decoder": {"model_type": "gpt2", "n_embd": 64, "n_layer": 3, "n_head": 4},
        },
        "gpt2",
        3,
        4,
        16,
    ),
]


@pytest.mark.parametrize(
    ("config", "model_type", "count", "kv_heads", "head_dim"),
    [row[1:] for row in WHOLE],
    ids=[row[0] for row in WHOLE],
)
def test_whole_configurations(
    config: dict[str, Any], model_type: str | None, count: int, kv_heads: int, head_dim: int
) -> None:
    decoder = resolved(config)
    assert decoder.model_type == model_type
    assert len(decoder.layers) == count
    assert (decoder.kv_heads, decoder.head_dim) == (kv_heads, head_dim)


def test_sizes_beside_the_layers() -> None:
    decoder = resolved({"model_type": "qwen2", **QWEN2_72B})
    assert decoder.hidden_size == 8192
    assert decoder.attention_heads == 64
    assert decoder.max_context == 32768
    assert decoder.vocab_size == 152064
    assert decoder.cache_kinds() == {"full": 80}


def test_mamba_has_no_heads_and_no_bound() -> None:
    decoder = resolved({"model_type": "mamba2"})
    assert decoder.attention_heads is decoder.kv_heads is decoder.head_dim is None
    assert decoder.max_context is None


def test_cross_attention_of_a_pair() -> None:
    pair = {"model_type": "encoder-decoder", "decoder": {"model_type": "bert"}}
    assert resolved(pair).cache_kinds() == {"full": 12, "cross": 12}
    assert resolved({"model_type": "bert"}).cache_kinds() == {"none": 12}


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "vit", "num_hidden_layers": 12},
        {"model_type": "clip"},
        {"model_type": "resnet"},
        {"model_type": "modernbert"},
        {"model_type": "wav2vec2"},
        {"_class_name": "FluxTransformer2DModel", "num_layers": 19},
    ],
)
def test_what_generates_nothing_keeps_nothing(config: dict[str, Any]) -> None:
    decoder = resolved(config)
    assert all(isinstance(kind, NoCache) for layer in decoder.layers for kind in layer)
    assert [note.code for note in decoder.notes] == ["no_cache"]


def test_pictures_are_generated_token_by_token() -> None:
    assert resolved({"model_type": "imagegpt"}).cache_kinds() == {"full": 24}


def test_conventional_keys_are_used_and_noted() -> None:
    decoder = resolved({"model_type": "brand_new", "num_key_value_heads": 8, **LLAMA})
    expected = FullAttention(kv_heads=8, head_dim=128, v_head_dim=128)
    assert decoder.layers == ((expected,),) * 32
    assert decoder.resolved_by == "generic"
    assert [note.code for note in decoder.notes] == ["generic_architecture"]


def test_a_class_of_another_family_is_noted() -> None:
    config = {"model_type": "llama", "architectures": ["DeepseekV3ForCausalLM"], **LLAMA}
    decoder = resolved(config)
    assert decoder.model_type == "llama"
    assert [note.code for note in decoder.notes] == ["class_disagrees"]


def test_overrides_for_single_layers() -> None:
    config = {"model_type": "llama", "per_layer_config": {"1": {"num_key_value_heads": 2}}}
    decoder = resolved(config | LLAMA | {"num_hidden_layers": 2})
    assert [layer[0].kv_heads for layer in decoder.layers] == [32, 2]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "new_mamba", "mamba_d_state": 16, **LLAMA}, "mamba_d_state"),
        ({"model_type": "new_mla", "kv_lora_rank": 512, **LLAMA}, "kv_lora_rank"),
        ({"model_type": "bailing_moe_linear", "layer_group_size": 8, **LLAMA}, "layer_group_size"),
        ({"model_type": "new_yoco", "num_kv_shared_layers": 2, **LLAMA}, "num_kv_shared_layers"),
        ({"model_type": "unheard_of"}, "num_hidden_layers"),
        ({}, "num_hidden_layers"),
        ({"model_type": "llava", "text_config": "lmsys/vicuna-7b"}, "the name 'lmsys/vicuna-7b'"),
        ({"model_type": "reformer"}, "hash buckets"),
        ({"model_type": "blt"}, "patches of bytes"),
        ({"model_type": "new_t5", "is_encoder_decoder": True, **LLAMA}, "encoder-decoder"),
        (
            {"model_type": "llama", "layer_types": ["linear_attention"] * 32, **LLAMA},
            "linear_attention",
        ),
    ],
)
def test_never_a_guess(config: dict[str, Any], told: str) -> None:
    with pytest.raises(UnsupportedArchitectureError, match=told) as raised:
        resolved(config)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"num_attention_heads": 0}, InvalidValueError),
        ({"num_hidden_layers": 10**9}, InvalidValueError),
        ({"num_hidden_layers": "32"}, InvalidValueError),
        ({"num_hidden_layers": -1}, InvalidValueError),
        ({"num_hidden_layers": None}, MissingKeyError),
        ({"num_hidden_layers": True}, InvalidValueError),
        ({"hidden_size": float("nan")}, InvalidValueError),
        ({"hidden_size": float("inf")}, InvalidValueError),
        ({"hidden_size": 2**80}, InvalidValueError),
        ({"hidden_size": 16}, InvalidValueError),
        ({"num_key_value_heads": [8] * 20}, InvalidValueError),
        ({"layer_types": ["full_attention"] * 3}, InvalidValueError),
        ({"layer_types": ["full_attention"] * 20_000}, InvalidValueError),
        ({"layer_types": "full_attention"}, InvalidValueError),
        ({"layer_types": [1] * 32}, InvalidValueError),
        ({"sliding_window": "wide"}, InvalidValueError),
        ({"layer_types": ["sliding_attention"] * 32}, MissingKeyError),
    ],
)
def test_a_damaged_configuration_is_one_error(
    changes: dict[str, Any], error: type[ConfigError]
) -> None:
    with pytest.raises(error) as raised:
        resolved({"model_type": "llama", **LLAMA, **changes})
    assert len(raised.value.message) < 300
    assert raised.value.hint


@pytest.mark.parametrize("name", ["\x1b[31mred\x1b[0m", "x" * 10_000, "two\nlines", "\u202e"])
def test_names_are_printed_short_and_plain(name: str) -> None:
    for config in (
        {"model_type": name},
        {"model_type": name, "mamba_" + name: 1, **LLAMA},
        {"model_type": name, "layer_types": [name] * 32, **LLAMA},
        {"model_type": name, "num_hidden_layers": name},
    ):
        with pytest.raises((ConfigError, UnsupportedArchitectureError)) as raised:
            resolved(config)
        assert raised.value.message.isprintable()
        assert len(raised.value.message) < 300
    component = resolved({"_class_name": name, "num_hidden_layers": 1})
    assert component.notes[0].message.isprintable()
    assert component.source.isprintable()


HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.sampled_from([2**31, 2**63, 10**40]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["full_attention", "sliding_attention", "hybrid", "mamba", "moe", "M*-E"]),
    st.lists(
        st.one_of(
            st.integers(-2, 130),
            st.sampled_from(["full_attention", "attention", "mamba", "recurrent", "shared", ""]),
            st.none(),
            st.dictionaries(
                st.sampled_from(["attention", "no_op", "n_heads_in_group"]),
                st.one_of(st.integers(-1, 9), st.booleans(), st.none()),
                max_size=3,
            ),
        ),
        max_size=6,
    ),
    st.dictionaries(
        st.sampled_from(
            [
                *("head_dim", "num_heads", "full_attn_layers", "short_conv_kernel_size", "0", "1"),
                *("kv_n_heads", "sparse_attention_freq", "compressed_sparse_attention"),
                "model_type",
            ]
        ),
        st.one_of(st.integers(-1, 9), st.text(max_size=3), st.lists(st.integers(), max_size=3)),
        max_size=3,
    ),
)
KEYS = st.sampled_from(
    [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "layer_types",
        "sliding_window",
        "sliding_window_pattern",
        "use_sliding_window",
        "max_window_layers",
        "per_layer_config",
        "attention_chunk_size",
        "no_rope_layers",
        "kv_lora_rank",
        "qk_rope_head_dim",
        "index_head_dim",
        "indexer_types",
        "index_topk_pattern",
        "index_topk_freq",
        "compress_ratios",
        "compress_rates",
        "linear_attn_config",
        "hybrid_override_pattern",
        "layers_block_type",
        "attn_layer_period",
        "attn_layer_offset",
        "text_config",
        "attn_layer_indices",
        "full_attn_idxs",
        "block_types",
        "attn_type_list",
        "block_configs",
        "num_kv_heads",
        "decoder",
        "num_kv_shared_layers",
        "global_head_dim",
        "attn_config",
        "sparse_attention_config",
        "kv_source_layers",
        "architectures",
        "decoder_layers",
        "num_layers",
        "n_layer",
        "cross_attention_layers",
        "H_cycles",
        "L_cycles",
        "qk_dim_factor",
        "local_layer_ids",
        "mamba_d_state",
        "expand",
        "conv_kernel",
        "n_groups",
        "multi_query",
        "model_max_length",
        "vocab_size",
        "max_position_embeddings",
        "is_decoder",
        "add_cross_attention",
    ]
)
MODEL_TYPES = st.sampled_from(
    [
        *sorted({name for entry in ARCHITECTURES for name in entry.model_types}),
        *("gemma3", "llava", "qwen2_5_omni", "encoder-decoder", "unheard_of", "vit"),
    ]
)


@settings(max_examples=600, deadline=None)
@given(model_type=MODEL_TYPES, changes=st.dictionaries(KEYS, HOSTILE, max_size=4))
def test_no_configuration_crashes(model_type: str, changes: dict[str, Any]) -> None:
    try:
        decoder = resolved({"model_type": model_type, **changes})
    except (ConfigError, UnsupportedArchitectureError):
        return
    assert len(decoder.layers) <= 20_000
    for kind in {kind for layer in decoder.layers for kind in layer}:
        sizes = [getattr(kind, name) for name in kind.__struct_fields__]
        assert all(size is None or isinstance(size, str) or size >= 0 for size in sizes)


@pytest.mark.parametrize(("window", "codes"), [(128, 2), (None, 1)])
def test_a_window_for_every_layer_is_said(window: int | None, codes: int) -> None:
    found = resolved({"model_type": "unheard_of", "sliding_window": window, **LLAMA})
    assert [note.code for note in found.notes] == ["generic_architecture", "assumed_window"][:codes]
