"""The JSON of ``--json`` and the lines of ``jsonl``; its keys are a promise (schema.json)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from hfmem._version import __version__
from hfmem.answer import Estimate, Failure, PerGpu
from hfmem.hardware.fit import Fit
from hfmem.memory.estimate import PARTS, Phase
from hfmem.memory.precision import Rung
from hfmem.memory.rules import Rule
from hfmem.memory.term import Term
from hfmem.memory.workload import Workload
from hfmem.report.phrases import known_bytes_per_token, known_part, known_total
from hfmem.text import clean

SCHEMA_VERSION = 1

Object = dict[str, object]

_NAME_LIMIT = 4096
_PROSE_LIMIT = 4096


def envelope(answers: Iterable[Estimate | Failure], workload: Workload) -> Object:
    """The whole document: results and failures apart, each in input order."""
    kept = tuple(answers)
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "hfmem", "version": __version__},
        "workload": asked(workload),
        "results": [result(answer) for answer in kept if isinstance(answer, Estimate)],
        "failures": [failure(answer) for answer in kept if isinstance(answer, Failure)],
    }


def dumps(document: Object, *, indent: int | None = None) -> str:
    """JSON that every parser takes: ASCII, no NaN, no lone surrogates."""
    return json.dumps(document, ensure_ascii=True, allow_nan=False, indent=indent)


def line(answer: Estimate | Failure) -> str:
    """One answer as a line of JSONL, with its ``type``."""
    match answer:
        case Estimate():
            return dumps({"type": "result", **result(answer)})
        case Failure():
            return dumps({"type": "failure", **failure(answer)})


def asked(workload: Workload) -> Object:
    """The question, as asked; null where the answer depends on the model or the runtime."""
    return {
        "ctx": workload.ctx,
        "batch": workload.batch,
        "runtime": workload.runtime,
        "kv_dtype": workload.kv_dtype,
        "dtype": workload.dtype,
        "attention": workload.attention,
        "device": workload.device,
        "encoder_ctx": workload.encoder_ctx,
    }


def result(estimate: Estimate) -> Object:
    """One element of ``results``; sizes are bytes, unknown is None."""
    model, memory = estimate.model, estimate.memory
    peak = memory.peak
    low, high = peak.memory.range_bytes
    return {
        "model": clean(model.name, limit=_NAME_LIMIT),
        "revision": _text(model.revision),
        "source": model.source,
        "input": _columns(estimate.input),
        "architecture": _architecture(estimate),
        "parameters": _parameters(estimate),
        "dtype": clean(model.dtype),
        "checkpoint_bytes": model.checkpoint_bytes,
        "ctx": memory.ctx,
        "memory": _memory(estimate, peak),
        "kv_cache": {
            "bytes_per_token": known_bytes_per_token(estimate),
            "dtype": clean(memory.kv_dtype),
        },
        "terms": _terms(estimate, peak),
        "range_bytes": [low, None if memory.unknown else high],
        "phase": peak.name,
        "phases": [
            {
                "name": phase.name,
                "memory": _memory(estimate, phase),
                "terms": _terms(estimate, phase),
            }
            for phase in memory.phases
        ],
        "per_gpu": _per_gpu(estimate.per_gpu),
        "download": {
            "files_bytes": estimate.download.files_bytes,
            "repository_bytes": estimate.download.repository_bytes,
            "cached_bytes": estimate.download.cached_bytes,
            "disk_free_bytes": estimate.download.disk_free_bytes,
        },
        "fit": [_fit(fit) for fit in estimate.fit],
        "cards": [_fit(fit) for fit in estimate.cards],
        "throughput": None,
        "precision": [_rung(rung) for rung in estimate.precision],
        "rules": [_rule(rule) for rule in estimate.rules],
        "notes": [
            {"code": clean(note.code), "message": clean(note.message, limit=_PROSE_LIMIT)}
            for note in estimate.notes
        ],
    }


def failure(answer: Failure) -> Object:
    """One element of ``failures``."""
    return {
        "model": clean(answer.model, limit=_NAME_LIMIT),
        "code": answer.code,
        "message": clean(answer.message, limit=_PROSE_LIMIT),
        "hint": clean(answer.hint, limit=_PROSE_LIMIT),
        "input": _columns(answer.input),
    }


def _architecture(estimate: Estimate) -> Object:
    model, decoder = estimate.model, estimate.model.decoder
    return {
        "model_type": _text(model.model_type),
        "class": _text(model.class_name),
        "layers": len(decoder.layers) if model.cache_known else None,
        "hidden_size": decoder.hidden_size,
        "attention_heads": decoder.attention_heads,
        "kv_heads": decoder.kv_heads,
        "head_dim": decoder.head_dim,
        "max_context": decoder.max_context,
        "cache_kinds": dict(decoder.cache_kinds()) if model.cache_known else None,
    }


def _parameters(estimate: Estimate) -> Object:
    parameters = estimate.model.parameters
    if parameters is None:
        return {"total": None, "active": None, "by_dtype": None, "by_component": None}
    return {
        "total": parameters.total,
        "active": parameters.active,
        "by_dtype": {clean(name): number for name, number in parameters.by_dtype.items()},
        "by_component": {clean(name): number for name, number in parameters.by_component.items()},
    }


def _memory(estimate: Estimate, phase: Phase) -> Object:
    total = None if known_total(estimate) is None else phase.memory.bytes
    parts = {f"{name}_bytes": known_part(estimate, name, phase=phase) for name in PARTS}
    return {"total_bytes": total, **parts}


def _per_gpu(found: PerGpu | None) -> Object | None:
    if found is None:
        return None
    sizes = {f"{part.name}_bytes": part.bytes for part in found.memory.parts}
    return {"count": found.count, "memory": {"total_bytes": found.memory.bytes, **sizes}}


def _terms(estimate: Estimate, phase: Phase) -> list[Object]:
    unknown = estimate.memory.unknown
    return [_term(part, known=part.name not in unknown) for part in phase.memory.parts]


def _term(term: Term, *, known: bool = True) -> Object:
    low, high = term.range_bytes if known else (None, None)
    return {
        "name": clean(term.name),
        "bytes": term.bytes if known else None,
        "basis": term.basis,
        "because": clean(term.because, limit=_PROSE_LIMIT),
        "low": low,
        "high": high,
        "parts": [_term(part, known=known) for part in term.parts],
    }


def _fit(fit: Fit) -> Object:
    return {
        "gpu": clean(fit.group.gpu.id),
        "count": fit.group.count,
        "verdict": fit.verdict,
        "fits": None if fit.verdict is None else fit.fits,
        "decided_by": fit.decided_by,
        "usable_bytes": fit.usable_bytes,
        "headroom_bytes": fit.headroom_bytes,
        "max_ctx": fit.max_ctx,
        "max_batch": fit.max_batch,
        "per_gpu_bytes": fit.per_gpu_bytes,
        "note": clean(fit.group.note, limit=_PROSE_LIMIT),
        "kv_pool_bytes": None,
        "kv_pool_tokens": None,
    }


def _rung(rung: Rung) -> Object:
    return {
        "scheme": rung.scheme,
        "weights_bytes": rung.weights_bytes,
        "total_bytes": rung.total_bytes,
        "bits_per_weight": rung.bits_per_weight,
        "smallest_gpu": rung.smallest_gpu,
        "smallest_count": rung.smallest_count,
        "note": clean(rung.note, limit=_PROSE_LIMIT),
    }


def _rule(rule: Rule) -> Object:
    return {
        "id": rule.id,
        "name": rule.name,
        "formula": clean(rule.formula, limit=_PROSE_LIMIT),
        "bytes": rule.bytes,
        "exact_bytes": rule.exact_bytes,
        "comment": clean(rule.comment, limit=_PROSE_LIMIT),
    }


def _text(value: str | None) -> str | None:
    return None if value is None else clean(value)


def _columns(columns: Mapping[str, str]) -> dict[str, str]:
    """A list's own columns, as they are: JSON escapes what a terminal must not see."""
    return {_encodable(name): _encodable(value) for name, value in columns.items()}


def _encodable(value: str) -> str:
    return value.encode("utf-8", "replace").decode("utf-8")  # lone surrogates become "?"
