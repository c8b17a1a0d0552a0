"""Which quantized weights SGLang runs on which card. Sources: SGLang 0.5.23, the file of a row."""

from __future__ import annotations

import pytest

import hfmem
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.runtimes.sglang import estimate
from hfmem.runtimes.sglang_support import unrun_scheme
from hfmem.source.recorded import bundled


# get_min_capability: awq/awq.py 75 (AWQConfig), fp8.py 80, mxfp4.py 80, modelopt_quant.py 80
# (ModelOptFp4Config), bitsandbytes.py 70; gptq/gptq.py and marlin_utils.py: marlin from 80 on, and
# QUANTIZATION_METHODS has no gptq of CUDA beside; configs/model_config.py:
# rocm_supported_quantization.
@pytest.mark.parametrize(
    ("scheme", "gpu", "runs"),
    [
        ("gptq-4bit", "t4", False),
        ("gptq-4bit", "a100-80gb", True),
        ("gptq-4bit", "mi300x", False),
        ("awq-4bit", "t4", True),
        ("awq-4bit", "mi300x", True),
        ("fp8", "t4", False),
        ("fp8", "a100-80gb", True),
        ("fp8", "mi300x", True),
        ("fp8-channel", "mi300x", True),
        ("nf4", "t4", True),
        ("nf4", "mi300x", False),
        ("nvfp4", "t4", False),
        ("nvfp4", "l40s", True),
        ("hqq-4bit", "h100", False),
        ("mlx-4bit", "h100", False),
    ],
)
def test_schemes(scheme: str, gpu: str, runs: bool) -> None:
    assert (unrun_scheme(scheme, find(gpu)) is None) == runs


@pytest.mark.parametrize(
    ("name", "gpu", "runs"),
    [
        ("openai/gpt-oss-20b", "t4", False),
        ("openai/gpt-oss-20b", "rtx-3090", True),
        ("deepseek-ai/DeepSeek-V3", "t4", False),
        ("Qwen/Qwen3-8B", "t4", True),
    ],
)
def test_published_weights(name: str, gpu: str, runs: bool) -> None:
    snapshot = bundled(name)
    assert snapshot is not None
    asked = workload(ctx=2048, runtime="sglang")
    found = estimate(describe(snapshot), asked, GpuGroup(gpu=find(gpu)))
    assert (found.refusal is None) == runs


def test_no_advice_and_no_card_that_it_refuses() -> None:
    found = hfmem.estimate("Qwen/Qwen3-8B", runtime="sglang", gpu="t4", ctx=8192, source="recorded")
    assert [one.label for one in found.fit[0].advice if one.change == "quantize"] == [
        "weights in awq-4bit"
    ]
    for rung in found.precision:
        if rung.smallest_gpu is not None and "-" in rung.scheme:
            assert unrun_scheme(rung.scheme, find(rung.smallest_gpu)) is None
