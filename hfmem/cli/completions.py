"""What the shell offers to complete an option with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import typer

from hfmem.cli.routing import VERBS


def offering(*words: str) -> Callable[[str], Iterator[str]]:
    """A completion that knows all the words there are."""

    def offered(incomplete: str) -> Iterator[str]:
        yield from (word for word in words if word.startswith(incomplete))

    return offered


def verbs(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The verbs, before the first model."""
    if not ctx.params.get("models"):
        yield from ((verb, text) for verb, text in VERBS.items() if verb.startswith(incomplete))


def runtimes(incomplete: str) -> Iterator[str]:
    """The engines, and all of them side by side."""
    from hfmem.runtimes import ALL, RUNTIMES

    yield from (name for name in (*RUNTIMES, ALL) if name.startswith(incomplete))


def kv_dtypes(incomplete: str) -> Iterator[str]:
    """What any engine calls a type of its cache."""
    from hfmem.runtimes import RUNTIMES

    names = dict.fromkeys(name for runtime in RUNTIMES.values() for name in runtime.kv_dtypes)
    yield from (name for name in names if name.startswith(incomplete))


def schemes(incomplete: str) -> Iterator[str]:
    """The quantizations."""
    from hfmem.memory.quantize import choices

    yield from (name for name in choices() if name.startswith(incomplete))


def gpus(incomplete: str) -> Iterator[tuple[str, str]]:
    """The accelerators, with their full names."""
    from hfmem.hardware import catalogue

    yield from ((gpu.id, gpu.name) for gpu in catalogue.gpus() if gpu.id.startswith(incomplete))
