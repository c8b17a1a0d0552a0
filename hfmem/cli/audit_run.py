"""An audit from its list to its report: rows are kept as they come, the report is made of them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from hfmem import auditing
from hfmem._version import __version__
from hfmem.answer import Estimate, Failure
from hfmem.auditing import ListItem, Options
from hfmem.cli.delivery import Delivery, Speaker
from hfmem.cli.errors import remark
from hfmem.cli.journal import Journal
from hfmem.cli.output import replacing, screen_of_stdout, to_stdout
from hfmem.cli.pace import paced
from hfmem.cli.verdict import INTERRUPTED, verdict
from hfmem.errors import HubUnavailableError, RateLimitedError
from hfmem.report import changes, documents, json, stored
from hfmem.report.document import Layout
from hfmem.report.documents import Store
from hfmem.report.formats import Format
from hfmem.report.screen import Screen
from hfmem.source import turnstile

Items = Sequence[ListItem | Failure]

_OF_THE_NETWORK = frozenset({HubUnavailableError.code, RateLimitedError.code})


class Plan(Struct, frozen=True, kw_only=True):
    """What an audit is to do with its answers."""

    delivery: Delivery
    resume: bool
    baseline: changes.Baseline | None
    query: Mapping[str, object] | None = None
    """The Hub's listing that the models come from; None where they are a list of the user's."""


def run_audit(items: Items, asked: Options, plan: Plan) -> int:
    """Answer all items, write the document and return the exit code.

    An interrupt leaves the journal, and what stands in it on standard output where no file was
    named. Raises UsageError.
    """
    with _journal(items, asked, plan) as journal:
        return _kept_in(journal, items, asked, plan)


def _kept_in(journal: Journal, items: Items, asked: Options, plan: Plan) -> int:
    done = len(journal)
    code = 0
    if done:
        remark(f"{done:,} of {len(items):,} models are in {journal.path}; going on from there.")
        code = max(_verdicts(Store(lines=journal.lines), asked, plan.delivery))
    try:
        code = max(code, _fill(journal, items, asked, plan))
    except KeyboardInterrupt:
        if journal.path is None:
            _write(journal, asked, plan)
        else:
            remark(
                f"interrupted: {len(journal):,} of {len(items):,} rows are in {journal.path}; "
                "the same command with --resume goes on."
            )
        return INTERRUPTED
    _write(journal, asked, plan)
    journal.remove()
    if plan.delivery.target is not None and sys.stderr is not None and sys.stderr.isatty():
        remark(f"{len(journal):,} rows are in {plan.delivery.target}.")
    return code


def partial_of(target: Path) -> Path:
    """Where the rows of an audit lie until its report is written."""
    return target.with_name(f"{target.name}.partial")


def _line(answer: Estimate | Failure, name: Format) -> str:
    """The row, for a report with the points that its charts are drawn of."""
    if name == "html" and isinstance(answer, Estimate):
        from hfmem.report.curve import curve

        return json.dumps({"type": "result", **json.result(answer), "by_context": curve(answer)})
    return json.line(answer)


def announce(bucket: str, seconds: float) -> None:
    """Say that the run waits for the Hub's quota."""
    remark(turnstile.words(bucket, seconds))


def _journal(items: Items, asked: Options, plan: Plan) -> Journal:
    target = plan.delivery.target
    if target is None or (target.exists() and not target.is_file()):
        return Journal.unnamed(rows=len(items))
    opened = Journal.resume if plan.resume else Journal.begin
    return opened(partial_of(target), _head(items, asked, plan), rows=len(items))


def _head(items: Items, asked: Options, plan: Plan) -> dict[str, object]:
    """What a journal belongs to. The token is no part of it."""
    head: dict[str, object] = {
        "type": "audit",
        "hfmem": __version__,
        "question": {
            **json.asked(asked.workload),
            "gpu": list(asked.gpus),
            "source": asked.source,
            "recorded": None if asked.recorded is None else str(asked.recorded),
            "revision": asked.revision,
            "offline": asked.offline,
            "rules": asked.rules,
            "by_context": plan.delivery.format == "html",
        },
        "list": plan.query,
    }
    if plan.query is None:
        head["list"] = {"models": len(items), "sha256": _digest(items)}
    else:
        head["models"] = [item.model for item in items]
    return head


