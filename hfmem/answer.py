"""One model's whole answer: what the reports render and the Python interface returns."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hfmem.checkpoint.snapshot import Note, Snapshot
from hfmem.dtypes import BITS
from hfmem.errors import HfmemError, InvalidValueError, UsageError
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import COMMON, find, parse_gpu
from hfmem.hardware.fit import Fit, class_of, judge
from hfmem.hardware.ladder import ladder
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.parallel import layer_split
from hfmem.memory.precision import Rung
from hfmem.memory.rules import Facts, Rule, rules
from hfmem.memory.term import Term
from hfmem.memory.workload import Workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES, Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What a download would fetch."""

    files_bytes: int | None
    """Of the files that the runtime loads."""
    repository_bytes: int | None
    """Of everything in the repository."""
    cached_bytes: int | None
    """Of ``files_bytes``, already in the local Hub cache."""
    disk_free_bytes: int | None
    """On the disk of the local Hub cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerGpu:
    """What one GPU of a group holds."""

    count: int
    memory: Term
    """Of the most loaded one; its parts are named as in ``PARTS``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A model that could be estimated."""

    model: Model
    workload: Workload
    memory: MemoryEstimate
    fit: tuple[Fit, ...]
    """One a named GPU group, in the order named."""
    cards: tuple[Fit, ...]
    """The common cards, when no GPU was named."""
    precision: tuple[Rung, ...]
    """The precision ladder."""
    rules: tuple[Rule, ...]
    """Rules of thumb beside the exact figures; empty unless asked for."""
    download: Download
    per_gpu: PerGpu | None = None
    """On the first group of GPUs that was named; None where none was, or the total is unknown."""
    input: Mapping[str, str] = field(default_factory=dict)
    """Columns that a list carried along."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Of the model, then of the estimate."""
        return (*self.model.notes, *self.memory.notes)

    def to_dict(self) -> dict[str, object]:
        """The JSON element of the ``results`` array."""
        from hfmem.report.json import result

        return result(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A model that could not be estimated: a row like any other."""

    model: str
    code: str
    message: str
    hint: str
    input: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The JSON element of the ``failures`` array."""
        from hfmem.report.json import failure

        return failure(self)


def failure(model: str, error: HfmemError, *, columns: Mapping[str, str] | None = None) -> Failure:
    """The row of a model whose way ended early.

    A name or an option that does not suit this model is an invalid value of its row; only of the
    whole run is it wrong usage.
    """
    code = InvalidValueError.code if type(error) is UsageError else error.code
    return Failure(
        model=model, code=code, message=error.message, hint=error.hint, input=columns or {}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of every model of a run, resolved once."""

    workload: Workload
    runtime: Runtime
    groups: tuple[GpuGroup, ...]
    """The GPUs that were named."""
    rules: bool = False


def question(workload: Workload, *, gpus: tuple[str, ...] = (), rules: bool = False) -> Question:
    """Resolve the names of a question. Raises UsageError for a runtime, type or GPU that is
    unknown."""
    runtime = RUNTIMES.get(workload.runtime)
    if runtime is None:
        raise UsageError(
            f"There is no runtime {workload.runtime!r:.60}.",
            hint=f"Choose one of: {', '.join(RUNTIMES)}.",
        )
    if workload.kv_dtype not in runtime.kv_dtypes:
        raise UsageError(
            f"{runtime.name} has no KV cache type {workload.kv_dtype!r:.60}.",
            hint=f"Choose one of: {', '.join(runtime.kv_dtypes)}.",
        )
    return Question(
        workload=workload,
        runtime=runtime,
        groups=tuple(group for name in gpus for group in _groups(name)),
        rules=rules,
    )


def _groups(name: str) -> tuple[GpuGroup, ...]:
    if name != "auto":
        return (parse_gpu(name),)
    from hfmem.hardware.detect import detect

    return detect().groups


def answer(snapshot: Snapshot, asked: Question) -> Estimate:
    """Everything about one model. Raises HfmemError where its facts do not suffice."""
    model = describe(snapshot)
    runtime, workload = asked.runtime, asked.workload
    groups = asked.groups
    gpu_class = class_of(groups[0].gpu) if groups else "unknown"
    memory = runtime.estimate(model, workload, gpu_class)
    cards = tuple(GpuGroup(gpu=find(name), count=1) for name in COMMON)
    known = not memory.unknown
    return Estimate(
        model=model,
        workload=replace(workload, ctx=memory.ctx),
        memory=memory,
        fit=tuple(
            judge(group, model=model, workload=workload, runtime=runtime) for group in groups
        ),
        cards=tuple(
            judge(group, model=model, workload=workload, runtime=runtime)
            for group in (cards if known and not groups else ())
        ),
        precision=ladder(model, memory, cards=cards) if known else (),
        rules=_rules(model, memory, workload) if asked.rules else (),
        download=_download(snapshot, model),
        per_gpu=_per_gpu(model, memory, groups[0].count) if groups and known else None,
    )


def _per_gpu(model: Model, memory: MemoryEstimate, count: int) -> PerGpu:
    return PerGpu(count=count, memory=layer_split(memory, model=model, count=count))


def _rules(model: Model, memory: MemoryEstimate, workload: Workload) -> tuple[Rule, ...]:
    decoder = model.decoder
    parameters = model.parameters.total if model.parameters else None
    if parameters is None or decoder.hidden_size is None or memory.unknown:
        return ()
    return rules(
        Facts(
            parameters=parameters,
            bits=BITS[workload.dtype or model.dtype],
            layers=len(decoder.layers),
            hidden_size=decoder.hidden_size,
            kv_heads=decoder.kv_heads,
            head_dim=decoder.head_dim,
            batch=workload.batch,
        ),
        memory,
    )


def _download(snapshot: Snapshot, model: Model) -> Download:
    sizes = {file.name: file.bytes for file in snapshot.files}
    loaded = [file for file in snapshot.files if file.name in set(model.loaded_files)]
    return Download(
        files_bytes=_sum(file.bytes for file in loaded) if loaded else None,
        repository_bytes=_sum(sizes.values()) if sizes else None,
        cached_bytes=sum(file.cached_bytes for file in loaded) if loaded else None,
        disk_free_bytes=_disk_free(),
    )


def _sum(sizes: Iterable[int | None]) -> int | None:
    """The sum; None as soon as one size is unknown."""
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _disk_free() -> int | None:
    """Free bytes where the Hub cache lies or would lie (huggingface_hub 2.4 constants.py)."""
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    path = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
