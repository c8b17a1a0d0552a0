"""What the layers of GGUF models keep, from the keys that converters write.

The rules are llama.cpp's (2026-11, src/llama-model.cpp and src/models/*.cpp), the numbers those of
published models; what transformers keeps of the same model is the other witness.
"""

from __future__ import annotations

from collections import Counter

import pytest

from hfmem.errors import (
    HfmemError,
    InvalidValueError,
    MissingKeyError,
    UnsupportedArchitectureError,
)
from hfmem.memory.kv_cache import cache_bytes, group
from hfmem.model.architectures import layers as layers_of
from hfmem.model.config import read
from hfmem.model.gguf import families
from hfmem.model.gguf.keys import read_keys
from hfmem.model.gguf.layers import cache_layers
from hfmem.model.layers import (
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    Layer,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)
from tests.gguf_files import Value, llama


def keep(architecture: str, **keys: Value) -> tuple[Layer, ...]:
    return cache_layers(read_keys(llama(architecture, **keys)))


def full(heads: int, size: int, value: int | None = None, **more: int) -> FullAttention:
    return FullAttention(kv_heads=heads, head_dim=size, v_head_dim=value or size, **more)


def sliding(heads: int, size: int, window: int) -> SlidingWindow:
    return SlidingWindow(kv_heads=heads, head_dim=size, v_head_dim=size, window=window)


def state(conv: int, elements: int, kernel: int) -> RecurrentState:
    return RecurrentState(
        conv_elements=conv,
        state_elements=elements,
        conv_dtype=None,
        state_dtype="F32",
        conv_kernel=kernel,
    )


def counted(layers: tuple[Layer, ...]) -> dict[object, int]:
    return dict(Counter(kind for layer in layers for kind in layer))


