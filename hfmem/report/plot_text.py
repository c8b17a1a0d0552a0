"""The picture of ``--plot -``: columns of block characters, for a terminal."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from hfmem.answer import Estimate
from hfmem.memory.estimate import PARTS
from hfmem.report.phrases import PART_LABELS, size
from hfmem.report.plot import Curve, curve
from hfmem.report.screen import Screen
from hfmem.text import clean
from hfmem.units import GIB

_ROWS = 16
_BLOCKS = {"weights": "█", "kv_cache": "▓", "activations": "▒", "overhead": "░"}
_LETTERS = {"weights": "W", "kv_cache": "K", "activations": "A", "overhead": "o"}
_MARGIN = 9


def draw(estimate: Estimate, screen: Screen) -> str:
    """Lines of a chart as wide as the screen; letters where it has no blocks. Raises UsageError."""
    found = curve(estimate)
    marks = _BLOCKS if screen.unicode else _LETTERS
    width = max(24, min(screen.columns, 110) - _MARGIN - 2)
    top = _top(found)
    columns = [_column(found, number, width, top=top, marks=marks) for number in range(width)]
    asked = _place(found.asked.ctx, found, width)
    line = "┄" if screen.unicode else "-"
    limits = {_row(limit.bytes, top): limit for limit in found.limits if limit.bytes <= top}
    lines = []
    for row in range(_ROWS - 1, -1, -1):
        cells = [column[row] for column in columns]
        if (limit := limits.get(row)) is not None:
            cells = [line if cell == " " else cell for cell in cells]
            note = f" {clean(limit.label, limit=40)} {size(limit.bytes)} "
            cells[1 : 1 + len(note)] = note[: width - 1]
        bound = top * (row + 1) / _ROWS / GIB
        label = f"{bound:7.1f} " if row % 3 == 0 else " " * 8
        lines.append(label + ("│" if screen.unicode else "|") + "".join(cells))
    lines.append(
        " " * 8 + ("└" if screen.unicode else "+") + ("─" if screen.unicode else "-") * width
    )
    lines.append(_axis(found, asked, width, up="▲" if screen.unicode else "^"))
    legend = (f"{marks[name]} {PART_LABELS[name]}" for name in PARTS)
    where = " of all GPUs" if estimate.memory.count > 1 else ""
    asked_for = f"{found.asked.ctx:,} tokens: {size(found.asked.total)}"
    head = (f"GiB{where} against context", asked_for, *legend)
    text = "\n".join([*_wrapped(head, screen.columns), *lines]) + "\n"
    return text if screen.unicode else text.replace("×", "x")


def _wrapped(words: Iterable[str], columns: int) -> list[str]:
    """The words three blanks apart, on as many lines as they take."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 3 + len(word) <= columns:
            lines[-1] += f"   {word}"
        else:
            lines.append(word[:columns])
    return lines


def _top(found: Curve) -> int:
    highest = max(point.total for point in found.points)
    near = [limit.bytes for limit in found.limits if limit.bytes <= 2 * highest]
    return max([highest, *near]) * 21 // 20


def _row(amount: int, top: int) -> int:
    return min(_ROWS - 1, amount * _ROWS // top)


def _column(found: Curve, number: int, width: int, *, top: int, marks: dict[str, str]) -> list[str]:
    """From the bottom up: every row shows the part that holds its middle."""
    first, last = found.points[0].ctx, found.points[-1].ctx
    ctx = first + (last - first) * number // max(1, width - 1)
    contexts = [point.ctx for point in found.points]
    point = found.points[min(bisect_left(contexts, ctx), len(contexts) - 1)]
    cells, held = [], 0
    bounds = []
    for name in PARTS:
        held += point.parts[name]
        bounds.append((held, marks[name]))
    for row in range(_ROWS):
        middle = top * (2 * row + 1) // (2 * _ROWS)
        cells.append(next((mark for bound, mark in bounds if middle < bound), " "))
    return cells


def _place(ctx: int, found: Curve, width: int) -> int:
    first, last = found.points[0].ctx, found.points[-1].ctx
    return (ctx - first) * (width - 1) // max(1, last - first)


def _axis(found: Curve, asked: int, width: int, *, up: str) -> str:
    """The first and the last context, and an arrow at the asked one."""
    left, right = f"{found.points[0].ctx:,}", f"{found.points[-1].ctx:,}"
    cells = [" "] * width
    cells[: len(left)] = left
    cells[width - len(right) :] = right
    asked_text = f"{up} {found.asked.ctx:,}"
    if len(left) < asked < width - len(right) - len(asked_text):
        cells[asked : asked + len(asked_text)] = asked_text
    else:
        cells[asked] = up
    return " " * (_MARGIN) + "".join(cells).rstrip()
