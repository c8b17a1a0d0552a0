"""Many models in, a stream of answers out; a failed model is a row."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Unpack

from msgspec import Struct, field
from msgspec.structs import replace

from hfmem.answer import Estimate, Failure, answer, failure
from hfmem.checkpoint.loaders import pick_of
from hfmem.errors import HfmemError, InternalError, RateLimitedError, UsageError
from hfmem.flags import flags_of
from hfmem.memory.workload import Workload, workload
from hfmem.question import Question, question
from hfmem.source import Access, SourceChoice
from hfmem.source.ahead import find
from hfmem.source.crew import Crew
from hfmem.source.turnstile import Turnstile, quietly
from hfmem.text import clean

if TYPE_CHECKING:
    from hfmem import Keywords
    from hfmem.source.wire import Quota

MODELS_AT_ONCE = 24
"""Models in flight; the requests of all of them share one connection pool."""
WINDOW = 4 * MODELS_AT_ONCE
"""Models that are started before the head of the list is answered."""

Answer = Estimate | Failure
Announce = Callable[[str, float], None]
"""Told which quota of the Hub is used up and for how many seconds the run waits."""


class ListItem(Struct, frozen=True, kw_only=True):
    """One model of a list."""

    model: str
    """Any MODEL form of the command line."""
    input: Mapping[str, str] = field(default_factory=dict)
    """Other columns of the list, carried through to the output."""


class Options(Struct, frozen=True, kw_only=True):
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
    quota_share: float = 1.0
    """Of the Hub's quotas, for one of several audits at a time; more than 0, at most 1."""


def run(items: Iterable[ListItem | Failure], options: Options) -> Iterator[Answer]:
    """Answer every item, in the order of the list, each within its time.

    A Failure that comes in (a line that names no model) goes out in its place. Items are drawn as
    they are needed, so a list of any length takes constant memory. Raises UsageError for options
    that fit no model, before the first item.
    """
    return _ordered(items, *_prepared(options), turnstile=None)


def audit(
    items: Iterable[ListItem | Failure],
    options: Options,
    *,
    announce: Announce = quietly,
    expected: int | None = None,
) -> Iterator[Answer]:
    """As ``run``, for a list of any length: a used up quota of the Hub is waited out.

    ``expected`` is how many items there are, where that is known: few of them are asked for their
    lists of files, many are spared it (``hfmem.source.routes``).
    """
    asked, access = _prepared(options, waits_for_quota=True)
    return _ordered(items, asked, access, turnstile=_turnstile(options, announce, expected))


def completed(
    items: Iterable[tuple[int, ListItem | Failure]],
    options: Options,
    *,
    announce: Announce = quietly,
    expected: int | None = None,
) -> Iterator[tuple[int, Answer]]:
    """As ``audit``, each answer as soon as it is there, with the number that its item came with.

    A slow model holds up nothing but itself. Raises UsageError before the first item.
    """
    asked, access = _prepared(options, waits_for_quota=True)
    turnstile = _turnstile(options, announce, expected)
    return _as_they_come(items, asked, access, turnstile=turnstile)


def one(model: str, options: Options) -> Estimate:
    """Answer a single model. Raises HfmemError."""
    asked, access = _prepared(options)
    return answer(find(model, access), asked)


def options_of(**flags: Unpack[Keywords]) -> Options:
    """Options from the keyword arguments of the Python interface. Raises UsageError."""
    named = flags.get("gpu", ())
    recorded = flags.get("recorded")
    dtype = flags.get("dtype")
    runtime, _, version = flags.get("runtime", "transformers").partition("@")
    return Options(
        workload=workload(
            ctx=flags.get("ctx"),
            batch=flags.get("batch", 1),
            runtime=runtime,
            kv_dtype=flags.get("kv_dtype", "auto"),
            dtype=dtype,
            quantize=flags.get("quantize"),
            attention=flags.get("attention"),
            device=flags.get("device", "cuda"),
            encoder_ctx=flags.get("encoder_ctx"),
            images=flags.get("images", 0),
            image_size=flags.get("image_size"),
            frames=flags.get("frames", 0),
            audio_seconds=flags.get("audio_seconds", 0),
            version=version or None,
            flags=flags_of(flags, runtime=runtime),
        ),
        gpus=(named,) if isinstance(named, str) else tuple(named),
        source=flags.get("source", "auto"),
        recorded=None if recorded is None else Path(recorded),
        revision=flags.get("revision"),
        token=flags.get("token"),
        offline=flags.get("offline", False),
        rules=flags.get("rules", False),
        quota_share=share(flags.get("quota_share", 1.0)),
    )


def share(part: float) -> float:
    """A part of the quotas, checked. Raises UsageError."""
    if not 0 < part <= 1:
        raise UsageError(
            f"The share of the quota is more than 0 and at most 1, not {part!r:.40}.",
            hint="Four audits at a time have 0.25 each.",
        )
    return float(part)


