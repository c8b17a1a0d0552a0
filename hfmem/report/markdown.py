"""Markdown for CI summaries and issues: GitHub's tables, every stranger's character escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from hfmem.answer import Estimate, Failure
from hfmem.memory.estimate import PARTS
from hfmem.memory.term import Term
from hfmem.memory.workload import Workload
from hfmem.report.explain import amount, steps
from hfmem.report.phrases import (
    PART_LABELS,
    gpu_label,
    group_id,
    host_words,
    known_parts,
    note_messages,
    parameter_words,
    question,
    revision,
    share,
    size,
    size_or_unknown,
    smallest_words,
    span,
    stored_dtypes,
    sum_words,
    total_words,
)
from hfmem.report.speed import speed_words
from hfmem.report.tensors import heading, lines, stored
from hfmem.text import clean
from hfmem.units import gb

# Beside Markdown's own: HTML, tables, mentions, references to issues, mathematics, bare links.
_SPECIAL = re.compile(r"[\\`*_\[\]|~<&@#$]|:(?=//)|(?<=www)\.|^[-+=>]|(?<=^\d)[.)]", re.IGNORECASE)


def escape(text: str, *, limit: int = 2000) -> str:
    """Text that Markdown shows as it is: ``escape("a|b") == "a&#124;b"``."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", clean(text, limit=limit))


def document(
    answers: Sequence[Estimate | Failure], workload: Workload, *, explain: bool = False
) -> str:
    """One model in full, several as a table; failures below."""
    estimates = [answer for answer in answers if isinstance(answer, Estimate)]
    failures = [answer for answer in answers if isinstance(answer, Failure)]
    lines: list[str] = []
    if len(answers) == 1 and estimates:
        lines += _single(estimates[0])
    else:
        lines += _several(estimates, failures, workload)
    if explain:
        for estimate in estimates:
            lines += _explained(estimate)
    if failures:
        lines += _failures(failures)
    return "\n".join(lines).rstrip("\n") + "\n"


def _single(estimate: Estimate) -> Iterator[str]:
    model, memory = estimate.model, estimate.memory
    peak = memory.peak.memory
    yield f"### {escape(model.name)}"
    yield ""
    kind = model.class_name or model.model_type
    words = [escape(kind)] if kind else []
    words += parameter_words(estimate)
    words.append(escape(stored_dtypes(estimate)))
    if (short := revision(estimate)) is not None:
        words.append(escape(short))
    yield " · ".join(words)
    yield ""
    prefix = "at least " if memory.unknown else ""
    low, high = peak.range_bytes
    between = f", {span(low, high)}" if low != high and not memory.unknown else ""
    yield f"**{prefix}{size(peak.bytes)}** ({gb(peak.bytes)}{between})"
    yield f"for {escape(question(estimate.workload, ctx=memory.ctx))}; largest: {memory.peak.name}"
    yield ""
    yield from _breakdown(estimate)
    if memory.host is not None:
        yield escape(f"Host memory: {host_words(memory.host)}")
        yield ""
    yield from _fit(estimate)
    yield from _speed(estimate)
    if estimate.precision:
        yield from _grid(
            ("precision", "weights", "total", "bits per weight", "smallest GPU"),
            (
                (
                    escape(rung.scheme),
                    size(rung.weights_bytes),
                    size(rung.total_bytes),
                    f"{rung.bits_per_weight:.2f}",
                    escape(smallest_words(rung)),
                )
                for rung in estimate.precision
            ),
            right=(1, 2, 3),
        )
    if estimate.rules:
        yield from _grid(
            ("rule of thumb", "formula", "it says", "exact", ""),
            (
                (
                    escape(f"{rule.id} {rule.name}"),
                    escape(rule.formula),
                    "" if rule.bytes is None else size(rule.bytes),
                    "" if rule.exact_bytes is None else size(rule.exact_bytes),
                    escape(rule.comment),
                )
                for rule in estimate.rules
            ),
            right=(2, 3),
        )
    notes = note_messages(estimate)
    yield from (f"- {escape(message)}" for message in notes)
    if notes:
        yield ""


