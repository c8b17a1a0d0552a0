"""Every null that a program meets has a note that says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

import hfmem
from hfmem.answer import Estimate
from hfmem.download import Download
from hfmem.report.nulls import CODES, null_notes
from hfmem.report.screen import Screen, draw
from hfmem.report.table import render

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def answered(**flags: Any) -> Estimate:
    return hfmem.estimate(LLAMA, ctx=1024, source="recorded", **flags)


def codes(estimate: Estimate) -> dict[str, str]:
    notes = estimate.to_dict()["notes"]
    assert isinstance(notes, list)
    return {note["code"]: note["message"] for note in notes}


@pytest.mark.parametrize(
    ("flags", "code", "keys"),
    [
        ({}, "no_gpu", "per_gpu and throughput are null"),
        ({}, "download_unknown", "download.files_bytes is null"),
        ({}, "repository_unknown", "download.repository_bytes is null"),
        ({"device": "cpu"}, "host_unknown", "host_bytes is null: the host's memory is the device"),
        ({"device": "mps"}, "host_unknown", "host_bytes is null: the host's memory is the device"),
        ({"runtime": "mlx"}, "host_unknown", "host_bytes is null: the host's memory is the device"),
        (
            {"runtime": "llama.cpp", "device": "cpu"},
            "host_unknown",
            "host_bytes is null: the host's memory is the device",
        ),
    ],
)
def test_a_null_is_explained(flags: dict[str, Any], code: str, keys: str) -> None:
    assert codes(answered(**flags))[code].startswith(keys)
    assert code in CODES


def test_a_host_is_unknown_where_the_weights_are(make_estimate: Callable[..., Estimate]) -> None:
    told = {note.code: note.message for note in null_notes(make_estimate(unknown=("weights",)))}
    assert told["host_unknown"] == "host_bytes is null: the weights are not known."


def test_a_named_gpu_leaves_nothing_null() -> None:
    found = codes(answered(gpu="h100"))
    assert not {"no_gpu", "per_gpu_unknown", "host_unknown"} & set(found)


@pytest.mark.parametrize(
    ("files", "cached", "free", "warned"),
    [(10, 0, 9, True), (10, 1, 9, False), (10, None, 10, False), (None, None, 1, False)],
)
def test_a_disk_that_is_too_small(
    files: int | None, cached: int | None, free: int, warned: bool
) -> None:
    gib = 2**30
    download = Download(
        files_bytes=files and files * gib,
        repository_bytes=None,
        cached_bytes=cached and cached * gib,
        disk_free_bytes=free * gib,
    )
    notes = {note.code for note in replace(answered(), download=download).notes}
    assert ("disk_too_small" in notes) == warned


# Loading is the largest instant, when nothing is cached yet: the cache of the run is told all the
# same. A mixture of experts that is merged while it loads, with a short context.
def test_the_cache_of_the_run_is_told_when_loading_is_the_largest() -> None:
    found = hfmem.estimate("Qwen/Qwen3-30B-A3B", ctx=64, source="recorded")
    element: Any = found.to_dict()
    assert element["phase"] == "loading"
    assert element["memory"]["kv_cache_bytes"] == 0
    assert element["kv_cache"]["bytes"] == 64 * 98_304
    drawn = draw(render(found, Screen(width=100)), Screen(width=100))
    assert "6.0 MiB once it runs" in drawn
