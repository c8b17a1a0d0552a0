"""Documents of very many rows, written piece by piece from what is stored of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import assert_never

from msgspec import Struct

from hfmem.report import json as own_json
from hfmem.report import stored
from hfmem.report.changes import Change
from hfmem.report.document import Layout, renderer
from hfmem.report.formats import Format


class Store(Struct, frozen=True, kw_only=True):
    """Rows that can be read any number of times, in the order of the list."""

    lines: Callable[[], Iterator[str]]
    """Each as ``--format jsonl`` prints it, without the line end."""

    def rows(self) -> Iterator[stored.Stored]:
        """The same as objects."""
        return (json.loads(line) for line in self.lines())


def pieces(
    name: Format, store: Store, layout: Layout, *, changes: Sequence[Change] | None = None
) -> Iterator[str]:
    """A document in pieces; ``changes`` since a baseline, None where there is none.

    Parquet is no text: ``write_parquet`` writes it.
    """
    match name:
        case "jsonl":
            yield from (f"{line}\n" for line in store.lines())
        case "json":
            yield from _envelope(store, layout, changes)
        case "html":
            from hfmem.report import html

            yield from html.pieces(store.rows, layout.workload, changes=changes)
        case "table" | "markdown" | "csv":
            answers = [
                stored.answer(row, layout.workload, brief=not layout.explain)
                for row in store.rows()
            ]
            yield renderer(name)(answers, layout)
            if changes is not None:
                yield from _changes(name, changes)
        case "parquet":
            raise AssertionError(name)
        case _:
            assert_never(name)


def write_parquet(path: Path, store: Store, layout: Layout) -> None:
    """A Parquet file of the rows. Raises UsageError where pyarrow is not installed."""
    from hfmem.report import parquet

    parquet.write(path, store.rows(), layout.workload)


def _envelope(store: Store, layout: Layout, changes: Sequence[Change] | None) -> Iterator[str]:
    document = own_json.envelope((), layout.workload)
    if changes is not None:
        document["changes"] = [change.to_dict() for change in changes]
    head = own_json.dumps(document, indent=2)
    # Its two lists are empty and come last.
    yield head[: head.rindex('"results"')]
    yield '"results": ['
    yield from _elements(store, "result")
    yield '],\n  "failures": ['
    yield from _elements(store, "failure")
    yield "]\n}\n"


def _elements(store: Store, kind: str) -> Iterator[str]:
    comma = "\n"
    for row in store.rows():
        if row["type"] == kind:
            element = {key: row[key] for key in row if key not in ("type", "workload")}
            yield comma + textwrap.indent(own_json.dumps(element, indent=2), "    ")
            comma = ",\n"
    yield "\n  " if comma != "\n" else ""


def _changes(name: Format, changes: Sequence[Change]) -> Iterator[str]:
    """Below a table; a CSV has no place for them."""
    if name == "csv":
        return
    if name == "table":
        yield (
            f"\n{len(changes):,} changed since the baseline\n"
            if changes
            else ("\nnothing changed since the baseline\n")
        )
        yield from (f"  {change.line()}\n" for change in changes)
        return
    from hfmem.report.markdown import escape

    yield f"\n{len(changes):,} changed since the baseline\n\n"
    if changes:
        yield "| model | what | then | now |\n| --- | --- | --- | --- |\n"
        for change in changes:
            cells = (change.model, change.what, change.then, change.now)
            yield f"| {' | '.join(escape(cell) for cell in cells)} |\n"
