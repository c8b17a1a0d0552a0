"""A measured row, and our figures for the same run on the same card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from hfmem.errors import HfmemError
from hfmem.flags import flags_of
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.estimate import MemoryEstimate, Phase
from hfmem.memory.workload import Workload, workload
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.units import GIB
from tests.accuracy.models import model_of, scheme_of

Row = Mapping[str, Any]


class Pair(Struct, frozen=True, kw_only=True):
    """One quantity of one row."""

    engine: str
    version: str
    quantity: str
    group: str
    id: str
    model: str
    measured: float
    ours: float
    inside: bool | None = None
    """Whether the measured value lies in our range; None where there is no range."""
    width: float | None = None
    """Half of the range's width, as a share of our value."""

    @property
    def error(self) -> float:
        return self.ours / self.measured - 1


def pairs(row: Row, data: Path) -> Iterator[Pair] | None:
    """Our figures beside a row's; None where the row is not covered."""
    match row["engine"]:
        case "vllm":
            return _vllm(row, data)
        case "transformers":
            return _transformers(row, data)
        case _:
            return None


def why_not(row: Row, data: Path) -> str:
    """Why a row has no figures of ours beside it."""
    if str(row["group"]).startswith("deepseek-llm"):
        return "logits of every position in float32, in a version that is not stated"
    if model_of(row["model"], data)[0] is None:
        return "no configuration at hand"
    if not _QUANTITIES & set(row["measured"]):
        return "neither weights nor a request's cache were printed"
    return "its settings are not ours"


def _version(row: Row) -> str | None:
    found = re.match(r"(\d+)\.(\d+)", str(row.get("engine_version") or ""))
    return f"{found[1]}.{found[2]}" if found else None


def _card(settings: Mapping[str, Any]) -> Gpu | None:
    text = str(settings.get("gpu", ""))
    names = {
        "H100": "h100-sxm",
        "A100 80": "a100-80gb-sxm",
        "A100 40": "a100-40gb-sxm",
        "L40S": "l40s",
        "4090": "rtx-4090",
        "5090": "rtx-5090",
    }
    gpu = next((find(name) for key, name in names.items() if key in text), None)
    if gpu is None:
        return None
    size = settings.get("total_gpu_gib")
    if size is None and (found := re.search(r"\(?(\d+\.\d+) GiB", text)):
        size = found[1]
    if size is None:
        return gpu
    return replace(gpu, usable_bytes=int(Fraction(str(size)) * GIB))


_FLAGS = (
    "gpu_memory_utilization",
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "enforce_eager",
    "tp",
    "pp",
    "dp",
)


_QUANTITIES = {"weights_gib", "kv_gib_needed"}
_UNSAID: Mapping[str, Mapping[str, int]] = {
    # LLM(...) without a server: that class's default on a card of 70 GiB and more (0.22
    # engine/arg_utils.py: get_batch_defaults).
    "vllm-44376-dsv4flash": {"max_num_batched_tokens": 16_384},
}


def _vllm(row: Row, data: Path) -> Iterator[Pair] | None:
    version, settings = _version(row), row["settings"]
    model, exact = model_of(row["model"], data)
    gpu = _card(settings)
    if model is None or version is None or not _QUANTITIES & set(row["measured"]):
        return None
    given = {name: settings[name] for name in _FLAGS if name in settings}
    flags = flags_of({**given, **_UNSAID.get(row["id"], {})}, runtime="vllm")
    scheme = None if exact else scheme_of(row["model"])
    if exact and row["quant"] == "fp8" and model.weights is not None:
        scheme = "fp8"
    asked = workload(
        quantize=scheme,
        ctx=settings.get("max_model_len") or settings.get("ctx"),
        runtime="vllm",
        version=version,
        kv_dtype=settings.get("kv_dtype", "auto"),
        dtype=row["dtype"],
        flags=flags,
    )
    ranks = settings.get("tp", 1) * settings.get("pp", 1) * settings.get("dp", 1)
    group = None if gpu is None else GpuGroup(gpu=gpu, count=ranks)
    try:
        found = RUNTIMES["vllm"].estimate(model, asked, group)
    except HfmemError:
        return None
    return _vllm_pairs(row, found, version, exact=exact or scheme is not None)


