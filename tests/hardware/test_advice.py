"""The nearest change that fits: each is tried, each fits, and its command says it."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

import hfmem
from hfmem.errors import UsageError
from hfmem.hardware.advice import Advice

LLAMA = "meta-llama/Llama-3.1-70B-Instruct"
SMALL = "meta-llama/Llama-3.1-8B-Instruct"
QWEN = "Qwen/Qwen2.5-7B-Instruct"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"


def advice(name: str, gpu: str, **flags: Any) -> dict[str, Advice]:
    found = hfmem.estimate(name, gpu=gpu, source="recorded", **flags)
    return {one.change: one for one in found.fit[0].advice}


def test_what_fits_is_run_as_asked() -> None:
    found = advice(DEEPSEEK, "h200:8", runtime="vllm", tp=8, ctx=32_768)
    assert list(found) == ["none"]
    assert shlex.split(found["none"].command or "") == [
        *("vllm", "serve", DEEPSEEK, "--max-model-len", "32768"),
        *("--tensor-parallel-size", "8"),
    ]


def test_deepseek_on_too_few_gpus() -> None:
    found = advice(DEEPSEEK, "h100:8", runtime="vllm", tp=8)
    assert set(found) == {"offload", "quantize", "gpus"}
    assert "--cpu-offload-gb" in (found["offload"].command or "")
    # Its weights are packed already: only a checkpoint of its own can be smaller.
    assert "CHECKPOINT" in (found["quantize"].command or "")
    assert found["gpus"].count == 16
    assert "--pipeline-parallel-size 2" in (found["gpus"].command or "")


def test_a_long_context_is_shortened_or_its_cache_halved() -> None:
    found = advice(SMALL, "rtx-4090", runtime="vllm", ctx=65_536)
    assert "--kv-cache-dtype fp8" in (found["kv_dtype"].command or "")
    words = shlex.split(found["ctx"].command or "")
    ctx = int(words[words.index("--max-model-len") + 1])
    assert ctx % 16 == 0
    again = hfmem.estimate(SMALL, gpu="rtx-4090", runtime="vllm", ctx=ctx, source="recorded")
    assert again.fit[0].fits
    longer = hfmem.estimate(SMALL, gpu="rtx-4090", runtime="vllm", ctx=ctx + 16, source="recorded")
    assert not longer.fit[0].fits


@pytest.mark.parametrize(
    ("runtime", "gpu", "ctx"),
    [("transformers", "rtx-4070", 32_768), ("llama.cpp", "rtx-3080-10gb", 40_960)],
)
def test_whole_layers_go_to_the_fewest_cards(runtime: str, gpu: str, ctx: int) -> None:
    found = advice("Qwen/Qwen3-8B", gpu, runtime=runtime, ctx=ctx)["gpus"]
    for count, fits in ((found.count, True), (found.count - 1, False)):
        again = hfmem.estimate(
            "Qwen/Qwen3-8B", gpu=f"{gpu}:{count}", runtime=runtime, ctx=ctx, source="recorded"
        )
        assert again.fit[0].fits == fits
    assert found.count == 3


def test_fewer_sequences() -> None:
    found = advice(SMALL, "rtx-4090", runtime="vllm", ctx=8192, batch=100)
    batch = int(found["batch"].label.split()[0])
    for sequences, fits in ((batch, True), (batch + 1, False)):
        again = hfmem.estimate(
            SMALL, gpu="rtx-4090", runtime="vllm", ctx=8192, batch=sequences, source="recorded"
        )
        assert again.fit[0].fits == fits


def test_one_sequence_is_one() -> None:
    found = hfmem.estimate(
        "Qwen/Qwen3-30B-A3B",
        runtime="llama.cpp",
        gpu="rtx-4090",
        quantize="q4_k_m",
        ctx=32_768,
        batch=4,
        source="recorded",
    ).fit[0]
    assert found.max_batch == 1
    assert "1 sequence at once" in [one.label for one in found.advice]


def test_transformers_snippets_are_python() -> None:
    found = advice(LLAMA, "rtx-4090:2", ctx=8192)
    assert set(found) == {"offload", "quantize", "gpus"}
    for one in found.values():
        compile(one.command or "", "snippet", "exec")
        assert repr(LLAMA) in (one.command or "")
    assert "max_memory=" in (found["offload"].command or "")
    alone = advice(LLAMA, "a100-80gb-sxm", ctx=8192)
    assert "BitsAndBytesConfig" in (alone["quantize"].command or "")


@pytest.mark.parametrize("gpu", ["rtx-4090", "h100:2", "rtx-5060-ti-16gb"])
@pytest.mark.parametrize("runtime", ["transformers", "vllm"])
def test_every_advice_fits_the_cards(gpu: str, runtime: str) -> None:
    found = hfmem.estimate(LLAMA, gpu=gpu, runtime=runtime, ctx=8192, source="recorded")
    card = found.fit[0].group.gpu
    for one in found.fit[0].advice:
        assert one.per_gpu_bytes <= card.usable_bytes
        assert one.total_bytes <= one.count * card.usable_bytes
    document = json.loads(json.dumps(found.to_dict()))
    assert len(document["fit"][0]["advice"]) == len(found.fit[0].advice)


def test_more_gpus_are_split_so_that_the_heads_divide() -> None:
    # 28 heads do not divide over the eight cards of a node: four ranks in more stages.
    found = advice(QWEN, "rtx-4090", runtime="vllm", ctx=32_768, batch=200)
    words = shlex.split(found["gpus"].command or "")
    tp = int(words[words.index("--tensor-parallel-size") + 1])
    assert 28 % tp == 0
    stages = (
        words.index("--pipeline-parallel-size") if "--pipeline-parallel-size" in words else None
    )
    assert tp * (1 if stages is None else int(words[stages + 1])) == found["gpus"].count


def test_the_hint_of_a_refused_split_is_a_layout() -> None:
    with pytest.raises(UsageError) as caught:
        advice(QWEN, "h100:8", runtime="vllm")
    assert caught.value.hint.startswith("Give --tp 4 --pp 2")
    assert advice(QWEN, "h100:8", runtime="vllm", tp=4, pp=2)["none"].count == 8
