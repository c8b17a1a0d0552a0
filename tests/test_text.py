"""Text that is safe to print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.text import clean


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Qwen/Qwen2-7B", "Qwen/Qwen2-7B"),
        ("größe 大きさ", "größe 大きさ"),
        ("a\r\n\tb  c ", "a b c"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("\u2066x\u2069\u200e\u200f", r"\u2066x\u2069\u200e\u200f"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\ud800", r"\ud800"),
        ("nul\0", r"nul\x00"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_clean_cuts() -> None:
    assert clean("x" * 500, limit=120) == "x" * 119 + "…"


@given(st.text(st.characters()), st.integers(2, 400))
def test_clean_is_one_short_encodable_line(text: str, limit: int) -> None:
    cleaned = clean(text, limit=limit)
    assert len(cleaned) <= limit
    assert len(cleaned.splitlines()) <= 1
    cleaned.encode()
    assert cleaned == clean(cleaned, limit=limit)
