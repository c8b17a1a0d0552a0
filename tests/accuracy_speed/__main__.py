"""``python -m tests.accuracy_speed DIR``: our decoding rates against measured ones.

DIR holds ``cases.jsonl``. Every efficiency was fitted on one half of an engine's models (of its
cards, where there are two models); the other half is held out.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from tests.accuracy_speed.rates import ENGINES, Rate, decodes, rate


def collect(data: Path) -> tuple[list[Rate], Counter[str]]:
    """All rates that are covered, and what is not covered."""
    found: list[Rate] = []
    missing: Counter[str] = Counter()
    for line in (data / "cases.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if decodes(row):
            ours = rate(row, data)
            if ours is None:
                missing[f"{row['engine']} {row['model']}"] += 1
            else:
                found.append(ours)
    return found, missing


def share(rates: Iterable[Rate]) -> float:
    """Of the rates, how many lie inside their ranges."""
    kept = [one.inside for one in rates]
    return sum(kept) / len(kept) if kept else float("nan")


def widest(rates: Iterable[Rate]) -> float:
    """The largest high bound over its low one."""
    return max(one.high / one.low for one in rates)


def report(found: Sequence[Rate]) -> list[str]:
    """The table's lines, and under each engine the rows that lie outside."""
    lines = [
        f"{'engine':14}{'rows':>5}{'inside':>8}{'fitted':>8}{'held out':>9}{'widest':>8}"
        f"{'median error':>14}"
    ]
    for engine in ENGINES:
        kept = [one for one in found if one.engine == engine]
        if not kept:
            continue
        errors = [abs((one.low * one.high) ** 0.5 / one.measured - 1) for one in kept]
        lines.append(
            f"{engine:14}{len(kept):5}{share(kept):8.0%}"
            f"{share(one for one in kept if not one.held_out):8.0%}"
            f"{share(one for one in kept if one.held_out):9.0%}"
            f"{widest(kept):8.2f}{median(errors):14.0%}"
        )
        lines += [
            f"    {one.id} on {one.card}: {one.measured:g}, ours {one.low:.1f} to {one.high:.1f}"
            for one in kept
            if not one.inside
        ]
    return lines


def main(arguments: Sequence[str]) -> int:
    """Print the table; the exit code is 2 without the data."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "cases.jsonl").is_file():
        sys.stderr.write(
            "error: give the folder of cases.jsonl: python -m tests.accuracy_speed DIR\n"
        )
        return 2
    found, missing = collect(Path(arguments[0]).resolve())
    sys.stdout.write("\n".join(report(found)) + "\n\nnot covered:\n")
    for name, count in sorted(missing.items()):
        sys.stdout.write(f"  {count:3} {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
