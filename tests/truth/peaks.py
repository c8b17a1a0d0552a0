"""Activations against peaks of the reference implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.accuracy_activations import corpus_rows
from tests.truth.row import Row

_TOLERANCE = 0.02
_MATH = "a CPU takes PyTorch's math kernel here and is counted a byte short a score"


def peaks(shared: Path) -> Iterator[Row]:
    """Activations of a prompt, beside weights and cache.

    Rows whose recurrent layers or indexer ran without fused kernels are a table of their own; rows
    that the CPU's math kernel decides are explained.
    """
    for row in corpus_rows(shared):
        scanned = row.unfused and row.fused_bytes != row.peak.activation_bytes
        expected = round(row.peak.activation_bytes / (1 + row.activation_error))
        yield Row(
            table="activations, no kernels" if row.unfused else "activations, traced",
            name=f"{row.model} @{row.tokens}"
            + (f", with fused kernels {row.fused_bytes:,}" if scanned else ""),
            expected=expected,
            found=row.peak.activation_bytes,
            reason=_MATH if row.math else "",
            tolerance=_TOLERANCE,
        )
