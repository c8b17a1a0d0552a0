"""What the device holds beside tensors: driver context, library workspaces, allocator slack.

None of it can be computed from a model, so each is a figure with the range that observations leave.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from hfmem.memory.term import Term, total
from hfmem.memory.workload import Device
from hfmem.units import MIB

GpuClass = Literal["consumer", "datacenter", "unknown"]
"""How large a context the driver makes: it scales with the number of multiprocessors."""


class Observed(Struct, frozen=True, kw_only=True):
    """A measured amount with its range and where it was seen."""

    low: int
    typical: int
    high: int
    source: str

    def term(self, name: str) -> Term:
        """As a Term of its own."""
        return Term(
            name=name,
            bytes=self.typical,
            basis="measured",
            because=self.source,
            low=self.low,
            high=self.high,
        )


CUDA_CONTEXT: dict[GpuClass, Observed] = {
    "consumer": Observed(
        low=107 * MIB,
        typical=300 * MIB,
        high=500 * MIB,
        source="driver context of 107 MiB, measured by llama.cpp's users on an RTX 4060 Ti "
        "(ggml-org/llama.cpp#23604); about 300 MiB with PyTorch's kernels loaded lazily, measured "
        "by PyTorch's users (pytorch/pytorch#107667)",
    ),
    "datacenter": Observed(
        low=400 * MIB,
        typical=522 * MIB,
        high=640 * MIB,
        source="0.51 GiB before the first tensor on an H100, measured by vLLM's own profile "
        "(llm-d-planner#205); 555 MiB on an RTX PRO 6000, measured by llama.cpp's users "
        "(ggml-org/llama.cpp#23604)",
    ),
    "unknown": Observed(
        low=107 * MIB,
        typical=450 * MIB,
        high=640 * MIB,
        source="between what llama.cpp's users measured on an RTX 4060 Ti (107 MiB: "
        "ggml-org/llama.cpp#23604) and 0.62 GiB, above vLLM's profile of an H100 "
        "(0.51 GiB: llm-d-planner#205); name the GPU with --gpu for a narrower range",
    ),
}

CUDA_LIBRARIES: dict[GpuClass, Observed] = {
    "consumer": Observed(
        low=8 * MIB,
        typical=64 * MIB,
        high=256 * MIB,
        source="cuBLAS workspace of 8.1 MiB a stream (PyTorch ATen/cuda/CublasHandlePool.cpp: "
        "parseChosenWorkspaceSize, 4096 KiB × 2 + 16 KiB × 8), cuDNN and kernels on first use",
    ),
    "datacenter": Observed(
        low=32 * MIB,
        typical=128 * MIB,
        high=256 * MIB,
        source="cuBLAS workspace of 32 MiB on sm90 and 8.1 MiB elsewhere (CublasHandlePool.cpp); "
        "non-torch growth of 0.13 to 0.25 GiB in vLLM's profile on an H100 (llm-d-planner#205)",
    ),
    "unknown": Observed(
        low=8 * MIB,
        typical=96 * MIB,
        high=256 * MIB,
        source="cuBLAS workspace of 8.1 to 32 MiB (PyTorch ATen/cuda/CublasHandlePool.cpp: "
        "parseChosenWorkspaceSize), cuDNN and kernels on first use; at most the non-torch growth "
        "of 0.25 GiB in vLLM's profile of an H100 (llm-d-planner#205)",
    ),
}

ROCM_CONTEXT = Observed(
    low=256 * MIB,
    typical=600 * MIB,
    high=1536 * MIB,
    source="assumed from CUDA's figures: no measurement of a HIP context is at hand",
)
MPS_CONTEXT = Observed(
    low=64 * MIB,
    typical=256 * MIB,
    high=768 * MIB,
    source="assumed: Metal heaps and pipeline states; no measurement is at hand",
)
CPU_LIBRARIES = Observed(
    low=330 * MIB,
    typical=400 * MIB,
    high=800 * MIB,
    source="331 MiB resident after importing torch 2.13 (CPU build) and transformers 5.23, "
    "measured by hfmem's authors with getrusage on Linux",
)


class Slack(Struct, frozen=True, kw_only=True):
    """Share of what the allocator hands out that it reserves beside it, in thousandths."""

    typical: int
    high: int
    source: str

    def term(self, name: str, size: int) -> Term:
        """The slack on ``size`` bytes."""
        return Term(
            name=name,
            bytes=size * self.typical // 1000,
            basis="assumed",
            because=f"{self.typical / 10:g} % of {size:,} bytes, 0 to {self.high / 10:g} %: "
            f"{self.source}",
            low=0,
            high=size * self.high // 1000,
        )


WEIGHTS_SLACK = Slack(
    typical=2,
    high=5,
    source="weights as loaded exceed the sum of the headers by up to 0.2 % in 62 runs of vLLM "
    "on an H100 (llm-d-planner#205)",
)
DYNAMIC_SLACK = Slack(
    typical=100,
    high=150,
    source="cache and activations change their sizes, and the caching allocator keeps what no "
    "longer fits; 0.3 to 0.5 GiB reserved and not allocated is typical, 4.2 of 79 GiB the most "
    "(vllm-project/vllm#27508)",
)


def overhead(
    *, device: Device, gpu_class: GpuClass, weights_bytes: int, dynamic_bytes: int
) -> Term:
    """Memory that is no tensor, for one process on one device.

    ``dynamic_bytes`` are cache and activations. On an unknown CUDA card with 15 GiB of weights and
    2 GiB of the rest: 450 MiB context, 96 MiB libraries, 31 MiB and 205 MiB allocator slack.
    """
    slack = (
        WEIGHTS_SLACK.term("allocator, weights", weights_bytes),
        DYNAMIC_SLACK.term("allocator, cache and activations", dynamic_bytes),
    )
    parts: tuple[Term, ...]
    match device:
        case "cuda":
            parts = (
                CUDA_CONTEXT[gpu_class].term("context"),
                CUDA_LIBRARIES[gpu_class].term("libraries"),
                *slack,
            )
        case "rocm":
            parts = (_assumed(ROCM_CONTEXT, "context"), *slack)
        case "mps":
            parts = (_assumed(MPS_CONTEXT, "context"), *slack)
        case "cpu":
            parts = (CPU_LIBRARIES.term("libraries"),)
    return total("overhead", parts, because=f"what a {device} process holds beside tensors")


def _assumed(observed: Observed, name: str) -> Term:
    return Term(
        name=name,
        bytes=observed.typical,
        basis="assumed",
        because=observed.source,
        low=observed.low,
        high=observed.high,
    )
