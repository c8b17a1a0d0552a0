"""The options of ``hfmem audit`` alone: where its models come from, and how it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_OUTPUT = "Output"
_LISTING = "Models of the Hub, in place of LIST"

List = Annotated[
    str | None,
    typer.Argument(
        metavar="LIST",
        show_default=False,
        help="A text file (one MODEL a line, # comments), a CSV or JSONL file with a column model, "
        "or - for standard input.",
    ),
]
Author = Annotated[
    str | None,
    typer.Option(
        "--author",
        metavar="ORG",
        show_default=False,
        help="All models of a user or an organization.",
        rich_help_panel=_LISTING,
    ),
]
Search = Annotated[
    str | None,
    typer.Option(
        "--search",
        metavar="TEXT",
        show_default=False,
        help="Models whose name contains this.",
        rich_help_panel=_LISTING,
    ),
]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="TAG",
        show_default=False,
        help="Models with this tag, library or task. May be repeated.",
        rich_help_panel=_LISTING,
    ),
]
Collection = Annotated[
    str | None,
    typer.Option(
        "--collection",
        metavar="SLUG",
        show_default=False,
        help="The models of a collection.",
        rich_help_panel=_LISTING,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        min=1,
        max=1_000_000,
        show_default=False,
        help="At most so many of them.",
        rich_help_panel=_LISTING,
    ),
]
QuotaShare = Annotated[
    float,
    typer.Option(
        "--quota-share",
        metavar="F",
        show_default=False,
        help="This audit's part of the Hub's quotas, where several run at a time: 0.25 of four.",
        rich_help_panel=_LISTING,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with an audit that was interrupted, from FILE.partial; needs -o FILE.",
        rich_help_panel=_OUTPUT,
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        show_default=False,
        help="Say what changed since an earlier audit, a file of -o FILE.jsonl or FILE.json.",
        rich_help_panel=_OUTPUT,
    ),
]
