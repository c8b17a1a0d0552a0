"""Several models for a person: one row each, the sum, and what failed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from hfmem.answer import Estimate, Failure
from hfmem.memory.estimate import PARTS
from hfmem.memory.workload import Workload
from hfmem.report.grids import Column, beside_cards, grid, stacked, verdict_text
from hfmem.report.phrases import (
    group_id,
    known_parts,
    question,
    size_or_unknown,
    stored_dtypes,
    sum_words,
    total_words,
)
from hfmem.report.screen import Screen
from hfmem.text import clean
from hfmem.units import count

_STACKED_BELOW = 24
"""Columns beside those of the GPUs; with fewer, a model's verdicts stand one below the other."""
_STACK_COLUMNS = 16


_COLUMNS: tuple[Column, ...] = (
    Column(name="parameters", heading="parameters", columns=12, keep=3),
    Column(name="dtype", heading="dtype", columns=12, keep=1),
    Column(name="weights", heading="weights", columns=12, keep=6),
    Column(name="kv_cache", heading="KV cache", columns=12, keep=5),
    Column(name="activations", heading="activations", columns=13, keep=4),
    Column(name="overhead", heading="overhead", columns=11, keep=2),
    Column(name="total", heading="total", columns=12, keep=9),
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
    columns, below = beside_cards(
        _COLUMNS, gpus, width=screen.width, least=_STACKED_BELOW, stack=_STACK_COLUMNS
    )
    table = grid(header=True)
    table.add_column("model", overflow="fold")
    for column in columns:
        left = column.name == "dtype"
        table.add_column(
            column.heading,
            justify="left" if left else "right",
            no_wrap=True,
            style="bold" if column.name == "total" else "",
        )
    for label in ("gpu",) if below else gpus:
        table.add_column(label, no_wrap=not below, overflow="fold")
    for estimate in estimates:
        cells = _cells(estimate)
        verdicts = [verdict_text(fit.verdict) for fit in estimate.fit]
        if below:
            verdicts = [stacked(gpus, verdicts)]
        table.add_row(
            clean(estimate.model.name, limit=200),
            *(cells[column.name] for column in columns),
            *verdicts,
        )
    return table


def _gpu_columns(estimates: Sequence[Estimate]) -> tuple[str, ...]:
    """What ``--gpu`` would name the groups by; every model of a run is judged on the same."""
    return tuple(group_id(fit) for fit in estimates[0].fit)


def _cells(estimate: Estimate) -> dict[str, str]:
    parameters = estimate.model.parameters
    parts = known_parts(estimate)
    return {
        "parameters": _count(parameters.total if parameters else None),
        "dtype": stored_dtypes(estimate),
        "total": total_words(estimate),
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
    text = Text(" · ".join(sum_words(estimates)), style="bold")
    if failures:
        text.append(f" · {len(failures):,} failed", style="bold red")
    return text
