"""An audit of a thousand models while everything goes wrong, and again while it is killed.

    python tests/campaign/audit.py FAKEHUB.PY MAKE_REPO.PY [--models 1000] [--rounds 8]
        [--kills 20] [--seed N]

The list is a thousand small models, the named repositories of the stand-in for the Hub (GGUF,
PyTorch, 163 shards, gated, renamed …) and its hostile ones. It is audited
undisturbed; then with every fault on every kind of answer switched on and off in random order
(``faults.py``), again and again until each has been met; then killed with SIGKILL at random moments
and resumed each time. In every second of the disturbed audits the quota of lists is short, so that
models are had without. All must end, without a traceback, with a row for every model; every number
must be that of the undisturbed audit, and a row that is a failure must say so in words. Prints what
was found, and exits 1 where one of it does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from faults import Campaign, control, pairs  # noqa: E402

AMPLE = "api=100000000,resolvers=100000000"
SHORT = "api=300,resolvers=100000000"
OF_THE_MOMENT = ("unlisted", "repository_unknown", "disk_too_small")
"""Notes of a model that was had without the list of its files, and of the disk."""
Row = dict[str, object]


def main() -> int:
    """Run all three; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", type=Path)
    parser.add_argument("generator", type=Path)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--port", type=int, default=18900)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    chance = random.Random(arguments.seed)
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        listed = _repositories(arguments, folder)
        with _server(arguments, folder) as base:
            _finish(_start(base, folder, listed, "whole"))
            whole = _rows(folder / "whole.jsonl")
            print(f"undisturbed: {_summary(whole)}", flush=True)
            campaign = Campaign(base, chance)
            for number in range(arguments.rounds):
                found = _disturbed(campaign, folder, listed, number)
                wrong += _wrong(f"round {number + 1}", whole, found, failures=True)
                if not campaign.missing():
                    break
            _tell(campaign)
            for killed in _killed(base, folder, listed, chance, arguments.kills):
                wrong += _wrong("kills", whole, killed, failures=False)
    wrong += [f"no request met {mode} on {kind}" for mode, kind in campaign.missing()]
    for line in wrong[:40]:
        print(line)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


