"""What the tables share: columns and the choice of them, bars, and the colours of verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from hfmem.hardware.fit import Verdict

NARROW = 60
"""Columns of a screen below which a row keeps what decides, and leaves out the rest."""
INDENT = (0, 0, 0, 2)
_NAME_COLUMNS = 28
"""Left for the models' names when columns are chosen."""
_VERDICT_STYLES = {"fits": "green", "tight": "yellow", "offload": "yellow", "no": "red"}


class Column(Struct, frozen=True, kw_only=True):
    """A column that a narrow screen may go without."""

    name: str
    heading: str
    columns: int
    """Of the screen, with the two blanks to the next."""
    keep: int
    """The higher, the longer it stays."""


def chosen(columns: Sequence[Column], *, room: int) -> tuple[Column, ...]:
    """The columns that there is room for, the least telling dropped first; one stays always."""
    kept: list[Column] = []
    for column in sorted(columns, key=lambda column: -column.keep):
        if column.columns > room and kept:
            break
        kept.append(column)
        room -= column.columns
    return tuple(column for column in columns if column in kept)


def beside_cards(
    columns: Sequence[Column], cards: Sequence[str], *, width: int | None, least: int, stack: int
) -> tuple[tuple[Column, ...], bool]:
    """The columns of a table of models that there is room for beside the cards' verdicts, and
    whether these stand one below the other: in ``stack`` columns, where side by side they leave
    fewer than ``least``. A screen without a width has room for all.
    """
    if width is None:
        return tuple(columns), False
    apart = sum(len(card) + 2 for card in cards)
    below = width - apart < least
    return chosen(columns, room=width - _NAME_COLUMNS - (stack if below else apart)), below


def grid(*, header: bool = False) -> Table:
    """Columns two blanks apart and nothing else."""
    return Table(
        box=None,
        show_header=header,
        header_style="dim",
        pad_edge=False,
        padding=(0, 2, 0, 0),
        collapse_padding=True,
    )


def labelled(rows: Iterable[tuple[str, str | Text]], *, style: str = "dim") -> RenderableType:
    """A word in front of each line; lines that are too long go on below their beginning."""
    table = grid()
    table.add_column(style=style, no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, value)
    return Padding(table, INDENT)


def bar(amount: int, whole: int, *, width: int) -> str:
    """A share as a line; what is there at all is at least half a character of it."""
    halves = max(1, round(2 * width * amount / whole)) if amount > 0 and whole > 0 else 0
    return "━" * (halves // 2) + "╸" * (halves % 2)


def bar_width(columns: int) -> int:
    """The longest bar of a breakdown on a screen; 0 where there is no room for any."""
    return 0 if columns < NARROW else max(8, min(40, columns - 52))


def verdict_text(verdict: Verdict | None) -> Text:
    """The verdict, coloured; the word says it without."""
    return Text(verdict or "unknown", style=verdict_style(verdict))


def verdict_style(verdict: Verdict | None) -> str:
    """The colour of a verdict; none where it is not known."""
    return "dim" if verdict is None else _VERDICT_STYLES[verdict]


def stacked(labels: Sequence[str], verdicts: Sequence[Text]) -> Text:
    """The verdicts of several cards one below the other, each behind its card."""
    lines = zip(labels, verdicts, strict=True)
    return Text("\n").join(Text(f"{label} ").append_text(text) for label, text in lines)
