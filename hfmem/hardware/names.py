"""Names of accelerators as people and drivers spell them: rtx4090, NVIDIA A100-SXM4-80GB."""

from __future__ import annotations

import re
from collections.abc import Iterable

# A single letter before a number belongs to it: an A6000 is no 6000, an rtx6000 is.
_TOKEN = re.compile(r"(?<![a-z])[a-z]\d+|[a-z]+|\d+", re.ASCII)
_MARK = re.compile(r"\((?:r|tm|c)\)")
_SIZE = re.compile(r"(?<![a-z\d])(\d{1,4})\s*gb?\b", re.ASCII)
_FILLER = frozenset(
    _TOKEN.findall(
        "nvidia geforce amd radeon instinct intel apple tesla corporation gpu graphics"
        " generation edition workstation server series accelerator chip oam"
    )
)
"""Words that name a vendor, a brand or a form, but never tell two cards apart."""
_OTHER_CARD = frozenset(
    _TOKEN.findall(
        "laptop mobile max q sff ti super d ada blackwell xt xtx gre pcie nvl sxm pro quadro ultra"
    )
)
"""Words that do: a driver's name that holds one is no card whose own name lacks it."""
_OTHER_CHOICE = frozenset(["laptop", "ti", "super", "d"])
_SERIES = ("rtx", "gtx", "rx", "arc")


def tokens(name: str) -> tuple[str, ...]:
    """Letters and digits apart, vendor words left out: ``("a100", "sxm", "4", "80", "gb")``."""
    plain = _MARK.sub(" ", name.lower())
    return tuple(token for token in _TOKEN.findall(plain) if token not in _FILLER)


def key(name: str) -> str:
    """The spelling that all spellings of a name share: ``key("NVIDIA RTX-4090") == "rtx4090"``."""
    spelled = "".join(tokens(name))
    brand = next((word for word in _FILLER if spelled.startswith(word)), "")
    return spelled.removeprefix(brand)


def keys(names: Iterable[str]) -> frozenset[str]:
    """The keys of some names of one card, each with and without its series (``rtx4090, 4090``)."""
    spelled = {key(name) for name in names}
    return frozenset(spelled | {_without_series(each) for each in spelled})


def _without_series(spelled: str) -> str:
    for series in _SERIES:
        if spelled.startswith(series) and len(spelled) > len(series):
            return spelled.removeprefix(series)
    return spelled


def identifies(words: Iterable[str]) -> bool:
    """Whether these tokens can mean one card: ``l4``, ``4090`` can; ``ti``, ``40`` cannot."""
    said = frozenset(words)
    numbers = {token for token in said if not token.isalpha()}
    return any(len(token) > 2 or not token.isdigit() for token in numbers) or bool(
        numbers and said - numbers
    )


def split_size(name: str) -> tuple[str, int | None]:
    """A name without its memory size, and that size: ``split_size("a100-40gb") == ("a100- ", 40)``.

    The driver reports the size as a number, and people add it where the name already says it.
    """
    plain = name.lower()
    sizes = _SIZE.findall(plain)
    return _SIZE.sub(" ", plain), int(sizes[0]) if len(sizes) == 1 else None


def missing(query: str, name: str) -> frozenset[str]:
    """What ``name`` says that ``query`` leaves open: ``{"80", "gb", "sxm"}`` for a bare a100."""
    return frozenset(tokens(name)) - frozenset(tokens(query)) - frozenset(_SERIES)


def is_reading(query: str, name: str) -> bool:
    """Whether someone who writes ``query`` may mean ``name``: a 3080 is no 3080 Ti."""
    return not missing(query, name) & _OTHER_CHOICE


def same_model(name: str, device: str) -> int:
    """How many tokens a card's name shares with a driver's name of it; 0 when it is another card.

    ``same_model("rtx-4090", "NVIDIA GeForce RTX 4090 Laptop GPU") == 0``: the driver says laptop.
    """
    ours, theirs = (frozenset(tokens(split_size(each)[0])) for each in (name, device))
    if not ours <= theirs or (theirs - ours) & _OTHER_CARD or not identifies(ours):
        return 0
    return len(ours)
