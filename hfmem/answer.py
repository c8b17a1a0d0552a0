"""One model's whole answer: what the reports render and the Python interface returns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note, Snapshot
from hfmem.download import Download, download_of
from hfmem.dtypes import BITS
from hfmem.errors import HfmemError, InvalidValueError, UsageError
from hfmem.flags import flags_for
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import COMMON, find
from hfmem.hardware.fit import Fit, advised, judge
from hfmem.hardware.ladder import apart, ladder
from hfmem.hardware.needs import Needs
from hfmem.memory.cards import device_of
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.precision import Rung
from hfmem.memory.term import Term
from hfmem.memory.workload import Workload
from hfmem.model.config import read
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.question import Question
from hfmem.runtimes import RUNTIMES, Runtime

if TYPE_CHECKING:
    from hfmem.comparison import Compared
    from hfmem.hardware.offered import Offer
    from hfmem.hardware.throughput import Throughput
    from hfmem.memory.rules import Rule


class PerGpu(Struct, frozen=True, kw_only=True):
    """What one GPU of a group holds."""

    count: int
    memory: Term
    """Of the most loaded one; its parts are named as in ``PARTS``."""


class Estimate(Struct, frozen=True, kw_only=True):
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
    throughput: Throughput | None = None
    """On the first group of GPUs that was named; None where none was."""
    offers: tuple[Offer, ...] = ()
    """Every quantization of a GGUF repository, where it has several."""
    runtimes: tuple[Compared, ...] = ()
    """Every runtime's figures, where all were asked for."""
    input: Mapping[str, str] = field(default_factory=dict)
    """Columns that a list carried along."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Of the model, then of the estimate, then of its speed and its download."""
        brought = self.workload.media
        slow = self.throughput.note if self.throughput else None
        return (
            *self.model.notes,
            *(brought.notes if brought else ()),
            *self.memory.notes,
            *((slow,) if slow else ()),
            *((full,) if (full := self.download.note) else ()),
        )

    def to_dict(self) -> dict[str, object]:
        """The JSON element of the ``results`` array."""
        from hfmem.report.json import result

        return result(self)

    def _repr_html_(self) -> str:
        """What a notebook shows of it: a table."""
        from hfmem.report.notebook import table

        return table(self)


class Failure(Struct, frozen=True, kw_only=True):
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


def answer(snapshot: Snapshot, asked: Question) -> Estimate:
    """Everything about one model. Raises HfmemError where its facts do not suffice."""
    model = describe(snapshot)
    runtime, workload, groups = asked.runtime, _with_media(asked.workload, snapshot), asked.groups
    engines: tuple[Runtime, ...] = (runtime,)
    if asked.every:
        runtime, engines = _suited(model, workload, groups), tuple(RUNTIMES.values())
    workload = _profiled(workload, model, snapshot, engines)
    common, workload = workload, _own(workload, runtime) if asked.every else workload
    workload, kept = _settled(model, workload)
    first = groups[0] if groups else None
    memory = runtime.estimate(model, _on(workload, first), first)
    memory = replace(memory, notes=(*memory.notes, *kept, *_unused(model, workload)))
    alone = runtime.estimate(model, workload, None) if memory.count > 1 else memory
    cards = () if groups else tuple(GpuGroup(gpu=find(name), count=alone.count) for name in COMMON)
    # The ladder stands on one copy of the weights as they are, whatever was asked.
    plain = apart(workload)
    unquantized = alone if plain == workload else runtime.estimate(model, plain, None)
    known = not memory.unknown
    needs = Needs(model, workload, runtime)
    judged = partial(judge, model=model, workload=workload, runtime=runtime, needs=needs)
    fits = tuple(judged(group) for group in groups)
    told = tuple(advised(fit, model=model, workload=workload, runtime=runtime) for fit in fits)
    compared: tuple[Compared, ...] = ()
    if asked.every:
        told, compared = _compared(model, replace(common, ctx=memory.ctx), told, own=runtime.name)
    return Estimate(
        model=model,
        workload=replace(workload, ctx=memory.ctx),
        memory=memory,
        fit=told,
        cards=tuple(judged(group) for group in (cards if known else ())),
        precision=ladder(
            model,
            unquantized,
            workload=plain,
            runtime=runtime,
            spread=None if workload.quantize else memory,
        )
        if known
        else (),
        offers=_offers(model, alone, groups, workload, runtime) if known else (),
        runtimes=compared,
        rules=_rules(model, memory, workload) if asked.rules else (),
        download=download_of(snapshot, model),
        per_gpu=_per_gpu(memory) if known and (groups or memory.rank) else None,
        throughput=_speed(fits[0], model, workload, memory) if fits else None,
    )