def _digest(items: Items) -> str:
    """The same for the same rows in the same order."""
    digest = hashlib.sha256()
    for item in items:
        content = item.to_dict() if isinstance(item, Failure) else [item.model, dict(item.input)]
        digest.update(json.dumps({"item": content}).encode() + b"\n")
    return digest.hexdigest()


def _fill(journal: Journal, items: Items, asked: Options, plan: Plan) -> int:
    """Put every row that is missing into the journal; their exit code.

    What fails for the network's sake is asked for once more when all else is done, unless that is
    most of the list: then it is no moment's trouble.
    """
    speaker = Speaker(plan.delivery, silent=plan.delivery.shows_failures)
    missing = list(journal.missing())

    def answers(numbers: Sequence[int]) -> Iterator[tuple[int, Estimate | Failure]]:
        pending = ((number, items[number]) for number in numbers)
        found = auditing.completed(pending, asked, announce=announce, expected=len(numbers))
        for number, answer in found:
            journal.add(number, _line(answer, plan.delivery.format))
            yield number, answer

    code = 0
    with paced(total=len(items), done=len(items) - len(missing)) as pace:

        def count(answer: Estimate | Failure) -> None:
            nonlocal code
            speaker.comment(answer)
            pace.advance(failed=isinstance(answer, Failure))
            code = max(code, verdict(answer, plan.delivery.fail_over))

        again: dict[int, Failure] = {}
        for number, answer in answers(missing):
            if isinstance(answer, Failure) and answer.code in _OF_THE_NETWORK:
                again[number] = answer
            else:
                count(answer)
        if 2 * len(again) > len(missing):
            for failure in again.values():
                count(failure)
        else:
            for _, answer in answers(list(again)):
                count(answer)
    speaker.close()
    return code


def _write(journal: Journal, asked: Options, plan: Plan) -> None:
    """The document of what the journal holds."""
    delivery = plan.delivery
    to_screen = delivery.target is None
    plain = not (to_screen and delivery.format == "table")
    layout = Layout(
        workload=asked.workload,
        screen=Screen() if plain else screen_of_stdout(),
        single=False,
        explain=delivery.explain,
    )
    store = Store(lines=journal.lines)
    found = None if plan.baseline is None else _compared(plan.baseline, store, asked)
    if found is not None and (delivery.format in ("jsonl", "csv", "parquet") or not to_screen):
        _tell(found)
    if delivery.target is None:
        for piece in documents.pieces(delivery.format, store, layout, changes=found):
            to_stdout(piece)
    else:
        with replacing(delivery.target) as draft:
            if delivery.format == "parquet":
                documents.write_parquet(draft, store, layout)
            else:
                with draft.open("w", encoding="utf-8", newline="") as file:
                    for piece in documents.pieces(delivery.format, store, layout, changes=found):
                        file.write(piece)


def _compared(then: changes.Baseline, store: Store, asked: Options) -> list[changes.Change]:
    """What changed; with a word where the earlier audit asked another question."""
    question = json.asked(asked.workload)
    if differs := changes.other_question(then, question):
        remark(
            f"note: the baseline is of another question, {differs}: "
            "totals and verdicts are not compared."
        )
    return list(changes.compare(then, store.rows(), question))


def _verdicts(store: Store, asked: Options, delivery: Delivery) -> Iterator[int]:
    for row in store.rows():
        yield verdict(stored.answer(row, asked.workload, brief=True), delivery.fail_over)


_TOLD = 50


def _tell(found: Sequence[changes.Change]) -> None:
    """The changes on standard error, beside a document that has no place for them."""
    remark(f"{len(found):,} changed since the baseline" if found else "nothing changed")
    for change in found[:_TOLD]:
        remark(f"  {change.line()}")
    if len(found) > _TOLD:
        sys.stderr.write(f"  and {len(found) - _TOLD:,} more\n")
