"""The models of a command line, found before the command line is parsed.

Parsing needs typer, and typer takes as long to import as a Hub takes to answer. What is read here
is only ever used to start fetching: the real parser decides what the words mean, and refuses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from hfmem.checkpoint.loaders import pick_of
from hfmem.cli.routing import VALUED
from hfmem.source.access import Access
from hfmem.source.ahead import begin, stand_by

_SWITCHES = frozenset({"--json", "--explain", "--rules", "--offline"})
_PICKING = ("--runtime", "--variant", "--subfolder", "--quantize")
"""What decides which of a repository's files are read."""
_SHORT = {"-r": "--runtime"}
_MOST = 8


def begin_early(words: Sequence[str]) -> None:
    """Start to fetch the models of an ``estimate`` line; nothing for a line that is not plain."""
    models: list[str] = []
    access, asked = Access(), dict.fromkeys(_PICKING, "")
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in VALUED and name.startswith("-"):
            value = value if equals else next(rest, "")
            access = _with(access, name, value)
            asked[_SHORT.get(name, name)] = value
        elif word in _SWITCHES:
            access = replace(access, offline=access.offline or word == "--offline")
        elif word.startswith("-"):
            return
        else:
            models.append(word)
    runtime, variant, subfolder, quantize = (asked[name] for name in _PICKING)
    pick = pick_of(
        runtime.partition("@")[0],
        variant=variant or None,
        subfolder=subfolder or None,
        quantized=bool(quantize),
    )
    access = replace(access, pick=pick)
    if 0 < len(models) <= _MOST:
        for model in dict.fromkeys(models):
            begin(model, access)
        stand_by()


def _with(access: Access, name: str, value: str) -> Access:
    match name, value:
        case "--revision", _:
            return replace(access, revision=value)
        case "--token", _:
            return replace(access, token=value)
        case "--recorded", _:
            return replace(access, recorded=Path(value))
        case "--source", "auto" | "hub" | "recorded":
            return replace(access, source=value)
        case _:
            return access
