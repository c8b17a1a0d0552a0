"""What is said of a ``--gpu`` that names no card."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from hfmem.errors import UsageError
from hfmem.gpu import Gpu
from hfmem.hardware import names
from hfmem.hardware.catalogue import COMMON, MAX_COUNT, shown

_TIMES = re.compile(r"(\d{1,4})\s*x\s*(\S.*)", re.IGNORECASE)
_LIKE_A_SIZE = re.compile(
    r"[-+]?(?:\d[\d.,_]*|\.\d+)(?:e[-+]?\d+)?\s*(?:[kmgtpe]?i?b|[kmgtpe])", re.IGNORECASE | re.ASCII
)


def unknown(query: str, by_key: Mapping[str, Gpu]) -> UsageError:
    """The error for a name that no card has; ``by_key`` holds the cards by ``names.key``."""
    written = query.strip()
    times = _TIMES.fullmatch(written)
    if times and names.key(times[2]) in by_key:
        return UsageError(
            f"{shown(query)} is no GPU.", hint=f"Write the count last: {times[2]}:{times[1]}."
        )
    if "," in written:
        parts = [part.strip()[:60] for part in written.split(",")[:4] if part.strip()]
        several = " ".join(f"--gpu {part}" for part in parts)
        return UsageError(
            f"{shown(query)} is no GPU: a comma is part of no name.",
            hint=f"Name one at a time: {several or '--gpu h100 --gpu l40s'}",
        )
    name, colon, count = written.partition(":")
    if names.key(name if colon else written) == "auto":
        return UsageError(
            f"{shown(query)} is no GPU: auto is every card of this machine, and takes no count.",
            hint="Write --gpu auto, or a card such as h100:2; `hfmem gpus` lists them all.",
        )
    if colon:
        return UsageError(
            f"{shown(query)} is no GPU: {shown(count.strip())} is no count.",
            hint=f"Write {name.strip()[:60] or 'NAME'}:COUNT with a COUNT of 1 to {MAX_COUNT}.",
        )
    if _LIKE_A_SIZE.fullmatch(written):
        return UsageError(
            f"{shown(query)} is no memory size of a GPU.", hint="Write for example 24GiB or 80GB."
        )
    close = difflib.get_close_matches(names.key(query)[:64], by_key, n=6, cutoff=0.6)
    ids = list(dict.fromkeys(by_key[key].id for key in close))[:3]
    meant = f"Did you mean {' or '.join(ids)}? " if ids else ""
    return UsageError(
        f"GPU {shown(query)} is not known.",
        hint=f"{meant}Common ones are {', '.join(COMMON)}; `hfmem gpus` lists them all; a size "
        "such as 24GiB works too.",
    )
