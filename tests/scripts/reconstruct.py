"""Writes hfmem/source/bundled/: twelve models from their published configurations.

Run after a change of the recorded format or of a family: ``python tests/scripts/reconstruct.py``.
The tables hold the facts that sizes follow from, not whole files; the tensors are those that
``declared_tensors`` derives, and the notes say what was inferred and what confirms it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from hfmem.checkpoint.snapshot import Checkpoint, Note, RepoFile, Snapshot
from hfmem.model.config import read
from hfmem.model.declared import declared_tensors
from hfmem.source.recorded import file_name, write

TARGET = Path(__file__).parents[2] / "hfmem" / "source" / "bundled"
RECORDED = "2026-11-20"


class Published(Struct, frozen=True, kw_only=True):
    """A model's facts."""

    model: str
    note: str
    """Follows "from the published configuration; "."""
    config: Mapping[str, object]
    shards: int
    first_shard: int = 1
    """gpt-oss counts from 0, and to one less than it has."""


def _decoder(
    class_name: str, model_type: str, *, hidden: int, intermediate: int, layers: int
) -> dict[str, object]:
    return {
        "architectures": [class_name],
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "torch_dtype": "bfloat16",
    }


def _llama31(*, hidden: int, intermediate: int, layers: int, heads: int) -> dict[str, object]:
    return {
        **_decoder(
            "LlamaForCausalLM", "llama", hidden=hidden, intermediate=intermediate, layers=layers
        ),
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "tie_word_embeddings": False,
    }


def _mistral(class_name: str, model_type: str, *, vocabulary: int) -> dict[str, object]:
    return {
        **_decoder(class_name, model_type, hidden=4096, intermediate=14336, layers=32),
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32768,
        "hidden_act": "silu",
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
    }


def _qwen2(
    class_name: str, model_type: str, *, sizes: tuple[int, int, int], heads: tuple[int, int]
) -> dict[str, object]:
    hidden, intermediate, layers = sizes
    return {
        **_decoder(class_name, model_type, hidden=hidden, intermediate=intermediate, layers=layers),
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "hidden_act": "silu",
        "rope_theta": 1000000.0,
        "sliding_window": 131072,
        "use_sliding_window": False,
        "tie_word_embeddings": False,
    }


def _llava_video(*, sizes: tuple[int, int, int], heads: tuple[int, int]) -> dict[str, object]:
    return {
        **_qwen2("LlavaQwenForCausalLM", "llava", sizes=sizes, heads=heads),
        "mm_vision_tower": "google/siglip-so400m-patch14-384",
        "mm_hidden_size": 1152,
        "mm_projector_type": "mlp2x_gelu",
        "mm_resampler_type": None,
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_patch_merge_type": "spatial_unpad",
        "mm_newline_position": "grid",
        "mm_spatial_pool_mode": "bilinear",
        "image_aspect_ratio": "anyres_max_9",
        "image_grid_pinpoints": [[384 * i, 384 * j] for i in range(1, 7) for j in range(1, 7)],
        "add_faster_video": False,
    }


def _qwen3(
    class_name: str, model_type: str, *, sizes: tuple[int, int, int], kv_heads: int
) -> dict[str, object]:
    hidden, intermediate, layers = sizes
    return {
        **_decoder(class_name, model_type, hidden=hidden, intermediate=intermediate, layers=layers),
        "num_attention_heads": 32,
        "num_key_value_heads": kv_heads,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "attention_bias": False,
        "hidden_act": "silu",
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "use_sliding_window": False,
        "tie_word_embeddings": False,
    }


_GEMMA_3_27B: dict[str, object] = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "torch_dtype": "bfloat16",
    "mm_tokens_per_image": 256,
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 5376,
        "intermediate_size": 21504,
        "num_hidden_layers": 62,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "head_dim": 128,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 168,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
        "attention_bias": False,
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "num_channels": 3,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    },
}
_DEEPSEEK_V3: dict[str, object] = {
    **_decoder("DeepseekV3ForCausalLM", "deepseek_v3", hidden=7168, intermediate=18432, layers=61),
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "attention_bias": False,
    "hidden_act": "silu",
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "num_nextn_predict_layers": 1,
    "rope_theta": 10000,
    "rope_scaling": {
        "type": "yarn",
        "factor": 40,
        "original_max_position_embeddings": 4096,
    },
    "quantization_config": {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    },
    "tie_word_embeddings": False,
}
_GPT_OSS_20B: dict[str, object] = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 201088,
    "max_position_embeddings": 131072,
    "attention_bias": True,
    "hidden_act": "silu",
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "rope_theta": 150000,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
    },
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    },
    "tie_word_embeddings": False,
}

