"""What the drivers' tools print, read: pure functions from their text to readings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from hfmem.units import MIB


class Reading(Struct, frozen=True, kw_only=True):
    """One device as a driver describes it; None where the driver does not say."""

    name: str
    total_bytes: int | None = None
    used_bytes: int | None = None
    free_bytes: int | None = None
    shared_bytes: int = 0
    """Host memory that the device may map beside its own (AMD's GTT)."""
    shared_used_bytes: int = 0


class HostMemory(Struct, frozen=True, kw_only=True):
    """The memory of the machine, or of the container that hfmem runs in."""

    total_bytes: int
    available_bytes: int


def parse_nvidia_smi(text: str) -> tuple[Reading, ...]:
    """``nvidia-smi --query-gpu=name,memory.total,memory.used,memory.free
    --format=csv,noheader,nounits``: one line a device, MiB, ``[N/A]`` where memory is unified.
    """
    readings = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.rsplit(",", 3)]
        if len(fields) != 4 or not fields[0]:
            continue
        total, used, free = (_mib(field) for field in fields[1:])
        if total is None and not all(field.startswith("[") for field in fields[1:]):
            continue
        readings.append(
            Reading(name=fields[0], total_bytes=total, used_bytes=used, free_bytes=free)
        )
    return tuple(readings)


def _mib(text: str) -> int | None:
    return int(text) * MIB if text.isascii() and text.isdigit() and len(text) < 12 else None


def parse_rocm_smi(text: str) -> tuple[Reading, ...]:
    """``rocm-smi --showproductname --showmeminfo vram gtt --json``: an object a card, bytes as
    decimal text. Warnings may stand before the JSON; the key of the name changed its case.
    """
    cards = _json(text)
    readings = []
    for card, facts in cards.items() if isinstance(cards, dict) else ():
        if not (card.startswith("card") and isinstance(facts, dict)):
            continue
        folded = {key.lower(): value for key, value in facts.items()}
        readings.append(
            Reading(
                name=_text(folded, "card series") or _text(folded, "card model") or card,
                total_bytes=_whole(folded.get("vram total memory (b)")),
                used_bytes=_whole(folded.get("vram total used memory (b)")),
                shared_bytes=_whole(folded.get("gtt total memory (b)")) or 0,
                shared_used_bytes=_whole(folded.get("gtt total used memory (b)")) or 0,
            )
        )
    return tuple(readings)


def parse_amd_smi(static: str, metric: str) -> tuple[Reading, ...]:
    """``amd-smi static --asic --json`` and ``amd-smi metric --mem-usage --json``: a list, or since
    ROCm 7 ``{"gpu_data": […]}``, matched by ``gpu``; values as ``{"value": n, "unit": "MB"}``,
    where MB is 2**20 bytes.
    """
    product = {
        entry.get("gpu"): _text(_mapping(entry.get("asic")), "market_name")
        for entry in _amd_entries(static)
    }
    readings = []
    for entry in _amd_entries(metric):
        usage = _mapping(entry.get("mem_usage"))
        if not usage:
            continue
        readings.append(
            Reading(
                name=product.get(entry.get("gpu")) or "AMD GPU",
                total_bytes=_amd_size(usage.get("total_vram")),
                used_bytes=_amd_size(usage.get("used_vram")),
                free_bytes=_amd_size(usage.get("free_vram")),
                shared_bytes=_amd_size(usage.get("total_gtt")) or 0,
                shared_used_bytes=_amd_size(usage.get("used_gtt")) or 0,
            )
        )
    return tuple(readings)


def _amd_entries(text: str) -> list[dict[str, Any]]:
    found = _json(text)
    entries = found.get("gpu_data") if isinstance(found, dict) else found
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


def _amd_size(value: object) -> int | None:
    size = _whole(_mapping(value).get("value"))
    return None if size is None else size * MIB


def _json(text: str) -> Any:
    """The JSON value that starts the first line with a bracket; None when there is none."""
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    if start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(facts: Mapping[str, Any], key: str) -> str:
    value = facts.get(key)
    return value.strip() if isinstance(value, str) and value.strip() not in ("N/A", "") else ""


def _whole(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def parse_number(text: str | None) -> int | None:
    """A line that holds one whole number, as ``sysctl -n`` and the cgroup files print it."""
    return _whole((text or "").strip())


def parse_meminfo(text: str) -> HostMemory | None:
    """``/proc/meminfo``: MemTotal and MemAvailable, in kB that are 1,024 bytes."""
    sizes = {}
    for line in text.splitlines():
        key, _, rest = line.partition(":")
        value = _whole((rest.split() or [""])[0])
        if value is not None:
            sizes[key] = value * 1024
    total = sizes.get("MemTotal")
    if total is None:
        return None
    available = sizes.get("MemAvailable", sizes.get("MemFree", total))
    return HostMemory(total_bytes=total, available_bytes=min(available, total))


def limited(host: HostMemory, *, limit: int | None, current: int | None) -> HostMemory:
    """Host memory under a container's limit (cgroup v2 memory.max and memory.current)."""
    if limit is None or limit >= host.total_bytes:
        return host
    left = max(0, limit - (current or 0))
    return HostMemory(total_bytes=limit, available_bytes=min(left, host.available_bytes))
