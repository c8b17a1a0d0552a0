"""MLX: steps of growth, rotating and quantized caches, the working set. Sources: mlx-lm 0.32.2."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Checkpoint, Snapshot
from hfmem.checkpoint.tensor import TensorRun
from hfmem.dtypes import BITS
from hfmem.errors import UsageError
from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.layers import ChunkedAttention, FullAttention, SlidingWindow
from hfmem.model.model import Model
from hfmem.runtimes import mlx_weights
from hfmem.runtimes.mlx import cells, estimate, grown, row_bytes
from hfmem.runtimes.mlx_command import generate
from hfmem.source.recorded import bundled

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GEMMA = "google/gemma-3-27b-it"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
FULL = FullAttention(kv_heads=8, head_dim=128, v_head_dim=128)
SLIDING = SlidingWindow(kv_heads=8, head_dim=128, v_head_dim=128, window=1024)
CHUNKED = ChunkedAttention(kv_heads=8, head_dim=128, v_head_dim=128, chunk=8192)


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def run(name: str, *, ctx: int, gpu: str = "", batch: int = 1, **flags: Any) -> MemoryEstimate:
    kv, quantize = flags.pop("kv_dtype", "auto"), flags.pop("quantize", None)
    asked = workload(
        ctx=ctx,
        batch=batch,
        runtime="mlx",
        kv_dtype=kv,
        quantize=quantize,
        flags=flags_of(flags, runtime="mlx"),
    )
    return estimate(model(name), asked, GpuGroup(gpu=find(gpu)) if gpu else None)


def cache(found: MemoryEstimate, phase: str) -> int:
    return next(p for p in found.phases if p.name == phase).part("kv_cache").bytes


@pytest.mark.parametrize(("tokens", "held"), [(1, 256), (256, 256), (257, 512), (8192, 8192)])
def test_steps_of_256(tokens: int, held: int) -> None:
    assert grown(tokens) == held


# models/cache.py: KVCache, RotatingKVCache._update_concat and _update_in_place, ChunkedKVCache;
# generate.py: the prompt's last token comes alone.
@pytest.mark.parametrize(
    ("kind", "tokens", "rotating", "chunk", "held"),
    [
        (FULL, 1000, True, 1, 1024),
        (SLIDING, 100, True, 1, 99 + 256),
        (SLIDING, 900, True, 1, 1024),
        (SLIDING, 9000, True, 1, 1024),
        (SLIDING, 9000, True, 2048, 1023 + 2048),
        (SLIDING, 500, True, 500, 500),
        (SLIDING, 9000, False, 1, 9216),
        (CHUNKED, 8000, False, 1, 8192),
        (CHUNKED, 9000, False, 1, 8192 + 256),
        (CHUNKED, 20_000, False, 2048, 8192 + 2048),
    ],
)
def test_cells(
    kind: FullAttention | SlidingWindow | ChunkedAttention,
    tokens: int,
    rotating: bool,
    chunk: int,
    held: int,
) -> None:
    assert cells(kind, tokens, rotating=rotating, chunk=chunk) == held


# models/cache.py: QuantizedKVCache: words of 32 bits, a scale and an offset for 64 elements.
@pytest.mark.parametrize(
    ("elements", "bits", "size"),
    [(128, None, 256), (128, 8, 128 + 8), (128, 4, 64 + 8), (64, 2, 16 + 4)],
)
def test_rows(elements: int, bits: int | None, size: int) -> None:
    assert row_bytes(elements, element=2, bits=bits) == size


@pytest.mark.parametrize(
    ("ctx", "flags", "size"),
    [
        (8192, {}, 2**30),
        (4999, {"kv_bits": 8}, 5120 * 131_072),
        (32_768, {"kv_bits": 8}, 32_768 * 131_072 * 17 // 32),
        (32_768, {"kv_dtype": "q8"}, 32_768 * 131_072 * 17 // 32),
        # Looked at after chunks of 2,048: 6,144 cells before, more than 8,192 in 4 bits.
        (8192, {"kv_dtype": "q4"}, 6144 * 131_072),
        (65_536, {"kv_dtype": "q4"}, 65_536 * 131_072 * 9 // 32),
        (8192, {"kv_dtype": "q4", "quantized_kv_start": 0}, 8192 * 131_072 * 9 // 32),
    ],
)
def test_quantized_from_5000_tokens(ctx: int, flags: dict[str, Any], size: int) -> None:
    assert cache(run(LLAMA, ctx=ctx, **flags), "decode") == size


def test_sliding_layers_of_gemma_3() -> None:
    found = run(GEMMA, ctx=8192)
    assert cache(found, "decode") == (10 * 8192 + 52 * 1024) * 8192
    assert cache(found, "prefill") == (10 * 8192 + 52 * 3071) * 8192


def test_the_latent_is_cached() -> None:
    # models/deepseek_v3.py: cache.update_and_fetch(kv_latent, k_pe).
    assert cache(run(DEEPSEEK, ctx=8192), "decode") == 8192 * 70_272


def test_a_vision_tower_is_left_out() -> None:
    found = run(GEMMA, ctx=8192)
    assert "language_only" in {note.code for note in found.notes}
    assert {part.name for part in found.phases[0].part("weights").parts} == {
        "language",
        "embedding",
    }


# models/deepseek_v3.py takes k_pe.swapaxes of what a quantized cache gives as a tuple.
def test_a_latent_is_not_quantized() -> None:
    with pytest.raises(UsageError, match="latent"):
        run(DEEPSEEK, ctx=8192, kv_dtype="q8")


def latent_model(model_type: str, **more: object) -> Model:
    """A decoder of two latent layers."""
    sizes = {
        "hidden_size": 1024,
        "intermediate_size": 2048,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "vocab_size": 1000,
        "kv_lora_rank": 256,
        "q_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "torch_dtype": "bfloat16",
    }
    snapshot = Snapshot(
        model="two/layers",
        revision=None,
        source="recorded",
        config={"model_type": model_type, **sizes, **more},
        documents={},
        files=(),
        checkpoint=None,
    )
    return describe(snapshot)


# models/minicpm3.py and deepseek_v2.py cache 8 heads of 192 keys and 128 values; in 8 bits with
# groups of 64. models/deepseek_v32.py keeps its caches in a CacheList, which has no to_quantized.
@pytest.mark.parametrize(
    ("model_type", "more", "kv", "cell"),
    [
        ("minicpm3", {}, "auto", 8 * (192 + 128) * 2),
        ("deepseek_v2", {}, "auto", 8 * (192 + 128) * 2),
        ("deepseek_v2", {}, "q8", 8 * (192 + 3 * 4 + 128 + 2 * 4)),
        ("deepseek_v32", {"index_head_dim": 128}, "q8", (256 + 64 + 2 * 128) * 2),
    ],
)
def test_latents_by_family(model_type: str, more: dict[str, object], kv: str, cell: int) -> None:
    asked = workload(ctx=16_384, runtime="mlx", kv_dtype=kv)
    found = estimate(latent_model(model_type, **more), asked, None)
    assert cache(found, "decode") == 2 * 16_384 * cell
    ignored = "kv_not_quantized" in {note.code for note in found.notes}
    assert ignored == (model_type == "deepseek_v32")


def test_a_rotating_cache_is_not_quantized() -> None:
    with pytest.raises(UsageError, match="rotating"):
        run(GEMMA, ctx=8192, kv_dtype="q8")


@pytest.mark.parametrize("bits", [3, 5, 6])
def test_widths_that_words_do_not_hold(bits: int) -> None:
    with pytest.raises(UsageError, match="32 bits"):
        run(LLAMA, ctx=8192, kv_bits=bits)


def test_4_bits_in_groups_of_64() -> None:
    # Every matrix, the embedding and the head at 4.5 bits; norms in bf16.
    found = run(LLAMA, ctx=8192, quantize="mlx-4bit", gpu="apple-m4-max-64gb")
    assert found.refusal is None
    assert (
        found.phases[0].part("weights").bytes
        == (8_030_261_248 - 65 * 4096) * 9 // 16 + 65 * 4096 * 2
    )


def test_near_the_working_set() -> None:
    found = run(LLAMA, ctx=1024, gpu="apple-m4-max-64gb")
    assert "near_working_set" not in {note.code for note in found.notes}
    found = run("meta-llama/Llama-3.1-70B-Instruct", ctx=1024, gpu="apple-m4-max-64gb")
    assert "near_working_set" in {note.code for note in found.notes}


@settings(max_examples=25, deadline=None)
@given(ctx=st.integers(1, 120_000), more=st.integers(1, 50_000), kv=st.sampled_from(["auto", "q4"]))
def test_more_context_never_takes_less(ctx: int, more: int, kv: str) -> None:
    less = run(LLAMA, ctx=ctx, kv_dtype=kv).need_bytes
    assert run(LLAMA, ctx=ctx + more, kv_dtype=kv).need_bytes >= less


def test_commands() -> None:
    chosen, group = model(LLAMA), GpuGroup(gpu=find("apple-m4-max-64gb"))
    asked = workload(ctx=8192, runtime="mlx", quantize="mlx-4bit", kv_dtype="q8")
    assert generate(chosen, asked, group, estimate(chosen, asked, group)).splitlines() == [
        f"mlx_lm.convert --hf-path {LLAMA} --mlx-path Llama-3.1-8B-Instruct-mlx-4bit -q --q-bits 4",
        "mlx_lm.generate --model Llama-3.1-8B-Instruct-mlx-4bit --prompt - --max-tokens 512 "
        "--kv-bits 8",
    ]
    several = workload(ctx=8192, batch=4, runtime="mlx")
    assert generate(chosen, several, group, estimate(chosen, several, group)) == (
        f"mlx_lm.server --model {LLAMA} --decode-concurrency 4 --prompt-concurrency 4"
    )


# models/deepseek_v3.py, sanitize: mx.from_fp8 to bf16, times weight_scale_inv, which goes.
def test_fp8_of_deepseek_becomes_bf16() -> None:
    found = run(DEEPSEEK, ctx=8192)
    assert found.phases[0].part("weights").bytes == pytest.approx(2 * 671_026_419_200, rel=1e-5)
    assert "expanded" in {note.code for note in found.notes}
    assert found.refusal is None


def packed(name: str, tensors: dict[str, tuple[str, tuple[int, ...]]]) -> Model:
    """A model of one linear layer, packed; of a type whose other tensors nobody declares."""
    quantization: dict[str, object] = {"quant_method": name, "bits": 4, "group_size": 128}
    config = {
        "model_type": "one_layer",
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 100,
        "torch_dtype": "float16",
        "quantization_config": quantization,
    }
    runs = tuple(
        TensorRun(
            name=f"model.layers.0.mlp.up_proj.{key}",
            dtype=dtype,
            shape=shape,
            bytes=prod(shape) * BITS[dtype] // 8,
            count=1,
        )
        for key, (dtype, shape) in tensors.items()
    )
    checkpoint = Checkpoint(files=("model.safetensors",), tensors=runs, metadata={})
    found = describe(
        Snapshot(
            model="one/layer",
            revision=None,
            source="recorded",
            config=config,
            documents={},
            files=(),
            checkpoint=checkpoint,
        )
    )
    return replace(found, model_type="llama")


AWQ = {"qweight": ("I32", (256, 64)), "scales": ("F16", (2, 512)), "qzeros": ("I32", (2, 64))}


# utils.py: load_model looks for model*.safetensors; _get_classes imports models/{model_type}.py
# by its name or by MODEL_REMAPPING.
@pytest.mark.parametrize(
    ("model_type", "loaded"), [("llama", True), ("kimi_k2", True), ("whisper", False)]
)
def test_the_models_that_mlx_lm_has(model_type: str, loaded: bool) -> None:
    found = mlx_weights.loading(replace(model(LLAMA), model_type=model_type))
    assert (found.refusal is None) == loaded


def test_gguf_is_not_read() -> None:
    found = mlx_weights.loading(replace(model(LLAMA), gguf_architecture="llama"))
    assert "GGUF" in (found.refusal or "")


# utils.py: _transform_awq_weights makes an offset of a scale's size of every zero point, and takes
# no g_idx and nothing but 4 bits; load_model has no branch for bitsandbytes.
def test_zero_points_of_awq_become_offsets() -> None:
    found = mlx_weights.held(packed("awq", AWQ), dtype="F16")
    assert found.bytes == 4 * 256 * 64 + 2 * (2 * 2 * 512)


@pytest.mark.parametrize(
    ("method", "tensors", "why"),
    [
        ("gptq", {**AWQ, "qweight": ("I32", (32, 512)), "g_idx": ("I32", (256,))}, "g_idx"),
        ("fp8", {"weight": ("F8_E4M3", (512, 256)), "weight_scale_inv": ("F32", (4, 2))}, "llama"),
    ],
)
def test_what_mlx_does_not_load(
    method: str, tensors: dict[str, tuple[str, tuple[int, ...]]], why: str
) -> None:
    refusal = mlx_weights.loading(packed(method, tensors)).refusal
    assert refusal is not None
    assert why in refusal


def test_only_macs_are_described() -> None:
    found = run(LLAMA, ctx=1024, gpu="h100")
    assert found.unknown == ("overhead",)
    assert "not_on_a_mac" in {note.code for note in found.notes}


# mlx-lm 0.32.2 utils.py: quantize_model takes the modules that can be quantized still, which the
# experts of gpt-oss, held in MXFP4, cannot: 19,110,297,600 weights of 4.25 bits and the biases
# of 32 experts in 24 layers stay; embedding and head of 201,088 × 2,880 take 8.5 bits a weight.
@pytest.mark.parametrize(("scheme", "bits"), [("mlx-8bit", 8.5), ("mlx-4bit", 4.5)])
def test_what_is_packed_stays_packed(scheme: str, bits: float) -> None:
    found = run("openai/gpt-oss-20b", ctx=4096, quantize=scheme).phases[0].part("weights")
    sizes = {one.name: one.bytes for one in found.parts}
    matrices = 24 * 32 * (5760 * 2880 + 2880 * 2880)
    assert sizes["experts"] == matrices * 17 // 32 + 24 * 32 * (5760 + 2880) * 2
    assert sizes["embedding"] == sizes["head"] == 201_088 * 2880 * bits / 8
    chosen = model("openai/gpt-oss-20b")
    assert mlx_weights.bytes_in(chosen, scheme, workload(ctx=4096))[0] == found.bytes
