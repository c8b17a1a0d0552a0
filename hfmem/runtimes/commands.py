"""The command or the lines of Python that run a workload in an engine."""

from __future__ import annotations

import shlex
from fractions import Fraction

from hfmem.dtypes import torch_name
from hfmem.gpu import GpuGroup
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload
from hfmem.model.class_defaults import model_type_of_class
from hfmem.model.model import Model
from hfmem.runtimes.nodes import usual_split
from hfmem.units import GIB, MIB

_VLLM_NAMES = {
    "tp": "--tensor-parallel-size",
    "pp": "--pipeline-parallel-size",
    "dp": "--data-parallel-size",
    "dcp": "--decode-context-parallel-size",
}
_VLLM_QUANTIZATION = {"fp8": "fp8_per_tensor", "nf4": "bitsandbytes"}
"""Schemes that vLLM 0.33 makes as it loads; the others need a checkpoint made so. Its ``fp8`` is
for weights that are FP8 already (quantization/fp8.py: Fp8Config), in older versions for all
(vllm-project/vllm#53585)."""


def vllm_command(
    model: Model, workload: Workload, group: GpuGroup, _estimate: MemoryEstimate
) -> str:
    """``vllm serve org/name --max-model-len 8192 --tensor-parallel-size 2``, with what was asked.

    Of a scheme that needs a checkpoint of its own, the name of that checkpoint is left to fill in.
    """
    name, scheme = model.name, workload.quantize
    words = ["vllm", "serve", name]
    limit = model.decoder.max_context
    tokens = (workload.ctx or 0) + workload.media_tokens
    if workload.ctx is not None and limit is not None and tokens > limit:
        # vLLM 0.33 config/model.py: refused without it.
        words.insert(0, "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1")
    if scheme is not None and scheme not in _VLLM_QUANTIZATION:
        words[-1] = f"CHECKPOINT-OF-{name.split('/')[-1]}-IN-{scheme}"
    if model.revision:
        words += ["--revision", model.revision]
    if workload.ctx is not None:
        words += ["--max-model-len", str(tokens)]
    flags = dict(workload.flags.given)
    if group.count > 1 and not {"tp", "pp", "dp"} & flags.keys():
        ranks, stages = usual_split(group.count)
        words += ["--tensor-parallel-size", str(ranks)]
        words += ["--pipeline-parallel-size", str(stages)] if stages > 1 else []
    if workload.dtype is not None:
        words += ["--dtype", torch_name(workload.dtype)]
    if workload.kv_dtype != "auto":
        words += ["--kv-cache-dtype", workload.kv_dtype]
    if scheme is not None and scheme in _VLLM_QUANTIZATION:
        made = _VLLM_QUANTIZATION[scheme]
        words += ["--quantization", "fp8" if scheme == "fp8" and _older(workload) else made]
    for flag, value in flags.items():
        spelled = _VLLM_NAMES.get(flag, f"--{flag.replace('_', '-')}")
        match flag, value:
            case "ep", _:
                words.append("--enable-expert-parallel")
            case _, True:
                words.append(spelled)
            case "cpu_offload_gb", int():
                words += [spelled, f"{value / GIB:g}"]
            case _, Fraction():
                words += [spelled, f"{float(value):g}"]
            case _:
                words += [spelled, str(value)]
    return shlex.join(words)


def _older(workload: Workload) -> bool:
    """Whether an older vLLM was asked for than the one whose flags these are."""
    from hfmem.runtimes.vllm_versions import NEWEST, numbers

    return workload.version is not None and numbers(workload.version)[:2] < numbers(NEWEST)


_BITSANDBYTES = {
    "int8": "load_in_8bit=True",
    "nf4": 'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16',
    "nf4-dq": 'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, '
    "bnb_4bit_compute_dtype=torch.bfloat16",
}
_CONFIGS = {
    "fp8": "FineGrainedFP8Config()",
    "mxfp4": "Mxfp4Config()",
    "nvfp4": "NVFP4Config()",
    "torchao-int8": "TorchAoConfig(Int8WeightOnlyConfig())",
    "torchao-fp8": "TorchAoConfig(Float8WeightOnlyConfig())",
}


