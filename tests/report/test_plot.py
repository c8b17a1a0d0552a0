"""The picture: its numbers are the answer's, and it can be drawn everywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

import hfmem
from hfmem.answer import Estimate
from hfmem.errors import UsageError
from hfmem.memory.estimate import PARTS
from hfmem.report import plot_image, plot_text
from hfmem.report.plot import Curve, curve
from hfmem.report.screen import Screen
from hfmem.units import GIB

MODEL = "Qwen/Qwen3-8B"


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def asked(request: pytest.FixtureRequest) -> Estimate:
    return hfmem.estimate(
        MODEL,
        ctx=12_000,
        batch=2,
        gpu=["rtx-4090:2", "rtx-5090:2"],
        runtime=request.param,
        source="recorded",
    )


def test_the_asked_context_is_the_json(asked: Estimate) -> None:
    found = curve(asked)
    element = asked.to_dict()
    memory = element["memory"]
    assert isinstance(memory, dict)
    assert {f"{name}_bytes": size for name, size in found.asked.parts.items()} == {
        name: size for name, size in memory.items() if name != "total_bytes"
    }
    assert found.asked.total == memory["total_bytes"]
    assert found.asked in found.points


def test_the_limits_are_the_json(asked: Estimate) -> None:
    fits = asked.to_dict()["fit"]
    assert isinstance(fits, list)
    assert {limit.bytes for limit in curve(asked).limits} == {fit["usable_bytes"] for fit in fits}


def test_every_point_is_an_answer_of_its_own(asked: Estimate) -> None:
    found = curve(asked)
    assert [point.ctx for point in found.points] == sorted({point.ctx for point in found.points})
    for point in found.points[5::20]:
        alone = hfmem.estimate(
            MODEL,
            ctx=point.ctx,
            batch=2,
            gpu="rtx-4090:2",
            runtime=asked.workload.runtime,
            source="recorded",
        )
        peak = alone.memory.peak
        assert point.parts == {name: peak.part(name).bytes for name in PARTS}


def test_the_curve_reaches_beyond_what_was_asked(asked: Estimate) -> None:
    found = curve(asked)
    assert found.points[0].ctx == 1
    assert found.points[-1].ctx > found.asked.ctx
    totals = [point.total for point in found.points]
    assert totals[-1] >= totals[0]


def test_without_gpus_the_nearest_cards_are_limits() -> None:
    estimate = hfmem.estimate(MODEL, ctx=8192, source="recorded")
    found = curve(estimate)
    usable = {fit.usable_bytes for fit in estimate.cards}
    assert 1 <= len(found.limits) <= 4
    assert {limit.bytes for limit in found.limits} <= usable
    assert found.points[-1].ctx == estimate.model.decoder.max_context


def test_unknown_parts_are_not_drawn(make_estimate: Callable[..., Estimate]) -> None:
    with pytest.raises(UsageError, match="nothing to plot: weights not known"):
        curve(make_estimate(unknown=("weights",)))


@pytest.mark.parametrize(("columns", "unicode"), [(40, True), (80, True), (80, False), (200, True)])
def test_in_a_terminal(asked: Estimate, columns: int, unicode: bool) -> None:
    text = plot_text.draw(asked, Screen(width=columns, unicode=unicode))
    assert text.isascii() != unicode
    assert all(len(line) <= columns for line in text.splitlines())
    assert f"{asked.memory.ctx:,} tokens" in text
    assert "weights" in text
    assert "RTX 50" in text


def test_a_column_of_a_terminal_holds_its_shares(asked: Estimate) -> None:
    text = plot_text.draw(asked, Screen(width=100, unicode=False))
    rows = [line.partition("|")[2] for line in text.splitlines() if "|" in line]
    last = [row[88:89] for row in rows]
    found = curve(asked)
    high = found.points[-1]
    share = high.parts["weights"] / high.total
    filled = [mark for mark in last if mark not in (" ", "-", "")]
    assert filled.count("W") / len(filled) == pytest.approx(share, abs=0.15)


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_to_a_file(asked: Estimate, tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / f"picture{suffix}"
    plot_image.write(target, asked, suffix=suffix)
    assert target.read_bytes().startswith(magic)
    if suffix == ".svg":
        assert ElementTree.parse(target).getroot().tag.endswith("svg")


def figure_heights(estimate: Estimate, found: Curve) -> list[float]:
    """The upper edge of every area at the asked context, from the bottom, in GiB."""
    from matplotlib.collections import PolyCollection

    axes = plot_image.draw(estimate, found).axes[0]
    heights = []
    for area in axes.collections:
        assert isinstance(area, PolyCollection)
        vertices = area.get_paths()[0].vertices
        heights.append(max(y for x, y in vertices if x == found.asked.ctx))
    return heights


def test_the_areas_are_the_numbers(asked: Estimate) -> None:
    pytest.importorskip("matplotlib")
    found = curve(asked)
    held, expected = 0.0, []
    for name in PARTS:
        held += found.asked.parts[name] / GIB
        expected.append(held)
    assert figure_heights(asked, found) == pytest.approx(expected)


def test_a_hostile_name_is_only_text(asked: Estimate, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    name = "evil\x1b[31m\u202e$\\frac{1}{0}$<script>"
    hostile = replace(asked, model=replace(asked.model, name=name))
    plot_image.write(tmp_path / "x.svg", hostile, suffix=".svg")
    assert b"<script>" not in (tmp_path / "x.svg").read_bytes()
    assert "\x1b" not in plot_text.draw(hostile, Screen(width=80))


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="matplotlib") as caught:
        plot_image.require()
    assert 'pip install "hfmem-cli[plot]"' in caught.value.hint


@pytest.mark.parametrize(
    ("count", "text"), [(8192, "8k"), (131_072, "128k"), (1000, "1,000"), (0, "0")]
)
def test_contexts_on_the_axis(count: int, text: str) -> None:
    assert plot_image.tokens(count) == text