def _prepared(options: Options, *, waits_for_quota: bool = False) -> tuple[Question, Access]:
    return (
        question(options.workload, gpus=options.gpus, rules=options.rules),
        Access(
            source=options.source,
            recorded=options.recorded,
            revision=options.revision,
            token=options.token,
            offline=options.offline,
            waits_for_quota=waits_for_quota,
            pick=pick_of(
                options.workload.runtime,
                variant=options.workload.flags.choice("variant"),
                subfolder=options.workload.flags.choice("subfolder"),
                quantized=options.workload.quantize is not None,
            ),
        ),
    )


def _turnstile(options: Options, announce: Announce, models: int | None) -> Turnstile:
    @lru_cache(maxsize=1)
    def quotas() -> Mapping[str, Quota]:
        if options.offline or options.source == "recorded":
            return {}
        from hfmem.source import hub

        return hub.quotas(options.token)

    return Turnstile(quotas=quotas, announce=announce, models=models, share=options.quota_share)


def _ordered(
    items: Iterable[ListItem | Failure],
    asked: Question,
    access: Access,
    *,
    turnstile: Turnstile | None,
) -> Iterator[Answer]:
    """Keep a window of models in flight and yield from its head.

    The first window is started here, not when the first row is asked for, so that requests are
    under way while the caller imports what renders them.
    """
    crew = Crew(MODELS_AT_ONCE)
    ask = partial(_one, asked=asked, access=access, turnstile=turnstile)
    waiting = (crew.submit(partial(ask, item)) for item in items)
    window = deque(islice(waiting, WINDOW))
    rows = _drained(crew, window, waiting, turnstile)
    # A generator that was never asked for a row runs no ``finally``.
    weakref.finalize(rows, _dismiss, crew, turnstile)
    return rows


def _dismiss(crew: Crew, turnstile: Turnstile | None) -> None:
    crew.dismiss()
    if turnstile is not None:
        turnstile.stop()


def _drained(
    crew: Crew,
    window: deque[Future[Answer]],
    waiting: Iterator[Future[Answer]],
    turnstile: Turnstile | None,
) -> Iterator[Answer]:
    try:
        while window:
            yield window.popleft().result()
            window.extend(islice(waiting, 1))
    finally:
        _dismiss(crew, turnstile)


def _as_they_come(
    items: Iterable[tuple[int, ListItem | Failure]],
    asked: Question,
    access: Access,
    *,
    turnstile: Turnstile,
) -> Iterator[tuple[int, Answer]]:
    done: SimpleQueue[tuple[int, Future[Answer]]] = SimpleQueue()
    waiting = iter(items)
    under_way = 0
    try:
        with Crew(MODELS_AT_ONCE) as crew:
            while True:
                for number, item in islice(waiting, 2 * MODELS_AT_ONCE - under_way):
                    ask = partial(_one, item, asked=asked, access=access, turnstile=turnstile)
                    crew.submit(ask).add_done_callback(partial(_put, done, number))
                    under_way += 1
                if not under_way:
                    return
                number, future = done.get()
                under_way -= 1
                yield number, future.result()
    finally:
        turnstile.stop()


def _put(
    done: SimpleQueue[tuple[int, Future[Answer]]], number: int, future: Future[Answer]
) -> None:
    done.put((number, future))


def _one(
    item: ListItem | Failure, *, asked: Question, access: Access, turnstile: Turnstile | None
) -> Answer:
    if isinstance(item, Failure):
        return item
    try:
        estimate = (
            answer(find(item.model, access), asked)
            if turnstile is None
            else _patiently(item.model, asked, access, turnstile)
        )
    except HfmemError as error:
        return failure(item.model, error, columns=item.input)
    return replace(estimate, input=item.input)


def _patiently(model: str, asked: Question, access: Access, turnstile: Turnstile) -> Estimate:
    """Answer one of very many models. Raises HfmemError, for a bug too: the others go on."""
    refusals = 0
    while route := turnstile.enter(again=refusals > 0):
        try:
            return answer(find(model, replace(access, route=route)), asked)
        except RateLimitedError as error:
            refusals += 1
            refusal = error
        except HfmemError:
            raise
        except Exception as error:
            # A run of a night must not end at a model that hfmem has a bug for; the row says so.
            if os.environ.get("HF_DEBUG", "").upper() in {"1", "ON", "YES", "TRUE"}:
                raise
            raise InternalError(
                f"This is a bug in hfmem: {type(error).__name__}: {clean(str(error))}",
                hint="Please report it with the traceback that HF_DEBUG=1 shows.",
            ) from error
        finally:
            turnstile.leave(route)
        if not turnstile.refused(times=refusals):
            raise refusal
    raise RateLimitedError("The run was stopped.", hint="Start it again with --resume.")
