"""What a shell is offered."""

from __future__ import annotations

import pytest

from hfmem.cli import completions
from hfmem.runtimes import ALL, RUNTIMES


@pytest.mark.parametrize(
    ("begun", "offered"), [("", {*RUNTIMES, ALL}), ("al", {"all"}), ("v", {"vllm"}), ("x", set())]
)
def test_runtimes(begun: str, offered: set[str]) -> None:
    assert set(completions.runtimes(begun)) == offered


def test_every_runtime_that_is_offered_is_taken() -> None:
    from hfmem.cli.asking import workload_of

    for name in completions.runtimes(""):
        asked = workload_of(
            ctx=None,
            batch="1",
            runtime=name,
            kv_dtype="auto",
            dtype=None,
            attention=None,
            device="cuda",
            encoder_ctx=None,
            engine={},
        )
        assert asked.runtime == name
