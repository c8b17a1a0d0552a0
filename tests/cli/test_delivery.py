"""Which format three options agree on."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfmem.cli.delivery import choose_format
from hfmem.errors import UsageError
from hfmem.report.formats import Format


@pytest.mark.parametrize(
    ("format", "json", "target", "chosen"),
    [
        (None, False, None, "table"),
        (None, True, None, "json"),
        ("csv", False, None, "csv"),
        ("json", True, None, "json"),
        (None, False, "x.json", "json"),
        (None, False, "x.JSONL", "jsonl"),
        (None, False, "x.ndjson", "jsonl"),
        (None, False, "x.csv", "csv"),
        (None, False, "x.md", "markdown"),
        (None, False, "x.txt", "table"),
        (None, False, "x.HTML", "html"),
        (None, False, "x.parquet", "parquet"),
        (None, False, "report", "table"),
        ("csv", False, "x.csv", "csv"),
        ("csv", False, "x.dat", "csv"),
        (None, True, "x.dat", "json"),
        ("json", False, "/dev/null", "json"),
    ],
)
def test_choose_format(
    format: Format | None, json: bool, target: str | None, chosen: Format
) -> None:
    path = None if target is None else Path(target)
    assert choose_format(format=format, json=json, target=path) == chosen


@pytest.mark.parametrize(
    ("format", "json", "target"),
    [
        ("csv", True, None),
        ("table", True, None),
        ("csv", False, "x.json"),
        (None, True, "x.jsonl"),
        ("csv", False, "x.html"),
        (None, False, "x.xlsx"),
    ],
)
def test_contradictions(format: Format | None, json: bool, target: str | None) -> None:
    path = None if target is None else Path(target)
    with pytest.raises(UsageError):
        choose_format(format=format, json=json, target=path)
