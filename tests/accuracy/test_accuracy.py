"""The promised accuracy against measured rows, on the half that nothing was fitted on too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.accuracy.__main__ import EXPLAINED, held_out, main, version_band, weighted_median
from tests.accuracy.rows import Pair, pairs

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def found(shared: Path) -> list[Pair]:
    data = shared / "measured"
    lines = (data / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    return [pair for line in lines for pair in pairs(json.loads(line), data) or ()]


@pytest.mark.parametrize("half", ["all", "held out"])
@pytest.mark.parametrize(
    ("engine", "version", "quantity", "median", "worst", "rows"),
    [
        ("vllm", "0.17 and later", "kv_bytes_per_token", 0.001, 0.001, 48),
        ("vllm", "0.17 and later", "kv_tokens", 0.015, 0.06, 48),
        ("vllm", "0.17 and later", "kv_gib_needed", 0.001, 0.001, 1),
        ("vllm", "0.17 and later", "weights_gib", 0.005, 0.03, 48),
        ("vllm", "0.17 and later", "activation_peak_gib", 0.10, 0.20, 48),
        ("vllm", "0.17 and later", "total_non_kv_gib", 0.05, 0.06, 46),
        ("vllm", "0.17 and later", "graph_gib", 0.10, 0.27, 47),
        ("transformers", "4.46", "total_gib", 0.04, 0.06, 90),
        ("transformers", "4.51", "total_gib", 0.04, 0.07, 78),
    ],
)
def test_promises(
    found: list[Pair],
    half: str,
    engine: str,
    version: str,
    quantity: str,
    median: float,
    worst: float,
    rows: int,
) -> None:
    kept = [
        pair
        for pair in found
        if (pair.engine, version_band(pair), pair.quantity) == (engine, version, quantity)
    ]
    assert len(kept) >= rows
    if half == "held out":
        kept = [pair for pair in kept if held_out(pair)]
    assert weighted_median(kept) <= median
    if half == "all":
        unexplained = [pair for pair in kept if pair.id not in EXPLAINED]
        assert max(abs(pair.error) for pair in unexplained) <= worst


def test_ranges_hold_nine_tenths_of_the_totals(found: list[Pair]) -> None:
    ranged = [pair for pair in found if pair.inside is not None and pair.version != "4.38"]
    assert sum(bool(pair.inside) for pair in ranged) >= 0.9 * len(ranged)
    assert max(pair.width or 0 for pair in ranged) <= 0.10


def test_the_program_prints_the_table(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(shared / "measured")]) == 0
    printed = capsys.readouterr().out
    assert "kv_bytes_per_token" in printed
    assert "not covered" in printed
    assert main([]) == 2
