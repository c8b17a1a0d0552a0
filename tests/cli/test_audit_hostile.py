"""Lists from strangers: a clear line each, in bounded time, and nothing is written beside FILE."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

LINES = (
    "../../../etc/passwd",
    "/dev/zero",
    "fifo",
    "link",
    "fifos",
    "file:///etc/passwd",
    "http://evil.example/org/model",
    "https://huggingface.co.evil.example/org/model",
    "org/na me",
    "\x1b[31mred/x",
    "=cmd()|x/y",
    "@SUM(1)/x",
    "org/name@../../..",
    "org/name@" + "a" * 5000,
    "--help",
    "-o/etc/x",
    "org/..",
    "[red]/x",
    "[link=http://x]/y",
    "<script>alert(1)</script>",
    "\u202eorg/rtl",
    "org/" + "b" * 300,
    "b" * 100_000,
    "org/name:" + "Q" * 500,
    "\ud800/x".encode("utf-8", "surrogatepass").decode("latin-1"),
    "%00/x",
    "org/x%2e%2e%2fy",
    "hf://",
    "hf://../..",
    "org//x",
    "org/x/y/z",
    "?",
    "$(touch x)/y",
    "`touch x`/y",
)


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("link").symlink_to("/dev/zero")
    Path("fifos").mkdir()
    os.mkfifo("fifos/config.json")
    path = tmp_path / "list.txt"
    path.write_bytes("\n".join(LINES).encode("utf-8", "surrogatepass"))
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "md", "html", "txt", "json"])
def test_every_line_is_a_row(
    listed: Path, suffix: str, hfmem: Callable[..., object], tmp_path: Path
) -> None:
    before = names(tmp_path)
    outcome = hfmem("audit", str(listed), "--offline", "--source", "recorded", "-o", f"x.{suffix}")
    assert outcome.code == 2
    assert outcome.out == ""
    content = Path(f"x.{suffix}").read_text(encoding="utf-8")
    for unsafe in ("\x1b", "\u202e", "\x00"):
        assert unsafe not in content
        assert unsafe not in outcome.err
    if suffix in ("md", "html"):
        assert "<script>alert" not in content
    assert names(tmp_path) == before | {f"x.{suffix}"}
    if suffix == "jsonl":
        rows = [json.loads(line) for line in content.splitlines()]
        assert [row["type"] for row in rows] == ["failure"] * len(LINES)
        assert {row["code"] for row in rows} <= {
            *("invalid_list_line", "invalid_value", "model_not_found", "usage")
        }
        assert all(row["message"] and row["hint"] and "\n" not in row["message"] for row in rows)
        assert all(len(row["message"]) < 4200 for row in rows)


def test_a_list_that_is_no_file(listed: Path, hfmem: Callable[..., object], tmp_path: Path) -> None:
    for path in (str(tmp_path), "/nowhere", "\x00"):
        outcome = hfmem("audit", path)
        assert outcome.code == 2
        assert outcome.err.startswith("error: ")
        assert len(outcome.err.splitlines()) == 2
