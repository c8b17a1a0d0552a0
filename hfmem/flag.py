"""What a flag of an engine is, and the flags that were given."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from hfmem.errors import UsageError
from hfmem.units import parse_size

Value = int | Fraction | bool | str
FlagType = Literal["whole", "share", "gib", "size", "switch", "choice", "name"]
"""``whole``: a whole number. ``share``: a decimal fraction. ``gib``: a decimal number of GiB, kept
in bytes. ``size``: bytes, or a size such as 8GiB. ``switch``: present or absent. ``name``: a file's
or a folder's, with nothing in it that leaves the repository."""


class Flag(Struct, frozen=True, kw_only=True):
    """One flag of one or more engines."""

    name: str
    """Key in ``Flags`` and keyword in Python: ``max_num_seqs``."""
    spellings: tuple[str, ...]
    """On the command line, the engine's own first."""
    type: FlagType
    help: str
    runtimes: tuple[str, ...]
    """Names of the runtimes that take it."""
    low: int = 1
    """Least whole number."""
    high: int = 2**30
    choices: tuple[str, ...] = ()

    def parse(self, given: object) -> Value:
        """The value of a text of the command line, or of a keyword's argument. Raises UsageError.

        ``max_num_seqs.parse("256") == 256``; ``cpu_offload_gb.parse("1.5") == 1_610_612_736``.
        """
        value = self._value(given)
        if value is None:
            raise UsageError(
                f"{self.spellings[0]} is {str(given)!r:.60}, which it cannot be.",
                hint=f"Give {self.spellings[0]} {self._takes()}.",
            )
        return value

    def _value(self, given: object) -> Value | None:
        text = str(given).strip()
        match self.type:
            case "switch":
                return given if isinstance(given, bool) else None
            case "choice":
                return text if text in self.choices else None
            case "name":
                return text if len(text) <= 200 and _NAME.fullmatch(text) else None
            case "size":
                return parse_size(text if text[-1:].isalpha() else f"{text}B") or None
            case "whole":
                number = _decimal(text)
                whole = number is not None and number.denominator == 1
                in_range = number is not None and self.low <= number <= self.high
                return int(number) if number is not None and whole and in_range else None
            case "share":
                number = _decimal(text)
                return number if number is not None and 0 < number <= 1 else None
            case "gib":
                number = _decimal(text)
                return int(number * 2**30) if number is not None and number <= 2**20 else None

    def _takes(self) -> str:
        match self.type:
            case "switch":
                return "without a value (in Python: True or False)"
            case "choice":
                return f"one of: {', '.join(self.choices)}"
            case "name":
                return "a name of letters, digits, dots, dashes and underscores"
            case "size":
                return "a number of bytes, or a size such as 8GiB"
            case "whole":
                return f"a whole number from {self.low:,} to {self.high:,}"
            case "share":
                return "a decimal fraction above 0 and up to 1, such as 0.92"
            case "gib":
                return "a number of GiB, such as 8 or 1.5"


_NAME = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)


def _decimal(text: str) -> Fraction | None:
    digits = text.replace("_", "")
    if len(digits) > 20 or not digits.isascii() or not digits.replace(".", "", 1).isdecimal():
        return None
    return Fraction(digits)


class Flags(Struct, frozen=True):
    """The flags that were given, by name; what was not given is the engine's default."""

    given: tuple[tuple[str, Value], ...] = ()
    """Sorted by name, so that equal flags are equal values."""

    def __bool__(self) -> bool:
        return bool(self.given)

    def whole(self, name: str) -> int | None:
        """A whole number or an amount of bytes; None where it was not given."""
        value = dict(self.given).get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def share(self, name: str) -> Fraction | None:
        """A fraction; None where it was not given."""
        value = dict(self.given).get(name)
        return value if isinstance(value, Fraction) else None

    def switch(self, name: str) -> bool:
        """Whether a switch was given."""
        return dict(self.given).get(name) is True

    def choice(self, name: str) -> str | None:
        """A name; None where it was not given."""
        value = dict(self.given).get(name)
        return value if isinstance(value, str) else None

    def but(self, **changes: Value | None) -> Flags:
        """The same flags with some of them changed, or taken out with None."""
        merged = {**dict(self.given), **changes}
        return Flags(tuple(sorted((k, v) for k, v in merged.items() if v is not None)))
