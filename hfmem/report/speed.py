"""Tokens per second in words and in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfmem.text import clean

if TYPE_CHECKING:
    from hfmem.hardware.throughput import Throughput

_PROSE_LIMIT = 4096
_DIGITS = 4


def throughput_json(found: Throughput | None) -> dict[str, object] | None:
    """The key ``throughput``; rates in four digits, unknown is None."""
    if found is None:
        return None
    return {
        "gpu": clean(found.gpu),
        "count": found.count,
        "decode_tokens_per_second": _pair(found.decode),
        "per_sequence_tokens_per_second": _pair(found.per_sequence),
        "prefill_tokens_per_second": _pair(found.prefill),
        "time_to_first_token_seconds": _pair(found.first_token_seconds),
        "band": found.band,
        "limited_by": found.limited_by,
        "step_bytes": found.step_bytes,
        "basis": found.basis,
        "because": clean(found.because, limit=_PROSE_LIMIT),
    }


def speed_words(found: Throughput, *, batch: int) -> str | None:
    """``40.1 to 62.7 tokens/s (smooth) · first token after 1.2 to 1.9 s``; None where unknown."""
    if found.decode is None or found.per_sequence is None:
        return None
    words = [f"{between(found.decode)} tokens/s ({found.band})"]
    if batch > 1:
        words = [
            f"{between(found.decode)} tokens/s",
            f"each sequence {between(found.per_sequence)} ({found.band})",
        ]
    if found.first_token_seconds is not None:
        words.append(f"first token after {between(found.first_token_seconds)} s")
    words.append(f"decided by {found.limited_by}")
    if found.basis == "assumed":
        words.append("by other cards' or engines' figures")
    return " · ".join(words)


def between(span: tuple[float, float]) -> str:
    """A range in three digits: ``between((0.0123, 1234.5)) == "0.0123 to 1,230"``."""
    return " to ".join(_shown(value) for value in span)


def _shown(value: float) -> str:
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def _pair(span: tuple[float, float] | None) -> list[float] | None:
    return None if span is None else [float(f"{value:.{_DIGITS}g}") for value in span]
