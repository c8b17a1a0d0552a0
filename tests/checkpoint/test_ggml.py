"""The types of ggml, against the reference table and the sizes of published files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfmem.checkpoint.ggml import BY_ID, BY_NAME, GGML_TYPES, REMOVED, is_block_type


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        # llama.cpp ggml/src/ggml-common.h: the static_asserts of the block structs.
        ("Q8_0", 8.5),
        ("Q6_K", 6.5625),
        ("Q5_K", 5.5),
        ("Q4_K", 4.5),
        ("Q3_K", 3.4375),
        ("Q2_K", 2.625),
        ("IQ4_XS", 4.25),
        ("IQ4_NL", 4.5),
        ("IQ3_XXS", 3.0625),
        ("IQ2_M", None),
        ("IQ1_S", 1.5625),
        ("IQ1_M", 1.75),
        ("TQ1_0", 1.6875),
        ("MXFP4", 4.25),
        ("NVFP4", 4.5),
        ("BF16", 16),
    ],
)
def test_bits_of_a_weight(name: str, bits: float | None) -> None:
    found = BY_NAME.get(name)
    assert (found and found.block_bytes * 8 / found.block_elements) == bits


def test_a_file_type_is_no_tensor_type() -> None:
    assert "Q4_K_M" not in BY_NAME
    assert is_block_type("Q4_K")
    assert not is_block_type("F16")
    assert not is_block_type("F8_E4M3")


def test_ids_are_told_once() -> None:
    assert len(BY_ID) == len(GGML_TYPES) == len(BY_NAME)
    assert not BY_ID.keys() & REMOVED.keys()


@pytest.mark.shared
def test_the_reference_table(shared: Path) -> None:
    table = json.loads((shared / "reference" / "ggml_types.json").read_text())
    rows = [(t["id"], t["name"], t["block_elems"], t["block_bytes"]) for t in table["types"]]
    assert rows == [tuple(one) for one in GGML_TYPES]
    assert {int(kind): name for kind, name in table["removed_type_ids"].items()} == dict(REMOVED)
