"""Flat rows for spreadsheets and data frames: one a model, failures included."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from hfmem.answer import Estimate, Failure
from hfmem.hardware.fit import Fit
from hfmem.memory.estimate import PARTS
from hfmem.report.phrases import (
    group_id,
    known_bytes_per_token,
    known_parts,
    known_total,
    stored_dtypes,
)
from hfmem.text import clean

Row = dict[str, str | int | None]

_CELL_LIMIT = 32_767
"""The most characters that a spreadsheet's cell holds."""
# And what an output without Unicode spells as one of them (screen.in_ascii).
_FORMULA = ("=", "+", "-", "@", "━", "╸", "–", "−")
_COLUMNS = (
    "model",
    "revision",
    "source",
    "model_type",
    "parameters_total",
    "parameters_active",
    "dtype",
    "ctx",
    "batch",
    "runtime",
    "total_bytes",
    *(f"{name}_bytes" for name in PARTS),
    "range_low_bytes",
    "range_high_bytes",
    "phase",
    "kv_cache_bytes_per_token",
    "kv_cache_dtype",
    "checkpoint_bytes",
    "files_bytes",
    "notes",
    "error_code",
    "error_message",
    "error_hint",
)


def document(answers: Iterable[Estimate | Failure]) -> str:
    """All rows below one header; sizes in bytes, unknown empty.

    Columns of a named GPU begin with its id, those that the list carried along with ``input_``.
    """
    rows = [_row(answer) for answer in answers]
    extra = dict.fromkeys(name for row in rows for name in row if name not in _COLUMNS)
    target = io.StringIO()
    writer = csv.DictWriter(target, (*_COLUMNS, *extra), restval="", lineterminator="\r\n")
    writer.writerow({name: safe(name) for name in (*_COLUMNS, *extra)})
    writer.writerows(rows)
    return target.getvalue()


def safe(text: str) -> str:
    r"""A cell that no spreadsheet takes for a formula: ``safe("=1+1") == "'=1+1"``."""
    cell = clean(text, limit=_CELL_LIMIT)
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _row(answer: Estimate | Failure) -> Row:
    row = _estimate(answer) if isinstance(answer, Estimate) else _failure(answer)
    return row | {f"input_{name}": safe(value) for name, value in answer.input.items()}


def _estimate(estimate: Estimate) -> Row:
    model, memory = estimate.model, estimate.memory
    low, high = memory.peak.memory.range_bytes
    parameters = model.parameters
    return {
        "model": safe(model.name),
        "revision": safe(model.revision or ""),
        "source": model.source,
        "model_type": safe(model.model_type or ""),
        "parameters_total": parameters.total if parameters else None,
        "parameters_active": parameters.active if parameters else None,
        "dtype": safe(stored_dtypes(estimate)),
        "ctx": memory.ctx,
        "batch": estimate.workload.batch,
        "runtime": safe(estimate.workload.runtime),
        "total_bytes": known_total(estimate),
        **{f"{name}_bytes": size for name, size in known_parts(estimate).items()},
        "range_low_bytes": low,
        "range_high_bytes": None if memory.unknown else high,
        "phase": memory.peak.name,
        "kv_cache_bytes_per_token": known_bytes_per_token(estimate),
        "kv_cache_dtype": safe(memory.kv_dtype),
        "checkpoint_bytes": model.checkpoint_bytes,
        "files_bytes": estimate.download.files_bytes,
        "notes": safe(" ".join(dict.fromkeys(note.code for note in estimate.notes))),
        **_fits(estimate.fit),
    }


def _fits(fits: Sequence[Fit]) -> Row:
    row: Row = {}
    for fit in fits:
        name = group_id(fit)
        row |= {
            f"{name}_verdict": fit.verdict,
            f"{name}_usable_bytes": fit.usable_bytes,
            f"{name}_headroom_bytes": fit.headroom_bytes,
            f"{name}_max_ctx": fit.max_ctx,
            f"{name}_max_batch": fit.max_batch,
        }
    return row


def _failure(failure: Failure) -> Row:
    return {
        "model": safe(failure.model),
        "error_code": failure.code,
        "error_message": safe(failure.message),
        "error_hint": safe(failure.hint),
    }
