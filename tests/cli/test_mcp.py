"""The tools for agents, asked over standard input and output by the SDK's own client."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hfmem.cli import mcp as tools
from hfmem.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
# Bundled with the package: nothing is asked of a network.
MODEL = "Qwen/Qwen2.5-7B-Instruct"


def ask(*calls: tuple[str, Mapping[str, Any]]) -> list[tuple[bool, Any]]:
    """What a server in a process of its own answers: whether it is an error, and the content."""
    pytest.importorskip("mcp", reason="pip install 'hfmem-cli[mcp]'")
    import anyio
    from mcp import Client, StdioServerParameters, stdio_client

    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    process = StdioServerParameters(
        command=sys.executable, args=["-m", "hfmem", "mcp"], env=environment
    )

    async def talk() -> list[tuple[bool, Any]]:
        answers: list[tuple[bool, Any]] = []
        async with Client(stdio_client(process, errlog=sys.__stderr__)) as client:
            listed = await client.list_tools()
            answers.append((False, {tool.name: tool for tool in listed.tools}))
            for name, arguments in calls:
                result = await client.call_tool(name, dict(arguments))
                text = "".join(part.text for part in result.content if part.type == "text")
                answers.append((bool(result.is_error), result.structured_content or text))
        return answers

    return anyio.run(talk)


@pytest.mark.enable_socket
def test_an_agent_gets_the_elements_of_the_json() -> None:
    (_, listed), (_, one), (_, many), (_, cards), (refused, why), (long, too_many), *more = ask(
        ("estimate", {"model": MODEL, "ctx": "8k", "gpu": ["h100"]}),
        ("audit", {"models": [MODEL, "no such name", MODEL], "ctx": 1024}),
        ("gpus", {"query": "h100"}),
        ("estimate", {"model": MODEL, "gpu": ["h1000000"]}),
        ("audit", {"models": [MODEL] * (tools.MODELS_CAP + 1)}),
        ("estimate", {"model": MODEL, "gpu": "h100", "explain": True}),
        ("estimate", {"model": MODEL, "context_length": 8192}),
    )
    assert set(listed) == {"estimate", "audit", "gpus"}
    assert all(tool.annotations.read_only_hint for tool in listed.values())
    assert (one["type"], one["model"], one["ctx"]) == ("result", MODEL, 8192)
    assert one["fit"][0]["verdict"] == "fits"
    assert one["terms"]
    assert [row["model"] for row in many["results"]] == [MODEL, MODEL]
    assert many["results"][0]["ctx"] == 1024
    assert "terms" not in many["results"][0]
    assert [row["code"] for row in many["failures"]] == ["invalid_value"]
    assert all("h100" in gpu["id"] for gpu in cards["gpus"])
    assert refused
    assert "h1000000" in why
    assert long
    assert "hfmem audit" in too_many
    (_, explained), (misspelt, unknown) = more
    assert explained["fit"] == one["fit"]
    assert explained["phases"]
    assert "phases" not in one
    assert misspelt
    assert "context_length" in unknown


def test_the_element_is_that_of_the_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hfmem.cli import main

    pytest.importorskip("mcp", reason="pip install 'hfmem-cli[mcp]'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = tools.estimate(MODEL, ctx="4k", tp=2, runtime="vllm", gpu=["h100:2"], explain=True)
    words = "-c 4k --tp 2 -r vllm --gpu h100:2 --format jsonl"
    assert main([MODEL, *words.split()]) == 0
    told = json.loads(capsys.readouterr().out)
    told["download"] = found["download"]
    assert found == told


def test_without_the_extra_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    with pytest.raises(UsageError) as caught:
        tools.server()
    assert "pip install" in caught.value.hint
