"""How a verb becomes a typer application, with groups of options beside its own."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Annotated

import typer

from hfmem.cli import completions
from hfmem.cli.groups import Group
from hfmem.flag import Flag
from hfmem.flags import FLAGS

_ENGINE_METAVARS = {
    **{"whole": "N", "share": "F", "gib": "GIB", "size": "SIZE"},
    **{"choice": "NAME", "name": "NAME"},
}


def with_groups(**groups: Group) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """A decorator for a command that takes the options of groups too.

    A parameter of the command that is called like a group stands for its options: they are
    declared in its place, and it gets their values as a mapping by name.
    """

    def of(command: Callable[..., int]) -> Callable[..., int]:
        signature = inspect.signature(command, eval_str=True)
        declared: list[inspect.Parameter] = []
        for own in signature.parameters.values():
            if own.name in groups:
                declared += _parameters(groups[own.name])
            else:
                declared.append(own.replace(kind=inspect.Parameter.KEYWORD_ONLY))

        @wraps(command)
        def taking(**given: object) -> int:
            values = {
                name: {option: given.pop(option) for option in group}
                for name, group in groups.items()
            }
            return command(**given, **values)

        vars(taking)["__signature__"] = signature.replace(parameters=declared)
        taking.__annotations__ = {one.name: one.annotation for one in declared}
        return taking

    return of


def _parameters(group: Group) -> Iterator[inspect.Parameter]:
    for name, (annotation, default) in group.items():
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )


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
            autocompletion=completions.offering(*flag.choices) if flag.choices else None,
            rich_help_panel=panel,
        ),
    ]


ENGINE: Group = {
    flag.name: (_annotation(flag), False if flag.type == "switch" else None) for flag in FLAGS
}
"""Every engine's flags."""


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
