"""What the advice says is done: its command is read back, and the workload fits."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from typing import Any

import pytest

import hfmem
from hfmem.hardware.advice import Advice

MODELS = (
    "meta-llama/Llama-3.1-70B-Instruct",
    "Qwen/Qwen3-30B-A3B",
    "google/gemma-3-27b-it",
    "deepseek-ai/DeepSeek-V3",
    "openai/gpt-oss-20b",
)
_OPTIONS = {
    "--max-model-len": "ctx",
    "--context-length": "ctx",
    "--tensor-parallel-size": "tp",
    "--tp-size": "tp",
    "--pipeline-parallel-size": "pp",
    "--pp-size": "pp",
    "--kv-cache-dtype": "kv_dtype",
    "--cpu-offload-gb": "cpu_offload_gb",
    "--max-num-seqs": "max_num_seqs",
}
_MADE = {"fp8_per_tensor": "fp8", "bitsandbytes": "nf4", "fp8": "fp8"}


def told(one: Advice) -> dict[str, Any]:
    """The options that a command says, as a person would type them."""
    words = shlex.split(one.command or "")
    found: dict[str, Any] = {"gpu": f"{one.gpu}:{one.count}"}
    for flag, value in pairwise(words):
        if flag in _OPTIONS:
            found[_OPTIONS[flag]] = int(value) if value.isdecimal() else value
        if flag == "--quantization":
            found["quantize"] = _MADE[value]
    if made := re.search(r"CHECKPOINT-OF-\S+-IN-(\S+)", one.command or ""):
        found["quantize"] = made[1]
    if one.change == "batch":
        found["batch"] = int(one.label.split()[0].replace(",", ""))
    return found


@pytest.mark.parametrize("gpu", ["rtx-4090", "h100:2", "h100:8"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("runtime", "asked"),
    [
        ("vllm", {"ctx": 32_768}),
        ("vllm", {"ctx": 8192, "batch": 300}),
        ("sglang", {"ctx": 32_768}),
    ],
)
def test_a_command_runs_what_it_promises(
    runtime: str, asked: dict[str, Any], name: str, gpu: str
) -> None:
    common = {"runtime": runtime, "source": "recorded"}
    found = hfmem.estimate(name, gpu=gpu, **common, **asked).fit[0]
    assert found.fits == (found.advice[:1] != () and found.advice[0].change == "none")
    for one in found.advice:
        again = hfmem.estimate(name, **{**common, **asked, **told(one)}).fit[0]
        assert again.fits, (one.label, one.command)
        assert again.per_gpu_bytes == one.per_gpu_bytes


@pytest.mark.parametrize("gpu", ["rtx-4090", "h100:2"])
@pytest.mark.parametrize("name", MODELS[:3])
def test_changes_in_words_fit_too(name: str, gpu: str) -> None:
    asked = {"ctx": 32_768, "source": "recorded"}
    found = hfmem.estimate(name, gpu=gpu, **asked).fit[0]
    for one in found.advice:
        last = one.label.split()[-1]
        changes: dict[str, Any] = {
            "none": {},
            "ctx": {"ctx": int(one.label.split()[-2].replace(",", "")) if "tokens" in last else 0},
            "kv_dtype": {"kv_dtype": last},
            "quantize": {"quantize": last},
            "gpus": {"gpu": f"{one.gpu}:{one.count}"},
        }
        if one.change in changes:
            again = hfmem.estimate(name, **{"gpu": gpu, **asked, **changes[one.change]}).fit[0]
            assert again.fits, one.label