def _config(scheme: str) -> str | None:
    """The settings that transformers 5.23 makes a scheme of as it loads (utils/
    quantization_config.py): ``HqqConfig(nbits=4, group_size=64)``."""
    kind, _, rest = scheme.partition("-")
    bits, _, group = rest.removeprefix("int").replace("bit", "").partition("-g")
    if kind == "hqq":
        return f"HqqConfig(nbits={bits}, group_size={group or 64})"
    if kind == "torchao" and rest.startswith("int4"):
        return f"TorchAoConfig(Int4WeightOnlyConfig(group_size={group or 128}))"
    return _CONFIGS.get(scheme)


_HEADS = ("MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering")


def _loader(model: Model) -> str:
    """The class that loads all that is counted (transformers 5.23 models/auto/modeling_auto.py).

    AutoModelForCausalLM has no T5 and no Qwen2.5-VL, and of Whisper the decoder alone: those are
    loaded with their own class. ``AutoModel`` has no head.
    """
    name = model.class_name or ""
    if not name or name.endswith(("ForCausalLM", "LMHeadModel")):
        return "AutoModelForCausalLM"
    if model_type_of_class(name) is not None:
        return name
    head = next((one for one in _HEADS if name.endswith(f"For{one}")), None)
    return "AutoModel" if head is None else f"AutoModelFor{head}"


def transformers_snippet(
    model: Model, workload: Workload, _group: GpuGroup, estimate: MemoryEstimate
) -> str:
    """Lines of Python that load the model so (transformers 5.23 from_pretrained)."""
    loader = _loader(model)
    scheme, imported, extra = workload.quantize, [loader], []
    others: list[str] = []
    dtype = f"torch.{torch_name(workload.dtype)}" if workload.dtype else '"auto"'
    if scheme in _BITSANDBYTES:
        imported.append("BitsAndBytesConfig")
        extra.append(f"quantization_config=BitsAndBytesConfig({_BITSANDBYTES[scheme]})")
    elif scheme is not None and (config := _config(scheme)) is not None:
        name, _, inner = config.removesuffix(")").partition("(")
        imported.append(name)
        if "(" in inner:
            others.append(f"from torchao.quantization import {inner.partition('(')[0]}")
        extra.append(f"quantization_config={config}")
    elif scheme is not None:
        extra.append(f"# a checkpoint made in {scheme}")
    held = (workload.flags.whole("max_memory_bytes") or 0) // MIB
    if held:
        room = ", ".join(f'{number}: "{held}MiB"' for number in range(estimate.count))
        host = max(1000, -(-estimate.peak.part("weights").bytes // GIB))
        extra.append(f'max_memory={{{room}, "cpu": "{host}GiB"}}')
    if workload.attention is not None:
        name = {"flash": "flash_attention_2"}.get(workload.attention, workload.attention)
        extra.append(f'attn_implementation="{name}"')
    if model.revision:
        extra.append(f"revision={model.revision!r}")
    arguments = [repr(model.name), f"dtype={dtype}", 'device_map="auto"']
    comment = [one for one in extra if one.startswith("#")]
    arguments += [one for one in extra if not one.startswith("#")]
    lines = [
        "import torch",
        *others,
        f"from transformers import {', '.join(imported)}",
        f"model = {loader}.from_pretrained({', '.join(arguments)})"
        + "".join(f"  {one}" for one in comment),
    ]
    if workload.kv_dtype != "auto":
        backend, _, bits = workload.kv_dtype.partition("-int")
        config = f'{{"backend": "{backend}", "nbits": {bits}}}' if bits else '{"backend": "fp8"}'
        lines.append(
            'outputs = model.generate(**inputs, cache_implementation="quantized", '
            f"cache_config={config})"
        )
    return "\n".join(lines)