GEMMA3 = {
    "block_count": 62,
    "embedding_length": 5376,
    "attention__head_count": 32,
    "attention__head_count_kv": 16,
    "attention__key_length": 128,
    "attention__value_length": 128,
    "attention__sliding_window": 1024,
}
GPT_OSS = {
    "block_count": 24,
    "embedding_length": 2880,
    "attention__head_count": 64,
    "attention__head_count_kv": 8,
    "attention__key_length": 64,
    "attention__value_length": 64,
    "attention__sliding_window": 128,
}
DEEPSEEK = {
    "block_count": 61,
    "embedding_length": 7168,
    "attention__head_count": 128,
    "attention__head_count_kv": 1,
    "attention__key_length": 576,
    "attention__value_length": 512,
    "attention__key_length_mla": 192,
    "attention__value_length_mla": 128,
    "attention__kv_lora_rank": 512,
}
LATENT = LatentAttention(rank=512, rope_dim=64, heads=128)
QWEN3_NEXT = {
    "block_count": 48,
    "embedding_length": 2048,
    "attention__head_count": 16,
    "attention__head_count_kv": 2,
    "attention__key_length": 256,
    "attention__value_length": 256,
    "ssm__conv_kernel": 4,
    "ssm__inner_size": 4096,
    "ssm__state_size": 128,
    "ssm__time_step_rank": 32,
    "ssm__group_count": 16,
}
MAMBA = {
    "block_count": 64,
    "embedding_length": 2560,
    "attention__head_count": 0,
    "attention__head_count_kv": 0,
    "ssm__conv_kernel": 4,
    "ssm__inner_size": 5120,
    "ssm__state_size": 16,
    "ssm__time_step_rank": 160,
}
LFM2 = [0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 8, 0, 8, 0, 8, 0]
GEMMA4 = {
    "block_count": 6,
    "embedding_length": 1536,
    "attention__head_count": 8,
    "attention__head_count_kv": [2, 2, 1, 2, 2, 1],
    "attention__key_length": 512,
    "attention__value_length": 512,
    "attention__key_length_swa": 256,
    "attention__value_length_swa": 256,
    "attention__sliding_window": 512,
    "attention__sliding_window_pattern": [True, True, False] * 2,
    "attention__shared_kv_layers": 2,
}
TABLE: dict[str, tuple[str, dict[str, Value], dict[object, int]]] = {
    "Llama-3.1-8B": ("llama", {}, {full(8, 128): 32}),
    "no head_count_kv": ("gpt2", {"attention__head_count_kv": 32}, {full(32, 128): 32}),
    "Gemma-3-27B": ("gemma3", GEMMA3, {sliding(16, 128, 1024): 52, full(16, 128): 10}),
    "Gemma 3 without a window": (
        "gemma3",
        {**GEMMA3, "attention__sliding_window": 0},
        {full(16, 128): 62},
    ),
    "Gemma-2-9B, an old file": (
        "gemma2",
        {"block_count": 42},
        {sliding(8, 128, 4096): 21, full(8, 128): 21},
    ),
    "gpt-oss-20b": ("gpt-oss", GPT_OSS, {sliding(8, 64, 128): 12, full(8, 64): 12}),
    "a period in the file": (
        "gpt-oss",
        {**GPT_OSS, "attention__sliding_window_pattern": 4},
        {sliding(8, 64, 128): 18, full(8, 64): 6},
    ),
    "phi3's window is not applied": (
        "phi3",
        {"attention__sliding_window": 2047},
        {full(8, 128): 32},
    ),
    "llama's is not either": ("llama", {"attention__sliding_window": 4096}, {full(8, 128): 32}),
    "EXAONE-4-32B": (
        "exaone4",
        {"block_count": 64, "attention__sliding_window": 4096},
        {sliding(8, 128, 4096): 48, full(8, 128): 16},
    ),
    "EXAONE-4-1.2B": ("exaone4", {"block_count": 30}, {full(8, 128): 30}),
    "SmallThinker": (
        "smallthinker",
        {"attention__sliding_window": 512},
        {full(8, 128): 8, sliding(8, 128, 4096): 24},
    ),
    "Llama 4": (
        "llama4",
        {"block_count": 48},
        {
            ChunkedAttention(kv_heads=8, head_dim=128, v_head_dim=128, chunk=8192): 36,
            full(8, 128): 12,
        },
    ),
    "Llama 4 without chunks": ("llama4", {"attention__sliding_window": 0}, {full(8, 128): 32}),
    "Gemma 4": (
        "gemma4",
        GEMMA4,
        {
            SlidingWindow(kv_heads=2, head_dim=256, v_head_dim=256, window=512): 3,
            full(1, 512): 1,
            SharedCache(of_layer=2): 1,
            SharedCache(of_layer=3): 1,
        },
    ),
    "Gemma 3n": (
        "gemma3n",
        {"block_count": 35, "attention__sliding_window": 512},
        {
            sliding(8, 128, 512): 16,
            full(8, 128): 4,
            SharedCache(of_layer=18): 12,
            SharedCache(of_layer=19): 3,
        },
    ),
    "DeepSeek-V3": ("deepseek2", DEEPSEEK, {LATENT: 61}),
    "DeepSeek-V2, an old file": (
        "deepseek2",
        {
            "attention__kv_lora_rank": 512,
            "attention__head_count_kv": 32,
            "attention__key_length": 192,
            "attention__value_length": 128,
        },
        {full(32, 192, 128): 32},
    ),
    "DeepSeek-V3.2": (
        "deepseek32",
        {**DEEPSEEK, "attention__indexer__key_length": 128},
        {LatentAttention(rank=512, rope_dim=64, heads=128, indexer_dim=128): 61},
    ),
    "GLM-4.5-Air without its draft layer": (
        "glm4moe",
        {"block_count": 47, "nextn_predict_layers": 1},
        {full(8, 128): 46},
    ),
    "GLM-5.2": (
        "glm-dsa",
        {
            **DEEPSEEK,
            "block_count": 4,
            "attention__indexer__key_length": 128,
            "attention__indexer__types": [1, 0, 0, 1],
        },
        {LATENT: 2, LatentAttention(rank=512, rope_dim=64, heads=128, indexer_dim=128): 2},
    ),
    "MiniMax-M3": (
        "minimax-m3",
        {"leading_dense_block_count": 3, "attention__indexer__key_length": 128},
        {full(8, 128): 3, full(8, 128, indexer_dim=128): 29},
    ),
    "DeepSeek-V4": (
        "deepseek4",
        {
            "block_count": 3,
            "attention__head_count_kv": 1,
            "attention__key_length": 512,
            "attention__sliding_window": 128,
            "attention__compress_ratios": [0, 4, 128],
            "attention__indexer__key_length": 128,
        },
        {
            CompressedAttention(head_dim=512, window=128, ratio=0): 1,
            CompressedAttention(head_dim=512, window=128, ratio=4, indexer_dim=128): 1,
            CompressedAttention(head_dim=512, window=128, ratio=128): 1,
        },
    ),
    "Qwen3-Next-80B": (
        "qwen3next",
        QWEN3_NEXT,
        {state((4096 + 2 * 16 * 128) * 4, 32 * 128 * 128, 4): 36, full(2, 256): 12},
    ),
    "recurrent layers that the file lists": (
        "qwen35",
        {
            **QWEN3_NEXT,
            "block_count": 3,
            "attention__recurrent_layers": [True, False, True],
        },
        {state(8192 * 4, 524_288, 4): 2, full(2, 256): 1},
    ),
    "LFM2-1.2B": (
        "lfm2",
        {
            "block_count": 16,
            "embedding_length": 2048,
            "attention__head_count_kv": LFM2,
            "shortconv__l_cache": 3,
        },
        {state(2048 * 3, 0, 3): 10, full(8, 64): 6},
    ),
    "Mamba-2.8B": ("mamba", MAMBA, {state(5120 * 4, 5120 * 16, 4): 64}),
    "Jamba": (
        "jamba",
        {
            **MAMBA,
            "block_count": 4,
            "attention__head_count": 32,
            "attention__head_count_kv": [0, 0, 8, 0],
        },
        {state(5120 * 4, 5120 * 16, 4): 3, full(8, 80): 1},
    ),
    "Falcon-H1": (
        "falcon-h1",
        {**QWEN3_NEXT, "block_count": 2},
        {full(2, 256): 2, state(8192 * 4, 524_288, 4): 2},
    ),
    "Nemotron-H: a state, a feed-forward, an attention": (
        "nemotron_h",
        {
            **QWEN3_NEXT,
            "block_count": 3,
            "attention__head_count_kv": [0, 0, 8],
            "feed_forward_length": [0, 21504, 0],
        },
        {state(8192 * 4, 524_288, 4): 1, NoCache(): 1, full(8, 256): 1},
    ),
    "Kimi-Linear": (
        "kimi-linear",
        {
            **DEEPSEEK,
            "block_count": 4,
            "attention__head_count": 32,
            "attention__head_count_kv": [0, 0, 0, 1],
            "kda__head_dim": 128,
            "ssm__conv_kernel": 4,
        },
        {
            state(3 * 32 * 128 * 4, 32 * 128 * 128, 4): 3,
            LatentAttention(rank=512, rope_dim=64, heads=32): 1,
        },
    ),
    "MiniMax-Text-01": (
        "minimax-01",
        {"block_count": 16, "attention__key_length": 128},
        {
            state(0, 32 * 128 * 128, 0): 14,
            FullAttention(kv_heads=8, head_dim=128, v_head_dim=128): 2,
        },
    ),
    "RWKV-7": (
        "rwkv7",
        {"attention__head_count": 0, "wkv__head_size": 64},
        {state(2 * 4096, 4096 * 64, 0): 32},
    ),
    "removed attention": (
        "deci",
        {
            "block_count": 3,
            "attention__head_count": [32, 0, 32],
            "attention__head_count_kv": [8, 0, 4],
        },
        {full(8, 128): 1, NoCache(): 1, full(4, 128): 1},
    ),
    "BERT keeps nothing": ("bert", {}, {NoCache(): 32}),
    "T5": (
        "t5",
        {"decoder_block_count": 24, "attention__head_count_kv": 32},
        {
            full(32, 128): 24,
            CrossAttention(kv_heads=32, head_dim=128, v_head_dim=128, source_tokens=None): 24,
        },
    ),
}


