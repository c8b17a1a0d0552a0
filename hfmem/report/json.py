"""The JSON of ``--json`` and the lines of ``jsonl``; its keys are a promise (schema.json)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from hfmem._version import __version__
from hfmem.answer import Estimate, Failure, PerGpu
from hfmem.memory.estimate import PARTS, Phase
from hfmem.memory.term import Term
from hfmem.memory.workload import Workload
from hfmem.model.packed_parameters import packed_parts
from hfmem.report.fit_json import PROSE_LIMIT, Object, compared_object, fit_object, rung_object
from hfmem.report.nulls import null_notes
from hfmem.report.phrases import known_bytes_per_token, known_part, known_total
from hfmem.report.quantizations_json import quantizations_json
from hfmem.report.speed import throughput_json
from hfmem.text import clean

if TYPE_CHECKING:
    from hfmem.memory.rules import Rule
    from hfmem.model.media import Media

SCHEMA_VERSION = 1

_NAME_LIMIT = 4096


def envelope(answers: Iterable[Estimate | Failure], workload: Workload) -> Object:
    """The whole document: results and failures apart, each in input order."""
    kept = tuple(answers)
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "hfmem", "version": __version__},
        "workload": asked(workload),
        "changes": None,
        "results": [result(answer) for answer in kept if isinstance(answer, Estimate)],
        "failures": [failure(answer) for answer in kept if isinstance(answer, Failure)],
    }


def dumps(document: Object, *, indent: int | None = None) -> str:
    """JSON that every parser takes: ASCII, no NaN, no lone surrogates."""
    return json.dumps(document, ensure_ascii=True, allow_nan=False, indent=indent)


def line(answer: Estimate | Failure) -> str:
    """One answer as a line of JSONL, with its ``type`` and with the question."""
    match answer:
        case Estimate():
            asked_of = asked(answer.workload)
            return dumps({"type": "result", "workload": asked_of, **result(answer)})
        case Failure():
            return dumps({"type": "failure", **failure(answer)})


def asked(workload: Workload) -> Object:
    """The question, as asked; null where the answer depends on the model or the runtime."""
    return {
        "ctx": workload.ctx,
        "batch": workload.batch,
        "runtime": workload.runtime,
        "runtime_version": workload.version,
        "engine_flags": {
            name: float(value) if isinstance(value, Fraction) else value
            for name, value in workload.flags.given
        },
        "kv_dtype": workload.kv_dtype,
        "dtype": workload.dtype,
        "quantize": workload.quantize,
        "attention": workload.attention,
        "device": workload.device,
        "encoder_ctx": workload.encoder_ctx,
        "images": workload.images,
        "image_size": _width_and_height(workload.image_size),
        "frames": workload.frames,
        "audio_seconds": workload.audio_seconds,
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
        "multimodal": _multimodal(estimate.workload.media),
        "kv_cache": {
            "bytes_per_token": known_bytes_per_token(estimate),
            "dtype": clean(memory.kv_dtype),
            "bytes": None if "kv_cache" in memory.unknown else memory.cache_bytes,
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
        "host_bytes": None if memory.host is None else memory.host.bytes,
        "host_terms": [] if memory.host is None else [term_object(memory.host)],
        "download": {
            "files_bytes": estimate.download.files_bytes,
            "repository_bytes": estimate.download.repository_bytes,
            "cached_bytes": estimate.download.cached_bytes,
            "disk_free_bytes": estimate.download.disk_free_bytes,
        },
        "fit": [fit_object(fit) for fit in estimate.fit],
        "cards": [fit_object(fit) for fit in estimate.cards],
        "throughput": throughput_json(estimate.throughput),
        "precision": [rung_object(rung) for rung in estimate.precision],
        "quantizations": quantizations_json(estimate),
        "runtimes": [compared_object(one) for one in estimate.runtimes],
        "rules": [rule_object(rule) for rule in estimate.rules],
        "notes": [
            {"code": clean(note.code), "message": clean(note.message, limit=PROSE_LIMIT)}
            for note in (*estimate.notes, *null_notes(estimate))
        ],
    }


def failure(answer: Failure) -> Object:
    """One element of ``failures``."""
    return {
        "model": clean(answer.model, limit=_NAME_LIMIT),
        "code": answer.code,
        "message": clean(answer.message, limit=PROSE_LIMIT),
        "hint": clean(answer.hint, limit=PROSE_LIMIT),
        "input": _columns(answer.input),
    }


def _width_and_height(size: tuple[int, int] | None) -> list[int] | None:
    return None if size is None else [size[1], size[0]]


def _multimodal(media: Media | None) -> Object | None:
    if media is None:
        return None
    return {
        "tokens": media.tokens,
        "encoder_tokens": media.encoder_tokens,
        "rule": clean(media.rule, limit=PROSE_LIMIT),
        "keys": [clean(key, limit=PROSE_LIMIT) for key in media.keys],
        "source": clean(media.source, limit=PROSE_LIMIT),
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
        unknown = dict.fromkeys(("total", "active", "by_dtype", "by_component"))
        return {**unknown, "packed": _packed(estimate)}
    return {
        "total": parameters.total,
        "active": parameters.active,
        "by_dtype": {clean(name): number for name, number in parameters.by_dtype.items()},
        "by_component": {clean(name): number for name, number in parameters.by_component.items()},
        "packed": _packed(estimate),
    }


def _packed(estimate: Estimate) -> list[Object]:
    """The packed weights by component, scales and zero points apart."""
    return [
        {
            "component": part.component,
            "formats": [clean(name) for name in part.formats],
            "parameters": part.parameters,
            "weights_bytes": part.weights_bytes,
            "scales_bytes": part.scales_bytes,
            "bits_per_weight": None
            if part.bits_per_weight is None
            else round(part.bits_per_weight, 4),
        }
        for part in packed_parts(estimate.model.weights or ())
    ]


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
    return [term_object(part, known=part.name not in unknown) for part in phase.memory.parts]


def term_object(term: Term, *, known: bool = True) -> Object:
    """A tree of terms; where the bytes are not known they are None all the way down."""
    low, high = term.range_bytes if known else (None, None)
    return {
        "name": clean(term.name),
        "bytes": term.bytes if known else None,
        "basis": term.basis,
        "because": clean(term.because, limit=PROSE_LIMIT),
        "low": low,
        "high": high,
        "parts": [term_object(part, known=known) for part in term.parts],
    }


def rule_object(rule: Rule) -> Object:
    """A rule of thumb with the figure that it stands for."""
    return {
        "id": rule.id,
        "name": rule.name,
        "formula": clean(rule.formula, limit=PROSE_LIMIT),
        "bytes": rule.bytes,
        "exact_bytes": rule.exact_bytes,
        "comment": clean(rule.comment, limit=PROSE_LIMIT),
    }


def _text(value: str | None) -> str | None:
    return None if value is None else clean(value)


def _columns(columns: Mapping[str, str]) -> dict[str, str]:
    """A list's own columns, as they are: JSON escapes what a terminal must not see."""
    return {_encodable(name): _encodable(value) for name, value in columns.items()}


def _encodable(value: str) -> str:
    return value.encode("utf-8", "replace").decode("utf-8")  # lone surrogates become "?"
