"""How SGLang is run for a workload."""

from __future__ import annotations

import shlex
from fractions import Fraction

from hfmem.dtypes import torch_name
from hfmem.gpu import GpuGroup
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload
from hfmem.model.model import Model

_SPELLED = {"tp": "--tp-size", "pp": "--pp-size", "dp": "--dp-size", "ep": "--ep-size"}
_MADE_AS_IT_LOADS = {"fp8": "fp8"}


def launch_server(
    model: Model, workload: Workload, group: GpuGroup, _estimate: MemoryEstimate
) -> str:
    """``python -m sglang.launch_server --model-path org/name --tp-size 2``, with what was asked."""
    name, quantized = model.name, workload.quantize
    if quantized is not None and quantized not in _MADE_AS_IT_LOADS:
        name = f"CHECKPOINT-OF-{name.split('/')[-1]}-IN-{quantized}"
    words = ["python", "-m", "sglang.launch_server", "--model-path", name]
    limit, tokens = model.decoder.max_context, (workload.ctx or 0) + workload.media_tokens
    if workload.ctx is not None and limit is not None and tokens > limit:
        # SGLang 0.5.23 configs/model_config.py: refused without it.
        words.insert(0, "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=1")
    if model.revision:
        words += ["--revision", model.revision]
    if workload.ctx is not None:
        words += ["--context-length", str(tokens)]
    flags = dict(workload.flags.given)
    if group.count > 1 and not {"tp", "pp", "dp"} & flags.keys():
        words += ["--tp-size", str(group.count)]
    if workload.dtype is not None:
        words += ["--dtype", torch_name(workload.dtype)]
    if workload.kv_dtype != "auto":
        words += ["--kv-cache-dtype", workload.kv_dtype]
    if quantized in _MADE_AS_IT_LOADS:
        words += ["--quantization", _MADE_AS_IT_LOADS[quantized or ""]]
    for flag, value in flags.items():
        spelled = _SPELLED.get(flag, f"--{flag.replace('_', '-')}")
        if value is True:
            words.append(spelled)
        elif isinstance(value, Fraction):
            words += [spelled, f"{float(value):g}"]
        else:
            words += [spelled, str(value)]
    return shlex.join(words)
