"""Who writes a format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import assert_never

from msgspec import Struct

from hfmem.answer import Estimate, Failure
from hfmem.memory.workload import Workload
from hfmem.report.formats import Format
from hfmem.report.screen import Screen


class Layout(Struct, frozen=True, kw_only=True):
    """How a document is to be laid out."""

    workload: Workload
    screen: Screen
    single: bool
    """One model was asked for: show all of it, and no row of a table."""
    explain: bool


Answers = Sequence[Estimate | Failure]
Renderer = Callable[[Answers, Layout], str]


def renderer(name: Format) -> Renderer:
    """The function that writes a format; what every answer needs is imported here and only here."""
    match name:
        case "table":
            return _table_renderer()
        case "json":
            from hfmem.report import json as own_json

            return lambda answers, layout: (
                own_json.dumps(own_json.envelope(answers, layout.workload), indent=2) + "\n"
            )
        case "jsonl":
            return lambda answers, _: "".join(f"{line}\n" for line in _lines(answers))
        case "csv":
            from hfmem.report import csv

            return lambda answers, _: csv.document(answers)
        case "markdown":
            from hfmem.report import markdown

            return lambda answers, layout: markdown.document(
                answers, layout.workload, explain=layout.explain
            )
        case "html":
            return _html
        case "parquet":
            # It is no text: ``documents.write_parquet`` writes it.
            return lambda answers, _: "".join(f"{line}\n" for line in _lines(answers))
        case _:
            assert_never(name)


def _html(answers: Answers, layout: Layout) -> str:
    from hfmem.report import html
    from hfmem.report import json as own_json
    from hfmem.report.curve import curve

    def rows() -> Iterator[Mapping[str, object]]:
        for answer in answers:
            points = curve(answer) if isinstance(answer, Estimate) else []
            yield {**json.loads(own_json.line(answer)), "by_context": points}

    return "".join(html.pieces(rows, layout.workload, changes=None))


def _lines(answers: Answers) -> Iterator[str]:
    from hfmem.report import json

    return map(json.line, answers)


def _table_renderer() -> Renderer:
    from rich.console import Group, RenderableType
    from rich.text import Text

    from hfmem.report import table
    from hfmem.report.screen import draw

    def render(answers: Answers, layout: Layout) -> str:
        estimates = [answer for answer in answers if isinstance(answer, Estimate)]
        if layout.single and not estimates:
            return ""
        blocks: list[RenderableType]
        if layout.single:
            blocks = [table.render(estimates[0], layout.screen)]
        else:
            from hfmem.report import rows

            blocks = [rows.render(answers, layout.workload, layout.screen)]
        if layout.explain:
            from hfmem.report import explain

            for estimate in estimates:
                if not layout.single:
                    blocks += [Text(), table.headline(estimate)]
                blocks += [Text(), explain.render(estimate)]
        return draw(Group(*blocks), layout.screen)

    return render