_LLAVA_NOTE = (
    "sizes that the file leaves to Qwen2-{size} are Qwen2-{size}'s, and the vision tower is"
    " SigLIP so400m without its last layer and head, as LLaVA-NeXT stores it. {check}"
)
MODELS = (
    Published(
        model="lmms-lab/LLaVA-Video-72B-Qwen2",
        note=_LLAVA_NOTE.format(
            size="72B",
            check="The total agrees with the 73.2 B that the Hub shows, and the same derivation"
            " with the published llava-onevision-qwen2-72b-ov-hf.",
        ),
        config=_llava_video(sizes=(8192, 29568, 80), heads=(64, 8)),
        shards=31,
    ),
    Published(
        model="lmms-lab/LLaVA-Video-7B-Qwen2",
        note=_LLAVA_NOTE.format(
            size="7B",
            check="The total is that of llava-onevision-qwen2-7b-ov, which has the same tensors.",
        ),
        config=_llava_video(sizes=(3584, 18944, 28), heads=(28, 4)),
        shards=4,
    ),
    Published(
        model="meta-llama/Llama-3.1-8B-Instruct",
        note="the total is the published one.",
        config=_llama31(hidden=4096, intermediate=14336, layers=32, heads=32),
        shards=4,
    ),
    Published(
        model="meta-llama/Llama-3.1-70B-Instruct",
        note="the total is the published one.",
        config=_llama31(hidden=8192, intermediate=28672, layers=80, heads=64),
        shards=30,
    ),
    Published(
        model="Qwen/Qwen2.5-7B-Instruct",
        note="the total is the published one.",
        config=_qwen2("Qwen2ForCausalLM", "qwen2", sizes=(3584, 18944, 28), heads=(28, 4)),
        shards=4,
    ),
    Published(
        model="Qwen/Qwen3-8B",
        note="the total is the published one.",
        config=_qwen3("Qwen3ForCausalLM", "qwen3", sizes=(4096, 12288, 36), kv_heads=8),
        shards=5,
    ),
    Published(
        model="Qwen/Qwen3-30B-A3B",
        note="the total is the published one.",
        config={
            **_qwen3("Qwen3MoeForCausalLM", "qwen3_moe", sizes=(2048, 6144, 48), kv_heads=4),
            "moe_intermediate_size": 768,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
        shards=16,
    ),
    Published(
        model="mistralai/Mistral-7B-Instruct-v0.3",
        note="the total is v0.2's with 768 more tokens; the repository repeats the tensors in"
        " consolidated.safetensors, which transformers does not load.",
        config=_mistral("MistralForCausalLM", "mistral", vocabulary=32768),
        shards=3,
    ),
    Published(
        model="mistralai/Mixtral-8x7B-Instruct-v0.1",
        note="the total is the published one.",
        config={
            **_mistral("MixtralForCausalLM", "mixtral", vocabulary=32000),
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
        shards=19,
    ),
    Published(
        model="google/gemma-3-27b-it",
        note="total and names are those of the published index of medgemma-27b-it, which has the"
        " same tensors.",
        config=_GEMMA_3_27B,
        shards=12,
    ),
    Published(
        model="deepseek-ai/DeepSeek-V3",
        note="which tensors stay unquantized, and the names of layer 61, follow README_WEIGHTS.md;"
        " the 684,531,386,000 stored elements are the Hub's count.",
        config=_DEEPSEEK_V3,
        shards=163,
    ),
    Published(
        model="openai/gpt-oss-20b",
        note="the file names no dtype, the unpacked tensors are BF16; 13,761,264,768 bytes are the"
        " published index's total.",
        config=_GPT_OSS_20B,
        shards=3,
        first_shard=0,
    ),
)


def snapshot(published: Published) -> Snapshot:
    """The reconstructed facts of a model."""
    tensors = declared_tensors(read(published.config))
    if tensors is None:
        raise SystemExit(f"{published.model}: the configuration does not declare its tensors")
    first, count = published.first_shard, published.shards
    last = first + count - 1
    names = tuple(
        f"model-{number:05d}-of-{last:05d}.safetensors" for number in range(first, last + 1)
    )
    note = f"from the published configuration; {published.note}"
    return Snapshot(
        model=published.model,
        revision=None,
        source="bundled",
        config=published.config,
        documents={},
        files=tuple(RepoFile(name=name, bytes=None) for name in names),
        checkpoint=Checkpoint(files=names, tensors=tensors, metadata={}),
        reconstructed=True,
        notes=(Note(code="reconstructed", message=note),),
    )


def texts() -> dict[str, str]:
    """The files by name."""
    return {file_name(one.model): write(snapshot(one), on=RECORDED) for one in MODELS}


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for name, text in texts().items():
        (TARGET / name).write_text(text, encoding="utf-8")
