"""``python -m tests.truth DIR``: the table, and exit code 1 where it got worse."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.truth import caches, parameters, peaks, tools, training
from tests.truth.row import OUTCOMES, Row, counts

BOUNDS: dict[str, dict[str, int]] = {
    "cache, published": {"equal": 320, "wrong": 0},
    "cache, class defaults": {"equal": 786, "refused": 4, "wrong": 0},
    "cache, where tools err": {"equal": 44, "wrong": 0},
    "parameters, built": {"equal": 109, "refused": 0, "wrong": 0},
    "parameters, published": {"equal": 55, "refused": 3, "wrong": 0},
    "bytes, published": {"equal": 10, "refused": 6, "wrong": 0},
    "activations, traced": {"equal": 90, "wrong": 0},
    "activations, no kernels": {"equal": 0, "wrong": 0},
    "training, peaks": {"equal": 0, "wrong": 0},
    "training, trained": {"equal": 24, "wrong": 0},
}
"""At least so many equal, at most so many of the others."""


def rows(shared: Path) -> Iterator[Row]:
    """Every comparison."""
    yield from caches.corpus(shared)
    yield from caches.defaults(shared)
    yield from tools.facts(shared)
    yield from parameters.reference(shared)
    yield from parameters.published(shared)
    yield from parameters.stored(shared)
    yield from peaks.peaks(shared)
    yield from training.training(shared)


def broken(table: str, found: Counter[str]) -> list[str]:
    """The bounds of a table that are not kept, in words."""
    said = []
    for outcome, bound in BOUNDS[table].items():
        number = found[outcome]
        if number < bound if outcome == "equal" else number > bound:
            least = "at least" if outcome == "equal" else "at most"
            said.append(f"{table}: {number} {outcome}, {least} {bound} expected")
    return said


def main(arguments: list[str]) -> int:
    """Print the table and what is not equal; 0 where every bound is kept."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "oracle").is_dir():
        print("usage: python -m tests.truth DIR, a folder that holds oracle/ and corpus/")
        return 2
    compared = list(rows(Path(arguments[0])))
    for row in compared:
        if row.outcome in ("near", "explained", "refused", "wrong"):
            found = "unknown" if row.found is None else f"{row.found:,}"
            print(
                f"{row.outcome:9} {row.table}: {row.name}: {found}, truth {row.expected:,}", end=""
            )
            print(f" ({row.reason})" if row.reason else "")
    tables = counts(compared)
    print(f"\n{'':26}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES))
    for table, found in tables.items():
        print(f"{table:26}" + "".join(f"{found[outcome]:>10}" for outcome in OUTCOMES))
    failures = [line for table in BOUNDS for line in broken(table, tables.get(table, Counter()))]
    print(*failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
