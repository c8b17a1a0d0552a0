"""What a person runs: each line is what its engine takes."""

from __future__ import annotations

import ast
import re

import pytest
from msgspec.structs import replace

import hfmem
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.commands import transformers_snippet
from hfmem.source.recorded import bundled
from hfmem.units import GIB


# transformers 5.23 utils/quantization_config.py: the classes and their arguments; torchao 0.18
# quantization: the configurations of weights alone.
@pytest.mark.parametrize(
    ("scheme", "config", "imports"),
    [
        ("nf4", "BitsAndBytesConfig(load_in_4bit=True", "BitsAndBytesConfig"),
        ("fp8", "FineGrainedFP8Config()", "FineGrainedFP8Config"),
        ("nvfp4", "NVFP4Config()", "NVFP4Config"),
        ("hqq-4bit", "HqqConfig(nbits=4, group_size=64)", "HqqConfig"),
        ("hqq-3bit-g128", "HqqConfig(nbits=3, group_size=128)", "HqqConfig"),
        ("torchao-int4", "TorchAoConfig(Int4WeightOnlyConfig(group_size=128))", "TorchAoConfig"),
        ("torchao-int4-g32", "TorchAoConfig(Int4WeightOnlyConfig(group_size=32))", "TorchAoConfig"),
        ("torchao-int8", "TorchAoConfig(Int8WeightOnlyConfig())", "Int8WeightOnlyConfig"),
        ("torchao-fp8", "TorchAoConfig(Float8WeightOnlyConfig())", "Float8WeightOnlyConfig"),
        ("gptq-4bit", "# a checkpoint made in gptq-4bit", "AutoModelForCausalLM"),
    ],
)
def test_transformers(scheme: str, config: str, imports: str) -> None:
    snapshot = bundled("Qwen/Qwen3-8B")
    assert snapshot is not None
    model, asked = describe(snapshot), workload(ctx=512, quantize=scheme)
    group = GpuGroup(gpu=find("h100"))
    memory = RUNTIMES["transformers"].estimate(model, asked, group)
    text = transformers_snippet(model, asked, group, memory)
    imported = {
        alias.name
        for line in ast.parse(text).body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert config in text
    assert imports in imported


# transformers 5.23 models/auto/modeling_auto.py: MODEL_FOR_CAUSAL_LM_MAPPING_NAMES has no t5, llava
# or qwen2_5_vl, and whisper as WhisperForCausalLM; the other names are classes of modeling_auto.
@pytest.mark.parametrize(
    ("named", "loader"),
    [
        ("Qwen3ForCausalLM", "AutoModelForCausalLM"),
        ("GPT2LMHeadModel", "AutoModelForCausalLM"),
        (None, "AutoModelForCausalLM"),
        ("T5ForConditionalGeneration", "T5ForConditionalGeneration"),
        ("WhisperForConditionalGeneration", "WhisperForConditionalGeneration"),
        ("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"),
        ("BertModel", "AutoModel"),
        ("ModernBertForMaskedLM", "AutoModelForMaskedLM"),
        ("Qwen3ForSequenceClassification", "AutoModelForSequenceClassification"),
        ("x'); import os #", "AutoModel"),
    ],
)
def test_the_class_that_loads_all(named: str | None, loader: str) -> None:
    snapshot = bundled("Qwen/Qwen3-8B")
    assert snapshot is not None
    model, asked = replace(describe(snapshot), class_name=named), workload(ctx=512)
    group = GpuGroup(gpu=find("h100"))
    memory = RUNTIMES["transformers"].estimate(model, asked, group)
    text = transformers_snippet(model, asked, group, memory)
    assert f"from transformers import {loader}\n" in text
    assert f"model = {loader}.from_pretrained(" in text


def test_the_host_holds_all_weights() -> None:
    # accelerate 1.15 utils/modeling.py (get_max_memory): what is not named is not used.
    found = hfmem.estimate(
        "deepseek-ai/DeepSeek-V3", gpu="a100-80gb:4", ctx=4096, source="recorded"
    )
    command = next(one.command for one in found.fit[0].advice if one.change == "offload") or ""
    room = re.search(r'"cpu": "(\d+)GiB"', command)
    assert room is not None
    assert int(room[1]) * GIB >= found.memory.peak.part("weights").bytes


# vLLM 0.33 config/model.py (max_model_len), SGLang 0.5.23 server_args.py (context_length), Ollama's
# num_ctx: of prompt and answer with the positions of pictures, 13,440 of 64 frames here.
@pytest.mark.parametrize(
    ("runtime", "context"),
    [
        ("vllm", "--max-model-len 29824"),
        ("sglang", "--context-length 29824"),
        ("ollama", "OLLAMA_CONTEXT_LENGTH=29824"),
        ("llama.cpp", "-c 29952"),
    ],
)
def test_the_context_has_room_for_pictures(runtime: str, context: str) -> None:
    found = hfmem.estimate(
        "lmms-lab/LLaVA-Video-7B-Qwen2",
        runtime=runtime,
        gpu="h100",
        ctx=16_384,
        frames=64,
        source="recorded",
    )
    assert context in (found.fit[0].advice[0].command or "")
    assert found.memory.ctx == 16_384


def test_llama_cpp_loads_the_encoders_that_are_counted() -> None:
    # convert_hf_to_gguf.py: --mmproj; common/arg.cpp: -mm, --mmproj.
    found = hfmem.estimate(
        "google/gemma-3-27b-it", runtime="llama.cpp", gpu="h100", ctx=4096, source="recorded"
    )
    lines = (found.fit[0].advice[0].command or "").splitlines()
    made = "--mmproj --outfile mmproj-gemma-3-27b-it.gguf"
    assert lines[-2] == f"python convert_hf_to_gguf.py gemma-3-27b-it {made}"
    assert " --mmproj mmproj-gemma-3-27b-it.gguf " in lines[-1]


# vLLM 0.33 config/model.py (_get_and_verify_max_len), SGLang 0.5.23 configs/model_config.py: a
# context above the model's is refused without these variables.
@pytest.mark.parametrize(
    ("runtime", "variable"),
    [
        ("vllm", "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 vllm serve "),
        ("sglang", "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=1 python -m sglang.launch_server "),
    ],
)
@pytest.mark.parametrize("frames", [0, 64])
def test_a_context_above_the_model_s(runtime: str, variable: str, frames: int) -> None:
    found = hfmem.estimate(
        "lmms-lab/LLaVA-Video-7B-Qwen2",
        runtime=runtime,
        gpu="h100",
        ctx=30_000 if frames else 40_000,
        frames=frames,
        source="recorded",
    )
    assert (found.fit[0].advice[0].command or "").startswith(variable)
    assert "beyond_max_context" in [note.code for note in found.notes]
