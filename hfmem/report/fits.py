"""Where a model fits, for a person: the cards, and what to run or to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from hfmem.hardware.fit import Fit
from hfmem.report.commands import folded
from hfmem.report.grids import INDENT, NARROW, grid, labelled, verdict_text
from hfmem.report.phrases import PART_LABELS, gpu_label, size
from hfmem.report.screen import Screen
from hfmem.text import clean

_BESIDE_COMMANDS = 13
"""Columns to the left of a command: the indent, the longest label, "fits with", and two blanks."""


def fit_table(fits: tuple[Fit, ...], screen: Screen) -> RenderableType:
    """One row a GPU group: the verdict, what is left, and how far it could go."""
    decides, usable = screen.columns >= 76, screen.columns >= 92
    roomy = screen.columns >= NARROW
    table = grid(header=True)
    table.add_column("gpu", overflow="fold")
    table.add_column("", no_wrap=True)
    if roomy:
        table.add_column("headroom", justify="right", no_wrap=True)
    if usable:
        table.add_column("of", justify="right", no_wrap=True, style="dim")
    if decides:
        table.add_column("decided by", no_wrap=True, style="dim")
    pooled = screen.columns >= 100 and any(fit.pool is not None for fit in fits)
    if pooled:
        table.add_column("kv pool", justify="right", no_wrap=True)
    table.add_column("max ctx", justify="right", no_wrap=True)
    if roomy:
        table.add_column("max batch", justify="right", no_wrap=True)
    for fit in fits:
        row: list[str | Text] = [gpu_label(fit), verdict_text(fit.verdict)]
        if roomy:
            row.append("" if fit.headroom_bytes is None else size(fit.headroom_bytes))
        if usable:
            row.append(size(fit.usable_bytes))
        if decides:
            row.append(PART_LABELS.get(fit.decided_by or "", ""))
        pool = [] if not pooled else [_pool(fit)]
        batch = [_limit(fit.max_batch)] if roomy else []
        table.add_row(*row, *pool, _limit(fit.max_ctx), *batch)
    return Padding(table, INDENT)


def _pool(fit: Fit) -> str:
    """``475,952 tokens``, as the engine prints it at its start."""
    return "" if fit.pool is None else f"{fit.pool.tokens:,} tokens"


def _limit(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def advice(fit: Fit, screen: Screen, *, named: bool) -> RenderableType | None:
    """What runs it, or the changes after which it fits, each with its total and its command.

    ``named`` writes the card above them, which several blocks need.
    """
    if not fit.advice and fit.refusal is None:
        return None
    return labelled(_advice_rows(fit, screen, named=named))


def _advice_rows(fit: Fit, screen: Screen, *, named: bool) -> Iterator[tuple[str, str | Text]]:
    if fit.refusal is not None:
        yield gpu_label(fit), Text(clean(fit.refusal, limit=400), style="red")
    elif named:
        yield "on", gpu_label(fit)
    for number, one in enumerate(fit.advice):
        first = "run" if one.change == "none" else "fits with" if number == 0 else ""
        label = Text(clean(one.label, limit=120), style="bold")
        per = f", {size(one.per_gpu_bytes)} a GPU" if one.count > 1 else ""
        label.append(f"   {size(one.total_bytes)}{per}", style="dim")
        yield first, label
        width = None if screen.width is None else screen.width - _BESIDE_COMMANDS
        for line in (one.command or "").splitlines():
            for part in folded(clean(line, limit=1000), width=width):
                yield "", Text(part)


def offloads(fits: Sequence[Fit]) -> RenderableType:
    """Where the layers of a model that does not fit go."""
    return labelled(_offload_rows(fits))


def _offload_rows(fits: Sequence[Fit]) -> Iterator[tuple[str, str]]:
    for fit in fits:
        if (found := fit.offload) is None:
            continue
        where = "the GPU" if fit.group.count == 1 else "the GPUs"
        yield (
            "offload",
            f"{gpu_label(fit)}: {found.gpu_layers} of {found.layers} layers on {where}, "
            f"{size(found.host_bytes)} in host memory (what that does not hold, on disk), with "
            f"max_memory of {size(found.max_memory_bytes)} a GPU",
        )
