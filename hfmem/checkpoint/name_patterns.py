"""Patterns over module names, as quantization settings write them, without the risks of a regular
expression from a file that nobody knows: all of them become globs, which match in bounded time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product

_LENGTH_CAP = 512
_GLOBS_CAP = 256
_PATTERNS_CAP = 20_000
# What patterns of published settings are made of.
_TOKEN = re.compile(r"\.\*|\\\.|\\d\+|\(\?:[^()]*\)|\([^()]*\)|(?:[\w-]|\.(?![*+?{]))+|[\^$]")


_STARS = re.compile(r"\*+")


def globs_of_regex(pattern: str) -> tuple[str, ...] | None:
    r"""A regular expression as globs over whole names; None for one that says more than they can.

    ``globs_of_regex(r".*mlp\.(gate|up)_proj.*") == ("*mlp.gate_proj*", "*mlp.up_proj*")``. It is
    searched for at a name's start, as ``re.match`` does it.
    """
    if len(pattern) > _LENGTH_CAP:
        return None
    pieces: list[tuple[str, ...]] = []
    at, ends = 0, False
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None or ends:
            return None
        text, at = token[0], token.end()
        if text == "$":
            ends = True
        elif text in (".*", r"\d+"):
            pieces.append(("*",))
        elif text == r"\.":
            pieces.append((".",))
        elif text.startswith("("):
            inner = text.removeprefix("(?:").removeprefix("(").removesuffix(")")
            choices = [globs_of_regex(one) for one in inner.split("|")]
            if any(found is None or len(found) != 1 for found in choices):
                return None
            pieces.append(tuple(found[0].removesuffix("*") for found in choices if found))
        elif text != "^":
            # A bare dot is any character, and as a rule means a dot.
            pieces.append((text,))
    total = 1
    for choices_here in pieces:
        total *= len(choices_here)
    if total > _GLOBS_CAP:
        return None
    open_end = "" if ends else "*"
    return tuple(_STARS.sub("*", "".join(one) + open_end) for one in product(*pieces))


def matches(glob: str, name: str) -> bool:
    """Whether a name is what a glob of ``*`` and ``?`` says, in time of their lengths' product.

    ``matches("model.layers.*.mlp.gate", "model.layers.3.mlp.gate")``.
    """
    at = place = 0
    star, retry = -1, 0
    while place < len(name):
        if at < len(glob) and glob[at] == "*":
            star, retry = at, place
            at += 1
        elif at < len(glob) and glob[at] in ("?", name[place]):
            at += 1
            place += 1
        elif star >= 0:
            at, retry = star + 1, retry + 1
            place = retry
        else:
            return False
    return all(char == "*" for char in glob[at:])


def of_modules(names: Iterable[object]) -> tuple[str, ...]:
    """Globs for a list of module names: each is a module or a part of its path."""
    found: list[str] = []
    for name in _texts(names):
        found += (name, f"{name}.*", f"*.{name}", f"*.{name}.*")
    return tuple(found)


def of_globs(patterns: Iterable[object]) -> tuple[str, ...]:
    """Globs as they are, and what lies below what they name."""
    return tuple(glob for text in _texts(patterns) for glob in (text, f"{text}.*"))


def of_ignored(patterns: Iterable[object]) -> tuple[str, ...] | None:
    """compressed-tensors: names, and regular expressions behind ``re:``; None for one that cannot
    be told.
    """
    found: list[str] = []
    kept = list(patterns)
    if any(isinstance(one, str) and len(one) > _LENGTH_CAP for one in kept):
        return None
    for text in _texts(kept):
        if not text.startswith("re:"):
            found += (text, f"*.{text}")
            continue
        globs = globs_of_regex(text.removeprefix("re:"))
        if globs is None:
            return None
        found += globs
    return tuple(found)


def _texts(values: Iterable[object]) -> Sequence[str]:
    texts = [one for one in values if isinstance(one, str) and 0 < len(one) <= _LENGTH_CAP]
    return texts[:_PATTERNS_CAP]
