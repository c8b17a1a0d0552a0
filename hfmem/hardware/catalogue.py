"""The accelerators that hfmem knows by name, and the sizes that a user gives in place of one."""

from __future__ import annotations

import functools
import re
from typing import Any

from hfmem.errors import UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware import names
from hfmem.units import GIB, MIB, parse_size

__all__ = [
    "COMMON",
    "MAX_COUNT",
    "Gpu",
    "GpuGroup",
    "current",
    "current_words",
    "find",
    "gpus",
    "metal_working_set",
    "parse_gpu",
    "recognise",
    "search",
    "usable_from_driver",
]

COMMON: tuple[str, ...] = (
    "rtx-5060-ti-16gb",
    "rtx-4090",
    "rtx-5090",
    "a100-40gb-sxm",
    "l40s",
    "apple-m4-max-64gb",
    "a100-80gb-sxm",
    "h100-sxm",
    "h200-sxm",
    "b200-sxm",
    "mi300x",
)
"""The cards that a table shows when none is named, in the order of the number on the box."""

_CURRENT_KINDS = frozenset({"consumer", "workstation", "datacenter", "apple"})
_CURRENT_GENERATIONS = frozenset(
    {
        *("Ampere", "Ada", "Hopper", "Blackwell", "Blackwell Ultra"),
        *("CDNA3", "CDNA4", "RDNA3", "RDNA4"),
        *("M1", "M2", "M3", "M4", "M5"),
    }
)

MAX_COUNT = 4096
_MAX_BYTES = 64 * 2**40
_COUNTED = re.compile(r"(.*?)\s*:\s*(-?\d{1,9})", re.DOTALL)
_SIZE = re.compile(r"\d+(?:\.\d+)?\s*(?:[kmgt](?:i?b)?|b)", re.IGNORECASE | re.ASCII)

# Raw transfers per second and lane, times the 128b/130b line code, in bytes.
_PCIE_LANE = {
    generation: rate * 10**9 * 128 // 130 // 8
    for generation, rate in {"3": 8, "4": 16, "5": 32, "6": 64}.items()
}


def usable_from_driver(driver_bytes: int) -> int:
    """What CUDA shows of what ``nvidia-smi`` shows: the total less 280 MiB and 0.35 %.

    A fit to 20 NVIDIA cards whose both numbers were published; its largest error is 0.8 %.
    ``usable_from_driver(12288 * MIB) == 12_546_203_451`` (11.68 GiB).
    """
    return driver_bytes * 9965 // 10_000 - 280 * MIB


def metal_working_set(memory_bytes: int) -> int:
    """Metal's default recommendedMaxWorkingSetSize: two thirds of a Mac's memory up to 32 GiB,
    three quarters above.

    Readings published with llama.cpp and MLX (16 GB: 10.67 GiB, 32 GB: 21.33, 64 GB: 48,
    192 GB: 144); newer macOS versions grant up to 0.93 of it. ``sysctl iogpu.wired_limit_mb``
    replaces it. ``metal_working_set(16 * GIB) == 11_453_246_122``.
    """
    if memory_bytes <= 32 * GIB:
        return memory_bytes * 2 // 3
    return memory_bytes * 3 // 4


def _estimated_usable(vendor: str, nominal_bytes: int, driver_bytes: int | None) -> int:
    match vendor:
        case "nvidia":
            return usable_from_driver(driver_bytes or nominal_bytes)
        case "apple":
            return metal_working_set(nominal_bytes)
        case "amd":
            # 24 GiB less 16 MiB on the RX 7900 XTX, 288 GiB less 16 MiB on the MI350X.
            return nominal_bytes - 16 * MIB
        case "intel":
            # SYCL's global_mem_size is 94.4 % of the memory on Arc.
            return nominal_bytes * 944 // 1000
        case _:
            raise ValueError(f"no rule for the usable memory of {vendor!r}")


def _rate(value: float | None, unit: int) -> int | None:
    return None if value is None else round(value * unit)


def _pcie(lanes: str | None) -> int | None:
    if lanes is None:
        return None
    generation, _, width = lanes.partition("x")
    return _PCIE_LANE[generation] * int(width)


