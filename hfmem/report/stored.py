"""Answers read back from the rows that ``json`` wrote, for the formats that lay out many of them.

A row is the public JSON, not a picture of the objects: what the layouts of many models do not show
is left out. ``brief`` leaves out what only ``--explain`` shows, and a tenth remains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from hfmem.answer import Estimate, Failure
from hfmem.checkpoint.snapshot import Note
from hfmem.download import Download
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.fit import Fit
from hfmem.memory.estimate import PARTS, MemoryEstimate, Phase
from hfmem.memory.term import Term
from hfmem.memory.workload import Workload
from hfmem.model.architectures import Decoder
from hfmem.model.config import read
from hfmem.model.model import Model
from hfmem.model.parameters import Parameters
from hfmem.report.nulls import CODES

# Rows are written by this version of hfmem; schema.json says what is in them.
Stored: TypeAlias = Mapping[str, Any]


def answer(row: Stored, workload: Workload, *, brief: bool) -> Estimate | Failure:
    """The answer that a row holds, as far as it is shown."""
    if row["type"] == "failure":
        return Failure(
            model=row["model"],
            code=row["code"],
            message=row["message"],
            hint=row["hint"],
            input=row["input"],
        )
    return Estimate(
        model=_model(row),
        workload=workload,
        memory=_memory(row, brief=brief),
        fit=tuple(map(_fit, row["fit"])),
        cards=(),
        precision=(),
        rules=(),
        download=_download(row["download"]),
        input=row["input"],
    )


def _model(row: Stored) -> Model:
    architecture, counts = row["architecture"], row["parameters"]
    parameters = None
    if counts["by_dtype"] is not None:
        parameters = Parameters(
            total=counts["total"],
            active=counts["active"],
            by_dtype=counts["by_dtype"],
            by_component=counts["by_component"],
        )
    return Model(
        name=row["model"],
        revision=row["revision"],
        source=row["source"],
        model_type=architecture["model_type"],
        class_name=architecture["class"],
        dtype=row["dtype"],
        decoder=_decoder(architecture),
        cache_known=architecture["cache_kinds"] is not None,
        forward=None,
        weights=None,
        parameters=parameters,
        checkpoint_bytes=row["checkpoint_bytes"],
        loaded_files=(),
        notes=tuple(
            Note(code=note["code"], message=note["message"])
            for note in row["notes"]
            if note["code"] not in _FOLLOWING
        ),
    )


_FOLLOWING = CODES | {"disk_too_small"}
"""Notes that follow from the rest of the row."""


def _decoder(architecture: Stored) -> Decoder:
    return Decoder(
        layers=(),
        text=read({}),
        model_type=architecture["model_type"] or "",
        hidden_size=architecture["hidden_size"],
        attention_heads=architecture["attention_heads"],
        kv_heads=architecture["kv_heads"],
        head_dim=architecture["head_dim"],
        max_context=architecture["max_context"],
        vocab_size=None,
        resolved_by="entry",
        source="a stored row",
    )


def _download(sizes: Stored) -> Download:
    return Download(
        files_bytes=sizes["files_bytes"],
        repository_bytes=sizes["repository_bytes"],
        cached_bytes=sizes["cached_bytes"],
        disk_free_bytes=sizes["disk_free_bytes"],
    )


def _memory(row: Stored, *, brief: bool) -> MemoryEstimate:
    shown = [{"name": row["phase"], "terms": row["terms"]}] if brief else row["phases"]
    return MemoryEstimate(
        phases=tuple(
            Phase(name=phase["name"], memory=_total(phase["terms"], brief=brief)) for phase in shown
        ),
        ctx=row["ctx"],
        kv_dtype=row["kv_cache"]["dtype"],
        bytes_per_token=row["kv_cache"]["bytes_per_token"] or 0,
        unknown=tuple(name for name in PARTS if row["memory"][f"{name}_bytes"] is None),
    )


def _total(terms: Iterable[Stored], *, brief: bool) -> Term:
    parts = tuple(_term(term, brief=brief) for term in terms)
    return Term(
        name="memory",
        bytes=sum(part.bytes for part in parts),
        basis="derived",
        because="",
        low=sum(part.range_bytes[0] for part in parts),
        high=sum(part.range_bytes[1] for part in parts),
        parts=parts,
    )


def _term(term: Stored, *, brief: bool) -> Term:
    return Term(
        name=term["name"],
        bytes=term["bytes"] or 0,
        basis=term["basis"],
        because="" if brief else term["because"],
        low=term["low"],
        high=term["high"],
        parts=() if brief else tuple(_term(part, brief=brief) for part in term["parts"]),
    )


def _fit(fit: Stored) -> Fit:
    gpu = Gpu(
        id=fit["gpu"],
        name=fit["gpu"],
        usable_bytes=fit["usable_bytes"] // fit["count"],
        usable_basis="given",
    )
    return Fit(
        group=GpuGroup(gpu=gpu, count=fit["count"], note=fit["note"]),
        verdict=fit["verdict"],
        decided_by=fit["decided_by"],
        usable_bytes=fit["usable_bytes"],
        headroom_bytes=fit["headroom_bytes"],
        per_gpu_bytes=fit["per_gpu_bytes"],
        max_ctx=fit["max_ctx"],
        max_batch=fit["max_batch"],
    )
