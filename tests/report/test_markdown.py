"""Markdown as GitHub renders it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hfmem.answer import Estimate, Failure
from hfmem.hardware.fit import Fit
from hfmem.memory.workload import Workload
from hfmem.report.markdown import document, escape


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
        ("a|b", "a&#124;b"),
        ("<img src=x>", "&#60;img src=x>"),
        ("@octocat", "&#64;octocat"),
        ("see #1", "see &#35;1"),
        ("https://x.y", "https&#58;//x.y"),
        ("www.x.y", "www&#46;x.y"),
        ("`a`", "&#96;a&#96;"),
        ("[a](b)", "&#91;a&#93;(b)"),
        ("- item", "&#45; item"),
        ("1. item", "1&#46; item"),
        ("&amp;", "&#38;amp;"),
        ("a\n\n# b", "a &#35; b"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_one_model(make_estimate: Callable[..., Estimate]) -> None:
    assert document([make_estimate()], Workload(ctx=8192)) == (
        "### Qwen/Qwen2.5-7B-Instruct\n"
        "\n"
        "Qwen2ForCausalLM · 7.62 B parameters · BF16 · a09a3545\n"
        "\n"
        "**16.00 GiB** (17.18 GB, 15.62 to 16.76 GiB)\n"
        "for 8,192 tokens · 1 sequence · transformers; largest: prefill\n"
        "\n"
        "|  | memory | share | basis |\n"
        "| --- | ---: | ---: | --- |\n"
        "| weights | 14.00 GiB | 88% | exact |\n"
        "| KV cache | 0.44 GiB | 3% | exact |\n"
        "| activations | 1.00 GiB | 6% | derived |\n"
        "| overhead | 0.56 GiB | 4% | measured |\n"
    )


def test_tables_keep_their_columns(
    make_estimate: Callable[..., Estimate],
    make_failure: Callable[..., Failure],
    make_fit: Callable[..., Fit],
) -> None:
    answers = [
        make_estimate("a|b", fit=(make_fit(),)),
        make_estimate(unknown=("weights",), fit=(make_fit(None),)),
        make_failure("c|d", message="x|y"),
    ]
    lines = document(answers, Workload()).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert [line.count("|") for line in table] == [8, 8, 8, 8, 5, 5, 5]
    assert table[3].endswith("| **> 2.00 GiB** | unknown |")
    assert lines[0] == (
        "**2 models · at least 18.00 GiB together · 1 of 2 fit rtx-4090 · 1 failed**"
    )


def test_a_summary_of_nothing_but_failures(make_failure: Callable[..., Failure]) -> None:
    lines = document([make_failure("a"), make_failure("b")], Workload()).splitlines()
    assert lines[0] == "**0 models · 2 failed**"
    assert sum(line.startswith("| ") for line in lines) == 4


def test_explain_has_every_term(full_estimate: Estimate) -> None:
    text = document([full_estimate], Workload(), explain=True)
    assert text.count("- language: ") == 3
    assert "  - activations: 1,073,741,824 B, derived. two buffers" in text
