"""A measured amount beside ours, and the table that says how far they are apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from hfmem.units import gib


class Compared(Struct, frozen=True, kw_only=True):
    """One amount of one case."""

    case: str
    amount: str
    ours: int
    measured: int | None = None
    """None in a dry run, and where the case could not run."""
    why_not: str = ""

    @property
    def error(self) -> float | None:
        """Relative."""
        return None if not self.measured else self.ours / self.measured - 1

    def line(self) -> str:
        """A line of the table."""
        told = self.why_not or "not run"
        if self.measured and self.error is not None:
            told = f"{gib(self.measured):>12} measured {self.error:+7.2%}"
        return f"{self.case:44}{self.amount:12}{gib(self.ours):>12}  {told}"


def table(compared: Iterable[Compared], *, limit: float) -> int:
    """Print the table; 1 where something is further off than ``limit``."""
    worst = 0.0
    for one in compared:
        sys.stdout.write(one.line() + "\n")
        sys.stdout.flush()
        worst = max(worst, abs(one.error or 0))
    sys.stdout.write(f"worst {worst:.2%}, at most {limit:.0%} asked\n")
    return int(worst > limit)


def in_a_process_of_its_own(module: str, case: str, ours: Sequence[Compared]) -> Iterator[Compared]:
    """The case, measured by the same module in a fresh process, so that nothing lingers.

    The process prints one JSON object, bytes by the name of the amount, or an ``error``.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, "--measure", case],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        found = {}
    if done.returncode or not isinstance(found, dict) or "error" in found:
        said = str(found.get("error", "")) if isinstance(found, dict) else ""
        last = said or (done.stderr.strip().splitlines() or ["no output"])[-1]
        yield from (_unmeasured(one, f"could not run: {last[:160]}") for one in ours)
        return
    for one in ours:
        yield Compared(
            case=one.case, amount=one.amount, ours=one.ours, measured=found.get(one.amount)
        )


def _unmeasured(one: Compared, why: str) -> Compared:
    return Compared(case=one.case, amount=one.amount, ours=one.ours, why_not=why)


def has_cuda() -> str:
    """Why nothing can be measured here; empty where a GPU is at hand."""
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed"
    return "" if torch.cuda.is_available() else "no NVIDIA GPU is at hand"


def report(measured: Callable[[], object]) -> int:
    """Run one case in this process and print what it held."""
    try:
        found: object = measured()
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    return 0
