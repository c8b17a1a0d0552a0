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
from hfmem.hardware.fit import Fit
from hfmem.hardware.offered import Offer
from hfmem.report.quantizations import quantizations_table
from hfmem.report.quantizations_json import quantizations_json
from hfmem.report.screen import Screen, draw

FILES = (
    RepoFile(name="m-Q4_K_M.gguf", bytes=4_920_739_232),
    RepoFile(name="m-Q8_0.gguf", bytes=None),
    RepoFile(name="mmproj-[red]F16.gguf", bytes=2**20),
)


@pytest.fixture
def estimate(make_estimate: Callable[..., Estimate], make_fit: Callable[..., Fit]) -> Estimate:
    made = make_estimate(fit=(make_fit("tight"), make_fit("no", count=2)))
    listing = gguf_listing(FILES)
    model = replace(made.model, gguf_listing=listing, loaded_files=("m-Q4_K_M.gguf",))
    chosen = next(one for one in listing.models if one.name == "Q4_K_M")
    offer = Offer(
        quantization=chosen,
        total_bytes=6 * 2**30,
        verdicts=("tight", "fits"),
        smallest_gpu="rtx-3050-8gb",
        smallest_count=1,
    )
    return replace(made, model=model, offers=(offer,))


def listed(estimate: Estimate, *files: RepoFile) -> Estimate:
    """The estimate of a repository with these files alone."""
    listing = gguf_listing(files) if files else None
    return replace(estimate, model=replace(estimate.model, gguf_listing=listing), offers=())


def lines(estimate: Estimate) -> list[list[str]]:
    table = quantizations_table(estimate, Screen())
    assert table is not None
    stream = io.StringIO()
    Console(file=stream, width=120).print(table)
    return [line.split() for line in stream.getvalue().splitlines()]


def test_table_of_named_gpus(estimate: Estimate) -> None:
    rows = lines(estimate)
    chosen = next(row for row in rows if row[0] == "Q4_K_M")
    assert chosen[1:3] == ["4.58", "GiB"]
    assert "6.00" in chosen
    assert {"tight", "fits"} <= set(chosen)
    assert chosen[-2:] == ["this", "answer"]
    assert any(row[0] == "Q8_0" and "unknown" in row for row in rows)
    assert any("[red]F16" in row[0] and "loads" in row for row in rows)
    assert "rtx-4090 2 × rtx-4090" in " ".join(rows[0])


def test_table_without_a_gpu_names_the_smallest(estimate: Estimate) -> None:
    offers = tuple(replace(offer, verdicts=()) for offer in estimate.offers)
    rows = lines(replace(estimate, fit=(), offers=offers))
    assert rows[0][-2:] == ["smallest", "gpu"]
    chosen = next(row for row in rows if row[0] == "Q4_K_M")
    assert chosen[-3:] == ["rtx-3050-8gb", "this", "answer"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_narrow_screen_cuts_nothing(estimate: Estimate, width: int) -> None:
    screen = Screen(width=width)
    table = quantizations_table(estimate, screen)
    assert table is not None
    text = draw(table, screen)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    flat = "".join(text.split())
    for words in ("Q4_K_M", "6.00GiB", "rtx-4090", "tight", "thisanswer", "loadsit"):
        assert words in flat


def test_one_file_is_no_choice(estimate: Estimate) -> None:
    for alone in (listed(estimate, *FILES[:1]), listed(estimate)):
        assert quantizations_table(alone, Screen()) is None


def test_data(estimate: Estimate) -> None:
    assert quantizations_json(listed(estimate)) is None
    found = quantizations_json(estimate)
    assert found is not None
    assert [(one["name"], one["role"], one["bytes"], one["chosen"]) for one in found] == [
        ("Q8_0", "model", None, False),
        ("Q4_K_M", "model", 4_920_739_232, True),
        ("mmproj-[red]F16.gguf", "projector", 2**20, False),
    ]
    unknown, chosen, _ = found
    assert (unknown["total_bytes"], unknown["fit"], unknown["smallest_gpu"]) == (None, [], None)
    assert (chosen["total_bytes"], chosen["smallest_gpu"]) == (6 * 2**30, "rtx-3050-8gb")
    assert chosen["fit"] == [
        {"gpu": "rtx-4090", "count": 1, "verdict": "tight"},
        {"gpu": "rtx-4090", "count": 2, "verdict": "fits"},
    ]
