"""Parquet: every row, typed, whatever is in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfmem.answer import Estimate, Failure
from hfmem.errors import UsageError
from hfmem.memory.workload import Workload
from hfmem.report import json as own_json
from hfmem.report import parquet as report

WORKLOAD = Workload(ctx=8192)


def written(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'hfmem-cli[parquet]'")
    report.write(path, rows, WORKLOAD)
    found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return found


def stored(*answers: Estimate | Failure) -> list[dict[str, Any]]:
    return [json.loads(own_json.line(answer)) for answer in answers]


def test_the_numbers_are_those_of_the_json(
    full_estimate: Estimate, make_failure: Callable[..., Failure], tmp_path: Path
) -> None:
    rows = stored(full_estimate, make_failure("org/gated", input={"team": "search"}))
    result, failure = written(tmp_path / "x.parquet", rows)
    for name, value in rows[0]["memory"].items():
        assert result[name] == value
    assert [result["range_low_bytes"], result["range_high_bytes"]] == rows[0]["range_bytes"]
    assert [fit["verdict"] for fit in result["fit"]] == [fit["verdict"] for fit in rows[0]["fit"]]
    assert result["error_code"] is None
    assert (failure["model"], failure["error_code"]) == ("org/gated", "gated_model")
    assert failure["total_bytes"] is None
    assert dict(failure["input"]) == {"team": "search"}


def test_more_rows_than_a_group_has(make_estimate: Callable[..., Estimate], tmp_path: Path) -> None:
    (row,) = stored(make_estimate("org/a"))
    found = written(tmp_path / "x.parquet", [{**row, "model": f"m{n}"} for n in range(2_001)])
    assert [one["model"] for one in found] == [f"m{n}" for n in range(2_001)]


def test_what_64_bits_do_not_hold_is_null(
    make_estimate: Callable[..., Estimate], tmp_path: Path
) -> None:
    (row,) = stored(make_estimate("org/a"))
    row["memory"]["total_bytes"] = 2**63
    row["memory"]["kv_cache_bytes"] = 2**63 - 1
    (found,) = written(tmp_path / "x.parquet", [row])
    assert found["total_bytes"] is None
    assert found["kv_cache_bytes"] == 2**63 - 1
    assert "Numbers beyond 64 bits are null." in found["notes"]


def test_an_empty_audit_has_its_columns(tmp_path: Path) -> None:
    assert written(tmp_path / "x.parquet", []) == []


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match="pyarrow"):
        report.require()
