"""--quantize on a checkpoint that is quantized already: what each engine makes of it."""

from __future__ import annotations

from typing import Any

import pytest

import hfmem
from hfmem.cli import main
from hfmem.errors import UsageError
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes.requantized import loads, settled
from hfmem.source.recorded import bundled

FP8 = "deepseek-ai/DeepSeek-V3"
MXFP4 = "openai/gpt-oss-20b"
PLAIN = "Qwen/Qwen3-8B"


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


# transformers 5.23 quantizers/auto.py (merge_quantization_configs): ValueError unless the class is
# the checkpoint's. vLLM 0.33 config/model.py (_verify_quantization): ValueError unless the method
# is. quantization/mxfp4.py (GptOssMxfp4Config.override_quantization_method): gpt-oss stays MXFP4
# whatever is asked. SGLang 0.5.23 configs/model_config.py: as vLLM. llama.cpp src/llama-quant.cpp:
# "requantizing from type mxfp4 is disabled". Ollama fb30760 server/create.go: F16, BF16, F32 only.
@pytest.mark.parametrize(
    ("name", "runtime", "scheme", "outcome"),
    [
        (FP8, "transformers", "fp8", "kept"),
        (FP8, "transformers", "nf4", "refused"),
        (FP8, "transformers", "int8", "refused"),
        (FP8, "transformers", "torchao-int4", "refused"),
        (FP8, "transformers", "hqq-4bit", "refused"),
        (FP8, "transformers", "gptq-4bit", "made"),
        (FP8, "transformers", "q4_k_m", "made"),
        (MXFP4, "transformers", "mxfp4", "kept"),
        (MXFP4, "transformers", "nf4", "refused"),
        (PLAIN, "transformers", "nf4", "made"),
        (FP8, "vllm", "fp8", "kept"),
        (FP8, "vllm", "nf4", "refused"),
        (FP8, "vllm", "awq-4bit", "made"),
        (MXFP4, "vllm", "nf4", "kept"),
        (MXFP4, "vllm", "fp8", "refused"),
        (PLAIN, "vllm", "fp8", "made"),
        (FP8, "sglang", "fp8", "kept"),
        (MXFP4, "sglang", "fp8", "refused"),
        (FP8, "llama.cpp", "q4_k_m", "made"),
        (MXFP4, "llama.cpp", "q4_k_m", "refused"),
        (MXFP4, "ollama", "q8_0", "refused"),
        (PLAIN, "ollama", "q8_0", "made"),
        (MXFP4, "mlx", "mlx-4bit", "made"),
    ],
)
def test_outcomes(name: str, runtime: str, scheme: str, outcome: str) -> None:
    asked = workload(runtime=runtime, quantize=scheme)
    assert loads(model(name), asked) == (outcome == "made")
    if outcome == "refused":
        with pytest.raises(UsageError, match="already") as raised:
            settled(model(name), asked)
        assert "16-bit checkpoint" in raised.value.hint
        return
    found, notes = settled(model(name), asked)
    assert found.quantize == (None if outcome == "kept" else scheme)
    assert [note.code for note in notes] == (["quantized_already"] if outcome == "kept" else [])


def test_what_is_kept_is_what_is_stored() -> None:
    plain, asked = (
        hfmem.estimate(FP8, runtime="vllm", gpu="h200:8", source="recorded", quantize=quantize)
        for quantize in (None, "fp8")
    )
    assert asked.memory.peak == plain.memory.peak
    commands = [one.fit[0].advice[0].command for one in (plain, asked)]
    assert commands[0] == commands[1]
    assert "--quantization" not in (commands[0] or "")
    assert "quantized_already" in [note.code for note in asked.notes]


def test_a_refusal_is_one_line_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([FP8, "--quantize", "nf4", "--source", "recorded"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert "merge_quantization_configs" in error
    assert hint.startswith("hint: ")


def test_beside_engines_that_take_it() -> None:
    found = hfmem.estimate(MXFP4, runtime="all", quantize="gptq-4bit", source="recorded")
    assert {one.runtime: one.memory is not None for one in found.runtimes}["vllm"]


@pytest.mark.parametrize(
    ("runtime", "gpu", "flags"),
    [("llama.cpp", "rtx-3060-12gb", {}), ("transformers", "rtx-3080-10gb", {"ctx": 8192})],
)
def test_no_advice_that_the_engine_refuses(runtime: str, gpu: str, flags: dict[str, Any]) -> None:
    found = hfmem.estimate(MXFP4, runtime=runtime, gpu=gpu, source="recorded", **flags)
    assert not found.fit[0].fits
    for one in found.fit[0].advice:
        if one.change == "quantize":
            scheme = one.label.removeprefix("weights in ")
            assert loads(model(MXFP4), workload(runtime=runtime, quantize=scheme))
