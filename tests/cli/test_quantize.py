"""--quantize from the command line to the answer."""

from __future__ import annotations

import json

import pytest

from hfmem import estimate
from hfmem.cli import main
from hfmem.errors import UsageError


def test_unknown_schemes_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["Qwen/Qwen3-8B", "--source", "recorded", "--quantize", "nf5"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: There is no quantization 'nf5'."
    assert "q4_k_m" in hint


def test_the_answer_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["Qwen/Qwen3-8B", "--source", "recorded", "--ctx", "1k", "--quantize", "NF4", "--json"]
    assert main(words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["workload"]["quantize"] == "nf4"
    (found,) = document["results"]
    # 6,945,767,424 linear parameters at 4.5 bits, a table of 64 bytes for each of 252 weights, and
    # the embedding, the head and the norms in 16 bits.
    linear = 6_945_767_424
    left = 8_190_735_360 - linear
    assert found["memory"]["weights_bytes"] == linear * 9 // 16 + 252 * 64 + 2 * left
    assert "quantized" in [note["code"] for note in found["notes"]]
    rungs = {rung["scheme"]: rung["weights_bytes"] for rung in found["precision"]}
    assert rungs["as published"] > rungs["nf4"] == found["memory"]["weights_bytes"]


def test_a_card_that_the_scheme_does_not_run_on() -> None:
    found = estimate(
        "Qwen/Qwen3-8B", source="recorded", ctx=1024, quantize="fp8", gpu=["a100-80gb", "h100"]
    )
    assert [fit.verdict for fit in found.fit] == ["no", "fits"]


def test_an_engine_that_quantizes_experts() -> None:
    model = "Qwen/Qwen3-30B-A3B"
    weights = {
        runtime: estimate(model, source="recorded", ctx=1024, quantize="nf4", runtime=runtime)
        .memory.peak.part("weights")
        .bytes
        for runtime in ("transformers", "vllm")
    }
    # 57.98 GB of experts stay in 16 bits in transformers, and are 16.3 GB in vLLM.
    assert weights["transformers"] > 57_982_058_496
    assert weights["vllm"] < 19 * 10**9


def test_file_types_of_llama_cpp_are_for_one_device() -> None:
    with pytest.raises(UsageError, match="file type of llama"):
        estimate("Qwen/Qwen3-8B", source="recorded", quantize="q4_k_m", runtime="vllm")
