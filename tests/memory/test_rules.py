"""Rules of thumb: what their authors compute, from the same inputs."""

from __future__ import annotations

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
