"""The runtimes side by side, for a person."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding

from hfmem.answer import Estimate
from hfmem.hardware.fit import Fit
from hfmem.memory.estimate import PARTS
from hfmem.report.grids import INDENT, Column, chosen, grid, labelled, stacked, verdict_text
from hfmem.report.phrases import gpu_label, group_id, size
from hfmem.report.screen import Screen
from hfmem.text import clean

_RUNTIME_COLUMNS = 16
"""Of ``transformers``, the longest name, with the indent and two blanks."""
_STACK_COLUMNS = 13
"""Of verdicts one below the other: ``h100-sxm fits``; a longer card goes on in a second line."""
_SIZES = (
    Column(name="total", heading="total", columns=12, keep=9),
    Column(name="weights", heading="weights", columns=12, keep=6),
    Column(name="kv_cache", heading="KV cache", columns=12, keep=5),
    Column(name="activations", heading="activations", columns=13, keep=4),
    Column(name="overhead", heading="overhead", columns=12, keep=2),
)


def runtimes_table(estimate: Estimate, screen: Screen) -> RenderableType:
    """What each runtime needs, and whether it fits; below, which would not run, and why.

    A narrow screen leaves out the smaller parts, and has the cards one below the other.
    """
    labels, below = _card_columns(estimate.fit, screen)
    taken = _STACK_COLUMNS if below else sum(len(label) + 2 for label in labels)
    sizes: Sequence[Column] = _SIZES
    if screen.width is not None:
        sizes = chosen(_SIZES, room=screen.width - _RUNTIME_COLUMNS - taken)
    table = grid(header=True)
    table.add_column("runtime", no_wrap=True)
    for column in sizes:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for label in ("gpu",) if below else labels:
        table.add_column(label, no_wrap=not below, overflow="fold")
    refused: list[tuple[str, str]] = []
    for one in estimate.runtimes:
        if one.refusal:
            refused.append((one.runtime, clean(one.refusal, limit=200)))
        if one.memory is None:
            continue
        peak, unknown = one.memory.peak, one.memory.unknown
        cells = {
            name: "unknown" if name in unknown else size(peak.part(name).bytes) for name in PARTS
        }
        cells["total"] = "unknown" if unknown else size(peak.memory.bytes)
        verdicts = [verdict_text(fit.verdict) for fit in one.fit]
        if below:
            verdicts = [stacked(labels, verdicts)]
        table.add_row(one.runtime, *(cells[column.name] for column in sizes), *verdicts)
    if not refused:
        return Padding(table, INDENT)
    return Group(Padding(table, INDENT), labelled(refused))


def _card_columns(fits: Sequence[Fit], screen: Screen) -> tuple[tuple[str, ...], bool]:
    """The names of the cards as long as the screen lets them be, and whether they are stacked."""
    whole = sum(column.columns for column in _SIZES)
    ids = tuple(group_id(fit) for fit in fits)
    for labels, sizes in ((tuple(map(gpu_label, fits)), whole), (ids, _SIZES[0].columns)):
        needed = _RUNTIME_COLUMNS + sizes + sum(len(label) + 2 for label in labels)
        if screen.width is None or needed <= screen.width:
            return labels, False
    return ids, bool(ids)
