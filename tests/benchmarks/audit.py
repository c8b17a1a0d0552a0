"""Lists of models side by side over a stand-in for the Hub, and one very long list.

    python tests/benchmarks/audit.py FAKEHUB.PY MAKE_REPO.PY [--rival PYTHON] [--least MINFETCH.PY]
        [--models 100] [--long 10000] [--limited 3000] [--window 60] [--rounds 3]

First ``--models`` at 50 ms an answer: ``hfmem audit`` with and without a GPU named, hf-mem's Python
interface under ``asyncio.gather`` with 16 at a time, and the least possible; medians, and their
ratio to hfmem's. Then ``--long`` at 5 ms: models a second, requests a model, memory at a tenth of
the way and at the end. Then ``--limited`` of them under the quota that the Hub gives without an
account, 500 and 3,000 requests, in windows of ``--window`` seconds instead of 300: models a window,
and none may fail. PYTHON is an interpreter that has hf-mem.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# A checkout whose bytecode may not be kept would be compiled anew at every start, which no
# installed package is.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}
GATHER = """
import asyncio, sys
from hf_mem import arun
async def main():
    gate = asyncio.Semaphore(16)
    async def one(model):
        async with gate:
            return await arun(model)
    await asyncio.gather(*(one(model) for model in sys.argv[1:]))
asyncio.run(main())
"""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", type=Path)
    parser.add_argument("generator", type=Path)
    parser.add_argument("--rival", type=Path)
    parser.add_argument("--least", type=Path)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--long", type=int, default=10_000)
    parser.add_argument("--limited", type=int, default=3000)
    parser.add_argument("--window", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=18950)
    arguments = parser.parse_args()
    base = f"http://127.0.0.1:{arguments.port}"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        names = _repositories(arguments, folder)
        with _server(arguments, base, folder, quota="api=100000000,resolvers=100000000"):
            if arguments.models:
                _control(base, "/__config?latency_ms=50")
                _compare(arguments, base, folder, names[: arguments.models])
            if arguments.long:
                _control(base, "/__config?latency_ms=5")
                _long(base, folder / "long", names[: arguments.long])
        if arguments.limited:
            with _server(arguments, base, folder, quota="api=500,resolvers=3000"):
                _control(base, "/__config?latency_ms=5")
                models = names[: arguments.limited]
                waits = _long(base, folder / "limited", models)
                print(f"{waits[0] if waits else len(models):,} models in the first window")


@contextmanager
def _server(
    arguments: argparse.Namespace, base: str, folder: Path, *, quota: str
) -> Iterator[None]:
    command = [
        *(sys.executable, str(arguments.server), "--root", str(folder / "repositories")),
        *("--port", str(arguments.port), "--certs", str(folder / "certificates")),
        *("--rate-limit", quota, "--rate-window", str(arguments.window)),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _await(base)
        yield
    finally:
        server.terminate()
        server.wait()


def _repositories(arguments: argparse.Namespace, folder: Path) -> list[str]:
    root = folder / "repositories"
    root.mkdir()
    number = max(arguments.models, arguments.long, arguments.limited)
    command = [sys.executable, str(arguments.generator), "synth", "--n", str(number)]
    subprocess.run([*command, "--root", str(root)], check=True, stdout=subprocess.DEVNULL)
    owner = next(path for path in root.iterdir() if path.is_dir())
    return sorted(f"{owner.name}/{model.name}" for model in owner.iterdir())


def _compare(arguments: argparse.Namespace, base: str, folder: Path, names: Sequence[str]) -> None:
    listed = folder / "list.txt"
    listed.write_text("\n".join(names) + "\n")
    own = {"HF_ENDPOINT": base, "PYTHONPATH": str(ROOT)}
    audit = [sys.executable, "-m", "hfmem", "audit", str(listed), "--ctx", "8k"]
    audit += ["-o", str(folder / "x.jsonl")]
    tools: dict[str, tuple[list[str], dict[str, str]]] = {
        "hfmem --gpu h100": ([*audit, "--gpu", "h100"], own),
        "hfmem, 11 cards": (audit, own),
    }
    if arguments.rival:
        certificates = str(folder / "certificates" / "bundle.pem")
        proxy = {"HTTPS_PROXY": base, "SSL_CERT_FILE": certificates}
        tools["hf-mem, gathered"] = ([str(arguments.rival), "-c", GATHER, *names], proxy)
    if arguments.least:
        least = [sys.executable, "-I", str(arguments.least), "tree", "32", "100000", *names]
        tools["least"] = (least, {"BASE": base})
    seconds: dict[str, list[float]] = {name: [] for name in tools}
    requests: dict[str, int] = {}
    for _ in range(arguments.rounds):
        for name, (command, environment) in tools.items():
            _control(base, "/__reset")
            seconds[name].append(_run(command, environment))
            requests[name] = _control(base, "/__stats")["requests"]
    own_median = statistics.median(seconds["hfmem --gpu h100"])
    print(f"{len(names)} models, 50 ms an answer")
    for name, runs in seconds.items():
        median = statistics.median(runs)
        each = requests[name] / len(names)
        print(f"{name:18} {median:6.2f} s  {median / own_median:5.2f} x  {each:4.1f} requests each")


def _run(command: Sequence[str], environment: Mapping[str, str]) -> float:
    with tempfile.TemporaryDirectory() as home:
        started = time.perf_counter()
        done = subprocess.run(
            command,
            env={**ENVIRONMENT, "HF_HOME": home, "HOME": home, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        return time.perf_counter() - started


def _long(base: str, folder: Path, names: Sequence[str]) -> list[int]:
    """One audit, which is watched; the rows that it has whenever it begins to wait for a quota."""
    folder.mkdir()
    listed, output = folder / "long.txt", folder / "long.jsonl"
    listed.write_text("\n".join(names) + "\n")
    command = [sys.executable, "-m", "hfmem", "audit", str(listed), "-o", str(output)]
    _control(base, "/__reset")
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--ctx", "8k", "--gpu", "h100"],
        env={**os.environ, "HF_ENDPOINT": base, "HF_HOME": str(folder), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    sizes: list[float] = []
    watch = threading.Thread(target=_watch, args=(process, sizes), daemon=True)
    watch.start()
    waits: list[int] = []
    assert process.stderr is not None
    for line in process.stderr:
        sys.stderr.write(line)
        if "is used up" in line:
            # The journal's first line is no row.
            waits.append(output.with_name("long.jsonl.partial").read_bytes().count(b"\n") - 1)
    process.wait()
    seconds = time.perf_counter() - started
    watch.join()
    rows = [json.loads(line)["type"] for line in output.read_text().splitlines()]
    requests = _control(base, "/__stats")["requests"]
    print(f"\n{len(names):,} models, 5 ms an answer: {len(names) / seconds:.1f} a second")
    print(f"{rows.count('failure')} failed, {requests / len(names):.1f} requests a model")
    print(f"{sizes[len(sizes) // 10]:.0f} MiB at a tenth of the way, {max(sizes):.0f} MiB at most")
    return waits


def _watch(process: subprocess.Popen[str], sizes: list[float]) -> None:
    """Resident MiB of a process, every half second."""
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            return
        sizes += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")]
        time.sleep(0.5)


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
