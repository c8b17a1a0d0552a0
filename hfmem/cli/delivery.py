"""From a stream of answers to the output and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from hfmem.answer import Estimate, Failure
from hfmem.cli.errors import complain, remark
from hfmem.cli.output import (
    check_target,
    progress,
    replacing,
    screen_of_stdout,
    to_file,
    to_stdout,
)
from hfmem.cli.verdict import INTERRUPTED, Judged, verdict
from hfmem.errors import UsageError
from hfmem.memory.workload import Workload
from hfmem.report.document import Layout, renderer
from hfmem.report.formats import SUFFIXES, Format
from hfmem.report.screen import Screen
from hfmem.units import parse_size

_COMPLAINTS = 20
"""Failures that are printed one by one beside an output that holds them all."""


class Delivery(Struct, frozen=True, kw_only=True):
    """Where the answer goes, in which format, and what it must not exceed."""

    format: Format
    target: Path | None
    """None is standard output."""
    explain: bool
    fail_over: int | None
    single: bool
    """One model was asked for: its answer is no row of a table."""

    @classmethod
    def of(
        cls,
        *,
        format: Format | None,
        json: bool,
        output: str | None,
        explain: bool,
        fail_over: str | None,
        single: bool,
        parquet: bool = True,
    ) -> Delivery:
        """What the options say; not every verb writes ``parquet``.

        Raises UsageError where the options contradict each other.
        """
        target = None if output in (None, "-") else Path(str(output)).expanduser()
        chosen = choose_format(format=format, json=json, target=target)
        if chosen == "parquet" and not parquet:
            raise UsageError(
                "train does not write Parquet.", hint="Choose csv, json, jsonl, markdown or html."
            )
        if explain and chosen in ("csv", "parquet"):
            raise UsageError(
                f"--explain has no place in {'CSV' if chosen == 'csv' else 'Parquet'}.",
                hint="Choose table, markdown, html or json; json and jsonl explain every number "
                "anyway.",
            )
        if target is not None:
            check_target(target)
        if chosen == "parquet":
            _check_parquet(target)
        return cls(
            format=chosen,
            target=target,
            explain=explain,
            fail_over=None if fail_over is None else parse_size(fail_over),
            single=single,
        )

    @property
    def shows_failures(self) -> bool:
        """The reader sees the failed models in the output itself."""
        on_screen = self.format == "table" and self.target is None and not self.single
        # Who reads a pipe reads the table later, or not at all: the errors go where errors go.
        return on_screen and sys.stdout is not None and sys.stdout.isatty()


def _check_parquet(target: Path | None) -> None:
    if target is None:
        raise UsageError("Parquet is not for a terminal.", hint="Write to a file: -o FILE.parquet")
    from hfmem.report import parquet

    parquet.require()


def choose_format(*, format: Format | None, json: bool, target: Path | None) -> Format:
    """The one format that ``--format``, ``--json`` and the suffix of ``-o`` agree on.

    Raises UsageError where they do not, and for a suffix that means nothing.
    """
    suffix = target.suffix.lower() if target else ""
    by_suffix = SUFFIXES.get(suffix)
    said: dict[str, Format] = {}
    if format is not None:
        said[f"--format {format}"] = format
    if json:
        said["--json"] = "json"
    if by_suffix is not None:
        said[f"the suffix {suffix}"] = by_suffix
    if len(set(said.values())) > 1:
        raise UsageError(f"{' and '.join(said)} contradict each other.", hint="Keep one of them.")
    if said:
        return next(iter(said.values()))
    if suffix:
        raise UsageError(
            f"The suffix {suffix!r:.20} means no format.",
            hint=f"Use one of {', '.join(SUFFIXES)}, or say --format.",
        )
    return "table"


class Speaker(Struct):
    """Says on standard error what the output does not show at once."""

    delivery: Delivery
    silent: bool = False
    """The output itself tells why a model failed."""
    said: int = 0

    def comment(self, answer: Estimate | Failure) -> None:
        """Complain of a failure, remark on a limit that is exceeded."""
        match answer:
            case Failure():
                self.complain_of(answer)
            case Estimate():
                for note in answer.notes:
                    if note.code == "fallback":
                        remark(f"note: {answer.model.name}: {note.message}")
                memory = answer.memory
                self.judge(
                    answer.model.name,
                    total=memory.peak.memory.bytes,
                    unknown=memory.unknown,
                    fits=answer.fit,
                )

    def complain_of(self, failure: Failure) -> None:
        """Complain of a failure, unless the output tells it, or too many came before it."""
        if self.silent:
            return
        if self.said < _COMPLAINTS:
            named = "" if failure.model in failure.message else f"{failure.model}: "
            complain(f"{named}{failure.message}", hint=failure.hint)
        self.said += 1

    def judge(
        self, name: str, *, total: int, unknown: tuple[str, ...], fits: Iterable[Judged]
    ) -> None:
        """Say what makes the exit code more than a glance at the output tells: a judgement that
        nobody can make, and by how much ``total`` is over the limit.
        """
        missing = " and ".join(part.replace("_", " ") for part in unknown) or "what is unknown"
        if any(fit.verdict is None for fit in fits):
            complain(
                f"{name}: whether it fits cannot be judged without {missing}.",
                hint="The notes say what is missing.",
            )
        limit = self.delivery.fail_over
        if limit is not None and total > limit:
            remark(f"over the limit: {name} needs {total:,} bytes, {total - limit:,} too many")
        elif limit is not None and unknown:
            complain(
                f"{name}: the limit cannot be judged without {missing}.",
                hint="--explain shows what is known.",
            )

    def close(self) -> None:
        """Say how many more there were."""
        if self.said > _COMPLAINTS:
            complain(f"{self.said - _COMPLAINTS:,} more models failed; the output names them.")


def deliver(
    answers: Iterable[Estimate | Failure],
    delivery: Delivery,
    *,
    workload: Workload,
    expected: int,
) -> int:
    """Print or write every answer and return the exit code; an interrupt keeps what is done."""
    # Imported while the first requests are under way.
    render = renderer(delivery.format)
    to_screen = delivery.target is None
    layout = Layout(
        workload=workload,
        screen=screen_of_stdout() if to_screen and delivery.format == "table" else Screen(),
        single=delivery.single,
        explain=delivery.explain,
    )
    streams = delivery.format == "jsonl" and to_screen
    code, kept = 0, list[Estimate | Failure]()
    speaker = Speaker(delivery, silent=delivery.shows_failures)
    try:
        for answer in progress(answers, expected=expected, quiet=streams):
            code = max(code, verdict(answer, delivery.fail_over))
            speaker.comment(answer)
            if streams:
                to_stdout(render((answer,), layout))
            else:
                kept.append(answer)
    except KeyboardInterrupt:
        code = INTERRUPTED
    speaker.close()
    if streams or (code == INTERRUPTED and not kept):
        return code
    if delivery.target is not None and delivery.format == "parquet":
        _write_parquet(delivery.target, kept, layout)
    else:
        _write(render(kept, layout), delivery.target)
    return code


def _write_parquet(target: Path, kept: Iterable[Estimate | Failure], layout: Layout) -> None:
    from hfmem.report import json
    from hfmem.report.documents import Store, write_parquet

    with replacing(target) as draft:
        write_parquet(draft, Store(lines=lambda: map(json.line, kept)), layout)


def _write(text: str, target: Path | None) -> None:
    if target is None:
        to_stdout(text)
    elif text:
        to_file(target, text)
