"""The precision ladder: each engine's schemes, their bytes, and the smallest card of today."""

from __future__ import annotations

from typing import Any

import pytest

import hfmem
from hfmem.answer import Estimate
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.catalogue import current, find, gpus
from hfmem.hardware.smallest import on_group
from hfmem.memory.precision import Rung
from hfmem.runtimes import RUNTIMES
from hfmem.units import GIB

QWEN = "Qwen/Qwen3-8B"
LLAVA = "lmms-lab/LLaVA-Video-72B-Qwen2"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"


def answered(model: str, runtime: str) -> Estimate:
    return hfmem.estimate(model, ctx=8192, runtime=runtime, source="recorded")


def rungs(model: str, runtime: str) -> dict[str, Rung]:
    return {rung.scheme: rung for rung in answered(model, runtime).precision}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_engine_has_a_ladder_of_its_own(runtime: str) -> None:
    found = rungs(QWEN, runtime)
    assert tuple(found) == ("as published", "bf16", *RUNTIMES[runtime].ladder)
    assert all(rung.smallest_count == 1 for rung in found.values())


# Llama-3.1-8B: 8,029,995,008 in matrices, 266,240 in norms of 32 bits, 64 rotary factors, less the
# input embedding of 525,336,576, which llama.cpp leaves with the host.
LLAMA_FILES = [
    ("q8_0", 8_532_934_912, 525_336_576 * 34 // 32),
    ("q6_k", 6_588_170_496, 525_336_576 * 210 // 256),
    ("q4_k_m", 4_912_898_304, 525_336_576 * 144 // 256),
]


@pytest.mark.parametrize(("scheme", "file", "embedding"), LLAMA_FILES)
def test_file_types_of_llama_cpp(scheme: str, file: int, embedding: int) -> None:
    rung = rungs("meta-llama/Llama-3.1-8B-Instruct", "llama.cpp")[scheme]
    rotary = 256  # factors of Llama 3's rotation, a tensor that no checkpoint has
    assert abs(rung.weights_bytes + embedding + rotary - file) <= 256
    assert rung.bits_per_weight == pytest.approx(8 * file / 8_030_261_248, abs=0.002)


def test_experts_on_the_host_stay_there_in_every_file_type() -> None:
    found = hfmem.estimate(
        "Qwen/Qwen3-30B-A3B", ctx=8192, runtime="llama.cpp", n_cpu_moe=12, source="recorded"
    )
    plain = rungs("Qwen/Qwen3-30B-A3B", "llama.cpp")
    moved = 12 * 128 * 3 * 2048 * 768
    sizes = {rung.scheme: rung.weights_bytes for rung in found.precision}
    assert plain["bf16"].weights_bytes - sizes["bf16"] == 2 * moved
    assert plain["q8_0"].weights_bytes - sizes["q8_0"] == moved * 34 // 32
    assert sizes["as published"] == sizes["bf16"]


@pytest.mark.parametrize(
    ("model", "runtime", "flags", "told"),
    [
        (QWEN, "vllm", {"gpu": "rtx-4090:2", "dp": 2}, "30.53 GiB"),
        (QWEN, "vllm", {"gpu": "rtx-4090", "cpu_offload_gb": 4}, "11.27 GiB"),
        (QWEN, "transformers", {"gpu": "rtx-4090:2"}, "one copy on one GPU"),
        (QWEN, "vllm", {"gpu": "rtx-4090"}, ""),
        (QWEN, "vllm", {}, ""),
        (QWEN, "vllm", {"gpu": "rtx-4090:2", "dp": 2, "quantize": "fp8"}, ""),
    ],
)
def test_the_rows_are_of_one_copy(
    model: str, runtime: str, flags: dict[str, Any], told: str
) -> None:
    found = hfmem.estimate(model, ctx=8192, runtime=runtime, source="recorded", **flags).precision
    plain = rungs(model, runtime)
    assert [rung.weights_bytes for rung in found] == [one.weights_bytes for one in plain.values()]
    assert told in found[0].note if told else not found[0].note


# gpt-oss-20b: no weight has two sizes that 128 divides, for its hidden size and its experts' are
# 2,880. Such weights stay as they are (transformers 5.23 integrations/finegrained_fp8.py:
# Fp8Quantize).
def test_a_scheme_that_takes_nothing_says_so() -> None:
    found = rungs("openai/gpt-oss-20b", "transformers")
    assert found["fp8"].weights_bytes == found["bf16"].weights_bytes
    assert "takes no weight" in found["fp8"].note
    assert "16 bits" in found["nf4"].note
    assert "takes no weight" not in found["nf4"].note


def test_what_a_packed_checkpoint_would_need() -> None:
    found = rungs(DEEPSEEK, "vllm")
    assert "needs the weights in 16 bits" in found["nf4"].note
    assert "needs a checkpoint made so" in found["awq-4bit"].note
    assert "16 bits" not in rungs(QWEN, "vllm")["nf4"].note


# 8,190,735,360 parameters, 4.5 bits but for the norms' 308,224 in 16.
def test_groups_of_mlx() -> None:
    rung = rungs(QWEN, "mlx")["mlx-4bit"]
    norms = 36 * (2 * 4096 + 2 * 128) + 4096
    assert rung.weights_bytes == (8_190_735_360 - norms) * 9 // 16 + 2 * norms
    assert find(rung.smallest_gpu or "").vendor == "apple"


def spare(asked: Estimate, gpu: Gpu, count: int = 1) -> int:
    """What an engine has left on a group; -1 where it refuses it."""
    runtime = RUNTIMES[asked.workload.runtime]
    need = on_group(
        GpuGroup(gpu=gpu, count=count), model=asked.model, workload=asked.workload, runtime=runtime
    )
    return -1 if need is None else need.spare_bytes


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", [QWEN, LLAVA])
def test_the_smallest_card_holds_it_and_none_with_a_smaller_number_does(
    model: str, runtime: str
) -> None:
    asked = answered(model, runtime)
    rung = asked.precision[0]
    best = find(rung.smallest_gpu or "")
    assert rung.smallest_count == 1
    assert spare(asked, best) >= 0
    for gpu in current(RUNTIMES[runtime].vendors):
        assert (gpu.marketed_gb or 0) >= (best.marketed_gb or 0) or spare(asked, gpu) < 0


@pytest.mark.parametrize("runtime", ["transformers", "vllm", "sglang", "llama.cpp"])
def test_a_model_beyond_every_card_takes_the_fewest_of_the_largest(runtime: str) -> None:
    asked = answered(DEEPSEEK, runtime)
    rung = asked.precision[0]
    card, count = find(rung.smallest_gpu or ""), rung.smallest_count or 0
    assert card.usable_bytes >= 287 * GIB
    assert spare(asked, card, count) >= 0
    assert all(spare(asked, card, fewer) < 0 for fewer in range(2, count))


def test_a_mac_is_one_machine() -> None:
    found = rungs(DEEPSEEK, "mlx")
    assert found["mlx-8bit"].smallest_gpu is None
    assert found["mlx-4bit"].smallest_count == 1


def test_what_a_scheme_leaves_alone_is_told() -> None:
    nf4 = rungs(DEEPSEEK, "transformers")["nf4"]
    assert "routed experts stay in 16 bits" in nf4.note
    gptq = rungs("openai/gpt-oss-20b", "transformers")["gptq-4bit"]
    # 2,880 inputs are no multiple of a group of 128: experts and most of attention stay.
    assert "% of the parameters" in gptq.note


def test_fp8_needs_the_cards_that_have_it() -> None:
    found = rungs(LLAVA, "transformers")
    assert find(found["fp8"].smallest_gpu or "").compute_capability >= "8.9"


@pytest.mark.parametrize("vendors", [{"nvidia"}, {"nvidia", "amd"}, {"apple"}])
def test_current_cards_are_sold_by_size_and_stay_in_no_laptop(vendors: set[str]) -> None:
    found = current(frozenset(vendors))
    assert {gpu.vendor for gpu in found} == vendors
    assert [gpu.marketed_gb for gpu in found] == sorted(gpu.marketed_gb or 0 for gpu in found)
    assert not {gpu.kind for gpu in found} & {"laptop", "integrated"}
    assert set(found) < set(gpus())
