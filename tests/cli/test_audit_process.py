"""Audits as processes of their own: killed, interrupted, resumed, gated by a baseline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopback import LoopbackHub, Reply, Repository, Running, safetensors

pytestmark = pytest.mark.enable_socket
ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}
MODELS = 24


def repository(*, commit: str = "a" * 40, dtype: str = "BF16") -> Repository:
    size = 2 if dtype == "BF16" else 4
    tensors = {"model.embed_tokens.weight": (dtype, [100, 64], 6400 * size)}
    return Repository(
        files={
            "config.json": json.dumps(CONFIG).encode(),
            "model.safetensors": safetensors(tensors),
        },
        commit=commit,
    )


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with Running() as hub:
        hub.repositories = {f"org/m{number}": repository() for number in range(MODELS)}
        yield hub


@pytest.fixture
def audit(hub: LoopbackHub, tmp_path: Path) -> Audit:
    path = tmp_path / "list.txt"
    path.write_text("".join(f"org/m{number}\n" for number in range(MODELS)) + "org/none\n")
    return Audit(hub, tmp_path)


class Audit:
    """The command line in a process of its own."""

    def __init__(self, hub: LoopbackHub, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "0",
            "PYTHONPATH": str(ROOT),
            "NO_PROXY": "*",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "hfmem", "audit", *words, "--ctx", "1k"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def rows(self, name: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


def slow(hub: LoopbackHub, seconds: float) -> None:
    def late(request: object, honest: object) -> object:
        time.sleep(seconds)
        return honest

    hub.fault(r"/api/models/", late)


def wait_for_rows(path: Path, count: int) -> None:
    for _ in range(600):
        if path.exists() and path.read_bytes().count(b"\n") > count:
            return
        time.sleep(0.05)
    raise AssertionError("no rows came")


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_what_is_interrupted_goes_on(audit: Audit, hub: LoopbackHub, kill: signal.Signals) -> None:
    code, _, _ = audit.run("list.txt", "-o", "whole.jsonl")
    assert code == 2
    (audit.folder / "home").rename(audit.folder / "first home")
    hub.requests.clear()
    slow(hub, 0.15)
    process = audit.start("list.txt", "-o", "x.jsonl")
    partial = audit.folder / "x.jsonl.partial"
    wait_for_rows(partial, 8)
    process.send_signal(kill)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    if kill is signal.SIGINT:
        assert process.returncode == 130
        assert "--resume goes on" in err
    assert not (audit.folder / "x.jsonl").exists()
    lines = partial.read_text().splitlines()
    kept = [json.loads(line)["model"] for line in lines[1:] if line.endswith("}")]
    assert len(kept) >= 8
    hub.faults.clear()
    hub.requests.clear()
    code, _, err = audit.run("list.txt", "-o", "x.jsonl", "--resume")
    assert code == 2
    assert f"{len(kept)} of {MODELS + 1} models are in" in err
    assert not partial.exists()
    assert facts(audit.rows("x.jsonl")) == facts(audit.rows("whole.jsonl"))
    asked = " ".join(hub.paths())
    assert [model for model in kept if f"/{model}/" in asked] == []


def facts(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Rows without where the facts came from, and the disk, which changes under them."""
    return [
        {key: value for key, value in row.items() if key not in ("source", "download")}
        for row in rows
    ]


def test_what_the_network_broke_is_asked_for_again(audit: Audit, hub: LoopbackHub) -> None:
    # Every try of the first pass meets it, and none of the second.
    hub.fault(r"/api/models/org/m3/", Reply(status=503), times=4)
    code, _, err = audit.run("list.txt", "-o", "x.jsonl")
    assert code == 2
    rows = audit.rows("x.jsonl")
    assert [row["model"] for row in rows if row["type"] == "failure"] == ["org/none"]
    assert "m3" not in err
    asked = [path for path in hub.paths() if "/api/models/org/m3/" in path]
    assert len(asked) == 5


def test_a_hub_that_is_down_is_not_asked_twice(audit: Audit, hub: LoopbackHub) -> None:
    hub.fault(r"/api/models/org/m", Reply(status=503))
    code, _, err = audit.run("list.txt", "-o", "x.jsonl")
    assert code == 2
    rows = audit.rows("x.jsonl")
    assert [row["code"] for row in rows] == ["hub_unavailable"] * MODELS + ["model_not_found"]
    assert err.count("error: ") > 10
    assert len([path for path in hub.paths() if "/api/models/org/m3/" in path]) == 4


def test_a_used_up_quota_is_waited_out(audit: Audit, hub: LoopbackHub) -> None:
    spent = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    hub.fault(r"/api/models/org/m7/", Reply(status=429, headers=spent), times=5)
    began = time.monotonic()
    code, out, err = audit.run("list.txt", "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["type"] for row in rows] == ["result"] * MODELS + ["failure"]
    assert code == 2
    assert time.monotonic() - began < 60
    assert "quota is used up: waiting" in err


def test_a_wait_for_the_quota_can_be_interrupted(audit: Audit, hub: LoopbackHub) -> None:
    hub.headers = {
        "RateLimit": '"resolvers";r=0;t=250',
        "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300',
    }
    process = audit.start("list.txt", "-o", "x.jsonl")
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "quota is used up: waiting 4 min" in line
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "--resume goes on" in err
    assert "Traceback" not in err


def test_a_baseline_tells_what_changed(audit: Audit, hub: LoopbackHub) -> None:
    assert audit.run("list.txt", "-o", "then.jsonl")[0] == 2
    hub.repositories["org/m1"] = repository(commit="b" * 40)
    hub.repositories["org/m2"] = repository(commit="c" * 40, dtype="F32")
    del hub.repositories["org/m3"]
    (audit.folder / "list.txt").write_text(
        "".join(f"org/m{number}\n" for number in range(MODELS - 1))
    )
    _, out, _ = audit.run("list.txt", "--json", "--baseline", "then.jsonl")
    told = json.loads(out)["changes"]
    found = [(one["model"], one["what"], one["then"], one["now"]) for one in told]
    assert ("org/m1", "commit", "aaaaaaaa", "bbbbbbbb") in found
    assert ("org/m2", "dtype", "BF16", "F32") in found
    assert ("org/m2", "size", "12,800 bytes", "25,600 bytes") in found
    assert ("org/m3", "answer", "estimated", "model_not_found") in found
    assert (f"org/m{MODELS - 1}", "list", "in it", "not in it") in found
    assert ("org/none", "list", "in it", "not in it") in found
    assert len({one["model"] for one in told}) == 5


def test_a_partial_in_the_way_is_kept(audit: Audit) -> None:
    (audit.folder / "x.json.partial").write_text('{"type": "audit"}\n{"row": 0}\n')
    code, _, err = audit.run("list.txt", "-o", "x.json")
    assert code == 2
    assert err.startswith("error: ")
    assert "--resume" in err
