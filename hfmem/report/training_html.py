"""One HTML page of ``hfmem train``: no script, nothing from outside, every text escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from hfmem._version import __version__
from hfmem.answer import Failure
from hfmem.report.training_sections import Bullets, Grid, Section, sections
from hfmem.text import clean
from hfmem.training import Plan

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_OWN = (
    "main{padding-top:32px}h1,h2,h3{margin:28px 0 4px}h1:first-child{margin-top:0}"
    "td.n,th.n{text-align:right}thead th{padding:6px 12px}.scroll{margin:16px 0}"
    "ul{padding-left:1.2em}figure{font-size:1.6em;font-weight:620;margin:0}"
)


def document(
    answers: Sequence[Plan | Failure], *, explain: bool = False, now: datetime | None = None
) -> str:
    """The whole page."""
    style = files("hfmem.report.html").joinpath("style.css").read_text(encoding="utf-8")
    moment = (now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC")
    body = "".join(piece for part in sections(answers, explain=explain) for piece in _section(part))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Memory of training</title><style>{style}{_OWN}</style></head>"
        f"<body><main>{body}</main>"
        f"<footer><p class=faint>hfmem {escape(__version__)}, {moment}</p></footer></body></html>\n"
    )


def _section(part: Section) -> Iterator[str]:
    level = part.level - 1
    yield f"<h{level}>{_text(part.heading)}</h{level}>"
    if part.figure:
        yield f"<figure>{_text(part.figure)}</figure>"
    yield from (f"<p>{_text(line)}</p>" for line in part.lines)
    for block in part.blocks:
        match block:
            case Grid():
                yield from _grid(block)
            case Bullets():
                yield from _bullets(block)


def _grid(block: Grid) -> Iterator[str]:
    def row(cells: Sequence[str], tag: str) -> str:
        inner = "".join(
            f"<{tag}{' class=n' if number in block.right else ''}>{_text(cell)}</{tag}>"
            for number, cell in enumerate(cells)
        )
        return f"<tr>{inner}</tr>"

    yield f"<div class=scroll><table><thead>{row(block.headings, 'th')}</thead><tbody>"
    yield from (row(cells, "td") for cells in block.rows)
    yield "</tbody></table></div>"


def _bullets(block: Bullets) -> Iterator[str]:
    at = -1
    for depth, text in block.lines:
        while at < depth:
            yield "<ul>"
            at += 1
        while at > depth:
            yield "</ul>"
            at -= 1
        yield f"<li>{_text(text)}</li>"
    yield "</ul>" * (at + 1)


def _text(text: str) -> str:
    return escape(clean(text, limit=4000))
