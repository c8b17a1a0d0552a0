"""Several models of ``hfmem train`` for a person: one row each, and what failed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from hfmem.answer import Failure
from hfmem.memory.training_estimate import TRAINING_PARTS
from hfmem.report.grids import Column, beside_cards, grid, stacked, verdict_text
from hfmem.report.phrases import group_id, size
from hfmem.report.screen import Screen
from hfmem.text import clean
from hfmem.training import Plan
from hfmem.units import count

_STACKED_BELOW = 28
"""Columns beside those of the GPUs; with fewer, a model's verdicts stand one below the other."""
_STACK_COLUMNS = 14
_COLUMNS: tuple[Column, ...] = (
    Column(name="trainable", heading="trainable", columns=11, keep=3),
    Column(name="weights", heading="weights", columns=12, keep=6),
    Column(name="gradients", heading="gradients", columns=12, keep=2),
    Column(name="optimizer", heading="optimizer", columns=12, keep=4),
    Column(name="activations", heading="activations", columns=13, keep=5),
    Column(name="total", heading="total", columns=14, keep=9),
)


def render(answers: Sequence[Plan | Failure], screen: Screen) -> RenderableType:
    """The table; a narrow screen leaves out columns, and has the cards one below the other."""
    cards: tuple[str, ...] = ()
    for answer in answers:
        if isinstance(answer, Plan):
            cards = tuple(map(group_id, answer.fit))
            break
    columns, below = beside_cards(
        _COLUMNS, cards, width=screen.width, least=_STACKED_BELOW, stack=_STACK_COLUMNS
    )
    table = grid(header=True)
    table.add_column("model", overflow="fold")
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for card in ("gpu",) if below else cards:
        table.add_column(card, no_wrap=not below, overflow="fold")
    for answer in answers:
        if isinstance(answer, Failure):
            blank = [""] * (len(columns) - 1)
            failed = Text("failed", style="red")
            table.add_row(clean(answer.model, limit=200), *blank, failed)
            continue
        cells = _cells(answer)
        verdicts = [verdict_text(fit.verdict) for fit in answer.fit]
        if below:
            verdicts = [stacked(cards, verdicts)]
        table.add_row(
            clean(answer.model.name, limit=200),
            *(cells[column.name] for column in columns),
            *verdicts,
        )
    return table


def _cells(plan: Plan) -> dict[str, str]:
    memory = plan.memory
    cells = {
        name: "unknown" if name in memory.unknown else size(memory.peak.part(name).bytes)
        for name in TRAINING_PARTS
    }
    cells["trainable"] = count(memory.trainable)
    cells["total"] = ("> " if memory.unknown else "") + size(memory.peak.memory.bytes)
    return cells
