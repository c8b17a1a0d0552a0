"""The JSON of ``hfmem train --json``; its keys are a promise."""

from __future__ import annotations

from collections.abc import Iterable

from hfmem._version import __version__
from hfmem.answer import Failure
from hfmem.hardware.training_fit import TrainingFit
from hfmem.memory.term import Term
from hfmem.memory.training_estimate import TRAINING_PARTS
from hfmem.memory.training_run import ONLINE, TrainingRun
from hfmem.report.fit_json import Object
from hfmem.report.json import SCHEMA_VERSION, dumps, failure, rule_object, term_object
from hfmem.text import clean
from hfmem.training import MethodRow, Plan

_NAME_LIMIT, _PROSE_LIMIT = 4096, 4096


def envelope(answers: Iterable[Plan | Failure], run: TrainingRun) -> Object:
    """The whole document: results and failures apart, each in input order."""
    kept = tuple(answers)
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "hfmem", "version": __version__},
        "workload": asked(run),
        "results": [result(answer) for answer in kept if isinstance(answer, Plan)],
        "failures": [failure(answer) for answer in kept if isinstance(answer, Failure)],
    }


def line(answer: Plan | Failure) -> str:
    """One answer as a line of JSONL, with its ``type``."""
    if isinstance(answer, Plan):
        return dumps({"type": "result", **result(answer)})
    return dumps({"type": "failure", **failure(answer)})


def asked(run: TrainingRun) -> Object:
    """The question, as asked; null where the answer depends on the model."""
    layout, shape = run.parallel, run.brings.image_size
    return {
        "task": "train",
        "method": run.method,
        "objective": run.objective,
        "seq_len": run.seq_len,
        "micro_batch": run.micro_batch,
        "grad_accum": run.grad_accum,
        "optimizer": run.optimizer,
        "precision": run.precision,
        "gradient_checkpointing": run.checkpointing,
        "attention": run.attention,
        "loss": run.loss,
        "compile": run.fused_layers,
        "optimizer_in_backward": run.optimizer_in_backward,
        "activation_offload": run.activation_offload,
        "fused_recurrence": run.fused_recurrence,
        "packed": run.packed,
        "reference_model": run.reference,
        "rollout": _rollout(run) if run.objective in ONLINE else None,
        "lora_rank": run.lora.rank if run.adapted else None,
        "lora_targets": _targets(run) if run.adapted else None,
        "quantize": run.quantize if run.method == "qlora" else None,
        "images": run.brings.images,
        "image_size": None if shape is None else [shape[1], shape[0]],
        "frames": run.brings.frames,
        "audio_seconds": run.brings.audio_seconds,
        "parallel": {
            "tp": layout.tp,
            "pp": layout.pp,
            "dp": layout.dp,
            "ep": layout.ep,
            "sp": layout.sp,
            "zero": layout.zero,
            "fsdp": layout.fsdp,
            "offload": layout.offload,
        },
    }


def _rollout(run: TrainingRun) -> Object:
    rollout = run.rollout
    return {
        "completion_len": rollout.completion,
        "generations": rollout.generations,
        "vllm_gpu_memory_utilization": rollout.vllm_share,
        "vllm_sleep": rollout.vllm_sleeps,
    }


def _targets(run: TrainingRun) -> str | list[str]:
    targets = run.lora.targets
    if isinstance(targets, str):
        return clean(targets, limit=_PROSE_LIMIT)
    return [clean(target) for target in targets]


def result(plan: Plan) -> Object:
    """One element of ``results``; sizes are bytes, unknown is None."""
    model, memory = plan.model, plan.memory
    peak = memory.peak
    low, high = memory.whole.range_bytes
    total = model.parameters.total if model.parameters else None
    return {
        "model": clean(model.name, limit=_NAME_LIMIT),
        "revision": None if model.revision is None else clean(model.revision),
        "source": model.source,
        "input": {},
        "architecture": {
            "model_type": None if model.model_type is None else clean(model.model_type),
            "class": None if model.class_name is None else clean(model.class_name),
            "layers": len(model.decoder.layers),
            "hidden_size": model.decoder.hidden_size,
        },
        "parameters": {
            "total": total,
            "trainable": None if "weights" in memory.unknown else memory.trainable,
        },
        "recipe": plan.recipe,
        "run": asked(plan.run),
        "seq_len": memory.seq_len,
        "phase": peak.name,
        "instant": peak.instant,
        "memory": _memory(memory.whole, memory.unknown),
        "terms": [
            term_object(part, known=part.name not in memory.unknown) for part in peak.memory.parts
        ],
        "range_bytes": [low, None if memory.unknown else high],
        "phases": [
            {
                "name": phase.name,
                "instant": phase.instant,
                "memory": _memory(phase.memory, memory.unknown),
            }
            for phase in memory.phases
        ],
        "per_gpu": {"count": memory.gpus, "memory": _memory(peak.memory, memory.unknown)},
        "host_bytes": _host(memory.host),
        "fit": [_fit(fit) for fit in plan.fit],
        "methods": [_method(row) for row in plan.methods],
        "rules": [rule_object(rule) for rule in plan.rules],
        "notes": [
            {"code": clean(note.code), "message": clean(note.message, limit=_PROSE_LIMIT)}
            for note in plan.notes
        ],
    }


def _memory(memory: Term, unknown: tuple[str, ...]) -> Object:
    sizes = {part.name: part.bytes for part in memory.parts}
    return {
        "total_bytes": None if unknown else memory.bytes,
        **{f"{name}_bytes": None if name in unknown else sizes[name] for name in TRAINING_PARTS},
    }


def _host(host: Term | None) -> int | None:
    return None if host is None else host.bytes


def _fit(fit: TrainingFit) -> Object:
    return {
        "gpu": clean(fit.group.gpu.id),
        "count": fit.group.count,
        "verdict": fit.verdict,
        "fits": None if fit.verdict is None else fit.fits,
        "decided_by": fit.decided_by,
        "usable_bytes": fit.usable_bytes,
        "per_gpu_bytes": fit.per_gpu_bytes,
        "headroom_bytes": fit.headroom_bytes,
        "max_micro_batch": fit.max_micro_batch,
        "max_seq_len": fit.max_seq_len,
        "advice": fit.advice,
        "zero_gpus": {str(stage): ranks for stage, ranks in fit.zero_ranks},
        "step_seconds": None if fit.step_seconds is None else round(fit.step_seconds, 4),
        "mfu": fit.mfu,
        "refusal": fit.refusal or None,
    }


def _method(row: MethodRow) -> Object:
    return {
        "name": row.name,
        "method": row.method,
        "optimizer": row.optimizer,
        "trainable": row.trainable,
        "per_gpu_bytes": row.need_bytes,
        "cards": dict(row.cards),
    }
