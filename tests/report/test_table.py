"""The table of one model: what it says, at every width, on every terminal."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from hfmem.answer import Estimate
from hfmem.checkpoint.snapshot import Note
from hfmem.hardware.fit import Fit
from hfmem.report.screen import Screen, draw
from hfmem.report.table import render

HOSTILE = "evil\x1b[31m\u202e\ud800[red]\n\x07"


def text_of(estimate: Estimate, screen: Screen | None = None) -> str:
    screen = screen or Screen()
    return draw(render(estimate, screen), screen)


def test_golden(make_estimate: Callable[..., Estimate], make_fit: Callable[..., Fit]) -> None:
    estimate = make_estimate(
        fit=(make_fit(),),
        notes=(Note(code="default_context", message="The context is 8,192 tokens."),),
    )
    assert text_of(estimate, Screen(width=80)) == (
        "Qwen/Qwen2.5-7B-Instruct\n"
        "Qwen2ForCausalLM · 7.62 B parameters · BF16 · a09a3545 · Hub\n"
        "\n"
        "16.00 GiB   17.18 GB   15.62 to 16.76 GiB\n"
        "8,192 tokens · 1 sequence · transformers\n"
        "\n"
        "  weights      14.00 GiB  88%  ━━━━━━━━━━━━━━━━━━━━━━━━╸  exact\n"
        "  KV cache      0.44 GiB   3%  ━                          exact\n"
        "  activations   1.00 GiB   6%  ━━                         derived\n"
        "  overhead      0.56 GiB   4%  ━                          measured\n"
        "\n"
        "  phases      loading 14.56 GiB · prefill 16.00 GiB · decode 15.03 GiB\n"
        "  cache       24 sliding + 4 full, bfloat16\n"
        "  one more    token 56.0 KiB · sequence 0.44 GiB of cache\n"
        "  context     the model's maximum is 32,768 tokens\n"
        "  weights     language 13.00 GiB · vision 1.00 GiB\n"
        "  parameters  language 7.07 B · vision 545.00 M\n"
        "  download    14.20 GiB of the repository's 14.20 GiB · 756.23 GiB free\n"
        "\n"
        "  gpu                     headroom  decided by  max ctx  max batch\n"
        "  GeForce RTX 4090  fits  7.00 GiB  weights      32,768         14\n"
        "\n"
        "  note  The context is 8,192 tokens.\n"
    )


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
def test_fits_the_width(width: int, full_estimate: Estimate) -> None:
    lines = text_of(full_estimate, Screen(width=width)).splitlines()
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [40, 60, 80, 200, None])
def test_nothing_is_cut(width: int | None, full_estimate: Estimate) -> None:
    text = text_of(full_estimate, Screen(width=width))
    assert "…" not in text
    # Wrapped names are whole again without the line ends.
    flat = re.sub(r"\s+", "", text)
    for words in (
        *("Qwen/Qwen2.5-7B-Instruct", "16.00GiB", "32,768", "rtx-3060-12gb"),
        *("GeForceRTX4090", "2×H100SXM", "fits", "D5speed", "14.19GiB"),
    ):
        assert words in flat


def test_unknown_is_a_lower_bound(make_estimate: Callable[..., Estimate]) -> None:
    text = text_of(make_estimate(unknown=("weights",)))
    assert "at least 2.00 GiB" in text
    assert "without weights, not known" in text
    assert re.search(r"weights +unknown\n", text)


def test_without_facts(make_estimate: Callable[..., Estimate]) -> None:
    text = text_of(
        make_estimate(
            unknown=("weights", "kv_cache"),
            cache_known=False,
            parameters=None,
            class_name=None,
            model_type=None,
            revision=None,
            source="local",
        )
    )
    assert "BF16 · local files\n" in text
    assert "\n  cache " not in text
    assert "one more" not in text


def test_colour_only_where_asked(full_estimate: Estimate) -> None:
    plain = text_of(full_estimate, Screen(width=80))
    coloured = text_of(full_estimate, Screen(width=80, colour=True))
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == plain
    # Basic colours only: they follow the reader's theme, light or dark.
    codes = {
        code for found in re.findall(r"\x1b\[([\d;]*)m", coloured) for code in found.split(";")
    }
    assert codes <= {"0", "1", "2", "31", "32", "33", "36"}


def test_ascii_keeps_the_columns(full_estimate: Estimate) -> None:
    unicode, ascii_only = (
        text_of(full_estimate, Screen(width=80, unicode=unicode)) for unicode in (True, False)
    )
    assert ascii_only.isascii()
    assert list(map(len, ascii_only.splitlines())) == list(map(len, unicode.splitlines()))


def test_hostile_text_cannot_reach_the_terminal(make_estimate: Callable[..., Estimate]) -> None:
    text = text_of(
        make_estimate(
            HOSTILE,
            class_name=HOSTILE,
            revision=HOSTILE,
            notes=(Note(code=HOSTILE, message=HOSTILE),),
        )
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800]", text)
    assert "[red]" in text
