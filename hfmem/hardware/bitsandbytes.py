"""On which cards bitsandbytes has kernels for what a training run takes from it."""

from __future__ import annotations

from hfmem.gpu import Gpu
from hfmem.memory.optimizers import optimizer
from hfmem.memory.training_run import TrainingRun

_SOURCE = "bitsandbytes 0.50"
_ROCM = ("gfx908", "gfx90a", "gfx942", "gfx950", "gfx1250", "gfx101", "gfx103", "gfx110")
_ROCM_TARGETS = (*_ROCM, "gfx115", "gfx120")
"""AMD targets of its ROCm builds (bitsandbytes 0.50.2 METADATA: supported hardware)."""
_CUDA, _CUDA_INT8 = (6, 0), (7, 5)


def needs(run: TrainingRun) -> tuple[str, ...]:
    """What a run takes from bitsandbytes: ``("QLoRA's nf4-dq weights", "adamw-8bit")``."""
    found = []
    if run.method == "qlora":
        found.append(f"QLoRA's {run.quantize} weights")
    if optimizer(run.optimizer).library == "bitsandbytes":
        found.append(run.optimizer)
    return tuple(found)


def refusal(run: TrainingRun, gpu: Gpu) -> str:
    """Why a run's kernels are not there for a card; empty where they are, or nothing is needed.

    On Apple silicon 4-bit weights run and 8-bit optimizers do not (bitsandbytes 0.50.2 METADATA).
    """
    wanted = needs(run)
    if not wanted or not gpu.vendor:
        return ""
    named = " and ".join(wanted)
    match gpu.vendor:
        case "nvidia":
            least = _CUDA_INT8 if run.method == "qlora" and run.quantize == "int8" else _CUDA
            if _capability(gpu) >= least:
                return ""
            return f"{named}: {_SOURCE} needs compute capability {least[0]}.{least[1]}"
        case "amd":
            if gpu.compute_capability.startswith(_ROCM_TARGETS):
                return ""
            target = gpu.compute_capability or "this card"
            return f"{named}: {_SOURCE} has no ROCm kernels for {target}"
        case "apple":
            steps = optimizer(run.optimizer)
            if steps.library == "bitsandbytes":
                return f"{steps.name}: {_SOURCE} has no optimizers for Metal yet"
            return ""
        case "intel" | "cpu":
            return ""
        case _:
            return f"{named}: {_SOURCE} has no kernels for {gpu.name}"


def support(run: TrainingRun, gpu: Gpu) -> str:
    """What a reader with another card than NVIDIA's must know where it does run."""
    if not needs(run) or refusal(run, gpu):
        return ""
    match gpu.vendor:
        case "amd":
            return f"{_SOURCE} has ROCm kernels for {gpu.compute_capability}"
        case "apple":
            return f"{_SOURCE} runs 4-bit weights on Metal"
        case "intel":
            return f"{_SOURCE} has kernels for Intel's XPUs"
        case _:
            return ""


def _capability(gpu: Gpu) -> tuple[int, int]:
    major, _, minor = gpu.compute_capability.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
