"""transformers: the three instants of the bundled models against figures that others computed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hfmem
from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import UsageError
from hfmem.memory.estimate import PARTS, MemoryEstimate
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes.transformers import estimate
from hfmem.source.recorded import bundled

LLAVA = "lmms-lab/LLaVA-Video-72B-Qwen2"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GEMMA = "google/gemma-3-27b-it"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def memory(name: str, **flags: Any) -> MemoryEstimate:
    return estimate(model(name), workload(**flags), None)


# Weights: sums of the published headers. Cache: the reference implementation's own tensors
# (transformers 5.23, a prefill of that many tokens).
@pytest.mark.parametrize(
    ("name", "ctx", "weights", "cache"),
    [
        (LLAVA, 8192, 146_361_044_032, 2_684_354_560),
        (LLAMA, 8192, 16_060_522_496, 1_073_741_824),
        (LLAMA, 131_072, 16_060_522_496, 16 * 2**30),
        ("meta-llama/Llama-3.1-70B-Instruct", 8192, 141_107_412_992, 2_684_354_560),
        (GEMMA, 8192, 54_864_813_280, 1_106_870_272),
        (GEMMA, 32_768, 54_864_813_280, 3_120_136_192),
        ("Qwen/Qwen3-8B", 1024, 16_381_470_720, 150_994_944),
        ("Qwen/Qwen3-30B-A3B", 8192, 61_064_245_248, 805_306_368),
        ("openai/gpt-oss-20b", 8192, 13_761_264_768, 204_447_744),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 8192, 93_405_585_408, 1_073_741_824),
    ],
)
def test_weights_and_cache(name: str, ctx: int, weights: int, cache: int) -> None:
    found = memory(name, ctx=ctx)
    decode = found.phases[-1]
    assert (decode.part("weights").bytes, decode.part("kv_cache").bytes) == (weights, cache)
    # The bundled tensors are put together from the published configuration.
    assert decode.part("weights").basis == "derived"
    assert decode.part("kv_cache").basis == "exact"


def test_a_draft_layer_is_stored_and_not_loaded() -> None:
    found = model(DEEPSEEK)
    assert found.checkpoint_bytes == 688_574_839_360
    weights = estimate(found, workload(ctx=8192), None).peak.part("weights")
    assert weights.bytes == found.checkpoint_bytes - sum(
        run.run.total_bytes for run in found.weights or () if run.component == "draft"
    )
    assert weights.bytes < found.checkpoint_bytes


def test_latent_cache_in_bf16() -> None:
    cache = memory(DEEPSEEK, ctx=8192).peak.part("kv_cache")
    assert cache.bytes == 61 * (512 + 64) * 2 * 8192 == 575_668_224


# 8,192 tokens × 2 bytes × (4 × 4,096 + 3 × 14,336), and 4 MiB of rope tables: the peak of the
# reference implementation is 18,111,669,248 with weights, cache, token ids and buffers.
def test_llama_prefill_peak() -> None:
    prefill = memory(LLAMA, ctx=8192).phases[1]
    tensors = prefill.memory.bytes - prefill.part("overhead").bytes
    assert abs(tensors - 18_111_669_248) < 200_000


@pytest.mark.parametrize(
    ("name", "dtype", "weights"),
    [
        (LLAMA, "float32", 2 * 16_060_522_496),
        (LLAMA, "float16", 16_060_522_496),
        # Packed weights keep their type; what is not packed follows.
        ("openai/gpt-oss-20b", "bfloat16", 13_761_264_768),
    ],
)
def test_loading_in_another_type(name: str, dtype: str, weights: int) -> None:
    assert memory(name, ctx=1024, dtype=dtype).peak.part("weights").bytes == weights


# QuantizedLayer: q bits, and a scale and a zero point of 16 bits for every 64 elements.
@pytest.mark.parametrize(
    ("kv_dtype", "bits"),
    [
        ("fp8", 8.0),
        ("quanto-int4", 4.5),
        ("quanto-int2", 2.5),
        ("hqq-int8", 8.5),
        ("hqq-int3", 3.7),
    ],
)
def test_quantized_cache(kv_dtype: str, bits: float) -> None:
    cache = memory(LLAMA, ctx=8192, kv_dtype=kv_dtype).phases[-1].part("kv_cache").bytes
    scales = 2 * 4 * 32 if kv_dtype == "fp8" else 0
    assert cache == round(1_073_741_824 / 16 * bits) + scales


def test_a_quantized_cache_needs_full_attention() -> None:
    with pytest.raises(UsageError, match="sliding"):
        memory(GEMMA, ctx=8192, kv_dtype="fp8")


def test_defaults_are_said() -> None:
    found = memory(LLAVA)
    assert found.ctx == 8192
    assert [note.code for note in found.notes] == ["default_ctx"]
    beyond = memory(LLAVA, ctx=100_000)
    assert beyond.ctx == 100_000
    assert [note.code for note in beyond.notes] == ["beyond_max_context"]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40_000), st.integers(1, 40), st.sampled_from([LLAVA, GEMMA, DEEPSEEK]))
def test_adds_up_and_grows(ctx: int, batch: int, name: str) -> None:
    found = memory(name, ctx=ctx, batch=batch)
    for phase in found.phases:
        assert [part.name for part in phase.memory.parts] == list(PARTS)
        assert phase.memory.bytes == sum(part.bytes for part in phase.memory.parts)
        low, high = phase.memory.range_bytes
        assert low <= phase.memory.bytes <= high
    for more in (memory(name, ctx=ctx + 1, batch=batch), memory(name, ctx=ctx, batch=batch + 1)):
        assert more.need_bytes >= found.need_bytes


def test_one_more_token() -> None:
    assert {name: memory(name, ctx=8192).bytes_per_token for name in (LLAVA, GEMMA, DEEPSEEK)} == {
        LLAVA: 327_680,
        GEMMA: 81_920,  # its 10 full layers; the other 52 are past their window
        DEEPSEEK: 70_272,
    }


def from_config(**config: object) -> Model:
    """A model of which the configuration alone is known."""
    return describe(
        Snapshot(
            model="org/model",
            revision=None,
            source="local",
            config=config,
            documents={},
            files=(),
            checkpoint=None,
        )
    )


# transformers 5.23 under the meta device, 1,024 tokens of bf16: Pix2Struct's class pads to 2,048
# patches, PP-FormulaNet's default gives 64 positions, T5's encoder reads what it is given.
@pytest.mark.parametrize(
    ("model_type", "name", "encoder", "cache", "notes", "encodes"),
    [
        ("pix2struct", "Pix2Struct", None, 113_246_208, [], True),
        ("pix2struct", "Pix2Struct", 1024, 75_497_472, [], True),
        ("pp_formulanet", "PPFormulaNet", None, 17_825_792, [], True),
        ("t5", "T5", None, 25_165_824, ["default_encoder_ctx"], False),
        ("t5", "T5", 512, 18_874_368, [], False),
    ],
)
def test_the_encoder_has_a_length_of_its_own(
    model_type: str, name: str, encoder: int | None, cache: int, notes: list[str], encodes: bool
) -> None:
    given_model = from_config(
        model_type=model_type,
        architectures=[f"{name}ForConditionalGeneration"],
        dtype="bfloat16",
    )
    found = estimate(given_model, workload(ctx=1024, encoder_ctx=encoder), None)
    assert found.phases[-1].part("kv_cache").bytes == cache
    assert [note.code for note in found.notes if "encoder" in note.code] == notes
    assert ("encoding" in [phase.name for phase in found.phases]) is encodes


def test_python_interface_gives_the_same() -> None:
    answer = hfmem.estimate(LLAMA, ctx=8192, source="recorded")
    assert answer.memory.phases[-1].part("kv_cache").bytes == 1_073_741_824