def _repositories(arguments: argparse.Namespace, folder: Path) -> Path:
    """A thousand small repositories, the named and the hostile ones, in one list."""
    root = folder / "repositories"
    root.mkdir()
    for words in (("synth", "--n", str(arguments.models)), ("std",), ("hostile",)):
        command = [sys.executable, str(arguments.generator), *words, "--root", str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    _more(root, copies=max(4, arguments.models // 20))
    names = sorted(
        f"{owner.name}/{model.name}"
        for owner in root.iterdir()
        if owner.is_dir()
        for model in owner.iterdir()
        if model.is_dir()
    )
    random.Random(0).shuffle(names)
    listed = folder / "list.txt"
    listed.write_text("\n".join(names) + "\n")
    return listed


def _more(root: Path, *, copies: int) -> None:
    """Repositories with what few have, often enough to meet every fault: an index that must be
    read, a document beside the configuration, GGUF, PyTorch.
    """
    source = root / "test" / "Qwen2-0.5B"
    weights = (source / "model.safetensors.hdr").read_bytes()
    config = json.loads((source / "config.json").read_bytes())
    indexed = root / "more" / "indexed"
    indexed.mkdir(parents=True)
    names = ("first.safetensors", "second.safetensors")
    for name in names:
        (indexed / f"{name}.hdr").write_bytes(weights)
    tensors = json.loads(weights.partition(b"\n")[2])
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, names[0])}
    (indexed / "model.safetensors.index.json").write_text(json.dumps(index))
    (indexed / "config.json").write_text(json.dumps(config))
    packed = root / "more" / "packed"
    packed.mkdir()
    (packed / "model.safetensors.hdr").write_bytes(weights)
    declared = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (packed / "config.json").write_text(json.dumps({**config, "quantization_config": declared}))
    (packed / "quantize_config.json").write_text(json.dumps({"bits": 4, "group_size": 128}))
    several = (indexed, packed, root / "test" / "gguf-repo", root / "test" / "bin-only")
    for number in range(copies):
        for folder in several:
            shutil.copytree(folder, root / "more" / f"{folder.name}-{number}")


@contextmanager
def _server(arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    base = f"http://127.0.0.1:{arguments.port}"
    command = [
        *(sys.executable, str(arguments.server), "--root", str(folder / "repositories")),
        *("--port", str(arguments.port), "--certs", str(folder / "certificates")),
        *("--rate-limit", AMPLE, "--rate-window", "20", "--sndbuf", "65536"),
        *("--latency-ms", "5"),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                control(base, "/__stats")
                break
            except OSError:
                time.sleep(0.1)
        yield base
    finally:
        server.terminate()
        server.wait()


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


def _finish(process: subprocess.Popen[str], *, seconds: float = 3600) -> None:
    _, errors = process.communicate(timeout=seconds)
    if "Traceback" in errors or process.returncode not in (0, 1, 2):
        raise SystemExit(f"ended with {process.returncode}:\n{errors[-3000:]}")


def _rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _disturbed(campaign: Campaign, folder: Path, listed: Path, number: int) -> list[Row]:
    """One audit under one fault after the other."""
    quota = SHORT if number % 2 else AMPLE
    control(campaign.base, f"/__config?rate_limit={quota}")
    process = _start(campaign.base, folder, listed, f"faulty {number}")
    stopped = threading.Event()
    thread = threading.Thread(target=campaign.disturb, args=(stopped,), daemon=True)
    thread.start()
    began = time.monotonic()
    _finish(process)
    stopped.set()
    thread.join()
    control(campaign.base, f"/__config?rate_limit={AMPLE}")
    found = _rows(folder / f"faulty {number}.jsonl")
    seconds = time.monotonic() - began
    left = len(campaign.missing())
    print(f"round {number + 1}, {seconds:.0f} s, {left} faults left: {_summary(found)}", flush=True)
    return found


def _tell(campaign: Campaign) -> None:
    met = sum(campaign.met.values())
    print(
        f"{len(campaign.met)} of {len(pairs())} pairs of fault and answer, {met} times", flush=True
    )


def _killed(
    base: str, folder: Path, listed: Path, chance: random.Random, kills: int
) -> Iterator[list[Row]]:
    """Audits that are killed and resumed until they end, as many as it takes for all the kills."""
    done = number = 0
    while done < kills:
        number += 1
        name, kept = f"killed {number}", 0
        while True:
            process = _start(base, folder, listed, name, "--resume")
            try:
                process.wait(chance.uniform(0.5, 2.5) if done < kills else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                done += 1
                kept = _still_there(folder / f"{name}.jsonl.partial", kept)
                continue
            _finish(process)
            break
        found = _rows(folder / f"{name}.jsonl")
        print(f"{done} kills in {number} audits: {_summary(found)}", flush=True)
        yield found


def _still_there(partial: Path, kept: int) -> int:
    """How many lines a journal has, which are none fewer than before."""
    if not partial.exists():
        return kept
    lines = _readable(partial)
    assert lines >= kept, f"{kept - lines} rows were lost"
    return lines


def _readable(partial: Path) -> int:
    """Every line but the last is JSON; how many there are."""
    lines = partial.read_bytes().split(b"\n")[:-1]
    for line in lines:
        json.loads(line)
    return len(lines)


def _summary(rows: list[Row]) -> str:
    codes = Counter(str(row.get("code", "estimated")) for row in rows)
    return ", ".join(f"{number} {code}" for code, number in codes.most_common())


def _wrong(what: str, whole: list[Row], found: list[Row], *, failures: bool) -> Iterator[str]:
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


def _facts(row: Row) -> Row:
    """A row without where its facts came from, and the disk, which changes under it."""
    facts = {key: value for key, value in row.items() if key not in ("source", "download", "hint")}
    notes = facts.get("notes")
    if isinstance(notes, list):
        facts["notes"] = [note for note in notes if note["code"] not in OF_THE_MOMENT]
    return facts


if __name__ == "__main__":
    sys.exit(main())
