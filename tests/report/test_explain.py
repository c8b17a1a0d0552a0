"""Every number of an answer, explained."""

from __future__ import annotations

from collections.abc import Callable

from hfmem.answer import Estimate
from hfmem.memory.term import Term
from hfmem.report.explain import render, steps
from hfmem.report.screen import Screen, draw


def test_walk_is_parents_first() -> None:
    leaf = Term(name="leaf", bytes=1, basis="exact", because="")
    twig = Term(name="twig", bytes=1, basis="exact", because="", parts=(leaf,))
    root = Term(name="root", bytes=1, basis="exact", because="", parts=(twig, leaf))
    walk = [(step.depth, step.term.name) for step in steps((root, leaf))]
    assert walk == [(0, "root"), (1, "twig"), (2, "leaf"), (1, "leaf"), (0, "leaf")]


def test_a_part_of_the_unknown_is_unknown(make_estimate: Callable[..., Estimate]) -> None:
    parts = make_estimate().memory.peak.memory.parts
    known = {step.term.name: step.known for step in steps(parts, unknown=("weights",))}
    assert known == {
        "weights": False,
        "language": False,
        "vision": False,
        "kv_cache": True,
        "activations": True,
        "overhead": True,
    }


def test_every_term_has_its_bytes_and_its_reason(make_estimate: Callable[..., Estimate]) -> None:
    estimate = make_estimate()
    text = draw(render(estimate), Screen())
    assert text.startswith("prefill  16.00 GiB  the largest phase")
    for phase in estimate.memory.phases:
        for step in steps(phase.memory.parts):
            assert f"{step.term.bytes:,} B" in text
            assert step.term.because in text


def test_what_is_equal_is_told_once(make_estimate: Callable[..., Estimate]) -> None:
    text = draw(render(make_estimate()), Screen())
    assert text.count("339 tensors") == 1
    assert "  weights, overhead: as in prefill\n" in text
    assert "  weights, KV cache, overhead: as in prefill\n" in text


def test_deep_trees_stay_on_the_screen(make_estimate: Callable[..., Estimate]) -> None:
    from msgspec.structs import replace

    term = Term(name="leaf", bytes=1, basis="exact", because="why")
    for _ in range(50):
        term = replace(term, parts=(term,))
    estimate = make_estimate()
    phase = estimate.memory.phases[0]
    memory = replace(estimate.memory, phases=(replace(phase, memory=replace(term, bytes=2)),))
    lines = draw(render(replace(estimate, memory=memory)), Screen(width=80)).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.strip() == "why" for line in lines) == 50
