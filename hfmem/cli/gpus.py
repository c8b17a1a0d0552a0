"""``hfmem gpus [QUERY]``: the accelerators that are known."""

from __future__ import annotations

from typing import Annotated

import typer

from hfmem.cli import command, options
from hfmem.cli.output import screen_of_stdout, to_stdout
from hfmem.errors import UsageError

app = command.new_app("gpus")


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
    json: options.Json = False,
) -> int:
    """The accelerators that --gpu takes, with the memory that a framework sees on them."""
    from hfmem.hardware.catalogue import find, search

    words = " ".join(query or ())
    found = search(words)
    if not found:
        # Raises with the closest names.
        find(words)
        raise UsageError(
            f"No accelerator matches {words!r:.60}.", hint="hfmem gpus lists them all."
        )
    if json:
        from hfmem.report.gpus import json_document

        to_stdout(json_document(found))
    else:
        from hfmem.report.gpus import table
        from hfmem.report.screen import draw

        screen = screen_of_stdout()
        to_stdout(draw(table(found, screen), screen))
    return 0
