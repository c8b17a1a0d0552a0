"""Asking this machine: commands, NVML and the files of the kernel. Nothing here raises."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from hfmem.hardware.probes import HostMemory, Reading, limited, parse_meminfo, parse_number

_TIMEOUT_SECONDS = 10


def run_command(command: Sequence[str]) -> str | None:
    """What a command prints; None when it is missing, fails or takes more than ten seconds."""
    import subprocess

    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")


def read_nvml() -> tuple[Reading, ...]:
    """NVIDIA's devices through NVML, empty without the package nvidia-ml-py or a driver."""
    import importlib

    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
    except (nvml.NVMLError, OSError):
        return ()
    try:
        return tuple(_nvml_reading(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    except nvml.NVMLError:
        return ()
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _nvml_reading(nvml: ModuleType, index: int) -> Reading:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    name = name.decode("utf-8", errors="replace") if isinstance(name, bytes) else str(name)
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:
        return Reading(name=name)
    total, free = int(memory.total), int(memory.free)
    return Reading(name=name, total_bytes=total, used_bytes=int(memory.used), free_bytes=free)


def read_host_memory() -> HostMemory | None:
    """The machine's memory, or the container's limit where that is lower; None on Windows."""
    host = parse_meminfo(_contents("/proc/meminfo") or "") or _sysconf_memory()
    if host is None:
        return None
    return limited(
        host,
        limit=parse_number(_contents("/sys/fs/cgroup/memory.max")),
        current=parse_number(_contents("/sys/fs/cgroup/memory.current")),
    )


def _contents(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _sysconf_memory() -> HostMemory | None:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return HostMemory(total_bytes=total, available_bytes=total) if total > 0 else None
