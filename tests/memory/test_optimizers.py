"""States of every optimizer on tensors whose sizes can be told by hand."""

from __future__ import annotations

import pytest

from hfmem.errors import UsageError
from hfmem.memory.optimizers import OPTIMIZERS, optimizer

MATRIX, VECTOR = (4096, 1024), (1024,)


@pytest.mark.parametrize(
    ("name", "width", "matrix", "vector"),
    [
        # torch 2.13: like the parameter.
        ("adamw", 2, 2 * 2 * 4096 * 1024, 2 * 2 * 1024),
        ("adamw", 4, 2 * 4 * 4096 * 1024, 2 * 4 * 1024),
        ("adamw-foreach", 2, 2 * 2 * 4096 * 1024, 2 * 2 * 1024),
        ("sgd", 2, 0, 0),
        ("sgd-momentum", 2, 2 * 4096 * 1024, 2 * 1024),
        ("adagrad", 4, 4 * 4096 * 1024, 4 * 1024),
        ("rmsprop", 4, 4 * 4096 * 1024, 4 * 1024),
        # bitsandbytes 0.50: a byte and an fp32 absmax a block of 256; fp32 below 4,096 elements.
        ("adamw-8bit", 2, 2 * (4096 * 1024 + 4 * 4096 * 4), 2 * 4 * 1024),
        ("lion-8bit", 2, 4096 * 1024 + 4 * 4096 * 4, 4 * 1024),
        ("lion", 2, 4 * 4096 * 1024, 4 * 1024),
        ("paged-adamw", 2, 8 * 4096 * 1024, 8 * 1024),
        ("ademamix", 2, 12 * 4096 * 1024, 12 * 1024),
        # transformers 5.23: rows and columns.
        ("adafactor", 2, 4 * (4096 + 1024), 4 * 1024),
        # Momentum for a matrix, AdamW for the rest.
        ("muon", 2, 2 * 4096 * 1024, 2 * 2 * 1024),
        # Rank 128: two moments [128, 4096] and a projector [1024, 128].
        ("galore", 4, 4 * (2 * 128 * 4096 + 128 * 1024), 2 * 4 * 1024),
    ],
)
def test_states(name: str, width: int, matrix: int, vector: int) -> None:
    found = optimizer(name)
    assert found.state(MATRIX, width) == matrix
    assert found.state(VECTOR, width) == vector


def test_a_stack_of_matrices_is_factored_by_its_last_two_dimensions() -> None:
    assert optimizer("adafactor").state((8, 64, 32), 2) == 4 * 8 * (64 + 32)


def test_every_optimizer_has_a_name_of_its_own_and_a_source() -> None:
    assert len({one.name for one in OPTIMIZERS}) == len(OPTIMIZERS)
    assert all(one.source for one in OPTIMIZERS)


def test_unknown() -> None:
    with pytest.raises(UsageError, match="lamb") as caught:
        optimizer("lamb")
    assert "adamw-8bit" in caught.value.hint
