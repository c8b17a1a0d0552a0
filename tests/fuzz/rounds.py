"""What a parser under fuzzing may do, and rounds of it for as long as there is time."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfmem.errors import HfmemError

SECONDS = float(os.environ.get("HFMEM_FUZZ_SECONDS", "60"))
PATIENCE = 10.0
"""No single input may take longer, whatever it says of itself."""
GROWTH_CAP = 512 * 2**20
"""Bytes that the process may grow by over all rounds, hypothesis included."""

hostile_numbers = st.sampled_from(
    [0, -1, 1, 2, 7, 10**9, 2**31, 2**53, 2**63, 10**30, -(2**63), 0.5, 1e308, float("inf")]
)
hostile_text = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["\x1b[31m", "\u202e", "{0..9}", "../../x", "=1+1", "[red]", "\ud800"]),
)
hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | hostile_numbers | hostile_text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(hostile_text, inner, max_size=5),
    max_leaves=12,
)


def never_surprised(call: Callable[[], object]) -> None:
    """Run a call that may raise an HfmemError and nothing else, and must end."""
    started = time.monotonic()
    said = ["an answer"]
    try:
        call()
    except HfmemError as error:
        said = [error.message, error.hint]
    assert said[0]
    assert not any("\n" in line for line in said)
    assert time.monotonic() - started < PATIENCE


def mutated(raw: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with a few of them replaced, cut out or doubled."""

    def change(edits: list[tuple[int, bytes, int]]) -> bytes:
        out = raw
        for at, new, gone in edits:
            start = at % (len(out) + 1)
            out = out[:start] + new + out[start + gone :]
        return out

    edit = st.tuples(st.integers(0, 10**6), st.binary(max_size=6), st.integers(0, 8))
    return st.lists(edit, max_size=4).map(change)


def spend(
    seconds: float, name: str, check: Callable[..., None], strategy: st.SearchStrategy[Any]
) -> None:
    """Check generated arguments for so many seconds, and tell how many they were."""
    examples, before = 0, _peak_bytes()
    ends = time.monotonic() + seconds
    rounds = settings(
        max_examples=100,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    def one(arguments: tuple[Any, ...]) -> None:
        nonlocal examples
        examples += 1
        check(*arguments)

    while time.monotonic() < ends:
        rounds(given(strategy)(one))()
    grown = _peak_bytes() - before
    sys.stderr.write(f"\n{name}: {examples:,} examples in {seconds:.0f} s, {grown:,} bytes more\n")
    assert grown < GROWTH_CAP


def _peak_bytes() -> int:
    """The largest memory of the process so far; Linux counts it in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
