"""Whole processes side by side over a stand-in for the Hub: hfmem, hf-mem, and the least possible.

    python tests/benchmarks/wire.py FAKEHUB.PY REPOSITORIES [--rival HF-MEM] [--least MINFETCH.PY]
        [--latency 0 50] [--rounds 5] [--certificates FOLDER] [--command "hfmem {} --json"]

The tools take turns, so that a busy machine slows all of them; the median of each is printed, and
its ratio to hfmem's. hf-mem has huggingface.co written into it and goes through the stand-in as a
proxy, with its certificate.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

MODELS = ("test/Qwen2-0.5B", "lmms-lab/LLaVA-Video-72B-Qwen2", "test/DeepSeek-V3")
ROOT = Path(__file__).resolve().parents[2]
# A checkout whose bytecode may not be kept would be compiled anew at every start, which no
# installed package is.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


class Tool(Struct, frozen=True, kw_only=True):
    """A command with ``{}`` for the model."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    warm: bool = False
    """Run with the caches of a run before."""


class Timing(Struct):
    """All runs of a tool on a model."""

    seconds: list[float] = field(default_factory=list)
    requests: int = 0
    megabytes: float = 0.0
    failed: bool = False


def main() -> None:
    """Print a table a latency."""
    arguments = _arguments()
    base = f"http://127.0.0.1:{arguments.port}"
    with tempfile.TemporaryDirectory() as made:
        certificates = arguments.certificates or Path(made)
        server = subprocess.Popen(
            [
                *(sys.executable, str(arguments.server), "--root", str(arguments.repositories)),
                *("--port", str(arguments.port), "--certs", str(certificates)),
                *("--rate-limit", "api=1000000,resolvers=1000000"),
            ],
            stdout=subprocess.DEVNULL,
        )
        try:
            _await(base)
            tools = _tools(arguments, base, certificates)
            for summary in (1, 0):
                for latency in arguments.latency:
                    _control(base, f"/__config?latency_ms={latency}&metadata_endpoint={summary}")
                    print(f"\n{latency} ms an answer, summary: {'yes' if summary else 'no'}")
                    for model in MODELS:
                        _compare(tools, model, base, rounds=arguments.rounds)
        finally:
            server.terminate()
            server.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", type=Path)
    parser.add_argument("repositories", type=Path)
    parser.add_argument("--rival", type=Path)
    parser.add_argument("--least", type=Path)
    parser.add_argument("--latency", type=int, nargs="+", default=[0, 50])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, default=18600)
    parser.add_argument("--certificates", type=Path)
    parser.add_argument("--command", default=f"{sys.executable} -m hfmem {{}} --json")
    return parser.parse_args()


def _tools(arguments: argparse.Namespace, base: str, certificates: Path) -> list[Tool]:
    hub = {"HF_ENDPOINT": base, "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    command = shlex.split(arguments.command)
    tools = [
        Tool(name="hfmem", command=command, environment=hub),
        Tool(name="hfmem, kept", command=command, environment=hub, warm=True),
    ]
    if arguments.rival:
        proxy = {"HTTPS_PROXY": base, "SSL_CERT_FILE": str(certificates / "bundle.pem")}
        rival = [str(arguments.rival), "--model-id", "{}", "--json-output"]
        tools.append(Tool(name="hf-mem", command=rival, environment=proxy))
    if arguments.least:
        least = [sys.executable, "-I", str(arguments.least), "tree", "32", "100000", "{}"]
        tools.append(Tool(name="least", command=least, environment={"BASE": base}))
    return tools


def _compare(tools: Sequence[Tool], model: str, base: str, *, rounds: int) -> None:
    timings = {tool.name: Timing() for tool in tools}
    for _ in range(rounds):
        for tool in tools:
            with tempfile.TemporaryDirectory() as home:
                if tool.warm:
                    _run(tool, model, base, home, Timing())
                _run(tool, model, base, home, timings[tool.name])
    own = statistics.median(timings["hfmem"].seconds)
    for name, timing in timings.items():
        median = statistics.median(timing.seconds)
        print(
            f"{model:34} {name:12} {median:6.2f} s  {median / own:5.2f} x  "
            f"{timing.requests:4} requests  {timing.megabytes:6.2f} MB"
            f"{'  FAILED' if timing.failed else ''}"
        )


def _run(tool: Tool, model: str, base: str, home: str, timing: Timing) -> None:
    _control(base, "/__reset")
    environment = {**ENVIRONMENT, "HF_HOME": home, "HOME": home, **tool.environment}
    started = time.perf_counter()
    done = subprocess.run(
        [part.replace("{}", model) for part in tool.command],
        env=environment,
        capture_output=True,
        check=False,
    )
    timing.seconds.append(time.perf_counter() - started)
    stats = _control(base, "/__stats")
    timing.requests, timing.megabytes = stats["requests"], stats["bytes"] / 1e6
    timing.failed |= done.returncode not in (0, 1)


def _await(base: str) -> None:
    for _ in range(100):
        try:
            _control(base, "/__stats")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{base} does not answer")


def _control(base: str, path: str) -> dict[str, int]:
    with urllib.request.urlopen(base + path, timeout=20) as answer:
        result: dict[str, int] = json.load(answer)
    return result


if __name__ == "__main__":
    main()
