"""What a person runs: each line is what its engine takes."""

from __future__ import annotations

import ast

import pytest

from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.commands import transformers_snippet
from hfmem.source.recorded import bundled


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
