"""``--runtime all``: the runtimes side by side."""

from __future__ import annotations

from typing import Any

import pytest

import hfmem
from hfmem.runtimes import RUNTIMES

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def every(**flags: Any) -> hfmem.Estimate:
    return hfmem.estimate(LLAMA, runtime="all", source="recorded", **flags)


def test_each_row_is_the_runtime_s_own_answer() -> None:
    found = every(ctx=4096, gpu="h100")
    assert [one.runtime for one in found.runtimes] == list(RUNTIMES)
    for one in found.runtimes:
        alone = hfmem.estimate(LLAMA, runtime=one.runtime, ctx=4096, gpu="h100", source="recorded")
        assert one.memory == alone.memory
        assert [fit.verdict for fit in one.fit] == [fit.verdict for fit in alone.fit]


def test_one_context_for_all() -> None:
    # Ollama by itself would take 131,072 tokens on an H100 (server/routes.go: Serve).
    alone = hfmem.estimate(LLAMA, runtime="ollama", gpu="h100", source="recorded")
    assert alone.memory.ctx == 131_072
    found = every(gpu="h100")
    assert {one.memory.ctx for one in found.runtimes if one.memory} == {found.memory.ctx} == {8192}


def test_each_engine_s_command() -> None:
    rows = every(ctx=4096, gpu=["h100", "rtx-4090"]).to_dict()["runtimes"]
    assert isinstance(rows, list)
    commands = {
        row["runtime"]: [one["command"] for fit in row["fit"] for one in fit["advice"]]
        for row in rows
    }
    assert [each.count("\n") == 0 and each.split()[0] for each in commands["vllm"]] == ["vllm"] * 2
    assert all("llama-server" in each for each in commands["llama.cpp"])
    assert all("ollama run" in each for each in commands["ollama"])
    assert all("from_pretrained" in each for each in commands["transformers"])
    assert commands["mlx"] == []  # It runs on Apple's machines.


@pytest.mark.parametrize("gpu", ["rtx-4090", "rtx-5060-ti-16gb", "rtx-4060"])
def test_the_commands_of_all_that_fit(gpu: str) -> None:
    found = every(ctx=4096, gpu=gpu)
    labels = [one.label for one in found.fit[0].advice if one.change == "none"]
    assert labels == [f"in {one.runtime}" for one in found.runtimes if one.fit[0].fits]


@pytest.mark.parametrize(
    ("gpu", "runtime"),
    [("h100", "transformers"), ("apple-m4-max-64gb", "mlx"), (None, "transformers")],
)
def test_the_one_in_detail(gpu: str | None, runtime: str) -> None:
    found = every(ctx=4096, **({"gpu": gpu} if gpu else {}))
    assert found.workload.runtime == runtime


def test_a_flag_goes_to_those_that_take_it() -> None:
    plain, eager = (
        {one.runtime: one.memory for one in every(ctx=4096, gpu="h100", **flags).runtimes}
        for flags in ({}, {"enforce_eager": True})
    )
    assert plain["transformers"] == eager["transformers"]
    assert plain["vllm"] != eager["vllm"]


def test_a_type_that_one_of_them_lacks() -> None:
    rows = {one.runtime: one for one in every(ctx=4096, kv_dtype="nvfp4").runtimes}
    assert rows["vllm"].memory is not None
    assert rows["transformers"].memory is None
    assert "nvfp4" in rows["transformers"].refusal
    with pytest.raises(hfmem.UsageError, match="int1"):
        every(kv_dtype="int1")


def test_the_document_has_them() -> None:
    rows = every(ctx=4096).to_dict()["runtimes"]
    assert isinstance(rows, list)
    assert {row["runtime"] for row in rows} == set(RUNTIMES)


@pytest.mark.parametrize(
    ("flags", "runtime"),
    [
        ({"kv_dtype": "q8_0"}, "llama.cpp"),  # common/arg.cpp: kv_cache_types
        ({"kv_dtype": "fp8_e5m2"}, "vllm"),  # config/cache.py: CacheDType
        ({"kv_dtype": "fp8"}, "transformers"),  # cache_utils.py: Fp8QuantizedCache
        ({"quantize": "q4_k_m"}, "transformers"),
    ],
)
def test_in_detail_is_one_that_takes_the_question(flags: dict[str, Any], runtime: str) -> None:
    found = every(ctx=4096, gpu="h100", **flags)
    assert found.workload.runtime == runtime
    assert found.workload.kv_dtype == flags.get("kv_dtype", "auto")
    row = next(one for one in found.runtimes if one.runtime == runtime)
    assert row.memory is not None
    assert row.memory.peak == found.memory.peak


def test_a_question_that_none_takes() -> None:
    # quantizers/auto.py (merge_quantization_configs), config/model.py (_verify_quantization).
    with pytest.raises(hfmem.HfmemError, match="mxfp4 already"):
        hfmem.estimate("openai/gpt-oss-20b", runtime="all", quantize="fp8", source="recorded")
