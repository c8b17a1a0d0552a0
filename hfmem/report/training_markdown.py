"""Markdown of ``hfmem train``, every stranger's character escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from hfmem.answer import Failure
from hfmem.report.markdown import escape
from hfmem.report.training_sections import Bullets, Grid, Section, sections
from hfmem.training import Plan

_FIGURE = re.compile(r"[\d.,]+ ?[A-Za-z%]*")


def document(answers: Sequence[Plan | Failure], *, explain: bool = False) -> str:
    """One model in full, several as a table; failures below."""
    lines = [line for part in sections(answers, explain=explain) for line in _section(part)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(part: Section) -> Iterator[str]:
    yield f"{'#' * part.level} {escape(part.heading)}"
    yield ""
    if part.figure:
        yield f"**{escape(part.figure)}**"
        yield ""
    for line in part.lines:
        yield escape(line)
        yield ""
    for block in part.blocks:
        match block:
            case Grid():
                yield _row(map(_cell, block.headings))
                marks = ("---:" if n in block.right else "---" for n in range(len(block.headings)))
                yield _row(marks)
                yield from (_row(map(_cell, row)) for row in block.rows)
            case Bullets():
                for depth, text in block.lines:
                    yield f"{'  ' * depth}- {escape(text, limit=4000)}"
        yield ""


def _cell(text: str) -> str:
    """A figure needs no escape in a cell: the dot of 0.31 begins no list there."""
    return text if _FIGURE.fullmatch(text) else escape(text)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
