"""The weights that engines printed are ours within half a percent, and what is farther is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.accuracy.weights import Weighed, all_weighed, table, typical

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def found(shared: Path) -> list[Weighed]:
    data = shared / "measured"
    lines = (data / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    return all_weighed(map(json.loads, lines), data)


@pytest.mark.parametrize(
    ("engine", "kind", "rows"),
    [
        ("vllm", "16 bits", 50),
        ("vllm", "quantized", 12),
        ("llama.cpp", "16 bits", 13),
        ("llama.cpp", "quantized", 25),
        ("ik_llama.cpp", "quantized", 20),
        ("transformers", "16 bits", 7),
        ("transformers", "quantized", 12),
    ],
)
def test_half_a_percent(found: list[Weighed], engine: str, kind: str, rows: int) -> None:
    kept = [one for one in found if (one.engine, one.kind) == (engine, kind)]
    assert len(kept) >= rows
    assert typical(kept) <= 0.005


def test_what_is_a_percent_off_has_a_reason(found: list[Weighed]) -> None:
    assert [one.id for one in found if abs(one.error) > 0.01 and not one.why] == []


def test_the_table_names_every_row_that_is_off(found: list[Weighed]) -> None:
    printed = "\n".join(table(found))
    assert all(one.id in printed for one in found if abs(one.error) > 0.005)
