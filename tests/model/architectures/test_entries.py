"""Every entry has a source and at least one row whose truth comes from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hfmem.memory.kv_cache import group, total_bytes
from hfmem.model.architectures import ARCHITECTURES, Decoder, layers
from hfmem.model.config import read
from hfmem.model.layers import (
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)

REFERENCE = Path(__file__).with_name("reference.tsv")


class Reference(NamedTuple):
    """A line of reference.tsv."""

    model_type: str
    class_name: str
    settings: Mapping[str, object]
    encoder_ctx: str
    picture: int
    bytes_at: Mapping[int, int]


def reference() -> Iterator[Reference]:
    for line in REFERENCE.read_text().splitlines():
        if line.startswith("#"):
            continue
        model_type, class_name, settings, encoder, picture, short, long = line.split("\t")
        sizes = {ctx: int(text) for ctx, text in ((1024, short), (8192, long)) if text}
        yield Reference(model_type, class_name, json.loads(settings), encoder, int(picture), sizes)


def summary(decoder: Decoder) -> str:
    """A decoder in one line: ``52 sliding 16x128 w1024 + 10 full 16x128``."""
    parts = []
    for one in group(decoder.layers):
        match one.kind:
            case FullAttention(kv_heads=heads, head_dim=dim, v_head_dim=value):
                text = f"full {heads}x{dim}" + (f"/{value}" if value != dim else "")
                text += f" i{one.kind.indexer_dim}" if one.kind.indexer_dim else ""
                text += f" r{one.kind.repeated_heads}" if one.kind.repeated_heads else ""
            case SlidingWindow(kv_heads=heads, head_dim=dim, v_head_dim=value, window=window):
                text = f"sliding {heads}x{dim}"
                text += (f"/{value}" if value != dim else "") + f" w{window}"
            case ChunkedAttention(kv_heads=heads, head_dim=dim, chunk=chunk):
                text = f"chunked {heads}x{dim} c{chunk}"
            case LatentAttention(rank=rank, rope_dim=rope, indexer_dim=indexer, window=window):
                text = f"latent {rank}+{rope}" + (f" i{indexer}" if indexer else "")
                text += f" w{window}" if window else ""
            case CompressedAttention(head_dim=dim, window=window, ratio=ratio):
                text = f"compressed {dim} /{ratio} i{one.kind.indexer_dim} w{window}"
            case RecurrentState(conv_elements=conv, state_elements=state):
                text = f"state {conv} {state} {one.kind.state_dtype}"
            case CrossAttention(kv_heads=heads, head_dim=dim, source_tokens=tokens):
                text = f"cross {heads}x{dim}" + (f" s{tokens}" if tokens else "")
            case SharedCache():
                text = f"shared of {one.kind.of_layer}"
            case NoCache():
                text = "none"
        parts.append(f"{one.count} {text}")
    return " + ".join(parts)


LLAMA_2_7B = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
# (model type, the keys of the published file that matter, its layers, where the truth came from)
PUBLISHED: list[tuple[str, dict[str, Any], str, str]] = [
    ("llama", LLAMA_2_7B | {"num_key_value_heads": 8, "head_dim": None}, "32 full 8x128",
     "Llama-3.1-8B: 131,072 bytes a token in vLLM's log"),
    ("mistral", LLAMA_2_7B | {"num_key_value_heads": 8, "sliding_window": None}, "32 full 8x128",
     "Mistral-7B-Instruct-v0.2, config.json"),
    ("mistral", LLAMA_2_7B | {"num_key_value_heads": 8, "sliding_window": 4096},
     "32 sliding 8x128 w4096", "Mistral-7B-v0.1, config.json"),
    ("qwen2", {"hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
               "num_key_value_heads": 8, "sliding_window": 131072, "use_sliding_window": False},
     "80 full 8x128", "Qwen2-72B: 163,864 bytes a token and rank in vLLM's log at TP 2"),
    ("qwen2", {"hidden_size": 8192, "num_hidden_layers": 4, "num_attention_heads": 64,
               "num_key_value_heads": 8, "sliding_window": 4096, "use_sliding_window": True,
               "max_window_layers": 3},
     "3 full 8x128 + 1 sliding 8x128 w4096", "transformers configuration_qwen2.py"),
    ("gemma3_text", {"hidden_size": 5376, "num_hidden_layers": 62, "num_attention_heads": 32,
                     "num_key_value_heads": 16, "head_dim": 128, "sliding_window": 1024},
     "52 sliding 16x128 w1024 + 10 full 16x128", "Gemma-3-27B: 10 full layers in vLLM's log"),
    ("gpt_oss", {"hidden_size": 2880, "num_hidden_layers": 36, "num_attention_heads": 64,
                 "num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128},
     "18 sliding 8x64 w128 + 18 full 8x64", "gpt-oss-120b, vllm 0.33 grouping of 18 and 18"),
    ("gemma4_text", {"hidden_size": 5376, "num_hidden_layers": 60, "num_attention_heads": 32,
                     "num_key_value_heads": 16, "head_dim": 256, "sliding_window": 1024,
                     "attention_k_eq_v": True, "num_global_key_value_heads": 4},
     "50 sliding 16x256 w1024 + 10 full 4x512", "Gemma-4-31B: 108.2 KiB a token in vLLM's log"),
    ("exaone4", {"hidden_size": 5120, "num_hidden_layers": 8, "num_attention_heads": 40,
                 "num_key_value_heads": 8, "head_dim": 128, "sliding_window": 4096,
                 "sliding_window_pattern": "LLLG"},
     "6 sliding 8x128 w4096 + 2 full 8x128", "EXAONE-4.0-32B, config.json"),
    ("mimo_v2_flash", {"hidden_size": 4096, "num_hidden_layers": 6, "num_attention_heads": 64,
                       "num_key_value_heads": 4, "swa_num_key_value_heads": 8, "head_dim": 192,
                       "v_head_dim": 128, "sliding_window_size": 128,
                       "hybrid_layer_pattern": [0, 1, 1, 1, 1, 0]},
     "2 full 4x192/128 + 4 sliding 8x192/128 w129", "MiMo-V2-Flash, config.json"),
    ("smollm3", {"hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 16,
                 "num_key_value_heads": 4, "use_sliding_window": True, "sliding_window": 512},
     "3 full 4x128 + 1 sliding 4x128 w512", "transformers configuration_smollm3.py: not has_rope"),
    ("llama4_text", {"hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40,
                     "num_key_value_heads": 8, "head_dim": 128, "attention_chunk_size": 8192,
                     "no_rope_layers": []},
     "36 chunked 8x128 c8192 + 12 full 8x128", "Llama-4-Scout: every fourth layer is global"),
    ("qwen3_moe", {"hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 32,
                   "num_key_value_heads": 4, "head_dim": 128, "sliding_window": 4096,
                   "use_sliding_window": True},
     "4 sliding 4x128 w4096", "transformers configuration_qwen3_moe.py: __post_init__"),
    ("unlimited_ocr_text", {"hidden_size": 1280, "num_hidden_layers": 12,
                            "num_attention_heads": 10, "num_key_value_heads": 10},
     "12 full 10x128", "transformers cache_utils.py: reference_sliding_attention"),
    ("falcon", {"hidden_size": 8192, "n_layer": 60, "n_head": 128, "n_head_kv": 8,
                "new_decoder_architecture": True},
     "60 full 8x64 r128", "falcon-40b, config.json; transformers repeats before caching"),
    ("falcon", {"hidden_size": 4544, "n_layer": 32, "n_head": 71, "multi_query": True,
                "new_decoder_architecture": False}, "32 full 1x64", "falcon-7b, config.json"),
    ("gpt_bigcode", {"n_embd": 6144, "n_layer": 40, "n_head": 48, "multi_query": True},
     "40 full 1x128", "starcoder, config.json"),
    ("bloom", {"n_embed": 14336, "n_layer": 70, "num_attention_heads": 112}, "70 full 112x128",
     "bloom, config.json"),
    ("openai-gpt", {"n_layer": 12}, "12 none", "transformers modeling_openai.py has no cache"),
    ("deepseek_v3", {"num_hidden_layers": 61, "num_attention_heads": 128, "kv_lora_rank": 512,
                     "qk_rope_head_dim": 64, "num_key_value_heads": 128},
     "61 latent 512+64", "DeepSeek-V3, config.json; 576 values a token in vLLM's MLA"),
    ("deepseek_v2", {"hidden_size": 1280, "num_hidden_layers": 12, "num_attention_heads": 10,
                     "num_key_value_heads": 10, "kv_lora_rank": None, "use_mla": False},
     "12 full 10x128", "DeepSeek-OCR-2, language_config"),
    ("longcat_flash", {"num_layers": 28, "num_attention_heads": 64, "kv_lora_rank": 512,
                       "qk_rope_head_dim": 64},
     "56 latent 512+64", "LongCat-Flash, config.json: two attentions a layer"),
    ("glm_moe_dsa", {"num_hidden_layers": 8, "num_attention_heads": 64, "kv_lora_rank": 512,
                     "qk_rope_head_dim": 64, "index_head_dim": 128, "index_topk_freq": 4,
                     "index_skip_topk_offset": 3},
     "4 latent 512+64 i128 + 4 latent 512+64",
     "transformers configuration_glm_moe_dsa.py: layers 0, 1, 2 and 6 have an indexer"),
    ("dots3_note_text", {},
     "13 latent 512+64 i128 + 33 latent 1024+64 w512",
     "transformers 5.23.0's default on the meta device, which keeps the indexer's keys in fp32"),
    ("qwen4_exp_text", {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
                        "num_key_value_heads": 2, "head_dim": 64, "indexer_kv_heads": 1,
                        "indexer_head_dim": 64, "ple_layer_ids": [2], "linear_num_key_heads": 4,
                        "linear_num_value_heads": 8, "linear_key_head_dim": 32,
                        "linear_value_head_dim": 32},
     "3 state 2048 8192 F32 + 1 state 9216 2 I64 + 1 full 2x64 i64",
     "transformers 5.23.0 run on the meta device: conv_states of 512 x 4, 1,024 x 9 and 2 ids"),
    ("nemotron_h", {"hidden_size": 2688, "hybrid_override_pattern": "MEM*-", "head_dim": 128,
                    "num_attention_heads": 32, "num_key_value_heads": 2, "mamba_num_heads": 64,
                    "mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8,
                    "conv_kernel": 4},
     "2 state 24576 524288 F32 + 2 none + 1 full 2x128",
     "Nemotron-3-Nano, config.json; conv (64 x 64 + 2 x 8 x 128) x 4"),
    ("nemotron_h_puzzle", {"hidden_size": 2688, "num_attention_heads": 32, "head_dim": 128,
                           "num_key_value_heads": 2, "mamba_num_heads": 64, "n_groups": 8,
                           "mamba_head_dim": 64, "ssm_state_size": 128, "conv_kernel": 4,
                           "block_configs": [{"block_type": "mamba"}, {"block_type": "moe"},
                                             {"block_type": "attention"}]},
     "1 state 24576 524288 F32 + 1 none + 1 full 2x128",
     "Nemotron puzzle: block_type of each block, llama.cpp's conversion"),
    ("qwen3_next", {"num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 16,
                    "num_key_value_heads": 2, "head_dim": 256, "full_attention_interval": 4},
     "36 state 32768 524288 F32 + 12 full 2x256",
     "Qwen3-Next-80B: 524,288 state elements and 8,192 channels in vLLM's shapes, 4 columns"),
    ("mamba2", {"hidden_size": 4096, "num_hidden_layers": 64, "expand": 2, "n_groups": 8,
                "state_size": 128, "num_heads": 128, "head_dim": 64, "conv_kernel": 4},
     "64 state 40960 1048576 F32", "Codestral-Mamba-7B, config.json"),
    ("kimi_linear", {"num_hidden_layers": 4, "num_attention_heads": 32, "kv_lora_rank": 512,
                     "qk_rope_head_dim": 64,
                     "linear_attn_config": {"full_attn_layers": [4], "kda_layers": [1, 2, 3],
                                            "head_dim": 128, "num_heads": 32,
                                            "short_conv_kernel_size": 4}},
     "3 state 49152 524288 F32 + 1 latent 512+64", "Kimi-Linear-48B, layers counted from 1"),
    ("lfm2", {"hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 32,
              "num_key_value_heads": 8, "full_attn_idxs": [2]},
     "3 state 6144 0 F32 + 1 full 8x64", "LFM2-1.2B, config.json"),
    ("recurrent_gemma", {"hidden_size": 2560, "num_hidden_layers": 3, "num_attention_heads": 10,
                         "num_key_value_heads": 1, "attention_window_size": 2048},
     "2 state 7680 2560 F32 + 1 sliding 1x256 w2048",
     "RecurrentGemma-2B; 25,600 bytes a recurrent layer in transformers on the meta device"),
    ("xlstm", {"hidden_size": 4096, "num_hidden_layers": 32, "num_heads": 8,
               "qk_dim_factor": 0.5, "v_dim_factor": 1.0},
     "32 state 0 1050632 None",
     "xLSTM-7b: 67,240,448 bytes in transformers on the meta device, without its counter"),
    ("rwkv", {"hidden_size": 1024, "num_hidden_layers": 24}, "24 state 2048 3072 F32",
     "transformers modeling_rwkv.py: five vectors, the last three in fp32"),
    ("minimax", {"hidden_size": 6144, "num_hidden_layers": 4, "num_attention_heads": 64,
                 "num_key_value_heads": 8, "head_dim": 128, "attn_type_list": [0, 0, 0, 1]},
     "3 state 0 1048576 None + 1 full 8x128", "MiniMax-Text-01, config.json: 1 is softmax"),
    ("whisper", {"d_model": 1280, "decoder_layers": 32, "decoder_attention_heads": 20,
                 "encoder_layers": 32, "max_source_positions": 1500},
     "32 full 20x64 + 32 cross 20x64 s1500", "whisper-large-v3, config.json"),
    ("t5", {"d_model": 1024, "num_layers": 24, "num_heads": 128, "d_kv": 128},
     "24 full 128x128 + 24 cross 128x128", "t5-11b, config.json: d_kv is not 1,024 / 128"),
    ("bart", {"d_model": 1024, "decoder_layers": 12, "encoder_layers": 6,
              "decoder_attention_heads": 16, "num_hidden_layers": 6},
     "12 full 16x64 + 12 cross 16x64", "BART; num_hidden_layers is the encoder's"),
    ("trocr", {"d_model": 1024, "decoder_layers": 12, "decoder_attention_heads": 16,
               "architectures": ["TrOCRForCausalLM"]}, "12 full 16x64",
     "transformers: a causal class has no cross-attention"),
    ("musicgen_decoder", {"hidden_size": 1024, "num_hidden_layers": 24,
                          "num_attention_heads": 16}, "24 full 16x64 + 24 cross 16x64",
     "musicgen-small, decoder"),
    ("cohere_asr", {"hidden_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 8},
     "8 full 8x128 + 8 cross 8x128", "transformers modeling_cohere_asr.py: both caches"),
    ("dia_decoder", {"num_hidden_layers": 18, "num_attention_heads": 16, "head_dim": 128,
                     "num_key_value_heads": 4, "cross_num_key_value_heads": 16,
                     "cross_head_dim": 128, "hidden_size": 2048},
     "18 full 4x128 + 18 cross 16x128", "Dia-1.6B, config.json"),
    ("mllama_text_model", {"hidden_size": 4096, "num_hidden_layers": 40,
                           "num_attention_heads": 32, "num_key_value_heads": 8,
                           "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38]},
     "32 full 8x128 + 8 cross 8x128", "Llama-3.2-11B-Vision, config.json"),
    ("bert", {"num_hidden_layers": 12}, "12 none", "bert-base: an encoder keeps nothing"),
    ("baichuan", LLAMA_2_7B, "32 full 32x128", "Baichuan2-7B, config.json"),
    ("qwen", {"hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
              "kv_channels": 128}, "80 full 64x128", "Qwen-72B, config.json"),
    ("internlm2", {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
                   "num_key_value_heads": 8}, "32 full 8x128", "internlm2_5-7b-chat"),
    ("chatglm", {"hidden_size": 4096, "num_layers": 28, "num_attention_heads": 32,
                 "multi_query_attention": True, "multi_query_group_num": 2, "kv_channels": 128},
     "28 full 2x128", "chatglm3-6b, config.json"),
    ("nemotron-nas", {"hidden_size": 8192, "num_attention_heads": 64,
                      "num_key_value_heads": None, "num_hidden_layers": 4,
                      "block_configs": [{"attention": {"n_heads_in_group": 8}},
                                        {"attention": {"no_op": True}},
                                        {"attention": {"replace_with_linear": True}},
                                        {"attention": {"n_heads_in_group": 16}}]},
     "1 full 8x128 + 2 none + 1 full 4x128", "Llama-3.3-Nemotron-Super-49B, block_configs"),
    ("openelm", {"model_dim": 1280, "head_dim": 64, "num_transformer_layers": 3,
                 "num_kv_heads": [3, 3, 5], "num_query_heads": [12, 12, 20]},
     "2 full 3x64 + 1 full 5x64", "OpenELM-270M, config.json"),
    ("hunyuan", {"hidden_size": 6400, "num_hidden_layers": 4, "num_attention_heads": 80,
                 "num_key_value_heads": 8, "attention_head_dim": 128, "use_cla": True,
                 "cla_share_factor": 2},
     "2 full 8x128 + 1 shared of 0 + 1 shared of 2", "Hunyuan-Large, config.json"),
]  # fmt: skip


@pytest.mark.parametrize("row", list(reference()), ids=lambda row: f"{row[0]}-{row[1]}")
def test_bytes_of_the_reference_implementation(row: Reference) -> None:
    config = {"model_type": row.model_type, "architectures": [row.class_name], **row.settings}
    decoder = layers(read(config))
    groups = group(decoder.layers)
    for ctx, expected in row.bytes_at.items():
        encoder_ctx = ctx if row.encoder_ctx == "ctx" else int(row.encoder_ctx)
        found = total_bytes(
            groups,
            ctx=ctx + row.picture,
            kv_dtype="BF16",
            model_dtype="BF16",
            encoder_ctx=encoder_ctx,
        )
        assert found == expected, f"{ctx} tokens: {summary(decoder)}"


@pytest.mark.parametrize(
    ("model_type", "keys", "expected"),
    [(model_type, keys, expected) for model_type, keys, expected, _origin in PUBLISHED],
    ids=[f"{model_type}-{origin}" for model_type, _keys, _expected, origin in PUBLISHED],
)
def test_layers_of_published_models(
    model_type: str, keys: dict[str, object], expected: str
) -> None:
    decoder = layers(read({"model_type": model_type, **keys}))
    assert summary(decoder) == expected
    assert decoder.resolved_by == "entry"


def test_every_entry_has_a_source_and_a_row() -> None:
    seen = {row[0] for row in PUBLISHED}
    for row in reference():
        config = {"model_type": row.model_type, "architectures": [row.class_name]}
        seen.add(str(layers(read(config | dict(row.settings))).model_type))
    for entry in ARCHITECTURES:
        assert ".py: " in entry.source, entry.model_types
        assert seen & set(entry.model_types), f"no row for {entry.model_types}"


def test_a_model_type_belongs_to_one_entry() -> None:
    names = [name for entry in ARCHITECTURES for name in entry.model_types]
    assert len(names) == len(set(names))
