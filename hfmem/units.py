"""Sizes and counts as people write them: GiB is 2**30 bytes, GB is 10**9, a bare G is refused."""

from __future__ import annotations

import re

from hfmem.errors import UsageError

KIB = 2**10
MIB = 2**20
GIB = 2**30
GB = 10**9

_SIZE_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": GB,
    "tb": 10**12,
    "kib": KIB,
    "mib": MIB,
    "gib": GIB,
    "tib": 2**40,
}
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-zA-Z]+)", re.ASCII)
_TOKENS = re.compile(r"(\d{1,12})([kK]?)", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes of a size such as ``24GiB`` or ``80 GB``.

    ``parse_size("24GiB") == 25_769_803_776``; ``24G`` is refused because it is read both ways.
    Raises UsageError.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(
            f"{text!r} is not a size.",
            hint="Write a number and its unit: 24GiB (2^30 bytes) or 24GB (10^9); G is ambiguous.",
        )
    whole, _, fraction = match[1].partition(".")
    size: int = int(whole + fraction) * unit // 10 ** len(fraction)
    return size


def parse_tokens(text: str) -> int:
    """Tokens of a count such as ``8192`` or ``8k``; the suffix k is 1,024.

    ``parse_tokens("128k") == 131_072``. Raises UsageError.
    """
    match = _TOKENS.fullmatch(text.strip().replace("_", "").replace(",", ""))
    if match is None or int(match[1]) == 0:
        raise UsageError(
            f"{text!r} is not a number of tokens.",
            hint="Write a whole number above zero, such as 8192 or 8k (k = 1024).",
        )
    return int(match[1]) * (1024 if match[2] else 1)


def gib(size: int) -> str:
    """A size in GiB with as many digits as it needs: ``gib(2_684_354_560) == "2.50 GiB"``."""
    value = size / GIB
    digits = 2 if abs(value) < 1000 else 1
    if size and abs(value) < 0.1:
        return f"{size / MIB:,.1f} MiB"
    return f"{value:,.{digits}f} GiB"


def gb(size: int) -> str:
    """A size in GB, the unit of model cards: ``gb(146_361_044_032) == "146.36 GB"``."""
    return f"{size / GB:,.2f} GB"


def count(number: int) -> str:
    """A parameter count as model cards print it: ``count(73_180_522_016) == "73.18 B"``."""
    for scale, suffix in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= scale:
            return f"{number / scale:.2f} {suffix}"
    return str(number)
