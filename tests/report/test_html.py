"""The HTML report as text; ``tests/browser`` clicks through it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from hfmem.answer import Estimate, Failure
from hfmem.memory.workload import Workload
from hfmem.report import html
from hfmem.report import json as own_json
from hfmem.report.changes import Change
from hfmem.report.curve import contexts

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e&amp;\"'"


def page(*answers: Estimate | Failure, changes: list[Change] | None = None) -> str:
    rows = [json.loads(own_json.line(answer)) for answer in answers]
    now = datetime(2026, 11, 20, tzinfo=UTC)
    return "".join(html.pieces(lambda: rows, Workload(ctx=8192), changes=changes, now=now))


def test_nothing_is_loaded_from_outside(make_estimate: Callable[..., Estimate]) -> None:
    text = page(make_estimate())
    assert re.findall(r"(?:src|href)\s*=|@import|url\(|fetch\(|XMLHttp", text) == []
    # The name of the namespace is no address that is asked.
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text


def test_strangers_words_end_nothing(
    make_estimate: Callable[..., Estimate], make_failure: Callable[..., Failure]
) -> None:
    text = page(
        make_estimate(HOSTILE, class_name=HOSTILE, columns={HOSTILE: HOSTILE}),
        make_failure(HOSTILE, message=HOSTILE, hint=HOSTILE),
        changes=[Change(model=HOSTILE, what=HOSTILE, then=HOSTILE, now=HOSTILE)],
    )
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert "<img" not in text
    assert "\u202e" not in text


def test_the_rows_are_all_there(
    make_estimate: Callable[..., Estimate], make_failure: Callable[..., Failure]
) -> None:
    text = page(make_estimate("org/a"), make_failure("org/b"), make_estimate("org/c"))
    found = re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert [model["name"] for model in data["models"]] == ["org/a", "org/c"]
    # 14 GiB + 448 MiB + 1 GiB + 576 MiB.
    assert data["models"][0]["total"] == 16 * 2**30
    assert "org/b is gated." in text
    assert "<h1>Memory of 3 models</h1>" in text


def test_an_unknown_part_is_a_lower_bound(make_estimate: Callable[..., Estimate]) -> None:
    text = page(make_estimate(unknown=("weights",)))
    assert "<b>2.00 GiB</b><span>together, at least</span>" in text
    assert '"total":null,"low":2147483648,"parts":[null,' in text


def test_nothing_at_all_is_a_page() -> None:
    assert "<h1>Memory of 0 models</h1>" in page()


@pytest.mark.parametrize(
    ("asked", "most", "expected"),
    [
        (8192, 32768, [1024, 2048, 4096, 8192, 16384, 32768]),
        (3000, 3000, [1024, 2048, 3000]),
        (512, 512, [512]),
        (8192, 2048, [1024, 2048, 4096, 8192]),
        (1024, None, [1024, 2048, 4096]),
    ],
)
def test_contexts(asked: int, most: int | None, expected: list[int]) -> None:
    assert contexts(asked=asked, most=most) == expected
