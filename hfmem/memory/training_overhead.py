"""What a training process holds beside tensors: context, libraries, communicators, slack."""

from __future__ import annotations

from hfmem.memory.overhead import (
    CPU_LIBRARIES,
    CUDA_CONTEXT,
    CUDA_LIBRARIES,
    MPS_CONTEXT,
    ROCM_CONTEXT,
    WEIGHTS_SLACK,
    GpuClass,
    Observed,
    Slack,
)
from hfmem.memory.term import Term, total
from hfmem.memory.training_run import TrainingRun
from hfmem.units import MIB

NCCL = Observed(
    low=200 * MIB,
    typical=392 * MIB,
    high=2048 * MIB,
    source="342 to 392 MiB a set of communicators (aiconfigurator nccl_mem); FIFOs of 4 MiB a "
    "channel and connection, up to 1.6 GB on a large node (NVIDIA/nccl#391)",
)
TRAINING_SLACK = Slack(
    typical=50,
    high=150,
    source="activations come and go in the same order every step; 4.2 of 79 GiB reserved and not "
    "allocated is the most seen (vllm-project/vllm#27508)",
)


def training_overhead(
    *, run: TrainingRun, gpu_class: GpuClass, steady_bytes: int, dynamic_bytes: int
) -> Term:
    """Memory that is no tensor, for one training process on one device."""
    parts: list[Term] = []
    match run.device:
        case "cuda":
            parts += [
                CUDA_CONTEXT[gpu_class].term("context"),
                CUDA_LIBRARIES[gpu_class].term("libraries"),
            ]
        case "rocm":
            parts.append(ROCM_CONTEXT.term("context"))
        case "mps":
            parts.append(MPS_CONTEXT.term("context"))
        case "cpu":
            parts.append(CPU_LIBRARIES.term("libraries"))
    if run.device != "cpu":
        parts.append(WEIGHTS_SLACK.term("allocator, states", steady_bytes))
        parts.append(TRAINING_SLACK.term("allocator, activations", dynamic_bytes))
    if run.parallel.gpus > 1 and run.device in ("cuda", "rocm"):
        parts.append(NCCL.term("communicators"))
    return total("overhead", parts, because=f"what a {run.device} process holds beside tensors")
