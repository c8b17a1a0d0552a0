"""From plans to the output and the exit code of ``hfmem train``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from hfmem.answer import Failure
from hfmem.cli.delivery import choose_format
from hfmem.cli.errors import complain, remark
from hfmem.cli.output import check_target, screen_of_stdout, to_file, to_stdout
from hfmem.cli.verdict import EXCEEDED, FITS, UNANSWERED
from hfmem.errors import UsageError
from hfmem.memory.training_run import TrainingRun
from hfmem.report.formats import Format
from hfmem.report.screen import Screen
from hfmem.training import Plan
from hfmem.units import parse_size

_FORMATS = ("table", "json", "jsonl")


class TrainingDelivery(Struct, frozen=True, kw_only=True):
    """Where plans go, in which format, and what they must not exceed."""

    format: Format
    target: Path | None
    explain: bool
    fail_over: int | None

    @classmethod
    def of(
        cls,
        *,
        format: Format | None,
        json: bool,
        output: str | None,
        explain: bool,
        fail_over: str | None,
    ) -> TrainingDelivery:
        """What the options say. Raises UsageError where they contradict each other."""
        target = None if output in (None, "-") else Path(str(output)).expanduser()
        chosen = choose_format(format=format, json=json, target=target)
        if chosen not in _FORMATS:
            raise UsageError(
                f"train does not answer in {chosen}.",
                hint=f"Choose one of: {', '.join(_FORMATS)}.",
            )
        if target is not None:
            check_target(target)
        return cls(
            format=chosen,
            target=target,
            explain=explain,
            fail_over=None if fail_over is None else parse_size(fail_over),
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
    answers: Iterable[Plan | Failure], delivery: TrainingDelivery, *, run: TrainingRun
) -> int:
    """Print or write every plan and return the exit code."""
    kept = tuple(answers)
    code = max((verdict(answer, delivery.fail_over) for answer in kept), default=FITS)
    for answer in kept:
        if isinstance(answer, Failure):
            named = "" if answer.model in answer.message else f"{answer.model}: "
            complain(f"{named}{answer.message}", hint=answer.hint)
        elif delivery.fail_over is not None and answer.memory.whole.bytes > delivery.fail_over:
            over = answer.memory.whole.bytes - delivery.fail_over
            remark(f"over the limit: {answer.model.name}, {over:,} bytes too many")
    text = _text(kept, delivery, run)
    if delivery.target is None:
        to_stdout(text)
    elif text:
        to_file(delivery.target, text)
    return code


def _text(kept: tuple[Plan | Failure, ...], delivery: TrainingDelivery, run: TrainingRun) -> str:
    match delivery.format:
        case "json":
            from hfmem.report import training_json
            from hfmem.report.json import dumps

            return dumps(training_json.envelope(kept, run), indent=2) + "\n"
        case "jsonl":
            from hfmem.report import training_json

            return "".join(f"{training_json.line(answer)}\n" for answer in kept)
        case _:
            return _table(kept, delivery)


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
    if len(kept) > 1:
        blocks += [training.rows(kept), Text()]
    if len(kept) == 1 or delivery.explain:
        for plan in plans:
            blocks += [training.render(plan, screen, explained=delivery.explain), Text()]
    return draw(Group(*blocks[:-1]), screen)
