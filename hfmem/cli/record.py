"""``hfmem record MODEL... -o DIR``: save what the estimate needs for use without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfmem.cli import command, options
from hfmem.cli.errors import complain_of, remark
from hfmem.cli.output import to_file
from hfmem.errors import HfmemError, UsageError

app = command.new_app("record")


@app.command()
def record(
    models: options.Models,
    folder: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", show_default=False, help="Where to write."),
    ],
    revision: options.Revision = None,
    token: options.Token = None,
    offline: options.Offline = False,
) -> int:
    """Save a model's configuration and tensor list; --recorded DIR reads them without a network."""
    from hfmem.source import Access, find
    from hfmem.source.recorded import file_name, write

    folder = folder.expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be made: {error.strerror}.", hint="Name another: -o DIR"
        ) from None
    access = Access(revision=revision, token=token, offline=offline)
    code = 0
    for model in models:
        try:
            snapshot = find(model, access)
        except HfmemError as error:
            complain_of(error, about=model)
            code = 2
            continue
        target = folder / file_name(snapshot.model)
        to_file(target, write(snapshot))
        remark(f"recorded {snapshot.model} in {target}")
    return code
