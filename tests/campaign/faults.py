"""Every fault of the stand-in for the Hub on every kind of answer, one after the other."""

from __future__ import annotations

import json
import random
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field

MODES = (
    *("429:1", "429-date", "400", "401", "403", "404", "500", "502", "503", "504"),
    *("reset", "reset:7", "close", "hang", "stall", "slow-loris:1", "redirect-loop"),
    *("wrong-cl-long", "wrong-cl-short", "no-cl", "html-200", "empty-200"),
)
OF_BYTES = (
    *("ignore-range", "truncated-file", "truncated-file:5", "absurd-header"),
    *("absurd-header:500000000", "garbage-header", "wrong-range"),
)
"""Faults of an answer that holds a part of a file."""
WEIGHTS = {
    "safetensors": r"^data .*\.safetensors$",
    "gguf": r"^data .*\.gguf$",
    "torch": r"^data .*\.bin$",
}
ANSWERS = {
    **WEIGHTS,
    "address of weights": r"^hub .*\.(safetensors|gguf|bin)$",
    "config.json": r"^data .*/config\.json$",
    "address of config.json": r"^hub .*/config\.json$",
    "other document": r"^data .*(quant|processor|adapter|model_index|params).*json$",
    "index": r"^data .*\.index\.json$",
    "list of files": r"^api /api/models/[^/]+/[^/]+/revision/",
    "summary of headers": r"^api .*/safetensors-metadata/",
    "anything": "",
}
"""Kinds of answers, by what the stand-in calls them. The pages of a tree are asked for where a list
tells no sizes, which the stand-in's always do; tests/source has their faults.
"""
_PATIENCE = 0.4
"""Seconds until a fault that nothing meets gives way to the next."""

Pair = tuple[str, str]


def control(base: str, path: str) -> object:
    """What the stand-in says to one of its own paths."""
    with urllib.request.urlopen(base + path, timeout=20) as answer:
        return json.load(answer)


def pairs() -> list[Pair]:
    """Every fault with every kind of answer that can have it."""
    return [
        (mode, kind)
        for kind in ANSWERS
        for mode in (*MODES, *(OF_BYTES if kind in WEIGHTS or kind == "anything" else ()))
    ]


@dataclass(slots=True)
class Campaign:
    """Pairs that no request has met yet, and how often each was met."""

    base: str
    chance: random.Random
    met: dict[Pair, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def missing(self) -> list[Pair]:
        """What no request has met."""
        return [pair for pair in pairs() if pair not in self.met]

    def disturb(self, stopped: threading.Event) -> None:
        """Switch on one fault after the other in random order until ``stopped``: those that were
        not met yet first, then any.
        """
        while not stopped.is_set():
            order = self.missing() or pairs()
            self.chance.shuffle(order)
            for pair in order:
                if stopped.is_set():
                    break
                self._one(pair, stopped)
        control(self.base, "/__fault?mode=none")

    def _one(self, pair: Pair, stopped: threading.Event) -> None:
        mode, _, argument = pair[0].partition(":")
        times = self.chance.choice((1, 2, 5))
        fault = {"mode": mode, "on": ANSWERS[pair[1]], "times": str(times)}
        if argument:
            fault["arg"] = argument
        control(self.base, "/__fault?mode=none")
        control(self.base, f"/__fault?{urllib.parse.urlencode(fault)}")
        until = time.monotonic() + _PATIENCE
        hits = 0
        while hits < times and time.monotonic() < until and not stopped.is_set():
            stopped.wait(0.02)
            listed = control(self.base, "/__fault")
            assert isinstance(listed, list)
            hits = sum(one["hits"] for one in listed)
        if hits:
            self.met[pair] = self.met.get(pair, 0) + min(hits, times)
