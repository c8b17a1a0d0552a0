"""What reaches a terminal."""

from __future__ import annotations

import pytest
from rich.text import Text

from hfmem.report.screen import Screen, draw


@pytest.mark.parametrize(
    ("text", "ascii_only"),
    [
        ("8,192 tokens · 1 sequence", "8,192 tokens - 1 sequence"),
        ("2·b·s·l", "2*b*s*l"),
        ("2 × H100", "2 x H100"),
        ("━━╸", "==-"),
        ("a – b …", "a - b ."),
        ("≥ 8.9, ≤ 1 − x → y", ">= 8.9, <= 1 - x -> y"),
    ],
)
def test_ascii(text: str, ascii_only: str) -> None:
    assert draw(Text(text), Screen(unicode=False)) == f"{ascii_only}\n"
    assert draw(Text(text), Screen()) == f"{text}\n"


def test_markup_of_strangers_is_text() -> None:
    assert draw(Text("[red]:smile:[/red]"), Screen(colour=True)) == "[red]:smile:[/red]\n"


def test_a_pipe_is_as_wide_as_its_content() -> None:
    assert draw(Text("x " * 4000), Screen()).count("\n") == 1


@pytest.mark.parametrize("name", ["NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"])
def test_the_screen_decides_and_not_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    assert draw(Text("a", style="bold"), Screen(colour=True)) == "\x1b[1ma\x1b[0m\n"
    assert draw(Text("a" * 60, style="bold"), Screen(width=80)) == "a" * 60 + "\n"
