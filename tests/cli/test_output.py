"""Files as a whole or not at all, terminals as they are."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hfmem.cli.output import screen_of_stdout, to_file, to_stdout
from hfmem.errors import UsageError


def test_a_file_is_replaced_as_a_whole(
    desk: object, hfmem: Callable[..., object], tmp_path: Path
) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    target.chmod(0o640)
    outcome = hfmem("gpt2", "-o", str(target))
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert target.read_text().startswith("model,")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [target]


def test_a_usage_error_leaves_the_file(
    desk: object, hfmem: Callable[..., object], tmp_path: Path
) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    desk.answers["gpt2"] = UsageError("no")
    assert hfmem("gpt2", "-o", str(target)).code == 2
    assert target.read_text() == "old"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    to_file(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_dash_is_standard_output(desk: object, hfmem: Callable[..., object]) -> None:
    assert hfmem("gpt2", "-o", "-").out.startswith("gpt2\n")


def test_files_are_utf8_without_escapes(
    desk: object,
    hfmem: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    target = tmp_path / "out.txt"
    hfmem("gpt2", "-o", str(target))
    text = target.read_bytes().decode("utf-8")
    assert "\x1b" not in text
    assert "·" in text
    assert "\r" not in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError):
        to_file(tmp_path / "x.json", "{}")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="a system with /dev/fd")
def test_a_pipe_by_its_name() -> None:
    reading, writing = os.pipe()
    try:
        to_file(Path(f"/dev/fd/{writing}"), "{}")
        assert os.read(reading, 9) == b"{}"
    finally:
        os.close(reading)
        os.close(writing)


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "encoding", "terminal", "expected"),
    [
        ({"TERM": "xterm-256color", "COLUMNS": "90"}, "utf-8", True, (90, True, True)),
        ({"TERM": "xterm", "COLUMNS": "20"}, "utf-8", True, (40, True, True)),
        ({"TERM": "xterm", "COLUMNS": "90", "NO_COLOR": "1"}, "utf-8", True, (90, False, True)),
        ({"TERM": "dumb", "COLUMNS": "90"}, "utf-8", True, (None, False, True)),
        ({"TERM": "xterm", "COLUMNS": "90"}, "latin-1", True, (90, True, False)),
        ({"TERM": "xterm", "COLUMNS": "90"}, "ascii", True, (90, True, False)),
        ({"TERM": "xterm", "COLUMNS": "90"}, "utf-8", False, (None, False, True)),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, "utf-8", False, (None, True, True)),
    ],
)
def test_screen(
    environment: dict[str, str],
    encoding: str,
    terminal: bool,
    expected: tuple[int | None, bool, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    kind = Terminal if terminal else io.TextIOWrapper
    monkeypatch.setattr(sys, "stdout", kind(io.BytesIO(), encoding=encoding))
    screen = screen_of_stdout()
    width, colour, unicode = expected
    if environment.get("TERM") != "dumb":
        assert screen.width == width
    assert (screen.colour, screen.unicode) == (colour, unicode)


@pytest.mark.parametrize(
    ("encoding", "text", "written"),
    [
        ("cp1252", "ä 漢", b"\xe4 ?"),
        ("cp1252", "2·b × 8", b"2\xb7b \xd7 8"),
        ("cp1252", "2 × 8 ≥ 9", b"2 x 8 >= 9"),
        ("ascii", "2·b × 8 · 漢", b"2*b x 8 - ?"),
        ("utf-8", "×\ud800", "×?".encode()),
    ],
)
def test_what_the_encoding_lacks_is_replaced(
    encoding: str, text: str, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    to_stdout(text)
    assert raw.getvalue() == written


def test_a_full_disk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(UsageError, match="No space left"):
            to_stdout("x")
