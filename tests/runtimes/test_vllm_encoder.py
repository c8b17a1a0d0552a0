"""The encoder run of vLLM's profile: how many items, how large, and when it is the peak."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import workload
from hfmem.model.config import read
from hfmem.model.describe import describe
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.vllm_encoder import largest_items
from hfmem.source.recorded import bundled

QWEN_VL: dict[str, object] = {
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "model_type": "qwen2_5_vl",
    "torch_dtype": "bfloat16",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 128000,
    "tie_word_embeddings": False,
    "rope_theta": 1000000.0,
    "vision_config": {
        "model_type": "qwen2_5_vl",
        "depth": 32,
        "hidden_act": "silu",
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "in_chans": 3,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
}


def snapshot(config: dict[str, object]) -> Snapshot:
    return Snapshot(
        model="org/model",
        revision=None,
        source="recorded",
        config=config,
        documents={},
        files=(),
        checkpoint=None,
    )


def run(
    one: Snapshot, *, gpu: str, count: int = 1, ctx: int = 8192, **flags: Any
) -> MemoryEstimate:
    items = largest_items(read(one.config or {}), one.documents)
    asked = workload(ctx=ctx, runtime="vllm", flags=flags_of(flags, runtime="vllm"))
    return RUNTIMES["vllm"].estimate(
        describe(one), replace(asked, largest=items), GpuGroup(gpu=find(gpu), count=count)
    )


def parts(found: MemoryEstimate) -> dict[str, int]:
    return {part.name: part.bytes for part in found.most_loaded[0].part("activations").parts}


def test_the_largest_items_of_a_family_with_films() -> None:
    # preprocessor_config.json of the family: 12,845,056 pixels, 16,384 tokens of 28 × 28; a film
    # of 14 frames in pairs is seven of them.
    found = largest_items(read(QWEN_VL), {})
    assert [item.tokens // found[0].tokens for item in found] == [1, 2, 3, 4, 5, 6, 7]
    assert found[0].tokens == pytest.approx(16_384, rel=0.01)
    assert [len(item.encoders) for item in found] == [1] * 7


@pytest.mark.parametrize(("ctx", "pictures"), [(8192, 1), (32_768, 2), (128_000, 7)])
def test_a_film_is_as_long_as_the_context(ctx: int, pictures: int) -> None:
    found = parts(run(snapshot(QWEN_VL), gpu="rtx-6000-ada", ctx=ctx))
    tokens = largest_items(read(QWEN_VL), {})[0].tokens * pictures
    # Four patches a token; three tensors of 1,280, three of 3,420, the pixels and the outputs.
    layer = 4 * tokens * (3 * 1280 + 3 * 3420) * 2
    assert found["encoder"] >= layer
    assert found["encoder"] == pytest.approx(layer, rel=0.2)


def test_small_steps_leave_the_encoder_as_the_peak() -> None:
    small, large = (run(snapshot(QWEN_VL), gpu=gpu) for gpu in ("rtx-6000-ada", "h100-sxm"))
    assert "sampler" not in parts(small)
    assert "sampler" in parts(large)
    assert "encoder_profile" in [note.code for note in small.notes]
    assert "encoder_profile" not in [note.code for note in large.notes]


def test_gemma_3_fills_the_step_with_pictures() -> None:
    gemma = bundled("google/gemma-3-27b-it")
    assert gemma is not None
    found = run(gemma, gpu="h100-sxm")
    outputs = next(
        part
        for part in found.most_loaded[0].part("activations").parts
        if part.name == "encoder outputs"
    )
    assert outputs.bytes == 32 * 256 * 5376 * 2
    # vLLM 0.19 measured 3.99 GiB: the sampler is still the peak (llm-d-planner#205).
    assert "sampler" in parts(found)


def test_a_longer_context_never_needs_less() -> None:
    sizes = [
        run(snapshot(QWEN_VL), gpu="h100-sxm", ctx=ctx, max_num_seqs=4).need_bytes
        for ctx in range(1024, 128_000, 7168)
    ]
    assert sizes == sorted(sizes)


def test_what_is_not_described_is_said() -> None:
    gemma = bundled("google/gemma-3-27b-it")
    assert gemma is not None
    asked = workload(ctx=8192, runtime="vllm")
    found = RUNTIMES["vllm"].estimate(describe(gemma), asked, None)
    assert "encoder_profile_unknown" in [note.code for note in found.notes]
