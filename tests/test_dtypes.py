"""Element types and their names."""

from __future__ import annotations

import pytest

from hfmem import dtypes


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("bfloat16", "BF16"),
        ("torch.bfloat16", "BF16"),
        ("half", "F16"),
        ("float8_e4m3fn", "F8_E4M3"),
        ("complex64", None),
        ("", None),
    ],
)
def test_from_name(name: str, dtype: str | None) -> None:
    assert dtypes.from_name(name) == dtype


@pytest.mark.parametrize("dtype", sorted(dtypes.FLOATS))
def test_torch_names_come_back(dtype: str) -> None:
    assert dtypes.from_name(dtypes.torch_name(dtype)) == dtype


def test_width() -> None:
    assert {name: dtypes.width(name) for name in ("F32", "BF16", "F8_E4M3")} == {
        "F32": 4,
        "BF16": 2,
        "F8_E4M3": 1,
    }
