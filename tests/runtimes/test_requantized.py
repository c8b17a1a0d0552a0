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
# whatever is asked; in fp8_per_tensor its layers would be quantized twice, which
# quantization/base_config.py (dequantize_weight) raises for. SGLang 0.5.23
# configs/model_config.py: as vLLM. llama.cpp src/llama-quant.cpp: MXFP4 with --allow-requantize.
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
        (MXFP4, "llama.cpp", "q4_k_m", "again"),
        (MXFP4, "llama.cpp", "q8_0", "again"),
        (MXFP4, "ollama", "q8_0", "again"),
        (MXFP4, "llama.cpp", "mxfp4_moe", "made"),  # its experts are copied
        (PLAIN, "ollama", "q8_0", "made"),
        (MXFP4, "mlx", "mlx-4bit", "made"),
    ],
)
def test_outcomes(name: str, runtime: str, scheme: str, outcome: str) -> None:
    asked = workload(runtime=runtime, quantize=scheme)
    assert loads(model(name), asked) == (outcome in ("made", "again"))
    if outcome == "refused":
        with pytest.raises(UsageError, match="already") as raised:
            settled(model(name), asked)
        assert "16-bit checkpoint" in raised.value.hint
        return
    found, notes = settled(model(name), asked)
    assert found.quantize == (None if outcome == "kept" else scheme)
    said = {"kept": ["quantized_already"], "again": ["requantized"], "made": []}
    assert [note.code for note in notes] == said[outcome]


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


# conversion/gpt_oss.py (repack_mxfp4) keeps MXFP4 whatever --outtype is; Ollama fb30760
# server/create.go (createModel): "quantization is only supported for F16, BF16 and F32 models".
@pytest.mark.parametrize("runtime", ["llama.cpp", "ollama"])
@pytest.mark.parametrize("scheme", ["q8_0", "q4_k_m"])
def test_the_command_makes_the_file_that_is_counted(runtime: str, scheme: str) -> None:
    found = hfmem.estimate(
        MXFP4, runtime=runtime, gpu="rtx-4090", quantize=scheme, ctx=8192, source="recorded"
    )
    command = found.fit[0].advice[0].command or ""
    kind = scheme.upper()
    assert "--outtype auto --outfile gpt-oss-20b-MXFP4.gguf\n" in command
    quantizing = f"llama-quantize --allow-requantize gpt-oss-20b-MXFP4.gguf gpt-oss-20b-{kind}.gguf"
    assert f"{quantizing} {kind}\n" in command
    assert "--quantize" not in command
    assert f"gpt-oss-20b-{kind}.gguf" in command.splitlines()[-1] or runtime == "ollama"


def test_mxfp4_is_of_the_experts_of_gpt_oss() -> None:
    # transformers 5.23 integrations/mxfp4.py (replace_with_mxfp4_linear): GptOssMLP alone.
    found, notes = settled(model(PLAIN), workload(runtime="transformers", quantize="mxfp4"))
    assert found.quantize is None
    assert [note.code for note in notes] == ["quantizes_nothing"]


# vLLM 0.33 model_executor/layers/quantization/__init__.py (QuantizationMethods); SGLang 0.5.23
# srt/layers/quantization/__init__.py (BASE_QUANTIZATION_METHODS; mlx_q4 on Apple's machines).
@pytest.mark.parametrize("runtime", ["vllm", "sglang"])
@pytest.mark.parametrize("scheme", ["hqq-4bit", "mlx-4bit"])
def test_checkpoints_of_other_engines(runtime: str, scheme: str) -> None:
    found = hfmem.estimate(PLAIN, runtime=runtime, gpu="l40s", quantize=scheme, source="recorded")
    assert [fit.verdict for fit in found.fit] == ["no"]
    assert "does not load" in (found.fit[0].refusal or "")


def test_why_vllm_does_not_quantize_mxfp4_again() -> None:
    asked = workload(runtime="vllm", quantize="fp8")
    with pytest.raises(UsageError, match="dequantize_weight"):
        settled(model(MXFP4), asked)


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
