"""An estimate in a notebook: one compact table, every stranger's character escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from hfmem.answer import Estimate
from hfmem.report.phrases import (
    PART_LABELS,
    gpu_label,
    known_parts,
    note_messages,
    parameter_words,
    question,
    share,
    size,
    size_or_unknown,
    span,
    stored_dtypes,
)
from hfmem.report.speed import speed_words
from hfmem.text import clean

_NOTES = 5

# Notebooks bring their own colours, light or dark: only the layout is set here.
_RIGHT = ' style="text-align:right"'
_LEFT = ' style="text-align:left"'


def table(estimate: Estimate) -> str:
    """A model's name, its total, the four parts, the verdicts and the speed."""
    return "\n".join(
        (
            '<table class="hfmem">',
            f"<caption{_LEFT}>{_headline(estimate)}</caption>",
            "<tbody>",
            *_rows(estimate),
            "</tbody>",
            "</table>",
            *_notes(estimate),
        )
    )


def _text(words: str, *, limit: int = 2000) -> str:
    return escape(clean(words, limit=limit), quote=True)


def _headline(estimate: Estimate) -> str:
    words = [*parameter_words(estimate), stored_dtypes(estimate)]
    asked = question(estimate.workload, ctx=estimate.memory.ctx)
    return (
        f"<strong>{_text(estimate.model.name, limit=200)}</strong><br>"
        f"{_text(' · '.join(words))}<br>{_text(asked)}"
    )


def _row(label: str, *cells: str) -> str:
    columns = "".join(f"<td{_RIGHT}>{cell}</td>" for cell in cells)
    return f"<tr><th{_LEFT}>{label}</th>{columns}</tr>"


def _rows(estimate: Estimate) -> Iterator[str]:
    memory = estimate.memory
    peak = memory.peak.memory
    for name, amount in known_parts(estimate).items():
        portion = "" if amount is None else share(amount, peak.bytes)
        yield _row(_text(PART_LABELS[name]), size_or_unknown(amount), portion)
    low, high = peak.range_bytes
    prefix = "at least " if memory.unknown else ""
    between = "" if memory.unknown or low == high else span(low, high)
    yield _row("<strong>total</strong>", f"<strong>{prefix}{size(peak.bytes)}</strong>", between)
    for fit in estimate.fit or estimate.cards:
        headroom = "" if fit.headroom_bytes is None else size(fit.headroom_bytes)
        yield _row(_text(gpu_label(fit)), fit.verdict or "unknown", headroom)
    found = estimate.throughput
    words = speed_words(found, batch=estimate.workload.batch) if found else None
    if words is not None:
        yield f'<tr><th{_LEFT}>speed</th><td colspan="2"{_LEFT}>{_text(words)}</td></tr>'


def _notes(estimate: Estimate) -> Iterator[str]:
    messages = note_messages(estimate)
    if not messages:
        return
    shown = "".join(f"<li>{_text(message)}</li>" for message in messages[:_NOTES])
    more = len(messages) - _NOTES
    if more > 0:
        shown += f"<li>and {more} more: <code>.notes</code></li>"
    yield f"<ul>{shown}</ul>"
