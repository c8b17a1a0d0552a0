"""What a shell is offered."""

from __future__ import annotations

import pytest
import typer

from hfmem.cli import completions
from hfmem.runtimes import ALL, RUNTIMES


@pytest.mark.parametrize(
    ("begun", "offered"), [("", {*RUNTIMES, ALL}), ("al", {"all"}), ("v", {"vllm"}), ("x", set())]
)
def test_runtimes(begun: str, offered: set[str]) -> None:
    assert set(completions.runtimes(begun)) == offered


@pytest.mark.parametrize(
    ("option", "begun", "offered"),
    [
        ("--flash-attn", "o", {"on", "off"}),
        ("--mamba-cache-mode", "al", {"all", "align"}),
        ("--dtype", "q", set()),
        ("--dtype", "float", {"float16", "float32", "float64"}),
    ],
)
def test_an_option_of_few_values_offers_them(option: str, begun: str, offered: set[str]) -> None:
    from hfmem.cli.estimate import app

    command = typer.main.get_command(app)
    declared = next(one for one in command.params if option in one.opts)
    context = typer.Context(command)
    assert {found.value for found in declared.shell_complete(context, begun)} == offered


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