def _profiled(
    workload: Workload, model: Model, snapshot: Snapshot, engines: tuple[Runtime, ...]
) -> Workload:
    """The question with the largest pictures and films, where an engine measures itself with
    them."""
    profiled = next((one.profiled for one in engines if one.profiled is not None), None)
    if profiled is None or not any(
        run.component in {"vision", "audio"} for run in model.weights or ()
    ):
        return workload
    return replace(workload, largest=profiled(read(snapshot.config or {}), snapshot.documents))


def _unused(model: Model, workload: Workload) -> tuple[Note, ...]:
    """That the length of an encoder was given to a model that has none, or one of fixed length."""
    if workload.encoder_ctx is None:
        return ()
    from hfmem.model.layers import CrossAttention

    crossing = [
        kind for layer in model.decoder.layers for kind in layer if isinstance(kind, CrossAttention)
    ]
    if any(kind.source_tokens is None for kind in crossing):
        return ()
    why = (
        f"the encoder of this model always gives {crossing[0].source_tokens:,} tokens"
        if crossing
        else "no layer of this model attends to an encoder's output"
    )
    return (Note(code="encoder_ctx_unused", message=f"--encoder-ctx changes nothing: {why}."),)


# Few questions need these five, and a short run is half imports.
def _suited(model: Model, workload: Workload, groups: tuple[GpuGroup, ...]) -> Runtime:
    from hfmem.comparison import suited

    return suited(model, workload, groups)


def _settled(model: Model, workload: Workload) -> tuple[Workload, tuple[Note, ...]]:
    if workload.quantize is None:
        return workload, ()
    from hfmem.runtimes.requantized import settled

    return settled(model, workload)


def _compared(
    model: Model, workload: Workload, fits: tuple[Fit, ...], *, own: str
) -> tuple[tuple[Fit, ...], tuple[Compared, ...]]:
    from hfmem.comparison import compare, with_commands

    found = compare(model, workload, tuple(fit.group for fit in fits))
    return with_commands(fits, found, own=own), found


def _offers(
    model: Model,
    alone: MemoryEstimate,
    groups: tuple[GpuGroup, ...],
    workload: Workload,
    runtime: Runtime,
) -> tuple[Offer, ...]:
    if model.gguf_listing is None or workload.quantize is not None:
        return ()
    from hfmem.hardware.offered import offered

    return offered(model, alone, groups, workload=workload, runtime=runtime)


def _speed(fit: Fit, model: Model, workload: Workload, memory: MemoryEstimate) -> Throughput:
    from hfmem.hardware.throughput import throughput

    return throughput(fit, model=model, workload=workload, memory=memory)


def _with_media(workload: Workload, snapshot: Snapshot) -> Workload:
    """The question with what its pictures, frames and sound become in this model."""
    if not (workload.images or workload.frames or workload.audio_seconds):
        return workload
    from hfmem.model.media import MediaInput
    from hfmem.model.multimodal import media

    brought = MediaInput(
        images=workload.images,
        image_size=workload.image_size,
        frames=workload.frames,
        audio_seconds=workload.audio_seconds,
    )
    return replace(workload, media=media(read(snapshot.config or {}), snapshot.documents, brought))


def _own(workload: Workload, runtime: Runtime) -> Workload:
    """The part of a question to every runtime that is meant for one."""
    own = {flag.name for flag in flags_for(runtime.name)}
    others = {name: None for name, _ in workload.flags.given if name not in own}
    kv_dtype = workload.kv_dtype if workload.kv_dtype in runtime.kv_dtypes else "auto"
    return replace(
        workload,
        runtime=runtime.name,
        kv_dtype=kv_dtype,
        flags=workload.flags.but(**others),
    )


def _on(workload: Workload, group: GpuGroup | None) -> Workload:
    return workload if group is None else replace(workload, device=device_of(group.gpu))


def _per_gpu(memory: MemoryEstimate) -> PerGpu:
    """At the instant that is shown of all of them together."""
    shown = next(phase for phase in memory.most_loaded if phase.name == memory.peak.name)
    return PerGpu(count=memory.count, memory=shown.memory)


def _rules(model: Model, memory: MemoryEstimate, workload: Workload) -> tuple[Rule, ...]:
    decoder = model.decoder
    parameters = model.parameters.total if model.parameters else None
    if parameters is None or decoder.hidden_size is None or memory.unknown:
        return ()
    from hfmem.memory.rules import Facts, rules

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
