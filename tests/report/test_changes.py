"""What changed between two audits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hfmem.answer import Estimate, Failure
from hfmem.errors import UsageError
from hfmem.memory.workload import Workload
from hfmem.report import json as own_json
from hfmem.report.changes import baseline, compare, other_question


def rows(*answers: Estimate | Failure) -> list[dict[str, object]]:
    return [json.loads(own_json.line(answer)) for answer in answers]


def test_every_kind_of_change(
    make_estimate: Callable[..., Estimate],
    make_failure: Callable[..., Failure],
    make_fit: Callable[..., object],
    tmp_path: Path,
) -> None:
    then = [
        make_estimate("org/same"),
        make_estimate("org/moved", revision="a" * 40),
        make_estimate("org/grown", checkpoint_bytes=1000),
        make_estimate("org/judged", fit=(make_fit("fits"),)),
        make_estimate("org/lost"),
        make_estimate("org/left"),
    ]
    now = [
        make_estimate("org/same"),
        make_estimate("org/moved", revision="b" * 40),
        make_estimate("org/grown", checkpoint_bytes=1001),
        make_estimate("org/judged", fit=(make_fit("offload"),)),
        make_failure("org/lost"),
        make_estimate("org/new"),
    ]
    path = tmp_path / "then.jsonl"
    path.write_text("".join(f"{own_json.line(answer)}\n" for answer in then))
    found = [
        (one.model, one.what, one.then, one.now)
        for one in compare(baseline(path), rows(*now), own_json.asked(now[0].workload))
    ]
    assert found == [
        ("org/moved", "commit", "aaaaaaaa", "bbbbbbbb"),
        ("org/grown", "size", "1,000 bytes", "1,001 bytes"),
        ("org/judged", "rtx-4090", "fits", "offload"),
        ("org/lost", "answer", "estimated", "gated_model"),
        ("org/new", "list", "not in it", "in it"),
        ("org/left", "list", "in it", "not in it"),
    ]


def test_the_document_of_json_is_a_baseline_too(
    make_estimate: Callable[..., Estimate], make_failure: Callable[..., Failure], tmp_path: Path
) -> None:
    answers = [make_estimate("org/a"), make_failure("org/b"), make_estimate("org/a")]
    document = own_json.envelope(answers, Workload())
    for indent in (None, 2):
        path = tmp_path / f"{indent}.json"
        path.write_text(own_json.dumps(document, indent=indent))
        assert list(compare(baseline(path), rows(*answers), own_json.asked(Workload()))) == []


# What was asked then, and what is asked now → whether totals and verdicts are compared.
@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        (Workload(ctx=8192), Workload(ctx=8192), ""),
        (Workload(ctx=4096), Workload(ctx=8192), "ctx 4096 then, 8192 now"),
        (
            Workload(ctx=8192, runtime="vllm", batch=2),
            Workload(ctx=8192),
            "batch 2 then, 1 now, runtime vllm then, transformers now",
        ),
        (Workload(ctx=8192, image_size=(8, 8)), Workload(ctx=8192, image_size=(8, 8)), ""),
        (None, Workload(ctx=8192), "it does not say what was asked"),
    ],
)
@pytest.mark.parametrize("suffix", ["json", "jsonl", "partial"])
def test_answers_to_another_question_are_not_compared(
    then: Workload | None,
    now: Workload,
    words: str,
    suffix: str,
    make_estimate: Callable[..., Estimate],
    make_fit: Callable[..., object],
    tmp_path: Path,
) -> None:
    before = make_estimate("org/a", revision="a" * 40, fit=(make_fit("fits"),))
    after = make_estimate("org/a", revision="b" * 40, fit=(make_fit("no"),))
    question = None if then is None else own_json.asked(then)
    row = {**rows(before)[0], "workload": question}
    path = tmp_path / f"then.{suffix}"
    if suffix == "json":
        document = {"workload": question, "results": [row], "failures": []}
        path.write_text(json.dumps(document, indent=2))
    elif suffix == "jsonl":
        path.write_text(json.dumps(row) + "\n")
    else:
        head = {"type": "audit", "question": question and {**question, "gpu": ["h100"]}}
        path.write_text(f"{json.dumps(head)}\n{json.dumps({**row, 'workload': None})}\n")
    earlier, asked = baseline(path), own_json.asked(now)
    assert other_question(earlier, asked) == words
    found = [change.what for change in compare(earlier, rows(after), asked)]
    assert found == (["commit"] if words else ["commit", "rtx-4090"])


@pytest.mark.parametrize(
    "content", ["", "org/a\n", "{}", "[]", '{"type": "result"}', "{\n", "\x00", "1\n", "{" * 10_000]
)
def test_what_is_no_audit(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="is not the JSON of an audit"):
        baseline(path)
