"""Flat rows of ``hfmem train`` for spreadsheets and data frames: one a model, failures included."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from hfmem.answer import Failure
from hfmem.memory.training_estimate import TRAINING_PARTS
from hfmem.report.csv import Row, safe
from hfmem.training import Plan

_COLUMNS = (
    "model",
    "revision",
    "source",
    "model_type",
    "parameters_total",
    "parameters_trainable",
    "method",
    "objective",
    "recipe",
    "optimizer",
    "precision",
    "gradient_checkpointing",
    "seq_len",
    "micro_batch",
    "grad_accum",
    "gpus",
    "per_gpu_bytes",
    "total_bytes",
    *(f"{name}_bytes" for name in TRAINING_PARTS),
    "range_low_bytes",
    "range_high_bytes",
    "phase",
    "instant",
    "host_bytes",
    "notes",
    "error_code",
    "error_message",
    "error_hint",
)


def document(answers: Iterable[Plan | Failure]) -> str:
    """All rows below one header; sizes in bytes, of one GPU where not said otherwise.

    Columns of a named GPU begin with its id. What is unknown is empty.
    """
    rows = [_plan(answer) if isinstance(answer, Plan) else _failure(answer) for answer in answers]
    extra = dict.fromkeys(name for row in rows for name in row if name not in _COLUMNS)
    target = io.StringIO()
    writer = csv.DictWriter(target, (*_COLUMNS, *extra), restval="", lineterminator="\r\n")
    writer.writerow({name: safe(name) for name in (*_COLUMNS, *extra)})
    writer.writerows(rows)
    return target.getvalue()


def _plan(plan: Plan) -> Row:
    model, memory, run = plan.model, plan.memory, plan.run
    peak, unknown = memory.peak, memory.unknown
    low, high = peak.memory.range_bytes
    row: Row = {
        "model": safe(model.name),
        "revision": safe(model.revision or ""),
        "source": model.source,
        "model_type": safe(model.model_type or ""),
        "parameters_total": model.parameters.total if model.parameters else None,
        "parameters_trainable": None if "weights" in unknown else memory.trainable,
        "method": run.method,
        "objective": run.objective,
        "recipe": safe(plan.recipe or ""),
        "optimizer": safe(run.optimizer),
        "precision": run.precision,
        "gradient_checkpointing": run.checkpointing,
        "seq_len": memory.seq_len,
        "micro_batch": run.micro_batch,
        "grad_accum": run.grad_accum,
        "gpus": memory.gpus,
        "per_gpu_bytes": None if unknown else peak.memory.bytes,
        "total_bytes": None if unknown else memory.whole.bytes,
        "range_low_bytes": low,
        "range_high_bytes": None if unknown else high,
        "phase": peak.name,
        "instant": safe(peak.instant),
        "host_bytes": None if memory.host is None else memory.host.bytes,
        "notes": safe(" ".join(dict.fromkeys(note.code for note in plan.notes))),
    }
    for name in TRAINING_PARTS:
        row[f"{name}_bytes"] = None if name in unknown else peak.part(name).bytes
    for fit in plan.fit:
        times = f"{fit.group.count}x" if fit.group.count > 1 else ""
        name = f"{times}{fit.group.gpu.id}"
        row |= {
            f"{name}_verdict": fit.verdict,
            f"{name}_headroom_bytes": fit.headroom_bytes,
            f"{name}_max_micro_batch": fit.max_micro_batch,
            f"{name}_max_seq_len": fit.max_seq_len,
        }
    return row


def _failure(failure: Failure) -> Row:
    return {
        "model": safe(failure.model),
        "error_code": failure.code,
        "error_message": safe(failure.message),
        "error_hint": safe(failure.hint),
    }
