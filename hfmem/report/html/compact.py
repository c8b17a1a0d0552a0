"""What the page needs of a row, a tenth of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

from hfmem.memory.estimate import PARTS
from hfmem.report.nulls import CODES
from hfmem.report.stored import Stored
from hfmem.text import clean


class Collected(Struct):
    """The rows of a report, as its page draws them."""

    models: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    gpus: list[dict[str, str]] = field(default_factory=list)
    named: bool = False
    """The GPUs were named; otherwise they are the common cards."""
    notes: dict[str, int] = field(default_factory=dict)
    """Messages by their place: most are those of many models."""

    @property
    def count(self) -> int:
        """Models, failed ones too."""
        return len(self.models) + len(self.failures)


def collect(rows: Iterable[Stored]) -> Collected:
    """All rows of a report."""
    found = Collected()
    for row in rows:
        if row["type"] == "failure":
            found.failures.append(
                {name: row[name] for name in ("model", "code", "message", "hint")}
            )
            continue
        judged = row["fit"] or row["cards"]
        if judged and not found.gpus:
            found.named = bool(row["fit"])
            found.gpus = [{"name": _group(fit)} for fit in judged]
        found.models.append(_model(row, judged, found.notes))
    return found


def _model(row: Stored, judged: Iterable[Stored], notes: dict[str, int]) -> dict[str, Any]:
    memory, parameters, architecture = row["memory"], row["parameters"], row["architecture"]
    counts: dict[str, int] = parameters["by_dtype"] or {}
    stored = sorted(counts, key=lambda name: -counts[name])[:3]
    return {
        "name": clean(row["model"]),
        "type": clean(architecture["class"] or architecture["model_type"] or ""),
        "dtype": " + ".join(map(clean, stored)) or clean(row["dtype"]),
        "revision": (row["revision"] or "")[:8],
        "source": row["source"],
        "parameters": parameters["total"],
        "total": memory["total_bytes"],
        "low": sum(memory[f"{part}_bytes"] or 0 for part in PARTS),
        "parts": [memory[f"{part}_bytes"] for part in PARTS],
        "range": row["range_bytes"],
        "phase": row["phase"],
        "per_token": row["kv_cache"]["bytes_per_token"],
        "ctx": row["ctx"],
        "max_context": architecture["max_context"],
        "fit": [
            {
                "verdict": fit["verdict"],
                "usable": fit["usable_bytes"],
                "headroom": fit["headroom_bytes"],
                "max_ctx": fit["max_ctx"],
                "max_batch": fit["max_batch"],
            }
            for fit in judged
        ],
        "curve": row.get("by_context", []),
        "input": {clean(name, limit=60): clean(text) for name, text in row["input"].items()},
        "notes": [
            notes.setdefault(clean(note["message"], limit=600), len(notes))
            for note in row["notes"]
            if note["code"] not in CODES
        ],
    }


def _group(fit: Stored) -> str:
    name = clean(fit["gpu"], limit=40)
    return f"{name}:{fit['count']}" if fit["count"] > 1 else name
