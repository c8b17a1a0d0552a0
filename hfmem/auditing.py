"""Many models in, an ordered stream of answers out; a failed model is a row."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from hfmem.answer import Estimate, Failure, Question, answer, failure, question
from hfmem.errors import HfmemError
from hfmem.memory.workload import Workload, workload
from hfmem.source import Access, SourceChoice
from hfmem.source.ahead import find
from hfmem.source.crew import Crew

if TYPE_CHECKING:
    from hfmem import Keywords

MODELS_AT_ONCE = 8
"""Models in flight; the requests of all of them share one connection pool."""
WINDOW = 2 * MODELS_AT_ONCE
"""Models that are started before the head of the list is answered."""

_Row = Future[Estimate | Failure]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListItem:
    """One model of a list."""

    model: str
    """Any MODEL form of the command line."""
    input: Mapping[str, str] = field(default_factory=dict)
    """Other columns of the list, carried through to the output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What holds for all models of a run."""

    workload: Workload
    gpus: tuple[str, ...] = ()
    """As on the command line: ``h100:2``, ``24GiB``, ``auto``."""
    source: SourceChoice = "auto"
    recorded: Path | None = None
    """Folder of recorded facts."""
    revision: str | None = None
    token: str | None = None
    offline: bool = False
    rules: bool = False


def run(items: Iterable[ListItem | Failure], options: Options) -> Iterator[Estimate | Failure]:
    """Answer every item, in the order of the list.

    A Failure that comes in (a line that names no model) goes out in its place. Items are drawn as
    they are needed, so a list of any length takes constant memory. Raises UsageError for options
    that fit no model, before the first item.
    """
    return _ordered(items, *_prepared(options))


def one(model: str, options: Options) -> Estimate:
    """Answer a single model. Raises HfmemError."""
    asked, access = _prepared(options)
    return answer(find(model, access), asked)


def options_of(**flags: Unpack[Keywords]) -> Options:
    """Options from the keyword arguments of the Python interface. Raises UsageError."""
    named = flags.get("gpu", ())
    recorded = flags.get("recorded")
    dtype = flags.get("dtype")
    return Options(
        workload=workload(
            ctx=flags.get("ctx"),
            batch=flags.get("batch", 1),
            runtime=flags.get("runtime", "transformers"),
            kv_dtype=flags.get("kv_dtype", "auto"),
            dtype=dtype,
            attention=flags.get("attention"),
            device=flags.get("device", "cuda"),
            encoder_ctx=flags.get("encoder_ctx"),
        ),
        gpus=(named,) if isinstance(named, str) else tuple(named),
        source=flags.get("source", "auto"),
        recorded=None if recorded is None else Path(recorded),
        revision=flags.get("revision"),
        token=flags.get("token"),
        offline=flags.get("offline", False),
        rules=flags.get("rules", False),
    )


def _prepared(options: Options) -> tuple[Question, Access]:
    return (
        question(options.workload, gpus=options.gpus, rules=options.rules),
        Access(
            source=options.source,
            recorded=options.recorded,
            revision=options.revision,
            token=options.token,
            offline=options.offline,
        ),
    )


def _ordered(
    items: Iterable[ListItem | Failure], asked: Question, access: Access
) -> Iterator[Estimate | Failure]:
    """Keep a window of models in flight and yield from its head.

    The first window is started here, not when the first row is asked for, so that requests are
    under way while the caller imports what renders them.
    """
    crew = Crew(MODELS_AT_ONCE)
    waiting = (crew.submit(partial(_one, item, asked, access)) for item in items)
    window = deque(islice(waiting, WINDOW))
    return _drained(crew, window, waiting)


def _drained(
    crew: Crew, window: deque[_Row], waiting: Iterator[_Row]
) -> Iterator[Estimate | Failure]:
    with crew:
        while window:
            yield window.popleft().result()
            window.extend(islice(waiting, 1))


def _one(item: ListItem | Failure, asked: Question, access: Access) -> Estimate | Failure:
    if isinstance(item, Failure):
        return item
    try:
        estimate = answer(find(item.model, access), asked)
    except HfmemError as error:
        return failure(item.model, error, columns=item.input)
    return replace(estimate, input=item.input)
