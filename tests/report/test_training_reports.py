"""CSV, Markdown and HTML of ``hfmem train``: what they hold, and that nobody's text breaks them."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from hfmem.answer import Failure
from hfmem.hardware.catalogue import parse_gpu
from hfmem.hardware.training_fit import judge_training
from hfmem.memory.rules import Rule
from hfmem.memory.training import training_estimate
from hfmem.memory.training_estimate import TRAINING_PARTS
from hfmem.memory.training_run import Objective, TrainingRun
from hfmem.report import (
    training,
    training_csv,
    training_html,
    training_markdown,
    training_rows,
)
from hfmem.report.screen import Screen, draw
from hfmem.report.training_fits import fit_notes
from hfmem.training import MethodRow, Plan
from tests.memory.training_models import LLAMA_8B, model_of

RUN = TrainingRun(method="lora", seq_len=1024)
HOSTILE = "org/=1+1|<script>alert(1)</script>\x1b[31m"


def plan_of(name: str = "org/model", *, gpu: str | None = "h100") -> Plan:
    model = model_of(LLAMA_8B, name=name)
    group = parse_gpu(gpu) if gpu else None
    return Plan(
        model=model,
        run=RUN,
        recipe=None,
        memory=training_estimate(model, RUN),
        fit=(judge_training(group, model=model, run=RUN),) if group else (),
        methods=(),
    )


FAILED = Failure(model=HOSTILE, code="model_not_found", message="=cmd()", hint="| nothing")


def test_csv_holds_bytes() -> None:
    plan = plan_of()
    rows = list(csv.DictReader(io.StringIO(training_csv.document([plan, FAILED]))))
    first, second = rows
    peak = plan.memory.peak
    assert int(first["per_gpu_bytes"]) == peak.memory.bytes
    assert sum(int(first[f"{name}_bytes"]) for name in TRAINING_PARTS) == peak.memory.bytes
    assert first["parameters_trainable"] == "41943040"
    assert first["h100-sxm_verdict"] == "fits"
    assert second["error_code"] == "model_not_found"
    assert not any(cell.startswith("=") for row in rows for cell in row.values())


def test_unknown_is_empty_in_csv() -> None:
    plan = plan_of(gpu=None)
    unknown = replace(plan, memory=replace(plan.memory, unknown=("activations", "logits")))
    (row,) = csv.DictReader(io.StringIO(training_csv.document([unknown])))
    assert row["total_bytes"] == row["activations_bytes"] == ""
    assert row["weights_bytes"]


@pytest.mark.parametrize("explain", [False, True])
def test_markdown(explain: bool) -> None:
    text = training_markdown.document([plan_of(HOSTILE)], explain=explain)
    assert "<script>" not in text
    assert "| weights |" in text
    assert "h100-sxm" in text
    assert ("where the numbers come from" in text) is explain
    for line in text.splitlines():
        if line.startswith("| weights"):
            assert line.count("|") == 5


def test_several_models_are_rows() -> None:
    text = training_markdown.document([plan_of("a/b"), plan_of("c/d"), FAILED])
    assert text.count("| a/b |") == text.count("| c/d |") == 1
    assert "model&#95;not&#95;found" in text or "model_not_found" in text


def test_ppo_trains_a_value_model_too() -> None:
    plan = plan_of()
    run = replace(RUN, objective="ppo")
    asked = replace(plan, run=run, memory=training_estimate(plan.model, run))
    head = draw(training.render(asked, Screen(), explained=False), Screen()).splitlines()[1]
    assert "trained, those of the value model among them" in head
    assert "%" not in head


@pytest.mark.parametrize(
    ("objective", "asked", "batch"),
    [
        ("sft", "1,024 tokens × 2 sequences", "batch 6 sequences a step, 6,144 tokens"),
        ("dpo", "1,024 tokens × 2 pairs", "batch 6 pairs a step, 12,288 tokens"),
    ],
)
def test_a_preference_is_a_pair(objective: Objective, asked: str, batch: str) -> None:
    plan = plan_of()
    run = replace(RUN, objective=objective, micro_batch=2, grad_accum=3)
    told = replace(plan, run=run, memory=training_estimate(plan.model, run), fit=())
    text = " ".join(draw(training.render(told, Screen(), explained=False), Screen()).split())
    assert asked in text
    assert batch in text


def test_groups_of_a_card_are_told_apart() -> None:
    fits = (parse_gpu("rtx-4090"), parse_gpu("rtx-4090:2"))
    judged = [
        judge_training(group, model=model_of(LLAMA_8B), run=replace(RUN, method="full"))
        for group in fits
    ]
    notes = fit_notes(tuple(judged))
    assert any(note.startswith("rtx-4090: ") for note in notes)
    assert any(note.startswith("2 × rtx-4090: ") for note in notes)
    assert len(notes) == len(set(notes))


@pytest.mark.parametrize("width", [40, 60, 80, 160, None])
def test_the_table_of_one_model_cuts_nothing(width: int | None) -> None:
    screen = Screen(width=width)
    rule = Rule(
        id="E9", name="states", formula="16 B", bytes=2**40, exact_bytes=2**39, comment="too much"
    )
    method = MethodRow(
        name="LoRA, fused loss",
        method="lora",
        optimizer="adamw",
        trainable=43_650_000,
        need_bytes=17 * 2**30,
        cards=(("h100-sxm", True), ("rtx-5060-ti-16gb", False)),
    )
    plan = replace(plan_of(gpu="h100:2"), rules=(rule,), methods=(method,))
    text = draw(training.render(plan, screen, explained=False), screen)
    assert "…" not in text
    assert width is None or max(map(len, text.splitlines())) <= width
    flat = "".join(text.split())
    for words in (
        *("activations", "optimizer", "2×h100-sxm", "maxseq-len", "E9states"),
        *("1,024.0GiB", "512.00GiB", "17.00GiB", "LoRA,fusedloss"),
    ):
        assert words in flat
    assert "h100-sxm" in flat


@pytest.mark.parametrize("width", [40, 60, 80, 160, None])
def test_the_rows_of_several_models_cut_nothing(width: int | None) -> None:
    screen = Screen(width=width)
    answers = [plan_of("org/model", gpu="h100"), FAILED]
    text = draw(training_rows.render(answers, screen), screen)
    assert "…" not in text
    assert width is None or max(map(len, text.splitlines())) <= width
    flat = "".join(text.split())
    for words in ("org/model", "h100-sxm", "failed", "total"):
        assert words in flat
    verdict = answers[0].fit[0].verdict
    assert verdict is not None
    assert verdict in text.split()


class _Tags(HTMLParser):
    """Open tags, and whether each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.seen.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_whole_and_runs_nothing() -> None:
    page = training_html.document([plan_of(HOSTILE), FAILED], explain=True)
    tags = _Tags()
    tags.feed(page)
    assert not tags.open
    assert "script" not in tags.seen
    assert "default-src 'none'" in page
    assert "\x1b" not in page
