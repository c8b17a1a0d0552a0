"""vLLM from published configurations alone: families whose layers or positions are their own.

Sizes are as their config.json gives them; what is expected was printed by the engine or follows
from its source by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import pytest
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.flags import flags_of
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.runtimes import RUNTIMES
from hfmem.source.recorded import bundled
from hfmem.units import GIB, KIB

Config = Mapping[str, object]

# The card of the measured runs.
H100 = replace(find("h100-sxm"), usable_bytes=int(Fraction("79.19") * GIB))

SCOUT: Config = {
    "architectures": ["Llama4ForConditionalGeneration"],
    "model_type": "llama4",
    "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "llama4_text",
        "hidden_size": 5120,
        "num_hidden_layers": 48,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "num_local_experts": 16,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 1,
        "vocab_size": 202048,
        "max_position_embeddings": 10485760,
        "rope_theta": 500000.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 16.0},
        "attention_chunk_size": 8192,
        "no_rope_layers": [1, 1, 1, 0] * 12,
        "tie_word_embeddings": False,
    },
    "vision_config": {
        "model_type": "llama4_vision_model",
        "hidden_size": 1408,
        "num_hidden_layers": 34,
        "num_attention_heads": 16,
        "intermediate_size": 5632,
        "image_size": 336,
        "patch_size": 14,
        "vision_output_dim": 4096,
        "projector_input_dim": 4096,
        "projector_output_dim": 4096,
        "pixel_shuffle_ratio": 0.5,
    },
}
V2_LITE: Config = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "torch_dtype": "bfloat16",
    "hidden_size": 2048,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "vocab_size": 102400,
    "max_position_embeddings": 163840,
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
    "tie_word_embeddings": False,
}
_LATENT = {
    key: V2_LITE[key]
    for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
}
KIMI_VL: Config = {
    "architectures": ["KimiVLForConditionalGeneration"],
    "model_type": "kimi_vl",
    "torch_dtype": "bfloat16",
    "text_config": {
        **{key: value for key, value in V2_LITE.items() if key != "architectures"},
        "model_type": "deepseek_v3",
        "vocab_size": 163840,
        "max_position_embeddings": 131072,
        "intermediate_size": 11264,
        "rope_scaling": None,
    },
    "vision_config": {"model_type": "moonvit", "hidden_size": 1152, "num_hidden_layers": 27},
}
V32: Config = {
    "architectures": ["DeepseekV32ForCausalLM"],
    "model_type": "deepseek_v32",
    "torch_dtype": "bfloat16",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    **_LATENT,
    "index_head_dim": 128,
    "index_n_heads": 64,
    "index_topk": 2048,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
}
MIMO: Config = {
    "architectures": ["MiMoV2FlashForCausalLM"],
    "model_type": "mimo_v2_flash",
    "torch_dtype": "bfloat16",
    "hidden_size": 4096,
    "num_hidden_layers": 48,
    "num_attention_heads": 64,
    "num_key_value_heads": 4,
    "head_dim": 192,
    "v_head_dim": 128,
    "swa_num_attention_heads": 64,
    "swa_num_key_value_heads": 8,
    "swa_head_dim": 192,
    "swa_v_head_dim": 128,
    "sliding_window": 128,
    "sliding_window_size": 128,
    "hybrid_layer_pattern": [0, *[1, 1, 1, 1, 0] * 1, *([1] * 5 + [0]) * 7],
    "intermediate_size": 16384,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "vocab_size": 152576,
    "max_position_embeddings": 262144,
}
NEXT: Config = {
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "torch_dtype": "bfloat16",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "intermediate_size": 5120,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "vocab_size": 151936,
    "max_position_embeddings": 262144,
}


def run(
    config: Config,
    *,
    count: int = 1,
    ctx: int = 8192,
    version: str | None = None,
    gpu: Gpu = H100,
    kv_dtype: str = "auto",
    **flags: object,
) -> MemoryEstimate:
    model = describe(
        Snapshot(
            model="org/model",
            revision=None,
            source="recorded",
            config=dict(config),
            documents={},
            files=(),
            checkpoint=None,
        )
    )
    asked = workload(
        ctx=ctx,
        runtime="vllm",
        version=version,
        kv_dtype=kv_dtype,
        flags=flags_of({"gpu_memory_utilization": "0.95", **flags}, runtime="vllm"),
    )
    return RUNTIMES["vllm"].estimate(model, asked, GpuGroup(gpu=gpu, count=count))


# Printed by vLLM 0.19 on H100s of 79.19 GiB with --gpu-memory-utilization 0.95
# (llm-d-incubation/llm-d-planner docs/empirical-vllm-memory-results.md): of one rank.
@pytest.mark.parametrize(
    ("config", "count", "weights", "activations", "tokens"),
    [
        # Loaded weights exceed the headers by the table of 10,485,760 rotary positions, 2.5 GiB on
        # every rank.
        (SCOUT, 4, 53.12, 3.19, 365_968),
        (V2_LITE, 1, 29.43, 1.93, 1_505_552),
        (KIMI_VL, 2, None, 2.85, None),
    ],
)
def test_measured(
    config: Config, count: int, weights: float | None, activations: float, tokens: int | None
) -> None:
    found = run(config, count=count, version="0.19")
    rank = found.most_loaded[0]
    assert rank.part("activations").bytes / GIB == pytest.approx(activations, rel=0.10)
    if weights is not None:
        assert rank.part("weights").bytes / GIB == pytest.approx(weights, rel=0.006)
        assert found.pool is not None
        assert found.pool.tokens == pytest.approx(tokens, rel=0.015)


def test_scouts_rotary_table_is_told_apart() -> None:
    parts = {part.name: part for part in run(SCOUT, count=4).most_loaded[0].part("weights").parts}
    assert parts["rotary tables"].bytes == 10_485_760 * 128 * 2
    assert "10,485,760 positions" in parts["rotary tables"].because


def request(found: MemoryEstimate) -> int:
    """Bytes of one request on one rank, as the engine needs them to start."""
    return found.most_loaded[0].part("kv_cache").parts[0].bytes


# vLLM 0.33: a step of 8,192 tokens on an H100, two of them in flight.
@pytest.mark.parametrize(
    ("config", "count", "kv_dtype", "ctx", "needed"),
    [
        # One latent of 576 elements on every rank, whatever their number.
        (KIMI_VL, 2, "auto", 8192, 8192 * 27 * 576 * 2),
        (V2_LITE, 1, "auto", 8192, 8192 * 27 * 576 * 2),
        # Beside it the indexer's key: 128 bytes in fp8 and four of scale; blocks of 64 tokens.
        (V32, 8, "auto", 8192, 8192 * 61 * (576 * 2 + 132)),
        (V32, 8, "auto", 8193, 129 * 64 * 61 * (576 * 2 + 132)),
        (V32, 8, "fp8", 8192, 8192 * 61 * (656 + 132)),
        # Pages of the wider sliding layers, 8 heads of 192 + 128, for 9 layers: a full layer's
        # block holds 32 tokens; five groups of windows of 127 and 16,384 tokens, at 16.
        (MIMO, 1, "auto", 32_768, (32_768 // 32 + 5 * 1033) * 9 * 16 * 8 * 320 * 2),
        # On 8 ranks every layer keeps one head: all blocks hold 16 tokens.
        (MIMO, 8, "auto", 32_768, (32_768 // 16 + 5 * 1033) * 9 * 16 * 320 * 2),
        # 544 tokens of 2 heads of 256 + 256 hold a state of 1,097,728 bytes; 12 layers a group,
        # three groups of states with two blocks each, and one that a prefill leaves on its way.
        (NEXT, 1, "auto", 32_768, (-(-32_768 // 544) + 3 * 3) * 12 * 544 * 2 * 512 * 2),
        # Chunks of 8,192 and the tokens in flight in three groups of 12 layers, full ones in one.
        (SCOUT, 4, "auto", 65_536, (4096 + 3 * 1536) * 12 * 16 * 2 * 256 * 2),
    ],
)
def test_a_request(config: Config, count: int, kv_dtype: str, ctx: int, needed: int) -> None:
    assert request(run(config, count=count, kv_dtype=kv_dtype, ctx=ctx)) == needed


def test_gemma_4_at_its_full_context() -> None:
    # vLLM 0.24 on an H200 prints 108.2 KiB a token at 262,144 (configiq#112).
    gemma: Config = {
        "architectures": ["Gemma4ForCausalLM"],
        "model_type": "gemma4_text",
        "torch_dtype": "bfloat16",
        "hidden_size": 5376,
        "num_hidden_layers": 60,
        "num_attention_heads": 32,
        "num_key_value_heads": 16,
        "num_global_key_value_heads": 4,
        "head_dim": 256,
        "global_head_dim": 512,
        "attention_k_eq_v": True,
        "sliding_window": 1024,
        "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
        "intermediate_size": 21504,
        "vocab_size": 262144,
        "max_position_embeddings": 262144,
    }
    found = run(gemma, ctx=262_144, version="0.24", gpu=find("h200-sxm"))
    assert round(request(found) / 262_144 / KIB, 1) == 108.2


def test_quantized_latent_projections_are_held_twice() -> None:
    plain = {part.name for part in run(V2_LITE).most_loaded[0].part("weights").parts}
    assert "absorbed projections" not in plain
    snapshot = bundled("deepseek-ai/DeepSeek-V3")
    assert snapshot is not None
    found = RUNTIMES["vllm"].estimate(
        describe(snapshot),
        workload(ctx=8192, runtime="vllm"),
        GpuGroup(gpu=find("h200-sxm"), count=8),
    )
    parts = {part.name: part.bytes for part in found.most_loaded[0].part("weights").parts}
    assert parts["absorbed projections"] == 61 * 512 * 16 * (128 + 128) * 2


@pytest.mark.parametrize(("dp", "rows"), [(1, 49_152), (8, 393_216)])
def test_replicas_gather_their_tokens_before_the_experts(dp: int, rows: int) -> None:
    found = run(V2_LITE, count=dp, dp=dp).most_loaded[0].part("activations")
    spaces = {part.name: part for part in found.parts}
    assert spaces["expert workspaces"].because.startswith(f"{rows:,} routed rows")
    assert ("gathered tokens" in spaces) == (dp > 1)


# GiB of CUDA graphs in the same runs; models of experts differ most.
@pytest.mark.parametrize(
    ("config", "count", "graphs"), [(SCOUT, 4, 1.13), (V2_LITE, 1, 1.57), (KIMI_VL, 2, 1.26)]
)
def test_graphs_of_experts_lie_in_their_range(config: Config, count: int, graphs: float) -> None:
    overhead = run(config, count=count, version="0.19").most_loaded[0].part("overhead")
    found = next(part for part in overhead.parts if part.name == "graphs")
    low, high = found.range_bytes
    assert low <= graphs * GIB <= high
