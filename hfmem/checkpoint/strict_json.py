"""JSON from strangers: what is ambiguous, without a value or without bounds is refused.

The grammar is that of Python's parser, which transformers reads config.json with, less what lets
two readers see two different documents (a key twice, an undecodable byte, half a surrogate pair)
and less NaN.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isnan

from hfmem.errors import HfmemError

_INT_LIMIT = 2**127
"""Nothing that sizes a model comes near it; int(1e30), which tokenizers write for "no limit", is
below.
"""

Pairs = tuple[tuple[str, object], ...]
"""A JSON object with its keys in order, as often as they were written."""


def loads(raw: bytes, *, what: str, error: type[HfmemError], max_depth: int = 64) -> object:
    """Parse a document into dicts, lists, strings, numbers, booleans and None.

    ``Infinity`` is kept, because published configurations hold it (Nemotron-H:
    ``time_step_limit``); NaN is not. Raises ``error``, with ``what`` as the document's name, for
    anything that is not strict JSON in UTF-8, for a duplicate key, an integer beyond 2**127, half a
    surrogate pair, and nesting deeper than ``max_depth``.
    """
    value = _parse(raw, what=what, error=error, hook=_unique)
    fault = _fault(value, max_depth=max_depth, surrogates=b"\\u" in raw)
    if fault:
        raise error(f"{what} {fault}.", hint=_HINT)
    return value


def pairs(raw: bytes, *, what: str, error: type[HfmemError]) -> object:
    """Parse with every object as ``Pairs``, and every array as a list; the caller looks for
    duplicate keys.

    One call in C an object: the header of a large checkpoint holds a hundred thousand of them. NaN
    and both infinities are refused. Raises ``error``.
    """
    return _parse(raw, what=what, error=error, hook=tuple, constant=_no_constant)


_HINT = "The file is damaged, or was not written by a JSON library."


def _parse(
    raw: bytes,
    *,
    what: str,
    error: type[HfmemError],
    hook: Callable[[list[tuple[str, object]]], object],
    constant: Callable[[str], object] | None = None,
) -> object:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise error(f"{what} is not UTF-8 (byte {cause.start}).", hint=_HINT) from None
    if text.startswith("\ufeff"):
        # transformers 5.23.0 opens config.json as utf-8, not utf-8-sig, and fails on the mark as
        # well.
        raise error(f"{what} starts with a byte order mark, which is not JSON.", hint=_HINT)
    decoder = json.JSONDecoder(object_pairs_hook=hook, parse_constant=constant or _infinity)
    try:
        value: object = decoder.decode(text)
    except json.JSONDecodeError as cause:
        where = f"line {cause.lineno}, column {cause.colno}"
        raise error(f"{what} is not JSON: {cause.msg} ({where}).", hint=_HINT) from None
    except RecursionError:
        raise error(f"{what} is nested too deeply.", hint=_HINT) from None
    except ValueError as cause:
        # A duplicate key or a constant from the hooks, or an integer of more digits than Python
        # converts.
        reason = (
            str(cause) if isinstance(cause, _RefusedError) else "holds an integer that is too long"
        )
        raise error(f"{what} {reason}.", hint=_HINT) from None
    return value


class _RefusedError(ValueError):
    """Raised by the hooks inside the parser; becomes the caller's error."""


def _unique(found: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(found)
    if len(result) != len(found):
        raise _RefusedError(f"holds the key {first_duplicate(tuple(found))} twice")
    return result


def first_duplicate(found: Pairs) -> str:
    """The first key that comes a second time, quoted and cut to be printed."""
    seen: set[str] = set()
    for key, _ in found:
        if key in seen:
            return f"{key!r:.120}"
        seen.add(key)
    raise ValueError("all keys differ")


def _infinity(name: str) -> float:
    value = float(name)
    if isnan(value):
        raise _RefusedError("holds NaN, which is no number")
    return value


def _no_constant(name: str) -> float:
    raise _RefusedError(f"holds {name}, which is no number")


def _fault(value: object, *, max_depth: int, surrogates: bool) -> str:
    """What is wrong with a parsed document; empty where nothing is."""
    level, depth = [value], 0
    while level:
        below: list[object] = []
        for item in level:
            match item:
                case dict():
                    below.extend(item.values())
                    if surrogates and not _encodable("".join(item)):
                        return "holds half a surrogate pair in a key"
                case list():
                    below.extend(item)
                case str():
                    if surrogates and not _encodable(item):
                        return "holds half a surrogate pair"
                case int() if not -_INT_LIMIT < item < _INT_LIMIT:
                    return "holds an integer beyond 2^127"
        if below and depth >= max_depth:
            return f"is nested deeper than {max_depth} levels"
        level, depth = below, depth + 1
    return ""


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
