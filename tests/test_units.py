"""Sizes and counts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem import units
from hfmem.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GiB", 24 * 2**30),
        ("24 gib", 24 * 2**30),
        ("80GB", 80 * 10**9),
        ("1.5GiB", 3 * 2**29),
        ("0.1GB", 10**8),
        ("512MiB", 2**29),
        ("1TB", 10**12),
        ("7b", 7),
    ],
)
def test_parse_size(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "24", "24G", "24g", "GiB", "-1GiB", "1e3GB", "\u0661GB", "1..5GB"]
)
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        units.parse_size(text)
    assert "GiB" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "tokens"), [("8192", 8192), ("8k", 8192), ("128K", 131_072), ("32_768", 32_768)]
)
def test_parse_tokens(text: str, tokens: int) -> None:
    assert units.parse_tokens(text) == tokens


@pytest.mark.parametrize("text", ["", "0", "0k", "-1", "8.5k", "8m", "k", "\u0663"])
def test_parse_tokens_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        units.parse_tokens(text)


@given(st.integers(min_value=0, max_value=10**9 - 1))
def test_whole_gib_are_exact(size: int) -> None:
    assert units.parse_size(f"{size}GiB") == size * 2**30


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.00 GiB"),
        (2_684_354_560, "2.50 GiB"),
        (70_272 * 1024, "68.6 MiB"),
        (1536 * 2**30, "1,536.0 GiB"),
    ],
)
def test_gib(size: int, text: str) -> None:
    assert units.gib(size) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(73_180_522_016, "73.18 B"), (1_026_408_232_448, "1.03 T"), (82_000, "82.00 K"), (7, "7")],
)
def test_count(number: int, text: str) -> None:
    assert units.count(number) == text
