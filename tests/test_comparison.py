"""``--runtime all``: the runtimes side by side."""

from __future__ import annotations

from typing import Any

import pytest

import hfmem
from hfmem.runtimes import RUNTIMES

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def every(**flags: Any) -> hfmem.Estimate:
    return hfmem.estimate(LLAMA, runtime="all", source="recorded", **flags)


def test_each_row_is_the_runtime_s_own_answer() -> None:
    found = every(ctx=4096, gpu="h100")
    assert [one.runtime for one in found.runtimes] == list(RUNTIMES)
    for one in found.runtimes:
        alone = hfmem.estimate(LLAMA, runtime=one.runtime, ctx=4096, gpu="h100", source="recorded")
        assert one.memory == alone.memory
        assert [fit.verdict for fit in one.fit] == [fit.verdict for fit in alone.fit]


def test_a_flag_goes_to_those_that_take_it() -> None:
    plain, eager = (
        {one.runtime: one.memory for one in every(ctx=4096, gpu="h100", **flags).runtimes}
        for flags in ({}, {"enforce_eager": True})
    )
    assert plain["transformers"] == eager["transformers"]
    assert plain["vllm"] != eager["vllm"]


def test_a_type_that_one_of_them_lacks() -> None:
    rows = {one.runtime: one for one in every(ctx=4096, kv_dtype="nvfp4").runtimes}
    assert rows["vllm"].memory is not None
    assert rows["transformers"].memory is None
    assert "nvfp4" in rows["transformers"].refusal
    with pytest.raises(hfmem.UsageError, match="int1"):
        every(kv_dtype="int1")


def test_the_document_has_them() -> None:
    rows = every(ctx=4096).to_dict()["runtimes"]
    assert isinstance(rows, list)
    assert {row["runtime"] for row in rows} == set(RUNTIMES)