def _gpu(row: dict[str, Any]) -> Gpu:
    driver = None if "driver_mib" not in row else row["driver_mib"] * MIB
    flops = row.get("tflops", {})
    link = row.get("link", {})
    return Gpu(
        id=row["id"],
        name=row["name"],
        vendor=row["vendor"],
        kind=row["kind"],
        architecture=row.get("arch", ""),
        compute_capability=row.get("cc", ""),
        unified_memory=row.get("unified", False) or row["vendor"] == "apple",
        marketed_gb=row["gb"],
        driver_bytes=driver,
        usable_bytes=row.get("usable") or _estimated_usable(row["vendor"], row["gb"] * GIB, driver),
        usable_basis=row.get("basis", "estimated"),
        memory_type=row.get("mem", ""),
        bandwidth_bytes_per_second=_rate(row.get("gbps"), 10**9),
        bf16_flops=_rate(flops.get("bf16"), 10**12),
        fp16_flops=_rate(flops.get("fp16", flops.get("bf16")), 10**12),
        fp8_flops=_rate(flops.get("fp8"), 10**12),
        fp4_flops=_rate(flops.get("fp4"), 10**12),
        int8_ops=_rate(flops.get("int8"), 10**12),
        fp32_flops=_rate(flops.get("fp32"), 10**12),
        host_bytes_per_second=_rate(row.get("c2c"), 10**9) or _pcie(row.get("pcie")),
        link=link.get("name", ""),
        link_bytes_per_second=_rate(link.get("gbps"), 10**9 // 2),
        aliases=tuple(row.get("aliases", ())),
        note=row.get("note", ""),
        source=row["source"],
    )


@functools.cache
def gpus() -> tuple[Gpu, ...]:
    """Every accelerator of the catalogue, in its order. Read from gpus.json on the first call."""
    import json
    from importlib.resources import files

    text = files("hfmem.hardware").joinpath("gpus.json").read_text(encoding="utf-8")
    return tuple(_gpu(row) for row in json.loads(text)["gpus"])


@functools.cache
def current(vendors: frozenset[str]) -> tuple[Gpu, ...]:
    """The cards of these vendors that are in use today, the smallest number on the box first.

    Desktop, workstation and datacenter cards from Ampere, CDNA3 and RDNA3 on, and Macs; of one size
    the common ones come first. ``current(frozenset({"nvidia"}))[-1].id == "b300-sxm"``.
    """
    common = {name: place for place, name in enumerate(COMMON)}
    found = [
        gpu
        for gpu in gpus()
        if gpu.vendor in vendors
        and gpu.kind in _CURRENT_KINDS
        and gpu.architecture in _CURRENT_GENERATIONS
    ]
    return tuple(
        sorted(found, key=lambda gpu: (gpu.marketed_gb or 0, common.get(gpu.id, len(common))))
    )


def current_words(vendors: frozenset[str]) -> str:
    """Which cards ``current`` gives, in words: "the Macs" for an engine of Apple's machines."""
    if vendors == {"apple"}:
        return "the Macs"
    return "the desktop and datacenter cards from Ampere, CDNA3 and RDNA3 on"


def spellings(gpu: Gpu) -> tuple[str, ...]:
    """Every name that the catalogue holds for a card."""
    return (gpu.id, gpu.name, *gpu.aliases)


@functools.cache
def _by_key() -> dict[str, Gpu]:
    return {key: gpu for gpu in gpus() for key in names.keys(spellings(gpu))}


def _holding(query: str) -> list[tuple[int, Gpu]]:
    """The cards with a name that says all that the query says, and how much more it says."""
    model, size = names.split_size(query)
    wanted = frozenset(names.tokens(model))
    if not names.identifies(wanted):
        return []
    found = []
    for gpu in gpus():
        said = (frozenset(names.tokens(name)) for name in spellings(gpu))
        extras = [len(each) - len(wanted) for each in said if wanted <= each]
        if extras and size in (None, gpu.marketed_gb):
            found.append((min(extras), gpu))
    return found


def find(query: str) -> Gpu:
    """The card that a name means, whatever its case, spaces and dashes: ``4090``, ``h100 SXM``.

    A name that several cards share means the one that has it as an alias (``a100`` is the 80 GB
    SXM card, ``v100`` the 16 GB one), else the one with the shortest name. Raises UsageError,
    with the candidates, when that leaves several cards or none.
    """
    exact = _by_key().get(names.key(query))
    if exact is not None:
        return exact
    found = _holding(query)
    if not found:
        from hfmem.hardware.card_refusals import unknown

        raise unknown(query, _by_key())
    fewest = min(extra for extra, _ in found)
    best = [gpu for extra, gpu in found if extra == fewest]
    if len(best) > 1:
        raise UsageError(
            f"GPU {shown(query)} could be several.",
            hint=f"Say which: {_listed(best)}.",
        )
    return best[0]


_NUMBER = re.compile(r"(\d{1,6})(g|gb|gib)?", re.ASCII)


def search(query: str = "") -> tuple[Gpu, ...]:
    """The cards whose names, vendor, architecture or kind hold every word of the query.

    A number is the number on the box or one that a name has: ``48`` and ``48gb`` find the cards of
    48 GB, ``4090`` the cards of that name, ``100`` A100, H100 and MI100.
    """
    words = query.lower().split()
    found = tuple(gpu for gpu in gpus() if all(_says(gpu, word) for word in words))
    return found or tuple(gpu for _, gpu in _holding(query))


def _says(gpu: Gpu, word: str) -> bool:
    number = _NUMBER.fullmatch(word)
    if number is None:
        return word in _searched(gpu)
    if number[2]:
        return gpu.marketed_gb == int(number[1])
    named = {part for name in spellings(gpu) for part in re.findall(r"\d+", name)}
    return gpu.marketed_gb == int(number[1]) or number[1] in named


def recognise(device: str, memory_bytes: int | None) -> Gpu | None:
    """The card that a driver's name and total mean, or None: another card is worse than none.

    ``NVIDIA GeForce RTX 3060`` is the 12 or the 8 GB card by its total, which must lie within 6 %
    of the catalogue's; an unknown total (None) leaves the card whose name says the most.
    """
    best: tuple[int, Gpu] | None = None
    for gpu in gpus():
        score = max(names.same_model(name, device) for name in spellings(gpu))
        if score and _near(gpu, memory_bytes) and (best is None or score > best[0]):
            best = (score, gpu)
    return best[1] if best else None


def _near(gpu: Gpu, memory_bytes: int | None) -> bool:
    if memory_bytes is None or gpu.marketed_gb is None:
        return True
    expected = gpu.driver_bytes or (
        gpu.usable_bytes if gpu.vendor != "apple" else gpu.marketed_gb * GIB
    )
    return abs(memory_bytes - expected) * 100 <= expected * 6


def _searched(gpu: Gpu) -> str:
    facts = (*spellings(gpu), gpu.vendor, gpu.architecture, gpu.kind, gpu.compute_capability)
    return " ".join(facts + tuple(names.keys(spellings(gpu)))).lower()


def parse_gpu(text: str) -> GpuGroup:
    """A group of devices as ``--gpu`` takes it: ``h100``, ``h100:8``, ``24GiB``, ``80GB:2``.

    A size is what the framework can use: ``parse_gpu("24GiB").gpu.usable_bytes == 24 * GIB``.
    ``auto`` is for ``hfmem.hardware.detect``. Raises UsageError.
    """
    counted = _COUNTED.fullmatch(text.strip())
    name, count = (counted[1], int(counted[2])) if counted else (text.strip(), 1)
    if not 1 <= count <= MAX_COUNT:
        raise UsageError(
            f"{count} is no number of GPUs.", hint=f"Write NAME:COUNT with 1 to {MAX_COUNT}."
        )
    if _SIZE.fullmatch(name):
        return GpuGroup(gpu=_sized(name), count=count)
    if "," in name or name.endswith(":"):
        from hfmem.hardware.card_refusals import unknown

        raise unknown(text, _by_key())
    gpu = find(name)
    return GpuGroup(gpu=gpu, count=count, note=_choice_note(name, gpu))


def _sized(text: str) -> Gpu:
    size = parse_size(text)
    if not MIB <= size <= _MAX_BYTES:
        raise UsageError(
            f"{shown(text)} is no memory size of a GPU.", hint="Write for example 24GiB or 80GB."
        )
    label = text.replace(" ", "")
    return Gpu(id=label, name=label, usable_bytes=size, usable_basis="given")


def _choice_note(query: str, gpu: Gpu) -> str:
    """That a name left something open, how it was read, and what else it could have meant."""
    if not names.missing(query, gpu.id):
        return ""
    others = [
        other
        for _, other in sorted(_holding(query), key=lambda pair: pair[0])
        if other is not gpu and names.is_reading(query, other.id)
    ]
    return f"{query} is read as {gpu.id}; also: {_listed(others)}" if others else ""


def _listed(cards: list[Gpu]) -> str:
    ids = [gpu.id for gpu in cards[:8]]
    return ", ".join(ids) + (", …" if len(cards) > 8 else "")


def shown(text: str) -> str:
    """What was typed, as an error quotes it."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
