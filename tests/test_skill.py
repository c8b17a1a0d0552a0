"""The skill for agents: its commands run, and the keys that it names are there."""

from __future__ import annotations

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from hfmem.cli import main

SKILL = files("hfmem").joinpath("skills/hfmem/SKILL.md").read_text(encoding="utf-8")
BLOCK = SKILL.partition("## Three commands")[2].partition("```sh\n")[2].partition("```")[0]
COMMANDS = [line.partition("#")[0].strip().removeprefix("hfmem ") for line in BLOCK.splitlines()]
KEYS = [
    key
    for row in re.findall(r"^\| (`.+?) \|", SKILL, re.MULTILINE)
    for key in re.findall(r"`([a-z_.\[\]]+)`", row)
    if not key.startswith(".")
]


def test_there_are_three_commands() -> None:
    assert len(COMMANDS) == 3
    assert len(KEYS) > 8


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models.txt").write_text("Qwen/Qwen3-8B\n")
    words = shlex.split(command)
    offline = [] if words[0] == "gpus" else ["--source", "recorded"]
    # 1 is the answer that it does not fit.
    assert main([*words, *offline]) in (0, 1)
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that the table names: a result with a GPU and one without, and a failure."""
    found = {}
    folder = tmp_path_factory.mktemp("skill")
    for name, words in {
        "with": ["Qwen/Qwen3-8B", "--gpu", "rtx-4090"],
        "without": ["Qwen/Qwen3-8B"],
        "failed": ["no/such"],
    }.items():
        path = folder / f"{name}.json"
        main([*words, "--source", "recorded", "-o", str(path)])
        found[name] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("key", KEYS)
def test_the_keys_are_there(key: str, answers: dict[str, Any]) -> None:
    document = {
        "failures": answers["failed"]["failures"],
        **answers["with"]["results"][0],
        "cards": answers["without"]["results"][0]["cards"],
    }
    value: Any = document
    for step in re.findall(r"[a-z_]+|\[\]", key):
        value = value[0] if step == "[]" else value[step]
    assert value is not None
