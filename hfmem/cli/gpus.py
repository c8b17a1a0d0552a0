"""``hfmem gpus [QUERY]``: the accelerators that are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, assert_never

import typer

from hfmem.cli import command, options
from hfmem.cli.output import screen_of_stdout, to_stdout
from hfmem.errors import UsageError

if TYPE_CHECKING:
    from hfmem.gpu import Gpu

app = command.new_app("gpus")
Format = Literal["table", "json", "csv", "markdown"]


@app.command()
def gpus(
    query: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERY",
            show_default=False,
            help="Words of a name, vendor, generation or kind: 4090, amd, hopper.",
        ),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", show_default="table", help="How to answer.")
    ] = None,
    json: options.Json = False,
) -> int:
    """The accelerators that --gpu takes, with the memory that a framework sees on them."""
    from hfmem.hardware.catalogue import find, search

    if json and format not in (None, "json"):
        raise UsageError(
            f"--format {format} and --json contradict each other.", hint="Keep one of them."
        )
    words = " ".join(query or ())
    found = search(words)
    if not found:
        # Raises with the closest names.
        find(words)
        raise UsageError(
            f"No accelerator matches {words!r:.60}.", hint="hfmem gpus lists them all."
        )
    _show(found, "json" if json else format or "table")
    return 0


def _show(found: Sequence[Gpu], format: Format) -> None:
    from hfmem.report import gpus as report

    match format:
        case "table":
            from hfmem.report.screen import draw

            screen = screen_of_stdout()
            to_stdout(draw(report.table(found, screen), screen))
        case "json":
            to_stdout(report.json_document(found))
        case "csv":
            to_stdout(report.csv_document(found))
        case "markdown":
            to_stdout(report.markdown_document(found))
        case _:
            assert_never(format)