@pytest.mark.parametrize("model", TABLE)
def test_layers(model: str) -> None:
    architecture, keys, expected = TABLE[model]
    assert counted(keep(architecture, **keys)) == expected


def test_the_full_layer_is_the_last_of_a_period_or_the_first() -> None:
    assert isinstance(keep("gemma2", block_count=4)[0][0], SlidingWindow)
    assert isinstance(keep("gemma2", block_count=4)[1][0], FullAttention)
    dense_first = keep("cohere2moe", block_count=4, attention__sliding_window=4096)
    assert isinstance(dense_first[0][0], FullAttention)
    assert isinstance(dense_first[3][0], SlidingWindow)


@pytest.mark.parametrize(
    ("architecture", "keys", "config"),
    [
        (
            "gemma3",
            GEMMA3,
            {
                "model_type": "gemma3_text",
                "num_hidden_layers": 62,
                "hidden_size": 5376,
                "num_attention_heads": 32,
                "num_key_value_heads": 16,
                "head_dim": 128,
                "sliding_window": 1024,
            },
        ),
        (
            "gpt-oss",
            GPT_OSS,
            {
                "model_type": "gpt_oss",
                "num_hidden_layers": 24,
                "hidden_size": 2880,
                "num_attention_heads": 64,
                "num_key_value_heads": 8,
                "head_dim": 64,
                "sliding_window": 128,
            },
        ),
        (
            "qwen3next",
            QWEN3_NEXT,
            {
                "model_type": "qwen3_next",
                "num_hidden_layers": 48,
                "hidden_size": 2048,
                "num_attention_heads": 16,
                "num_key_value_heads": 2,
                "head_dim": 256,
            },
        ),
        (
            "deepseek2",
            DEEPSEEK,
            {
                "model_type": "deepseek_v3",
                "num_hidden_layers": 61,
                "hidden_size": 7168,
                "num_attention_heads": 128,
                "kv_lora_rank": 512,
                "qk_rope_head_dim": 64,
            },
        ),
    ],
)
def test_transformers_keeps_the_same(
    architecture: str, keys: dict[str, Value], config: dict[str, object]
) -> None:
    assert keep(architecture, **keys) == layers_of(read(config)).layers


