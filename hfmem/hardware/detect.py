"""The accelerators of this machine, for ``--gpu auto``, and what other programs hold of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.gpu import Gpu, GpuGroup, GpuKind
from hfmem.hardware import names
from hfmem.hardware.catalogue import gpus, metal_working_set, recognise, usable_from_driver
from hfmem.hardware.machine import read_host_memory, read_nvml, run_command
from hfmem.hardware.probes import (
    HostMemory,
    Reading,
    parse_amd_smi,
    parse_number,
    parse_nvidia_smi,
    parse_rocm_smi,
)
from hfmem.units import GIB, MIB

Runner = Callable[[Sequence[str]], str | None]
"""Runs a command and returns its standard output; None when it is missing, fails or hangs."""

_NVIDIA_SMI = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.used,memory.free",
    "--format=csv,noheader,nounits",
)
_ROCM_SMI = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "gtt", "--json")
_AMD_SMI_STATIC = ("amd-smi", "static", "--asic", "--json")
_AMD_SMI_METRIC = ("amd-smi", "metric", "--mem-usage", "--json")
# A display adapter or the reserve of an integrated GPU, beside which nothing is planned.
_SMALLEST = GIB


class Detected(Struct, frozen=True, kw_only=True):
    """What was found: equal devices are one group, different ones are several."""

    groups: tuple[GpuGroup, ...]
    note: str
    """How it was found, for the user."""


def detect(
    *,
    run: Runner = run_command,
    nvml: Callable[[], tuple[Reading, ...]] = read_nvml,
    host: Callable[[], HostMemory | None] = read_host_memory,
    environ: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
) -> Detected:
    """The devices of this machine by the first source that knows any: NVML, nvidia-smi, rocm-smi,
    amd-smi, Apple's sysctl, and the host's own memory.

    A card of the catalogue keeps its facts and gets the total that was measured. Honours
    CUDA_VISIBLE_DEVICES and HIP_VISIBLE_DEVICES where they hold numbers. Raises UsageError when
    not even the host's memory is known.
    """
    if platform == "darwin":
        apple = _apple(run)
        if apple is not None:
            return apple
    memory = host()
    for tool, read, variable, device in (
        ("NVML", nvml, "CUDA_VISIBLE_DEVICES", _nvidia),
        ("nvidia-smi", lambda: _asked(run, _NVIDIA_SMI), "CUDA_VISIBLE_DEVICES", _nvidia),
        ("rocm-smi", lambda: _asked(run, _ROCM_SMI), "HIP_VISIBLE_DEVICES", _amd),
        ("amd-smi", lambda: _amd_smi(run), "HIP_VISIBLE_DEVICES", _amd),
    ):
        readings = visible(read(), environ.get(variable))
        found = [each for each in (device(reading, memory) for reading in readings) if each]
        if found:
            return Detected(groups=grouped(found), note=f"found with {tool}")
    return _host_only(memory)


def _host_only(memory: HostMemory | None) -> Detected:
    if memory is None:
        raise UsageError(
            "no accelerator was found, and the size of this machine's memory is not known.",
            hint="Name one: --gpu h100, --gpu 24GiB; `hfmem gpus` lists them.",
        )
    cpu = Gpu(
        id="cpu",
        name="this machine's memory",
        vendor="cpu",
        kind="cpu",
        unified_memory=True,
        usable_bytes=memory.total_bytes,
        usable_basis="measured",
        source="the operating system",
    )
    group = GpuGroup(gpu=cpu, used_bytes=memory.total_bytes - memory.available_bytes)
    return Detected(
        groups=(group,), note="no accelerator was found: judged against this machine's memory"
    )


def _asked(run: Runner, command: Sequence[str]) -> tuple[Reading, ...]:
    text = run(command)
    if text is None:
        return ()
    return parse_nvidia_smi(text) if command is _NVIDIA_SMI else parse_rocm_smi(text)


def _amd_smi(run: Runner) -> tuple[Reading, ...]:
    metric = run(_AMD_SMI_METRIC)
    return () if metric is None else parse_amd_smi(run(_AMD_SMI_STATIC) or "", metric)


def visible(readings: Sequence[Reading], setting: str | None) -> tuple[Reading, ...]:
    """The devices that CUDA_VISIBLE_DEVICES leaves: all when unset or not made of numbers; as the
    driver does, those before the first number that no device has.
    """
    if setting is None:
        return tuple(readings)
    kept: list[Reading] = []
    for word in setting.split(","):
        if word.strip() and not word.strip().lstrip("-").isdecimal():
            return tuple(readings)
        index = int(word) if word.strip() else -1
        if not 0 <= index < len(readings):
            break
        kept.append(readings[index])
    return tuple(kept)


def grouped(devices: Iterable[tuple[Gpu, int]]) -> tuple[GpuGroup, ...]:
    """Equal devices together, in the order of their first; the fullest decides what is used."""
    used: dict[Gpu, list[int]] = {}
    for gpu, used_bytes in devices:
        used.setdefault(gpu, []).append(used_bytes)
    return tuple(
        GpuGroup(gpu=gpu, count=len(each), used_bytes=max(each)) for gpu, each in used.items()
    )


def _used(reading: Reading, usable_bytes: int) -> int:
    """What others hold of the usable memory.

    Drivers before 510 count their own reserve as used, which the usable size already leaves out;
    what is missing from the free memory then says the same more tightly.
    """
    known = [usable_bytes]
    if reading.used_bytes is not None:
        known.append(reading.used_bytes)
    if reading.free_bytes is not None:
        known.append(max(0, usable_bytes - reading.free_bytes))
    return min(known) if len(known) > 1 else 0


def _nvidia(reading: Reading, host: HostMemory | None) -> tuple[Gpu, int] | None:
    total = reading.total_bytes
    if total is None:
        # GB10, Orin and Thor: the driver has no number of its own for the memory of the host.
        if host is None:
            return None
        gpu = _measured(reading, recognise(reading.name, None), "nvidia", host.total_bytes)
        gpu = replace(gpu, kind="integrated", unified_memory=True)
        return gpu, host.total_bytes - host.available_bytes
    if total < _SMALLEST:
        return None
    card = recognise(reading.name, total)
    if card is None or card.driver_bytes != total:
        card = replace(
            _measured(reading, card, "nvidia", usable_from_driver(total)),
            driver_bytes=total,
            usable_basis="estimated",
        )
    return card, _used(reading, card.usable_bytes)


def _amd(reading: Reading, _: HostMemory | None) -> tuple[Gpu, int] | None:
    total = reading.total_bytes or 0
    card = recognise(reading.name, total)
    shared = recognise(reading.name, None)
    if card is None and shared is not None and shared.unified_memory:
        card = replace(shared, name=reading.name)
    if card is not None and card.unified_memory and card.kind == "integrated":
        total += reading.shared_bytes
        used = (reading.used_bytes or 0) + reading.shared_used_bytes
        return _measured(reading, card, "amd", total), min(used, total)
    if total < _SMALLEST:
        return None
    gpu = replace(_measured(reading, card, "amd", total), driver_bytes=total)
    return gpu, _used(reading, total)


def _measured(reading: Reading, card: Gpu | None, vendor: str, usable_bytes: int) -> Gpu:
    if card is not None:
        return replace(card, usable_bytes=usable_bytes, usable_basis="measured")
    name = reading.name[:80]
    lowered = name.lower()
    kind: GpuKind = (
        "laptop" if "laptop" in lowered else "consumer" if "geforce" in lowered else "unknown"
    )
    return Gpu(
        id=names.key(name) or vendor,
        name=name,
        vendor=vendor,
        kind=kind,
        usable_bytes=usable_bytes,
        usable_basis="measured",
        source="the driver",
    )


def _apple(run: Runner) -> Detected | None:
    chip = (run(("sysctl", "-n", "machdep.cpu.brand_string")) or "").strip()
    memory = parse_number(run(("sysctl", "-n", "hw.memsize")))
    if not chip.startswith("Apple M") or not memory:
        return None
    wired = parse_number(run(("sysctl", "-n", "iogpu.wired_limit_mb")))
    group = GpuGroup(gpu=apple_gpu(chip, memory, wired_limit_mib=wired or None))
    return Detected(
        groups=(group,), note="found with sysctl; other programs share this Mac's memory"
    )


def apple_gpu(chip: str, memory_bytes: int, *, wired_limit_mib: int | None) -> Gpu:
    """A Mac's GPU from its chip and memory, with the bandwidth of the nearest size of that chip.

    ``iogpu.wired_limit_mb`` (MiB, 0 for the default) replaces Metal's own working set limit.
    """
    size = round(memory_bytes / GIB)
    usable = metal_working_set(memory_bytes)
    if wired_limit_mib is not None:
        usable = min(wired_limit_mib * MIB, memory_bytes)
    model = names.tokens(chip)
    kin = [gpu for gpu in gpus() if names.tokens(names.split_size(gpu.name)[0]) == model]
    nearest = min(kin, key=lambda gpu: abs((gpu.marketed_gb or 0) - size), default=None)
    base = nearest or Gpu(
        id="", name="", vendor="apple", kind="apple", usable_bytes=usable, usable_basis="estimated"
    )
    return replace(
        base,
        id=f"apple-{'-'.join(model)}-{size}gb",
        name=f"{chip} {size}GB",
        unified_memory=True,
        marketed_gb=size,
        usable_bytes=usable,
        usable_basis="estimated" if wired_limit_mib is None else "measured",
    )
