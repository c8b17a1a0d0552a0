"""From plans to the output and the exit code of ``hfmem train``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import assert_never

from msgspec import Struct

from hfmem.answer import Failure
from hfmem.cli.delivery import choose_format
from hfmem.cli.errors import complain, remark
from hfmem.cli.output import check_target, progress, screen_of_stdout, to_file, to_stdout
from hfmem.cli.verdict import EXCEEDED, FITS, INTERRUPTED, UNANSWERED
from hfmem.errors import UsageError
from hfmem.memory.training_run import TrainingRun
from hfmem.report.formats import Format
from hfmem.report.screen import Screen
from hfmem.training import Plan
from hfmem.units import parse_size


class TrainingDelivery(Struct, frozen=True, kw_only=True):
    """Where plans go, in which format, and what they must not exceed."""

    format: Format
    target: Path | None
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
    ) -> TrainingDelivery:
        """What the options say. Raises UsageError where they contradict each other."""
        target = None if output in (None, "-") else Path(str(output)).expanduser()
        chosen = choose_format(format=format, json=json, target=target)
        if chosen == "parquet":
            raise UsageError(
                "train does not write Parquet.", hint="Choose csv, json, jsonl, markdown or html."
            )
        if explain and chosen == "csv":
            raise UsageError(
                "--explain has no place in CSV.",
                hint="Choose table, markdown, html or json; json explains every number anyway.",
            )
        if target is not None:
            check_target(target)
        return cls(
            format=chosen,
            target=target,
            explain=explain,
            fail_over=None if fail_over is None else parse_size(fail_over),
            single=single,
        )


def verdict(answer: Plan | Failure, limit: int | None) -> int:
    """0 where all that was asked holds, 1 where a limit or a GPU does not, 2 where nobody knows."""
    if isinstance(answer, Failure):
        return UNANSWERED
    codes = [FITS]
    if limit is not None:
        if answer.memory.whole.bytes > limit:
            codes.append(EXCEEDED)
        elif answer.memory.unknown:
            codes.append(UNANSWERED)
    for fit in answer.fit:
        if fit.verdict is None:
            codes.append(UNANSWERED)
        elif not fit.fits:
            codes.append(EXCEEDED)
    return max(codes)


def deliver(
    answers: Iterable[Plan | Failure],
    delivery: TrainingDelivery,
    *,
    run: TrainingRun,
    expected: int,
) -> int:
    """Print or write every plan and return the exit code; an interrupt keeps what is done."""
    streams = delivery.format == "jsonl" and delivery.target is None
    code, kept = FITS, list[Plan | Failure]()
    try:
        for answer in progress(answers, expected=expected, quiet=streams):
            code = max(code, verdict(answer, delivery.fail_over))
            _comment(answer, delivery)
            if streams:
                to_stdout(_text((answer,), delivery, run))
            else:
                kept.append(answer)
    except KeyboardInterrupt:
        code = INTERRUPTED
    if streams or (code == INTERRUPTED and not kept):
        return code
    text = _text(tuple(kept), delivery, run)
    if delivery.target is None:
        to_stdout(text)
    elif text:
        to_file(delivery.target, text)
    return code


def _comment(answer: Plan | Failure, delivery: TrainingDelivery) -> None:
    """Complain of a failure, remark on a limit that is exceeded."""
    if isinstance(answer, Failure):
        named = "" if answer.model in answer.message else f"{answer.model}: "
        complain(f"{named}{answer.message}", hint=answer.hint)
    elif delivery.fail_over is not None and answer.memory.whole.bytes > delivery.fail_over:
        over = answer.memory.whole.bytes - delivery.fail_over
        remark(f"over the limit: {answer.model.name}, {over:,} bytes too many")


def _text(kept: tuple[Plan | Failure, ...], delivery: TrainingDelivery, run: TrainingRun) -> str:
    match delivery.format:
        case "json":
            from hfmem.report import training_json
            from hfmem.report.json import dumps

            return dumps(training_json.envelope(kept, run), indent=2) + "\n"
        case "jsonl":
            from hfmem.report import training_json

            return "".join(f"{training_json.line(answer)}\n" for answer in kept)
        case "csv":
            from hfmem.report import training_csv

            return training_csv.document(kept)
        case "markdown":
            from hfmem.report import training_markdown

            return training_markdown.document(kept, explain=delivery.explain)
        case "html":
            from hfmem.report import training_html

            return training_html.document(kept, explain=delivery.explain)
        case "table" | "parquet":
            return _table(kept, delivery)
        case _:
            assert_never(delivery.format)


def _table(kept: tuple[Plan | Failure, ...], delivery: TrainingDelivery) -> str:
    from rich.console import Group, RenderableType
    from rich.text import Text

    from hfmem.report import training
    from hfmem.report.screen import draw

    screen = Screen() if delivery.target else screen_of_stdout()
    plans = [answer for answer in kept if isinstance(answer, Plan)]
    if not plans:
        return ""
    blocks: list[RenderableType] = []
    if not delivery.single:
        asked = training.question(plans[0].run, seq_len=plans[0].memory.seq_len)
        blocks += [Text(asked, style="dim"), training.rows(kept), Text()]
    if delivery.single or delivery.explain:
        for plan in plans:
            blocks += [training.render(plan, screen, explained=delivery.explain), Text()]
    return draw(Group(*blocks[:-1]), screen)
