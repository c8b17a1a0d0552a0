"""Every fault of a stand-in for the Hub, once and for ever: what a whole process makes of it.

    python tests/scripts/faults.py FAKEHUB.PY REPOSITORIES [--lanes 6] [--only weights:stall]

Prints a line a case, and exits 1 when one ends in a traceback, a wrong number or a hang, reads more
than 5 MB, or gives up although the fault came once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from itertools import product
from pathlib import Path
from queue import Empty, SimpleQueue

from msgspec import Struct

MODES = (
    "429:2",
    "429-date",
    "400",
    "401",
    "403",
    "404",
    "500",
    "502",
    "503",
    "504",
    "reset",
    "close",
    "hang",
    "stall",
    "slow-loris:1",
    "wrong-cl-long",
    "wrong-cl-short",
    "no-cl",
    "html-200",
    "empty-200",
    "redirect-loop",
)
DATA_MODES = (
    "ignore-range",
    "truncated-file",
    "absurd-header",
    "absurd-header:500000000",
    "garbage-header",
    "wrong-range",
)
TARGETS = ("weights", "weights-hub", "config", "info", "tree", "api .*safetensors-metadata")
MODELS = {
    "test/Qwen2-0.5B": (290, 988_065_536),
    "test/Mixtral-8x7B": (995, 93_405_585_408),
}
LIMIT = 30.0
BYTES = 5_000_000

DRIVER = """
import sys
from hfmem.errors import HfmemError
from hfmem.source import hub, ref
try:
    found = hub.snapshot(ref.parse(sys.argv[1]))
except HfmemError as error:
    print("error", error.code, error.message, "|", error.hint)
else:
    runs = found.checkpoint.tensors if found.checkpoint else ()
    print("found", sum(run.count for run in runs), sum(run.total_bytes for run in runs),
          found.config and found.config.get("model_type"))
"""


class Case(Struct, frozen=True, kw_only=True):
    model: str
    target: str
    mode: str
    times: int


def main() -> int:
    """Run all cases; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", type=Path)
    parser.add_argument("repositories", type=Path)
    parser.add_argument("--lanes", type=int, default=6)
    parser.add_argument("--port", type=int, default=18700)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    cases: SimpleQueue[Case] = SimpleQueue()
    for case in _cases():
        if arguments.only in f"{case.model}:{case.target}:{case.mode}:{case.times}":
            cases.put(case)
    bad: list[str] = []
    lanes = [
        threading.Thread(target=_lane, args=(arguments, arguments.port + 10 * lane, cases, bad))
        for lane in range(arguments.lanes)
    ]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    print(f"{len(bad)} bad")
    return 1 if bad else 0


def _cases() -> list[Case]:
    return [
        Case(model=model, target=target, mode=mode, times=times)
        for model, target, times in product(MODELS, TARGETS, (1, 0))
        for mode in (*MODES, *(DATA_MODES if target == "weights" else ()))
    ]


def _lane(
    arguments: argparse.Namespace, port: int, cases: SimpleQueue[Case], bad: list[str]
) -> None:
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as certificates:
        command = [
            sys.executable,
            str(arguments.server),
            "--root",
            str(arguments.repositories),
            "--port",
            str(port),
            "--certs",
            certificates,
            "--sndbuf",
            "65536",
        ]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await(base)
            while True:
                case = cases.get_nowait()
                line, fine = _run(base, case)
                print(line, flush=True)
                if not fine:
                    bad.append(line)
        except Empty:
            pass
        finally:
            server.terminate()
            server.wait()


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


def _run(base: str, case: Case) -> tuple[str, bool]:
    mode, _, argument = case.mode.partition(":")
    fault = {"mode": mode, "on": case.target, "times": str(case.times)}
    if argument:
        fault["arg"] = argument
    _control(base, "/__fault?mode=none")
    _control(base, "/__reset")
    _control(base, f"/__fault?{urllib.parse.urlencode(fault)}")
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "HF_ENDPOINT": base,
            "HF_HOME": home,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        started = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-c", DRIVER, case.model],
                env=environment,
                capture_output=True,
                text=True,
                timeout=LIMIT + 15,
                check=False,
            )
            out, err = done.stdout.strip(), done.stderr.strip()
        except subprocess.TimeoutExpired:
            out, err = "hang", ""
        seconds = time.monotonic() - started
    stats = _control(base, "/__stats")
    tensors, size = MODELS[case.model]
    right = out.split()[:3] == ["found", str(tensors), str(size)] and not out.endswith("None")
    failed = out.startswith("error") and "\n" not in out
    fine = (
        (right or (failed and case.times == 0))
        and not err
        and seconds < LIMIT
        and stats["bytes"] <= BYTES
    )
    line = (
        f"{'ok ' if fine else 'BAD'} {case.model} {case.target} {case.mode} "
        f"{'once' if case.times else 'ever'}: {seconds:.1f} s, {stats['requests']} questions, "
        f"{stats['bytes'] / 1e6:.2f} MB: {out or err[-300:]}"
    )
    return line, fine


if __name__ == "__main__":
    sys.exit(main())
