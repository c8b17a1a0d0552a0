"""How a verb becomes a typer application, with every engine's flags beside its own options."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from typing import Annotated

import typer

from hfmem.flag import Flag
from hfmem.flags import FLAGS

_ENGINE_METAVARS = {
    **{"whole": "N", "share": "F", "gib": "GIB", "size": "SIZE"},
    **{"choice": "NAME", "name": "NAME"},
}


def with_engine_flags(command: Callable[..., int]) -> Callable[..., int]:
    """A command that takes every engine's flags too, and gets them by name as ``engine``."""
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name != "engine"]
    added = [
        inspect.Parameter(
            flag.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if flag.type == "switch" else None,
            annotation=_annotation(flag),
        )
        for flag in FLAGS
    ]

    @wraps(command)
    def taking(**given: object) -> int:
        engine = {flag.name: given.pop(flag.name) for flag in FLAGS}
        return command(**given, engine=engine)

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    vars(taking)["__signature__"] = signature.replace(parameters=[*parameters, *added])
    taking.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    return taking


def _annotation(flag: Flag) -> object:
    panel = f"Engine flags of {' and '.join(flag.runtimes)}"
    if flag.type == "switch":
        return Annotated[bool, typer.Option(*flag.spellings, help=flag.help, rich_help_panel=panel)]
    return Annotated[
        str | None,
        typer.Option(
            *flag.spellings,
            metavar=_ENGINE_METAVARS[flag.type],
            show_default=False,
            help=flag.help,
            rich_help_panel=panel,
        ),
    ]


def new_app(verb: str) -> typer.Typer:
    """A verb's application; ``-h`` is help, and errors are for ``main`` to print.

    Only ``estimate`` offers to install completion, which then serves every verb.
    """
    completing = any(
        name.startswith("_HFMEM") and name.endswith("_COMPLETE") for name in os.environ
    )
    return typer.Typer(
        add_completion=verb == "estimate" or completing,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
