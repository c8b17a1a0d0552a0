"""The quantizations of a GGUF repository, as a table and as data."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from rich.console import Console

from hfmem.answer import Estimate
from hfmem.checkpoint.gguf_files import gguf_listing
from hfmem.checkpoint.snapshot import RepoFile
from hfmem.model.model import Model
from hfmem.report.quantizations import quantizations_table
from hfmem.report.quantizations_json import quantizations_json
from hfmem.report.table import grid

FILES = (
    RepoFile(name="m-Q4_K_M.gguf", bytes=4_920_739_232),
    RepoFile(name="m-Q8_0.gguf", bytes=None),
    RepoFile(name="mmproj-[red]F16.gguf", bytes=2**20),
)


@pytest.fixture
def model(make_estimate: Callable[..., Estimate]) -> Model:
    listing = gguf_listing(FILES)
    return replace(make_estimate().model, gguf_listing=listing, loaded_files=("m-Q4_K_M.gguf",))


def text(model: Model) -> str:
    table = quantizations_table(model, grid(header=True))
    assert table is not None
    stream = io.StringIO()
    Console(file=stream, width=100).print(table)
    return stream.getvalue()


def test_table(model: Model) -> None:
    lines = [line.split() for line in text(model).splitlines()]
    chosen = next(line for line in lines if line[0] == "Q4_K_M")
    assert chosen[1:3] == ["4.58", "GiB"]
    assert chosen[-2:] == ["this", "answer"]
    assert any(line[0] == "Q8_0" and "unknown" in line for line in lines)
    assert any("[red]F16" in line[0] and "counted" in line for line in lines)


def test_one_file_is_no_choice(model: Model) -> None:
    alone = replace(model, gguf_listing=gguf_listing(FILES[:1]))
    assert quantizations_table(alone, grid()) is None
    assert quantizations_table(replace(model, gguf_listing=None), grid()) is None


def test_data(model: Model) -> None:
    assert quantizations_json(replace(model, gguf_listing=None)) is None
    found = quantizations_json(model)
    assert found is not None
    assert [(one["name"], one["role"], one["bytes"], one["chosen"]) for one in found] == [
        ("Q8_0", "model", None, False),
        ("Q4_K_M", "model", 4_920_739_232, True),
        ("mmproj-[red]F16.gguf", "projector", 2**20, False),
    ]
