"""What a card means to the software on it: its backend and the size of its driver context."""

from __future__ import annotations

from hfmem.gpu import Gpu
from hfmem.memory.overhead import GpuClass
from hfmem.memory.workload import Device


def device_of(gpu: Gpu) -> Device:
    """Which PyTorch backend drives a card."""
    match gpu.vendor:
        case "amd":
            return "rocm"
        case "apple":
            return "mps"
        case "cpu":
            return "cpu"
        case _:
            return "cuda"


def class_of(gpu: Gpu | None) -> GpuClass:
    """How large a driver context to expect of a card; unknown without one."""
    match gpu.kind if gpu else "unknown":
        case "consumer" | "laptop" | "integrated":
            return "consumer"
        case "datacenter" | "workstation":
            return "datacenter"
        case _:
            return "unknown"
