"""The README: what it shows is what the program prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hfmem.cli import main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
OUTPUTS = re.findall(r"<!-- output: hfmem (.+?) -->\n```\n(.*?)\n```", README, re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), OUTPUTS)
def test_shown_output(command: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out.rstrip() == shown


def test_there_is_output_to_check() -> None:
    assert OUTPUTS


def test_both_commands_are_marked() -> None:
    assert re.findall(r"<!-- command: (\w+) -->\n```sh\n.+\n```", README) == ["answer", "test"]


def test_every_flag_of_the_help_is_in_the_readme(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    assert main(["--help"]) == 0
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", capsys.readouterr().out))
    common = {"--help", "--version", "--install-completion", "--show-completion"}
    missing = {flag for flag in flags - common if flag not in README}
    assert missing == set()


def test_the_package_index_name_is_not_taken_for_ours() -> None:
    assert "pip install hfmem" not in README