@pytest.mark.parametrize(
    ("architecture", "keys", "error", "words"),
    [
        ("nothing-known", {}, UnsupportedArchitectureError, "'nothing-known' keeps is not known"),
        ("qwen4exp", {}, UnsupportedArchitectureError, "not known"),
        ("clip", {}, UnsupportedArchitectureError, "mmproj"),
        ("eagle3", {}, UnsupportedArchitectureError, "a draft model"),
        ("glm-dsa", {**DEEPSEEK, "context_length": 2**20, "attention__indexer__key_length": 128},
         UnsupportedArchitectureError, "does not list"),
        ("cohere2", {}, MissingKeyError, "sliding_window"),
        ("mimo2", {"attention__sliding_window": 128}, MissingKeyError, "sliding_window_pattern"),
        ("mamba", {}, MissingKeyError, "ssm.conv_kernel"),
        ("llama", {"attention__head_count_kv": [8, 8]}, InvalidValueError, "a list of 32"),
        ("llama", {"block_count": 0}, InvalidValueError, "block_count"),
        ("llama", {"block_count": 1_000_000}, InvalidValueError, "block_count"),
        ("llama", {"nextn_predict_layers": 33}, InvalidValueError, "nextn_predict_layers"),
        ("llama", {"attention__head_count": "many"}, InvalidValueError, "head_count"),
        ("llama", {"embedding_length": 0}, InvalidValueError, "embedding_length"),
        ("gemma4", {**GEMMA4, "attention__shared_kv_layers": 5}, InvalidValueError, "shared"),
        ("gemma4", {**GEMMA4, "attention__sliding_window_pattern": 2}, InvalidValueError, "list"),
    ],
)  # fmt: skip
def test_refused(
    architecture: str, keys: dict[str, Value], error: type[HfmemError], words: str
) -> None:
    with pytest.raises(error, match=words):
        keep(architecture, **keys)


def test_no_block_count() -> None:
    keys = read_keys({"general.architecture": "llama", "llama.attention.head_count": 32})
    with pytest.raises(MissingKeyError, match="block_count"):
        cache_layers(keys)


def test_no_architecture() -> None:
    with pytest.raises(MissingKeyError, match=r"general\.architecture"):
        read_keys({"llama.block_count": 3})


def test_every_architecture_has_one_rule() -> None:
    rules = [
        families.PLAIN,
        families.SLIDING.keys() - families.INDEXED,
        families.RECURRENT,
        families.HYBRID.keys(),
        families.INDEXED,
        families.ENCODERS,
        families.BESIDE.keys(),
    ]
    names = [name for rule in rules for name in rule]
    assert len(names) == len(set(names))


# In F16 at 32,768 tokens, of which half, a fifth and nothing are what a rule over heads and the
# embedding says. The files' own keys; unsloth's studio has the last.
@pytest.mark.parametrize(
    ("name", "mebibytes"), [("Qwen3-0.6B", 3584), ("DeepSeek-V3", 2196), ("LFM2-1.2B", 384)]
)
def test_cache_of_published_files(name: str, mebibytes: int) -> None:
    qwen3: dict[str, Value] = {
        "block_count": 28,
        "embedding_length": 1024,
        "attention__head_count": 16,
        "attention__head_count_kv": 8,
        "attention__key_length": 128,
        "attention__value_length": 128,
    }
    architecture, keys = ("qwen3", qwen3) if name == "Qwen3-0.6B" else TABLE[name][:2]
    grown = cache_bytes(
        group(keep(architecture, **keys)),
        ctx=32_768,
        batch=1,
        kv_dtype="F16",
        model_dtype="F16",
        encoder_ctx=0,
    )
    cached = sum(one.bytes for one in grown if not isinstance(one.group.kind, RecurrentState))
    assert cached == mebibytes * 2**20
