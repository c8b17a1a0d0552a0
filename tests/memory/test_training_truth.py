"""Training steps against the peaks of the reference implementation's allocator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfmem.memory.training import training_estimate
from hfmem.memory.training_estimate import TrainingEstimate
from hfmem.memory.training_run import TrainingRun
from tests.memory.training_models import LLAMA_8B, QWEN2_7B, model_of

pytestmark = pytest.mark.shared

_OPTIMIZERS = {"foreach": "adamw-foreach", "fused": "adamw", "single": "adamw-single"}
_MODELS = {"llama31_8b": model_of(LLAMA_8B), "qwen25_7b": model_of(QWEN2_7B)}


def training_rows(shared: Path) -> list[dict[str, object]]:
    """The training rows that hold a result."""
    lines = (shared / "oracle" / "peak_truth.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["kind"] == "train" and "error" not in row]


def estimated(row: dict[str, object]) -> TrainingEstimate:
    """The same step as a row's."""
    return training_estimate(
        _MODELS[str(row["shape"])],
        TrainingRun(
            method="lora" if row["lora"] else "full",
            seq_len=int(str(row["seq"])),
            micro_batch=int(str(row["batch"])),
            optimizer=_OPTIMIZERS[str(row["opt"])],
            precision="bf16-mixed" if row["autocast"] else "bf16",
            checkpointing="full" if row["gc"] else "none",
            attention="eager" if row["attn"] == "eager" else "sdpa",
            device="cpu",
        ),
    )


def label(row: dict[str, object]) -> str:
    """What a row is of."""
    keys = ("shape", "attn", "batch", "seq", "gc", "opt", "lora", "autocast")
    return " ".join(f"{key}={row[key]}" for key in keys)


def test_every_training_row(shared: Path) -> None:
    rows = training_rows(shared)
    assert len(rows) == 24
    for row in rows:
        found = estimated(row)
        tensors = max(phase.tensor_bytes for phase in found.phases)
        print(f"{label(row)}: {tensors / row['peak'] - 1:+.4%}")
        assert found.trainable == row["trainable"], label(row)
        assert tensors == pytest.approx(row["peak"], rel=0.005), label(row)


def test_every_phase_of_every_training_row(shared: Path) -> None:
    for row in training_rows(shared):
        for phase in estimated(row).phases:
            truth = row["iter1"][phase.name]["peak"]
            print(f"{label(row)} {phase.name}: {phase.tensor_bytes / truth - 1:+.3%}")
            assert phase.tensor_bytes == pytest.approx(truth, rel=0.01), (label(row), phase.name)
