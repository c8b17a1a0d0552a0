"""An answer about training in sections of text, which Markdown and HTML lay out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from hfmem.answer import Failure
from hfmem.memory.training_estimate import TRAINING_PARTS
from hfmem.report import tensors
from hfmem.report.explain import amount, steps
from hfmem.report.phrases import SOURCES, share, size, span
from hfmem.report.training import fact_rows, question
from hfmem.report.training_fits import cards_words, fit_notes
from hfmem.training import Plan
from hfmem.units import count, gb


class Grid(Struct, frozen=True, kw_only=True):
    """A table: every cell is text of nobody in particular and must be escaped."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()
    """Columns of figures."""


class Bullets(Struct, frozen=True, kw_only=True):
    """Lines with their depth."""

    lines: tuple[tuple[int, str], ...]


class Section(Struct, frozen=True, kw_only=True):
    """A heading, a figure that stands out, and what follows."""

    heading: str
    level: int = 3
    figure: str = ""
    lines: tuple[str, ...] = ()
    blocks: tuple[Grid | Bullets, ...] = ()


def sections(answers: Sequence[Plan | Failure], *, explain: bool) -> Iterator[Section]:
    """One model in full, several as a table; failures below."""
    plans = [answer for answer in answers if isinstance(answer, Plan)]
    failures = [answer for answer in answers if isinstance(answer, Failure)]
    if len(answers) == 1 and plans:
        yield _whole(plans[0])
    elif plans:
        yield _several(plans)
    if explain:
        for plan in plans:
            yield from _explained(plan)
    if failures:
        rows = tuple((row.model, row.code, row.message, row.hint) for row in failures)
        grid = Grid(headings=("failed", "code", "message", "hint"), rows=rows)
        yield Section(heading="Failed", blocks=(grid,))


def _whole(plan: Plan) -> Section:
    model, memory = plan.model, plan.memory
    peak = memory.peak.memory
    low, high = peak.range_bytes
    between = f", {span(low, high)}" if low != high and not memory.unknown else ""
    words = [name for name in (model.class_name or model.model_type,) if name]
    if "weights" not in memory.unknown:
        words.append(f"{memory.trainable:,} parameters trained")
    words.append(SOURCES[model.source])
    blocks: list[Grid | Bullets] = [
        _breakdown(plan),
        Grid(
            headings=("fact", "value"),
            rows=tuple((name, text.plain) for name, text in fact_rows(plan)),
        ),
    ]
    if plan.fit:
        blocks.append(_fits(plan))
    if plan.methods:
        blocks.append(_methods(plan))
    if plan.rules:
        blocks.append(_rules(plan))
    told = [*fit_notes(plan.fit), *(note.message for note in plan.notes)]
    if told:
        blocks.append(Bullets(lines=tuple((0, line) for line in told)))
    prefix = "at least " if memory.unknown else ""
    gpus = f" on each of {memory.gpus:,} GPUs" if memory.gpus > 1 else ""
    return Section(
        heading=model.name,
        figure=f"{prefix}{size(peak.bytes)}{gpus}",
        lines=(
            " · ".join(words),
            f"{gb(peak.bytes)}{between}; largest: {memory.peak.name}, {memory.peak.instant}",
            question(plan.run, seq_len=memory.seq_len),
        ),
        blocks=tuple(blocks),
    )


def _breakdown(plan: Plan) -> Grid:
    peak = plan.memory.peak

    def cells(name: str) -> tuple[str, ...]:
        if name in plan.memory.unknown:
            return (name, "unknown", "", "")
        term = peak.part(name)
        return (name, size(term.bytes), share(term.bytes, peak.memory.bytes), term.basis)

    return Grid(
        headings=("part", "memory", "share", "basis"),
        rows=tuple(cells(name) for name in TRAINING_PARTS),
        right=(1, 2),
    )


def _fits(plan: Plan) -> Grid:
    return Grid(
        headings=("GPU", "verdict", "headroom", "max micro-batch", "max seq-len", "step"),
        rows=tuple(
            (
                (f"{fit.group.count} × " if fit.group.count > 1 else "") + fit.group.gpu.id,
                fit.verdict or "unknown",
                "" if fit.headroom_bytes is None else size(fit.headroom_bytes),
                "" if fit.max_micro_batch is None else f"{fit.max_micro_batch:,}",
                "" if fit.max_seq_len is None else f"{fit.max_seq_len:,}",
                ""
                if fit.step_seconds is None
                else f"{fit.step_seconds:,.2f} s at {fit.mfu:.0%} of the peak rate",
            )
            for fit in plan.fit
        ),
        right=(2, 3, 4),
    )


def _methods(plan: Plan) -> Grid:
    return Grid(
        headings=("method", "trained", "needs", "fits on"),
        rows=tuple(
            (row.name, count(row.trainable), size(row.need_bytes), cards_words(row))
            for row in plan.methods
        ),
        right=(1, 2),
    )


def _rules(plan: Plan) -> Grid:
    return Grid(
        headings=("rule of thumb", "formula", "it says", "exact", "comment"),
        rows=tuple(
            (
                f"{rule.id} {rule.name}",
                rule.formula,
                "" if rule.bytes is None else size(rule.bytes),
                "" if rule.exact_bytes is None else size(rule.exact_bytes),
                rule.comment,
            )
            for rule in plan.rules
        ),
        right=(2, 3),
    )


def _several(plans: Sequence[Plan]) -> Section:
    gpus = tuple(fit.group.gpu.id for fit in plans[0].fit)

    def row(plan: Plan) -> tuple[str, ...]:
        memory = plan.memory
        sizes = (
            "unknown" if name in memory.unknown else size(memory.peak.part(name).bytes)
            for name in TRAINING_PARTS
        )
        whole = ("> " if memory.unknown else "") + size(memory.peak.memory.bytes)
        verdicts = (fit.verdict or "unknown" for fit in plan.fit)
        return (plan.model.name, count(memory.trainable), *sizes, whole, *verdicts)

    grid = Grid(
        headings=("model", "trained", *TRAINING_PARTS, "total", *gpus),
        rows=tuple(row(plan) for plan in plans),
        right=tuple(range(1, 3 + len(TRAINING_PARTS))),
    )
    first = plans[0]
    return Section(
        heading="Training",
        lines=(question(first.run, seq_len=first.memory.seq_len),),
        blocks=(grid,),
    )


def _explained(plan: Plan) -> Iterator[Section]:
    lines: list[tuple[int, str]] = []
    for phase in plan.memory.phases:
        lines.append((0, f"{phase.name}, {phase.instant}: {size(phase.memory.bytes)}"))
        for step in steps(phase.memory.parts, unknown=plan.memory.unknown):
            term = step.term
            told = f"{term.name}: {amount(step)}, {term.basis}. {term.because}"
            lines.append((step.depth + 1, told))
    if (held := tensors.stored(plan.model)) is not None:
        lines.append((0, f"tensors: {tensors.heading(held)}"))
        lines += ((1, line) for line in tensors.lines(held))
    yield Section(
        heading=f"{plan.model.name}: where the numbers come from",
        level=4,
        blocks=(Bullets(lines=tuple(lines)),),
    )
