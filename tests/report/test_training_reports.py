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
from hfmem.memory.training import training_estimate
from hfmem.memory.training_estimate import TRAINING_PARTS
from hfmem.memory.training_run import TrainingRun
from hfmem.report import training_csv, training_html, training_markdown
from hfmem.training import Plan
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
