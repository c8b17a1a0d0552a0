"""Terms: a total is the sum of its parts and as sure as its weakest large one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.memory.term import Basis, Term, total


def term(
    size: int, basis: Basis = "exact", *, low: int | None = None, high: int | None = None
) -> Term:
    return Term(name="part", bytes=size, basis=basis, because="a test", low=low, high=high)


@pytest.mark.parametrize(
    ("parts", "basis"),
    [
        ([term(100), term(100)], "exact"),
        ([term(100), term(100, "derived")], "derived"),
        ([term(100), term(100, "assumed"), term(100, "measured")], "assumed"),
        # One hundredth of the whole does not decide how sure it is.
        ([term(9900), term(100, "assumed")], "exact"),
        ([], "exact"),
    ],
)
def test_basis_of_a_total(parts: list[Term], basis: Basis) -> None:
    assert total("whole", parts, because="").basis == basis


def test_range_of_a_total() -> None:
    whole = total("whole", [term(10), term(5, low=0, high=20)], because="")
    assert (whole.bytes, whole.range_bytes) == (15, (10, 30))


@given(st.lists(st.integers(0, 2**50)))
def test_a_total_is_the_sum(sizes: list[int]) -> None:
    whole = total("whole", [term(size) for size in sizes], because="")
    assert whole.bytes == sum(sizes) == sum(part.bytes for part in whole.parts)
