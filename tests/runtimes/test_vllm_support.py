"""What vLLM would not load, or only with a plugin: classes, methods, versions."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from msgspec.structs import replace

from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.hardware.fit import advised, judge
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.layers import CrossAttention
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.vllm_support import support
from hfmem.source.recorded import bundled

VLLM = RUNTIMES["vllm"]


def model(**changes: Any) -> Model:
    snapshot = bundled("meta-llama/Llama-3.1-8B-Instruct")
    assert snapshot is not None
    return replace(describe(snapshot), **changes)


def test_the_table_is_of_the_newest_version_that_is_known() -> None:
    text = files("hfmem.runtimes").joinpath("vllm_support.json").read_text(encoding="utf-8")
    table = json.loads(text)
    assert VLLM.versions is not None
    assert table["version"].startswith(f"{VLLM.versions[1]}.")
    assert not set(table["generates"]) & (set(table["until"]) | set(table["elsewhere"]))
    # Of model_executor/models/registry.py and layers/quantization/__init__.py.
    assert {"LlamaForCausalLM", "DeepseekV4ForCausalLM"} <= set(table["generates"])
    assert "bitsandbytes" not in table["quantization"]


@pytest.mark.parametrize(
    ("class_name", "version", "says"),
    [
        ("LlamaForCausalLM", None, None),
        ("GPTNeoXForCausalLM", None, None),  # through transformers, by the registry itself
        ("MllamaForConditionalGeneration", None, "until 0.10.2"),
        ("MllamaForConditionalGeneration", "0.10", None),
        ("MllamaForConditionalGeneration", "0.11", "until 0.10.2"),
        ("QWenLMHeadModel", None, "until 0.23.0"),
        ("BartForConditionalGeneration", None, "plugin"),
    ],
)
def test_classes(class_name: str, version: str | None, says: str | None) -> None:
    found = support(model(class_name=class_name), version=version, quantize=None)
    if says is None:
        assert found.refusal is None
    else:
        assert says in (found.refusal or "")
        assert found.notes[0].code == "unsupported_by_runtime"


def test_pooling_models_sample_nothing() -> None:
    for name in ("BertModel", "Qwen3ForSequenceClassification", "Qwen3Model"):
        found = support(model(class_name=name), version=None, quantize=None)
        assert found.pools
        assert [note.code for note in found.notes] == ["pooling_model"]
    asked = workload(ctx=8192, runtime="vllm")
    pooled = VLLM.estimate(model(class_name="LlamaModel"), asked, None).peak
    names = {part.name for part in pooled.part("activations").parts}
    assert "sampler" not in names


def test_an_unlisted_class_runs_by_transformers_or_not_at_all() -> None:
    unlisted = model(class_name="OwnForCausalLM")
    found = support(unlisted, version=None, quantize=None)
    assert (found.refusal, [note.code for note in found.notes]) == (None, ["transformers_backend"])
    cross = CrossAttention(kv_heads=8, head_dim=64, v_head_dim=64, source_tokens=None)
    decoder = replace(unlisted.decoder, layers=((cross,),))
    refused = support(replace(unlisted, decoder=decoder), version=None, quantize=None)
    assert "encoder-decoder" in (refused.refusal or "")


@pytest.mark.parametrize(
    ("method", "version", "code"),
    [
        ("gptq", None, None),
        ("compressed-tensors", None, None),
        ("auto-round", None, None),
        ("NVFP4", None, None),
        ("bitsandbytes", None, "plugin_needed"),
        ("bitsandbytes", "0.27", None),
        ("bitsandbytes", "0.28", "plugin_needed"),
        ("fbgemm_fp8", None, "deprecated_quantization"),
        ("unnamed", None, "unsupported_by_runtime"),
        ("aqlm", None, "unsupported_by_runtime"),
        ("aqlm", "0.19", None),
    ],
)
def test_quantization_methods(method: str, version: str | None, code: str | None) -> None:
    found = support(model(quantization=method), version=version, quantize=None)
    assert [note.code for note in found.notes] == ([] if code is None else [code])
    assert (found.refusal is not None) == (code == "unsupported_by_runtime")


@pytest.mark.parametrize(
    ("method", "gpu", "runs"),
    [
        ("awq", "v100-sxm2-32gb", False),  # quantization/auto_awq.py: get_min_capability, 75
        ("awq", "t4", True),
        ("gptq", "v100-sxm2-32gb", True),
        ("mxfp4", "t4", False),
        ("fp8", "a100-80gb-sxm", True),  # weights alone, by Marlin
        ("fp8", "mi300x", True),
    ],
)
def test_methods_need_a_card(method: str, gpu: str, runs: bool) -> None:
    found = support(model(quantization=method), version=None, quantize=None, gpu=find(gpu))
    assert (found.refusal is None) is runs


def test_a_scheme_that_needs_the_plugin_says_so() -> None:
    codes = [note.code for note in support(model(), version=None, quantize="nf4").notes]
    assert codes == ["plugin_needed"]


def test_a_refused_model_fits_nowhere_and_gets_no_advice() -> None:
    asked = workload(ctx=8192, runtime="vllm")
    refused = model(quantization="unnamed")
    group = GpuGroup(gpu=find("h100-sxm"))
    found = advised(
        judge(group, model=refused, workload=asked, runtime=VLLM),
        model=refused,
        workload=asked,
        runtime=VLLM,
    )
    assert (found.verdict, found.headroom_bytes, found.max_ctx) == ("no", None, 0)
    assert "--runtime mlx" in (found.refusal or "")
    # Another checkpoint is another question.
    assert {one.change for one in found.advice} <= {"quantize"}
    assert all("CHECKPOINT" in (one.command or "") for one in found.advice)


@pytest.mark.parametrize(
    ("flags", "count", "runs"), [({"tp": 2}, 2, False), ({"pp": 2}, 2, True), ({}, 1, True)]
)
def test_what_bitsandbytes_quantized_is_not_divided(
    flags: dict[str, int], count: int, runs: bool
) -> None:
    packed = model(quantization="bitsandbytes")
    asked = workload(ctx=8192, runtime="vllm", flags=flags_of(flags, runtime="vllm"))
    found = VLLM.estimate(packed, asked, GpuGroup(gpu=find("h100-sxm"), count=count))
    assert (found.refusal is None) is runs
