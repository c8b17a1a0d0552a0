"""From plans to the output and the exit code of ``hfmem train``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from hfmem.answer import Failure
from hfmem.cli.delivery import Delivery, Speaker
from hfmem.cli.output import progress, screen_of_stdout, to_file, to_stdout
from hfmem.cli.verdict import FITS, INTERRUPTED, UNANSWERED, judged
from hfmem.memory.training_run import TrainingRun
from hfmem.report.screen import Screen
from hfmem.training import Plan


def verdict(answer: Plan | Failure, limit: int | None) -> int:
    """What ``judged`` says of all GPUs of a plan; a failure leaves its question unanswered."""
    if isinstance(answer, Failure):
        return UNANSWERED
    memory = answer.memory
    return judged(memory.whole.bytes, unknown=bool(memory.unknown), fits=answer.fit, limit=limit)


def deliver(
    answers: Iterable[Plan | Failure],
    delivery: Delivery,
    *,
    run: TrainingRun,
    expected: int,
) -> int:
    """Print or write every plan and return the exit code; an interrupt keeps what is done."""
    streams = delivery.format == "jsonl" and delivery.target is None
    code, kept, speaker = FITS, list[Plan | Failure](), Speaker(delivery)
    try:
        for answer in progress(answers, expected=expected, quiet=streams):
            code = max(code, verdict(answer, delivery.fail_over))
            _comment(answer, speaker)
            if streams:
                to_stdout(_text((answer,), delivery, run))
            else:
                kept.append(answer)
    except KeyboardInterrupt:
        code = INTERRUPTED
    speaker.close()
    if streams or (code == INTERRUPTED and not kept):
        return code
    text = _text(tuple(kept), delivery, run)
    if delivery.target is None:
        to_stdout(text)
    elif text:
        to_file(delivery.target, text)
    return code


def _comment(answer: Plan | Failure, speaker: Speaker) -> None:
    if isinstance(answer, Failure):
        speaker.complain_of(answer)
        return
    memory = answer.memory
    speaker.judge(
        answer.model.name, total=memory.whole.bytes, unknown=memory.unknown, fits=answer.fit
    )


def _text(kept: tuple[Plan | Failure, ...], delivery: Delivery, run: TrainingRun) -> str:
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


def _table(kept: tuple[Plan | Failure, ...], delivery: Delivery) -> str:
    from rich.console import Group, RenderableType
    from rich.text import Text

    from hfmem.report import training, training_rows
    from hfmem.report.screen import draw

    screen = Screen() if delivery.target else screen_of_stdout()
    plans = [answer for answer in kept if isinstance(answer, Plan)]
    if not plans:
        return ""
    blocks: list[RenderableType] = []
    if not delivery.single:
        asked = training.question(plans[0].run, seq_len=plans[0].memory.seq_len)
        blocks += [Text(asked, style="dim"), training_rows.render(kept, screen), Text()]
    if delivery.single or delivery.explain:
        for plan in plans:
            blocks += [training.render(plan, screen, explained=delivery.explain), Text()]
    return draw(Group(*blocks[:-1]), screen)