def _vllm_pairs(row: Row, found: MemoryEstimate, version: str, *, exact: bool) -> Iterator[Pair]:
    measured = row["measured"]
    rank = found.most_loaded[0]
    parts = {part.name: part for part in rank.part("overhead").parts}
    ours: dict[str, float] = {}
    if "activations" not in found.unknown:
        ours["activation_peak_gib"] = rank.part("activations").bytes / GIB
        ours["non_torch_gib"] = parts["libraries"].bytes / GIB
        ours["graph_gib"] = parts["graphs"].bytes / GIB
    if exact and "weights" not in found.unknown:
        ours["weights_gib"] = rank.part("weights").bytes / GIB
        ours["total_non_kv_gib"] = (
            rank.part("weights").bytes + rank.part("activations").bytes + parts["libraries"].bytes
        ) / GIB
        if found.pool is not None and found.pool.tokens:
            ours["kv_tokens"] = found.pool.tokens
    if found.pool is not None and found.pool.tokens:
        ours["kv_bytes_per_token"] = found.pool.bytes / found.count / found.pool.tokens
    # Of one request, batch 1: the blocks without the one that the pool keeps for itself.
    ours["kv_gib_needed"] = rank.part("kv_cache").parts[0].bytes / GIB
    for quantity, value in ours.items():
        if measured.get(quantity):
            yield _pair(row, version, quantity, measured[quantity], value)


def _pair(row: Row, version: str, quantity: str, measured: float, ours: float) -> Pair:
    return Pair(
        engine=row["engine"],
        version=version,
        quantity=quantity,
        group=row["group"],
        id=row["id"],
        model=row["model"],
        measured=measured,
        ours=ours,
    )


def _transformers(row: Row, data: Path) -> Iterator[Pair] | None:
    """Qwen's tables print what PyTorch allocated: tensors, without the driver and the libraries.

    Those of Qwen2.5 (4.46) print the peak. Those of Qwen3 (4.51) grow with the cache only, to a
    thousandth: they print what is held while decoding, and are compared with that.
    """
    settings, version = row["settings"], _version(row)
    total = row["measured"].get("total_gib")
    model, exact = model_of(row["model"], data)
    scheme = None if exact else scheme_of(row["model"])
    if total is None or model is None or not (exact or scheme) or version is None:
        return None
    if not str(row["group"]).startswith("qwen-speed") or (exact and row["quant"] is not None):
        return None
    prompt, end = settings.get("input_len"), settings.get("ctx")
    if prompt is None or end is None:
        return None
    return iter([_transformers_pair(row, model, version, scheme, prompt=prompt, end=end)])


def _transformers_pair(
    row: Row, model: Model, version: str, scheme: str | None, *, prompt: int, end: int
) -> Pair:
    count = row["settings"].get("num_gpus", 1)
    group = GpuGroup(gpu=find("a100-80gb-sxm"), count=count)
    start = _at(model, workload(ctx=prompt, quantize=scheme), group, "prefill")
    later = _at(model, workload(ctx=end, quantize=scheme), group, "decode")
    peak = max(start, later, key=lambda one: _tensors(one)[1])
    phase = later if version == "4.51" else peak
    low, ours, high = _tensors(phase)
    measured = row["measured"]["total_gib"]
    return replace(
        _pair(row, version, "total_gib", measured, ours / GIB),
        inside=low / GIB <= measured <= high / GIB,
        width=(high - low) / 2 / ours,
    )


def _at(model: Model, asked: Workload, group: GpuGroup, name: str) -> Phase:
    found = RUNTIMES["transformers"].estimate(model, asked, group)
    return next(phase for phase in found.phases if phase.name == name)


def _tensors(phase: Phase) -> tuple[int, int, int]:
    kept = [phase.part(name) for name in ("weights", "kv_cache", "activations")]
    slack = [part for part in phase.part("overhead").parts if part.name.startswith("allocator")]
    tensors = sum(part.bytes for part in kept)
    return (
        sum(part.range_bytes[0] for part in (*kept, *slack)),
        tensors,
        sum(part.range_bytes[1] for part in (*kept, *slack)),
    )
