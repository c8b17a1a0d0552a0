"""Commands on a narrow screen: folded so that what is copied from it still runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = re.compile(r"#.*|(?:'[^']*'|\"[^\"]*\"|[^\s'\"])+")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_CONTINUED = "  "
_BREAK = " \\"


def folded(line: str, *, width: int | None) -> Iterator[str]:
    r"""A line of a shell or of Python in lines of at most ``width`` columns, where that can be.

    A break is a backslash at the end of a line, or nothing between the brackets of a call; quoted
    words stay whole, and an option keeps its value where both fit.
    ``list(folded("vllm serve gpt2 --tp 2", width=18)) == ["vllm serve gpt2 \\", "  --tp 2"]``.
    """
    if width is None or len(line) <= width:
        yield line
        return
    room = width - len(_BREAK)
    written, shown = "", ""
    parts = (
        part
        for unit in _units(line)
        for part in ([unit] if len(_CONTINUED + unit) <= room else _WORD.findall(unit))
    )
    for unit in parts:
        if shown.strip() and len(shown) + 1 + len(unit) > room:
            written += shown
            yield shown if _open(written) else shown + _BREAK
            shown = _CONTINUED + unit
        else:
            shown = f"{shown} {unit}" if shown else unit
    yield shown


def _units(line: str) -> Iterator[str]:
    """The words of a line, an option together with its values."""
    unit = ""
    for word in _WORD.findall(line):
        if unit.startswith("-") and not word.startswith(("-", "#")):
            unit += f" {word}"
            continue
        if unit:
            yield unit
        unit = word
    if unit:
        yield unit


def _open(text: str) -> bool:
    """Whether a bracket is open at the end of a text, outside of its quotes."""
    bare = _QUOTED.sub("", text)
    return sum(map(bare.count, "([{")) > sum(map(bare.count, ")]}"))
