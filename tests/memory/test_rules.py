"""Rules of thumb: what their authors compute, from the same inputs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hfmem.memory.estimate import PARTS, MemoryEstimate, Phase
from hfmem.memory.rules import Facts, rules
from hfmem.memory.term import Term, total

SIZES = (16_000, 1_000, 500, 250)

ESTIMATE = MemoryEstimate(
    phases=(
        Phase(
            name="decode",
            memory=total(
                "memory",
                [
                    Term(name=name, bytes=size, basis="exact", because="a test")
                    for name, size in zip(PARTS, SIZES, strict=True)
                ],
                because="a test",
            ),
        ),
    ),
    ctx=2048,
    kv_dtype="bfloat16",
    bytes_per_token=1,
)


def facts(parameters: int, *, layers: int = 32, hidden: int = 4096) -> Facts:
    return Facts(
        parameters=parameters,
        bits=16,
        layers=layers,
        hidden_size=hidden,
        kv_heads=8,
        head_dim=128,
        batch=1,
    )


@pytest.mark.parametrize(
    ("rule", "parameters", "size"),
    [
        # 7 billion in FP16: 14 GB, printed as 13.04 GB of 2^30.
        ("A1", 7_000_000_000, 14_000_000_000),
        # 72 billion: 144 GB, and 187.2 GB with 30 % on top.
        ("B1", 72_000_000_000, 187_200_000_000),
        ("B2", 72_000_000_000, 36_000_000_000),
        ("D1", 8_000_000_000, 16_000_000_000),
        ("D2", 8_000_000_000, 19_200_000_000),
        ("E1", 7_000_000_000, 14_000_000_000),
        # 7 billion at 16 bytes: the well-known 112 GB.
        ("E2", 7_000_000_000, 112_000_000_000),
        # One layer of 2,048 tokens, 4,096 wide, is 16,777,216 bytes; 32 of them 536.9 MB.
        ("C3", 7_000_000_000, 536_870_912),
        ("C4", 7_000_000_000, 1_073_741_824),
        # 2,048 tokens of 32 layers, 8 heads of 128, K and V in 16 bits.
        ("D3", 7_000_000_000, 268_435_456),
        ("C5", 7_000_000_000, 14_000_000_000 + 3 * 536_870_912 + 2_000_000_000),
    ],
)
def test_rule(rule: str, parameters: int, size: int) -> None:
    found = next(entry for entry in rules(facts(parameters), ESTIMATE) if entry.id == rule)
    assert found.bytes == size


# What each write-up's formula names; the reader finds it in the row.
@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("A1", ("P × bits/8",)),
        ("A2", ("30 to 50 %",)),
        ("A3", ("2 to 3 ×", "optimizer states")),
        ("A4", ("≥ 24 GB", "≤ 10 GB", "80 GB", "40 to 60 GB")),
        ("B1", ("P × 2 B", "30 %")),
        ("B2", ("2, 1 or 0.5 B", "144.0, 72.0, 36.0 GB")),
        ("B3", ("INT8", "4-bit", "offload", "checkpointing", "parallelism", "sparse attention")),
        ("C1", ("M = m + a + k + o",)),
        ("C2", ("p·t/8",)),
        ("C3", ("l·b·s·h·t/8",)),
        ("C4", ("2·b·s·l·h·t/8",)),
        ("C5", ("t(p + 3·l·b·s·h)/8", "2e9", "5e9 on macOS")),
        ("D1", ("4, 2, 1 or 0.5 GB",)),
        ("D2", ("(1 + O)", "0.1…0.3")),
        ("D3", ("ctx·layers·kv_heads·head_dim·2·2·users",)),
        ("D4", ("8 ×", "AdaFactor and Lion", "gradients 1 ×", "1.2 to 1.5 ×", "by batch")),
        ("D5", ("< 10 tok/s", "10 to 20", "20 and more", "bandwidth")),
        ("D6", ("gradient checkpointing", "multi-query", "pipeline", "ZeRO", "paged KV", "vector")),
        ("E1", ("2 GB ×", "0.5 to 2 GB")),
        ("E2", ("16 B ×", "2 + 4", "8 of AdamW", "2 of gradients")),
        ("E3", ("layers·hidden·sequence·batch", "square root", "linear")),
        ("E4", ("1 %", "rank and targets", "4 ×")),
        ("E5", ("gradient accumulation",)),
    ],
)
def test_the_formula_of_the_write_up(rule: str, named: tuple[str, ...]) -> None:
    found = next(one for one in rules(facts(72_000_000_000), ESTIMATE) if one.id == rule)
    assert [word for word in named if word not in found.formula] == []


@pytest.mark.shared
def test_every_rule_of_the_reference_is_there(shared: Path) -> None:
    text = (shared / "reference" / "rules-of-thumb.md").read_text(encoding="utf-8")
    wanted = re.findall(r"^\| ([A-E]\d) \|", text, re.MULTILINE)
    assert len(wanted) > 20
    assert {one.id for one in rules(facts(7_000_000_000), ESTIMATE)} == set(wanted)


def test_every_rule_of_the_write_ups_is_there() -> None:
    named = "A1 A2 A3 A4 B1 B2 B3 C1 C2 C3 C4 C5 D1 D2 D3 D4 D5 D6 E1 E2 E3 E4 E5"
    found = [entry.id for entry in rules(facts(7_000_000_000), ESTIMATE)]
    assert sorted(found) == named.split()


def test_beside_the_exact_figures() -> None:
    found = {entry.id: entry for entry in rules(facts(8_000), ESTIMATE)}
    assert found["A1"].exact_bytes == found["C2"].exact_bytes == 16_000
    assert (found["D3"].exact_bytes, found["C5"].exact_bytes) == (1_000, 17_750)
    assert found["A1"].ratio == 1.0
    assert found["E2"].ratio is None


def test_the_floor_of_a_7b_model_is_for_7b_models() -> None:
    floors = {
        parameters: next(
            entry.bytes for entry in rules(facts(parameters), ESTIMATE) if entry.id == "A4"
        )
        for parameters in (7_000_000_000, 72_000_000_000)
    }
    assert floors == {7_000_000_000: 24 * 2**30, 72_000_000_000: None}
