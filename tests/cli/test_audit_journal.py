"""The journal of an audit: what it keeps, what it refuses, what a torn end costs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hfmem.cli.journal import Journal, listed_before
from hfmem.errors import UsageError

HEAD = {"type": "audit", "hfmem": "1", "list": {"sha256": "a"}, "question": {"ctx": 8192}}


def result(model: str) -> str:
    return json.dumps({"type": "result", "model": model})


def failed(model: str, code: str) -> str:
    return json.dumps({"type": "failure", "model": model, "code": code})


def begun(path: Path, *rows: tuple[int, str]) -> None:
    with Journal.begin(path, HEAD, rows=5) as journal:
        for number, line in rows:
            journal.add(number, line)


def test_rows_are_read_in_the_order_of_the_list(tmp_path: Path) -> None:
    with Journal.begin(tmp_path / "x", HEAD, rows=5) as journal:
        for number in (3, 0, 4):
            journal.add(number, result(f"m{number}"))
        assert list(journal.lines()) == [result(f"m{number}") for number in (0, 3, 4)]
        assert list(journal.missing()) == [1, 2]
        assert len(journal) == 3
        lines = (tmp_path / "x").read_text().splitlines()
        assert json.loads(lines[0]) == HEAD
        assert json.loads(lines[1]) == {"row": 3, "type": "result", "model": "m3"}


def test_resume_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x"
    begun(path, (2, result("c")), (0, result("a")))
    with Journal.resume(path, HEAD, rows=5) as journal:
        assert list(journal.missing()) == [1, 3, 4]
        journal.add(1, result("b"))
        assert list(journal.lines()) == [result("a"), result("b"), result("c")]


@pytest.mark.parametrize("cut", range(1, 44))
def test_a_torn_end_costs_one_row(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x"
    begun(path, (0, result("a")), (1, result("b")))
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal.resume(path, HEAD, rows=5) as journal:
        assert list(journal.missing()) == [1, 2, 3, 4]
        journal.add(1, result("b"))
        assert list(journal.lines()) == [result("a"), result("b")]


@pytest.mark.parametrize(
    ("code", "again"),
    [
        ("hub_unavailable", True),
        ("rate_limited", True),
        ("offline", True),
        ("internal_error", True),
        ("model_not_found", False),
        ("gated_model", False),
        ("invalid_list_line", False),
    ],
)
def test_what_may_go_better_is_asked_again(tmp_path: Path, code: str, again: bool) -> None:
    path = tmp_path / "x"
    begun(path, (0, failed("a", code)))
    with Journal.resume(path, HEAD, rows=5) as journal:
        assert (0 in journal.missing()) is again


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"list": {"sha256": "b"}}, "of another list"),
        ({"question": {"ctx": 4096}}, "of another question: ctx 8192 then, 4096 now\\."),
        (
            {"question": {"ctx": 8192, "gpu": ["h100", "24GiB"]}},
            "of another question: gpu not given then, h100 24GiB now\\.",
        ),
        ({"hfmem": "2"}, "of another version of hfmem: 1 then, 2 now\\."),
    ],
)
def test_another_question_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = tmp_path / "x"
    begun(path, (0, result("a")))
    before = path.read_bytes()
    with pytest.raises(UsageError, match=says):
        Journal.resume(path, HEAD | change, rows=5)
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX's")
def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "x"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal.begin(path, HEAD, rows=5) as journal:
        journal.add(0, result("a"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
        try:
            with pytest.raises(
                UsageError, match=r"x cannot be written: File too large\."
            ) as caught:
                journal.add(1, result("b"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "--resume" in caught.value.hint
    with Journal.resume(path, HEAD, rows=5) as journal:
        assert 0 not in list(journal.missing())
        assert next(row["model"] for row in journal.rows()) == "a"


def test_rows_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x"
    begun(path, (0, result("a")))
    with pytest.raises(UsageError, match="did not end") as caught:
        Journal.begin(path, HEAD, rows=5)
    assert "--resume" in caught.value.hint


def test_a_journal_without_rows_begins_again(tmp_path: Path) -> None:
    begun(tmp_path / "x")
    with Journal.begin(tmp_path / "x", HEAD, rows=2) as journal:
        assert list(journal.missing()) == [0, 1]


def test_two_audits_do_not_write_one_file(tmp_path: Path) -> None:
    with Journal.begin(tmp_path / "x", HEAD, rows=5) as first:
        with pytest.raises(UsageError, match="Another audit"):
            Journal.resume(tmp_path / "x", HEAD, rows=5)
        first.remove()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("content", [b"org/model\n", b"[]\n", b'{"type": "result"}\n', b"\xff\n"])
def test_another_file_is_no_journal(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UsageError, match="no journal"):
        Journal.resume(tmp_path / "x", HEAD, rows=5)
    assert (tmp_path / "x").read_bytes() == content


def test_begin_does_not_overwrite_another_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"org/model\n")
    with pytest.raises(UsageError):
        Journal.begin(tmp_path / "x", HEAD, rows=5)
    assert (tmp_path / "x").read_bytes() == b"org/model\n"


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="a system that can refuse links")
@pytest.mark.parametrize("opened", [Journal.begin, Journal.resume])
def test_a_link_leads_nowhere(tmp_path: Path, opened: Callable[..., Journal]) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "x").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="cannot be written"):
        opened(tmp_path / "x", HEAD, rows=1)
    assert not elsewhere.exists()


def test_a_listing_of_the_hub_is_kept(tmp_path: Path) -> None:
    query = {"author": "org", "limit": None}
    with Journal.begin(tmp_path / "x", HEAD | {"list": query, "models": ["org/a"]}, rows=1):
        pass
    assert listed_before(tmp_path / "x", query) == ("org/a",)
    assert listed_before(tmp_path / "x", {"author": "other"}) is None
    assert listed_before(tmp_path / "nowhere", query) is None