def _speed(estimate: Estimate) -> Iterator[str]:
    found = estimate.throughput
    words = speed_words(found, batch=estimate.workload.batch) if found else None
    if words is not None:
        yield f"Speed on {escape(gpu_label(estimate.fit[0]))}: {words}"
        yield ""


def _breakdown(estimate: Estimate) -> Iterator[str]:
    peak = estimate.memory.peak
    known = known_parts(estimate)

    def cells(term: Term) -> tuple[str, ...]:
        amount = known[term.name]
        percent = "" if amount is None else share(amount, peak.memory.bytes)
        return (PART_LABELS[term.name], size_or_unknown(amount), percent, term.basis)

    rows = (cells(peak.part(name)) for name in PARTS)
    yield from _grid(("", "memory", "share", "basis"), rows, right=(1, 2))


def _fit(estimate: Estimate) -> Iterator[str]:
    fits = estimate.fit or estimate.cards
    if not fits:
        return
    yield from _grid(
        ("GPU", "verdict", "headroom", "decided by", "max ctx", "max batch"),
        (
            (
                escape(gpu_label(fit)),
                fit.verdict or "unknown",
                "" if fit.headroom_bytes is None else size(fit.headroom_bytes),
                PART_LABELS.get(fit.decided_by or "", ""),
                "" if fit.max_ctx is None else f"{fit.max_ctx:,}",
                "" if fit.max_batch is None else f"{fit.max_batch:,}",
            )
            for fit in fits
        ),
        right=(2, 4, 5),
    )


def _several(
    estimates: Sequence[Estimate], failures: Sequence[Failure], workload: Workload
) -> Iterator[str]:
    words = sum_words(estimates) + ([f"{len(failures):,} failed"] if failures else [])
    yield f"**{escape(' · '.join(words))}**"
    yield ""
    yield escape(question(workload, ctx=workload.ctx))
    yield ""
    if not estimates:
        return
    gpus = tuple(group_id(fit) for fit in estimates[0].fit)
    rows = (
        (
            escape(estimate.model.name),
            *(size_or_unknown(amount) for amount in known_parts(estimate).values()),
            f"**{total_words(estimate)}**",
            *(fit.verdict or "unknown" for fit in estimate.fit),
        )
        for estimate in estimates
    )
    headings = ("model", *(PART_LABELS[name] for name in PARTS), "total", *map(escape, gpus))
    yield from _grid(headings, rows, right=(1, 2, 3, 4, 5))


def _failures(failures: Sequence[Failure]) -> Iterator[str]:
    yield from _grid(
        ("failed", "code", "message", "hint"),
        (
            (escape(row.model), f"`{row.code}`", escape(row.message), escape(row.hint))
            for row in failures
        ),
    )


def _explained(estimate: Estimate) -> Iterator[str]:
    yield f"#### {escape(estimate.model.name)}: where the numbers come from"
    yield ""
    for phase in estimate.memory.phases:
        yield f"- **{phase.name}**: {size(phase.memory.bytes)}"
        for step in steps(phase.memory.parts, unknown=estimate.memory.unknown):
            indent = "  " * (step.depth + 1)
            reason = escape(step.term.because, limit=4000)
            name = escape(step.term.name)
            yield f"{indent}- {name}: {amount(step)}, {step.term.basis}. {reason}"
    if (found := stored(estimate.model)) is not None:
        yield f"- **tensors**: {escape(heading(found))}"
        yield from (f"  - {escape(line)}" for line in lines(found))
    yield ""


def _grid(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()
) -> Iterator[str]:
    yield _row(headings)
    yield _row(["---:" if number in right else "---" for number in range(len(headings))])
    yield from map(_row, rows)
    yield ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
