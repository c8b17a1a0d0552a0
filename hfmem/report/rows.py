"""Several models for a person: one row each, the sum, and what failed."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.text import Text

from hfmem.answer import Estimate, Failure
from hfmem.memory.estimate import PARTS
from hfmem.memory.workload import Workload
from hfmem.report.phrases import (
    group_id,
    known_parts,
    known_total,
    plural,
    question,
    size,
    size_or_unknown,
    stored_dtypes,
)
from hfmem.report.screen import Screen
from hfmem.report.table import grid, verdict_text
from hfmem.text import clean
from hfmem.units import count

_NAME_COLUMNS = 28
"""Left for the names when columns are chosen."""


_STACKED_BELOW = 24
"""Columns beside those of the GPUs; with fewer, a model's verdicts stand one below the other."""
_STACK_COLUMNS = 16


class _Column(Struct, frozen=True, kw_only=True):
    """A column, and what is dropped first when the screen is narrow."""

    name: str
    heading: str
    columns: int
    keep: int
    """The higher, the longer it stays."""


_COLUMNS = (
    _Column(name="parameters", heading="parameters", columns=12, keep=3),
    _Column(name="dtype", heading="dtype", columns=12, keep=1),
    _Column(name="weights", heading="weights", columns=12, keep=6),
    _Column(name="kv_cache", heading="KV cache", columns=12, keep=5),
    _Column(name="activations", heading="activations", columns=13, keep=4),
    _Column(name="overhead", heading="overhead", columns=11, keep=2),
    _Column(name="total", heading="total", columns=12, keep=9),
)


def render(
    answers: Sequence[Estimate | Failure], workload: Workload, screen: Screen
) -> RenderableType:
    """The table of all models that could be estimated, then the failures."""
    estimates = [answer for answer in answers if isinstance(answer, Estimate)]
    failures = [answer for answer in answers if isinstance(answer, Failure)]
    blocks: list[RenderableType] = [Text(question(workload, ctx=workload.ctx), style="dim"), Text()]
    if estimates:
        blocks += [_table(estimates, screen), Text()]
    if failures:
        blocks += [_failures(failures), Text()]
    blocks.append(_sum(estimates, failures))
    return Group(*blocks)


def _table(estimates: Sequence[Estimate], screen: Screen) -> RenderableType:
    gpus = _gpu_columns(estimates)
    apart = sum(len(label) + 2 for label in gpus)
    stacked = screen.width is not None and screen.width - apart < _STACKED_BELOW
    chosen = _choose(screen, taken=_STACK_COLUMNS if stacked else apart)
    table = grid(header=True)
    table.add_column("model", overflow="fold")
    for column in chosen:
        left = column.name == "dtype"
        table.add_column(
            column.heading,
            justify="left" if left else "right",
            no_wrap=True,
            style="bold" if column.name == "total" else "",
        )
    for label in ("gpu",) if stacked else gpus:
        table.add_column(label, no_wrap=not stacked, overflow="fold")
    for estimate in estimates:
        cells = _cells(estimate)
        verdicts = [verdict_text(fit) for fit in estimate.fit]
        if stacked:
            lines = zip(gpus, verdicts, strict=True)
            verdicts = [Text("\n").join(Text(f"{label} ").append(text) for label, text in lines)]
        table.add_row(
            clean(estimate.model.name, limit=200),
            *(cells[column.name] for column in chosen),
            *verdicts,
        )
    return table


def _gpu_columns(estimates: Sequence[Estimate]) -> tuple[str, ...]:
    """What ``--gpu`` would name the groups by; every model of a run is judged on the same."""
    return tuple(group_id(fit) for fit in estimates[0].fit)


def _choose(screen: Screen, *, taken: int) -> tuple[_Column, ...]:
    """The columns that a screen has room for, the least telling dropped first."""
    if screen.width is None:
        return _COLUMNS
    room = screen.width - _NAME_COLUMNS - taken
    kept: list[_Column] = []
    for column in sorted(_COLUMNS, key=lambda column: -column.keep):
        if column.columns > room and kept:
            break
        kept.append(column)
        room -= column.columns
    return tuple(column for column in _COLUMNS if column in kept)


def _cells(estimate: Estimate) -> dict[str, str]:
    parameters = estimate.model.parameters
    total = known_total(estimate)
    lower = size(estimate.memory.peak.memory.bytes)
    parts = known_parts(estimate)
    return {
        "parameters": _count(parameters.total if parameters else None),
        "dtype": stored_dtypes(estimate),
        "total": f"> {lower}" if total is None else size(total),
        **{name: size_or_unknown(parts[name]) for name in PARTS},
    }


def _count(parameters: int | None) -> str:
    return "unknown" if parameters is None else count(parameters)


def _failures(failures: Sequence[Failure]) -> RenderableType:
    table = grid()
    table.add_column(style="red", no_wrap=True)
    table.add_column(overflow="fold")
    for failure in failures:
        lines = [f"{clean(failure.model, limit=200)}  ", f"\n{clean(failure.message, limit=1000)}"]
        if failure.hint:
            lines.append(f"\n{clean(failure.hint, limit=1000)}")
        table.add_row("failed", Text.assemble(lines[0], (failure.code, "dim"), *lines[1:]))
    return table


def _sum(estimates: Sequence[Estimate], failures: Sequence[Failure]) -> Text:
    words = [plural(len(estimates), "model")]
    if estimates:
        total = sum(estimate.memory.peak.memory.bytes for estimate in estimates)
        unknown = any(estimate.memory.unknown for estimate in estimates)
        words.append(f"{'at least ' if unknown else ''}{size(total)} together")
    for index, label in enumerate(_gpu_columns(estimates) if estimates else ()):
        fitting = sum(estimate.fit[index].fits for estimate in estimates)
        words.append(f"{fitting} of {len(estimates)} fit {label}")
    text = Text(" · ".join(words), style="bold")
    if failures:
        text.append(f" · {len(failures):,} failed", style="bold red")
    return text
