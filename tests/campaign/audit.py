"""An audit of a thousand models while everything goes wrong, and again while it is killed.

    python tests/campaign/audit.py FAKEHUB.PY MAKE_REPO.PY [--models 1000] [--faults 200]
        [--kills 20] [--seed N]

Three audits of one list: undisturbed; with a fault of the stand-in for the Hub switched on and off
at random all the time; killed with SIGKILL at random moments and resumed each time. The disturbed
ones must end, without a traceback, with a row for every model; every number must be that of the
undisturbed audit, and a row that is a failure must say so in words. Prints what was found, and
exits 1 where one of it does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODES = (
    *("429:1", "429-date", "400", "401", "403", "404", "500", "502", "503", "504", "reset"),
    *("close", "hang", "stall", "slow-loris:1", "wrong-cl-long", "wrong-cl-short", "no-cl"),
    *("html-200", "empty-200", "redirect-loop"),
)
DATA_MODES = (
    *("ignore-range", "truncated-file", "absurd-header", "garbage-header", "wrong-range"),
)
TARGETS = ("weights", "weights-hub", "config", "index", "tree", "info", "api", "any")


def main() -> int:
    """Run all three; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", type=Path)
    parser.add_argument("generator", type=Path)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--port", type=int, default=18900)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        listed = _repositories(arguments, folder)
        with _server(arguments, folder) as base:
            whole = _audit(base, folder, listed, "whole")
            print(f"undisturbed: {_summary(whole)}", flush=True)
            faulty = _disturbed(base, folder, listed, chance, arguments.faults)
            killed = _killed(base, folder, listed, chance, arguments.kills)
    wrong = [*_wrong("faults", whole, faulty, failures=True)]
    wrong += _wrong("kills", whole, killed, failures=False)
    for line in wrong[:40]:
        print(line)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


def _repositories(arguments: argparse.Namespace, folder: Path) -> Path:
    """A thousand small repositories and the hostile ones, in one list."""
    root = folder / "repositories"
    root.mkdir()
    for words in (("synth", "--n", str(arguments.models)), ("hostile",)):
        command = [sys.executable, str(arguments.generator), *words, "--root", str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    names = sorted(
        f"{owner.name}/{model.name}"
        for owner in root.iterdir()
        if owner.is_dir()
        for model in owner.iterdir()
        if model.is_dir()
    )
    listed = folder / "list.txt"
    listed.write_text("\n".join(names) + "\n")
    return listed


@contextmanager
def _server(arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    base = f"http://127.0.0.1:{arguments.port}"
    command = [
        *(sys.executable, str(arguments.server), "--root", str(folder / "repositories")),
        *("--port", str(arguments.port), "--certs", str(folder / "certificates")),
        *("--rate-limit", "api=100000000,resolvers=100000000", "--sndbuf", "65536"),
        *("--latency-ms", "5"),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                _control(base, "/__stats")
            except OSError:
                time.sleep(0.1)
        yield base
    finally:
        server.terminate()
        server.wait()


def _control(base: str, path: str) -> object:
    with urllib.request.urlopen(base + path, timeout=20) as answer:
        return json.load(answer)


def _start(base: str, folder: Path, listed: Path, name: str, *more: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": base,
        "HF_HOME": str(folder / f"home {name}"),
        "PYTHONPATH": str(ROOT),
    }
    output = str(folder / f"{name}.jsonl")
    command = [sys.executable, "-m", "hfmem", "audit", str(listed), "-o", output, "--ctx", "8k"]
    return subprocess.Popen(
        [*command, "--gpu", "h100", *more],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str], *, seconds: float = 1800) -> None:
    _, errors = process.communicate(timeout=seconds)
    if "Traceback" in errors or process.returncode not in (0, 1, 2):
        raise SystemExit(f"ended with {process.returncode}:\n{errors[-3000:]}")


def _audit(base: str, folder: Path, listed: Path, name: str) -> list[dict[str, object]]:
    _finish(_start(base, folder, listed, name))
    return _rows(folder / f"{name}.jsonl")


def _rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _disturbed(
    base: str, folder: Path, listed: Path, chance: random.Random, faults: int
) -> list[dict[str, object]]:
    """One audit under one fault after the other."""
    process = _start(base, folder, listed, "faulty")
    stop = threading.Event()
    tried = [0]

    def disturb() -> None:
        while not stop.is_set() and tried[0] < faults:
            target = chance.choice(TARGETS)
            mode = chance.choice((*MODES, *(DATA_MODES if target == "weights" else ())))
            name, _, argument = mode.partition(":")
            fault = {"mode": name, "on": target, "times": str(chance.choice((1, 3, 10)))}
            if argument:
                fault["arg"] = argument
            _control(base, f"/__fault?{urllib.parse.urlencode(fault)}")
            tried[0] += 1
            stop.wait(chance.uniform(0.02, 0.25))
        _control(base, "/__fault?mode=none")

    thread = threading.Thread(target=disturb, daemon=True)
    thread.start()
    began = time.monotonic()
    _finish(process)
    stop.set()
    thread.join()
    found = _rows(folder / "faulty.jsonl")
    seconds = time.monotonic() - began
    print(f"{tried[0]} faults in {seconds:.0f} s: {_summary(found)}", flush=True)
    return found


def _killed(
    base: str, folder: Path, listed: Path, chance: random.Random, kills: int
) -> list[dict[str, object]]:
    """One audit that is killed and resumed until it ends."""
    partial = folder / "killed.jsonl.partial"
    done = 0
    while True:
        process = _start(base, folder, listed, "killed", "--resume")
        if done < kills:
            try:
                process.wait(chance.uniform(0.5, 2.0))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
                if partial.exists():
                    _readable(partial)
                continue
        _finish(process)
        break
    found = _rows(folder / "killed.jsonl")
    print(f"{done} kills: {_summary(found)}", flush=True)
    return found


def _readable(partial: Path) -> None:
    """Every line but the last is JSON."""
    for line in partial.read_bytes().split(b"\n")[:-1]:
        json.loads(line)


def _summary(rows: list[dict[str, object]]) -> str:
    codes = Counter(str(row.get("code", "estimated")) for row in rows)
    return ", ".join(f"{number} {code}" for code, number in codes.most_common())


def _wrong(
    what: str,
    whole: list[dict[str, object]],
    found: list[dict[str, object]],
    *,
    failures: bool,
) -> Iterator[str]:
    """What a disturbed audit has otherwise than it may."""
    if [row["model"] for row in found] != [row["model"] for row in whole]:
        yield f"{what}: the models are not those of the list"
    for right, row in zip(whole, found, strict=False):
        if _facts(row) == _facts(right):
            continue
        if not failures or row["type"] != "failure" or not (row["message"] and row["hint"]):
            other = [key for key in right.keys() | row.keys() if right.get(key) != row.get(key)]
            yield f"{what}: {right['model']}: other {', '.join(sorted(other))}"
        elif row["code"] == "internal_error":
            yield f"{what}: {right['model']}: {row['message']}"


def _facts(row: dict[str, object]) -> dict[str, object]:
    """A row without where its facts came from, and the disk, which changes under it."""
    return {key: value for key, value in row.items() if key not in ("source", "download", "hint")}


if __name__ == "__main__":
    sys.exit(main())
