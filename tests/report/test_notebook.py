"""What a notebook shows of an estimate."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

import hfmem
from hfmem.answer import Estimate
from hfmem.checkpoint.snapshot import Note
from hfmem.report.phrases import size

VOID = {"br"}
HOSTILE = "evil\x1b[31m\u202e<script>alert('x')</script>\"&"


class Parsed(HTMLParser):
    """Every tag closed in its order, and the text between."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"class", "style", "colspan"}
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_is_a_table_of_the_answer(full_estimate: Estimate) -> None:
    parsed = Parsed(full_estimate._repr_html_())
    assert not parsed.open
    assert parsed.tags >= {"table", "caption", "tr", "th", "td", "ul"}
    for words in ("Qwen/Qwen2.5-7B-Instruct", "weights", "KV cache", "total", "no"):
        assert words in parsed.text
    assert size(full_estimate.memory.peak.memory.bytes) in parsed.text
    assert full_estimate.notes[0].message in parsed.text


def test_strangers_words_are_only_words(make_estimate: Callable[..., Estimate]) -> None:
    notes = tuple(Note(code="x", message=f"{HOSTILE} {n}") for n in range(9))
    html = make_estimate(HOSTILE, notes=notes, class_name=HOSTILE)._repr_html_()
    parsed = Parsed(html)
    assert "script" not in parsed.tags
    assert "alert('x')" in parsed.text
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "and 4 more" in parsed.text


def test_what_is_unknown_is_said(make_estimate: Callable[..., Estimate]) -> None:
    text = Parsed(make_estimate(unknown=("weights",))._repr_html_()).text
    assert "unknown" in text
    assert "at least" in text


def test_a_named_gpu_brings_its_speed() -> None:
    found = hfmem.estimate("Qwen/Qwen3-8B", ctx=8192, gpu="a100-80gb-sxm", source="recorded")
    text = Parsed(found._repr_html_()).text
    assert "tokens/s" in text
    assert "A100" in text
    assert found.to_dict()["throughput"] is not None
