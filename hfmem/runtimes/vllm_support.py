"""What vLLM runs at all: classes and quantization methods, from its own registries.

``vllm_support.json`` holds the names of model_executor/models/registry.py and
model_executor/layers/quantization/__init__.py with their version; tests/scripts/vllm_support.py
writes it. Of older versions only what the registry itself dates is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note
from hfmem.gpu import Gpu
from hfmem.model.layers import CrossAttention
from hfmem.model.model import Model
from hfmem.runtimes.vllm_versions import NEWEST, numbers

PLUGINS = {
    "bitsandbytes": ((0, 28), "vllm-bnb-plugin"),
    "gguf": (numbers(NEWEST), "vllm-gguf-plugin"),
}
"""Methods that moved out of vLLM, since when, and the package that brings them back: #43529 took
bitsandbytes out of 0.28; 0.33 has no GGUF either (#39583)."""
_NAMED_OTHERWISE = {
    "auto-round": "inc",
    "compressed_tensors": "compressed-tensors",
    "nvfp4": "modelopt_fp4",
    "mixed_precision": "modelopt_mixed",
    **dict.fromkeys(("fp8_pb_wo", "fp8_per_channel_per_token"), "modelopt"),
}
"""What checkpoints call a method of the registry (inc.py: override_quantization_method,
model_arch_config_convertor.py: _normalize_quantization_config)."""
_CAPABILITY = {
    **dict.fromkeys(("gptq", "auto_gptq", "gptq_marlin", "inc"), (6, 0)),
    **dict.fromkeys(("compressed-tensors", "quark", "moe_wna16"), (7, 0)),
    **dict.fromkeys(("awq", "auto_awq", "awq_marlin", "fp8", "modelopt_fp4"), (7, 5)),
    **dict.fromkeys(("modelopt_mixed", "humming", "torchao", "online"), (7, 5)),
    **dict.fromkeys(("mxfp4", "gpt_oss_mxfp4", "mxfp8", "modelopt", "modelopt_mxfp8"), (8, 0)),
    **dict.fromkeys(("experts_int8", "fbgemm_fp8"), (8, 0)),
    "fp_quant": (10, 0),
}
"""Least CUDA compute capability of a checkpoint's method (get_min_capability of each)."""
_IN_FLIGHT = frozenset({"fp8", "nf4"})
"""Schemes that vLLM makes of weights as it loads them; the others are other checkpoints."""
_ELSEWHERE = re.compile("(hqq|mlx)-")
"""Schemes whose checkpoints other engines load, and the method that these name."""
_POOLED = ("ForSequenceClassification", "ForTokenClassification", "ForRewardModel", "RewardModel")
_POOLED_BASE = "Model"


class Support(Struct, frozen=True, kw_only=True):
    """Whether an engine takes a model."""

    refusal: str | None = None
    """Why it would not start."""
    notes: tuple[Note, ...] = ()
    pools: bool = False
    """Runs as a pooling model: no token is sampled."""


class _Table(Struct, frozen=True, kw_only=True):
    version: str
    generates: frozenset[str]
    pools: frozenset[str]
    until: Mapping[str, str]
    elsewhere: Mapping[str, str]
    quantization: frozenset[str]
    deprecated_quantization: frozenset[str]


@cache
def _table() -> _Table:
    text = files("hfmem.runtimes").joinpath("vllm_support.json").read_text(encoding="utf-8")
    found = json.loads(text)
    names = ("generates", "pools", "quantization", "deprecated_quantization")
    return _Table(**{**found, **{name: frozenset(found[name]) for name in names}})


def support(
    model: Model, *, version: str | None, quantize: str | None, gpu: Gpu | None = None
) -> Support:
    """What vLLM says of a model before it loads it; ``quantize`` is a scheme that is asked for.

    A repository of MLX is refused (its quantization_config names no method), and so is T5 (encoder-
    decoder classes went with V0); BertModel runs as a pooling model.
    """
    method = (model.quantization or "").lower() if model.gguf_architecture is None else "gguf"
    if quantize is not None and (not method or quantize not in _IN_FLIGHT):
        elsewhere = _ELSEWHERE.match(quantize)
        method = elsewhere[1] if elsewhere else ""  # Another checkpoint.
        method = "bitsandbytes" if quantize in {"nf4", "nf4-dq"} else method
    one, two = _of_class(model, version), _of_method(method, version)
    refusal = one.refusal or two.refusal or _of_card(method, gpu)
    notes = (*one.notes, *two.notes)
    if refusal is not None:
        notes = (Note(code="unsupported_by_runtime", message=refusal), *notes)
    return Support(refusal=refusal, notes=notes, pools=one.pools)


def _of_class(model: Model, version: str | None) -> Support:
    table, name = _table(), model.class_name
    if model.pipeline is not None:
        return Support(refusal="vLLM runs no diffusers pipelines.")
    if name is None or name in table.generates:
        return Support()
    if name in table.pools or _converted(name, table):
        message = f"vLLM runs {name} as a pooling model (--runner pooling): no token is sampled."
        return Support(pools=True, notes=(Note(code="pooling_model", message=message),))
    last = table.until.get(name)
    if last is not None:
        if version is not None and numbers(version)[:2] <= numbers(last)[:2]:
            return Support()
        return Support(
            refusal=f"vLLM ran {name} until {last}; {table.version} would not start with it."
        )
    if name in table.elsewhere:
        return Support(refusal=f"vLLM runs {name} with a plugin only: {table.elsewhere[name]}.")
    if any(isinstance(kind, CrossAttention) for kinds in model.decoder.layers for kind in kinds):
        return Support(
            refusal=f"vLLM {table.version} has no class {name}: of encoder-decoder models it runs "
            "Whisper's kind only."
        )
    message = (
        f"vLLM {table.version} has no class of its own for {name}; it runs it with transformers' "
        "code where that allows it, which is not checked here."
    )
    return Support(notes=(Note(code="transformers_backend", message=message),))


def _converted(name: str, table: _Table) -> bool:
    """A class that vLLM makes out of the one that generates (config/model.py:
    try_match_architecture_defaults): Qwen3ForSequenceClassification of Qwen3ForCausalLM."""
    for ending in (*_POOLED, _POOLED_BASE):
        if name.endswith(ending):
            base = name.removesuffix(ending)
            return f"{base}ForCausalLM" in table.generates
    return False


def _of_method(method: str, version: str | None) -> Support:
    table = _table()
    method = _NAMED_OTHERWISE.get(method, method)
    if method in PLUGINS:
        since, package = PLUGINS[method]
        if version is not None and numbers(version) < since:
            return Support()
        message = (
            f"Since {since[0]}.{since[1]} vLLM takes {method} through a plugin: "
            f"pip install {package}."
        )
        return Support(notes=(Note(code="plugin_needed", message=message),))
    if not method or method in table.quantization or _older(version, table):
        return _deprecated(method, table)
    if method == "unnamed":
        return Support(
            refusal="vLLM does not load weights whose quantization_config names no quant_method, "
            "as MLX's; --runtime mlx runs them."
        )
    return Support(
        refusal=f"vLLM {table.version} does not load weights quantized with {method[:40]}."
    )


def _of_card(method: str, gpu: Gpu | None) -> str | None:
    """Why a card does not run a checkpoint's method (config/vllm.py: _get_quantization_config)."""
    needed = _CAPABILITY.get(_NAMED_OTHERWISE.get(method, method))
    if gpu is None or gpu.vendor != "nvidia" or needed is None or not gpu.compute_capability:
        return None
    if numbers(gpu.compute_capability) >= needed:
        return None
    return (
        f"vLLM needs compute capability {needed[0]}.{needed[1]} for {method}; {gpu.name} has "
        f"{gpu.compute_capability}."
    )


def _deprecated(method: str, table: _Table) -> Support:
    if method not in table.deprecated_quantization:
        return Support()
    message = f"vLLM {table.version} loads {method} with --allow-deprecated-quantization only."
    return Support(notes=(Note(code="deprecated_quantization", message=message),))


def _older(version: str | None, table: _Table) -> bool:
    """A version whose list of methods is not at hand."""
    return version is not None and numbers(version) < numbers(table.version)[:2]
