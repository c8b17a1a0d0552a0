"""``--plot`` on the command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("gpt2 --plot x.pdf", "'.pdf' is no picture", "FILE.svg or FILE.png"),
        ("gpt2 --plot picture", "'' is no picture", "--plot -"),
        ("gpt2 other --plot x.svg", "--plot takes one model.", "by itself"),
        ("gpt2 --plot - --json", "--plot - draws in the terminal", "--plot FILE.svg"),
        ("gpt2 --plot - -o x.txt", "--plot - draws in the terminal", "--plot FILE.svg"),
        ("gpt2 --plot no/such/folder/x.svg", "There is no folder", "Create it"),
    ],
)
def test_usage_errors(
    words: str, error: str, hint: str, hfmem: Callable[..., object], desk: object
) -> None:
    outcome = hfmem(*words.split())
    assert outcome.code == 2
    assert error in outcome.err
    assert hint in outcome.err
    assert not desk.asked, "nothing is asked before the options are right"


def test_a_missing_library_is_told_before_any_work(
    hfmem: Callable[..., object], desk: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = hfmem("gpt2", "--plot", str(tmp_path / "x.svg"))
    assert outcome.code == 2
    assert 'pip install "hfmem-cli[plot]"' in outcome.err
    assert not desk.asked


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hfmem", *words, "--source", "recorded", "--ctx", "8k"],
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


def test_a_file_beside_json(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "x.svg"
    done = run("Qwen/Qwen3-8B", "--json", "--plot", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{")
    assert target.read_text(encoding="utf-8").startswith("<?xml")


def test_the_terminal_below_the_table() -> None:
    done = run("Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--plot", "-")
    assert done.returncode == 0, done.stderr
    assert "against context" in done.stdout.partition("precision")[2]
