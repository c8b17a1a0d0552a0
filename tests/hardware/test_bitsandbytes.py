"""Kernels of bitsandbytes by card: the table of supported hardware in bitsandbytes 0.50.2."""

from __future__ import annotations

import pytest

from hfmem.hardware.bitsandbytes import needs, refusal, support
from hfmem.hardware.catalogue import find, parse_gpu
from hfmem.memory.training_run import TrainingRun

QLORA = TrainingRun(method="qlora")
EIGHT_BIT = TrainingRun(method="lora", optimizer="adamw-8bit")


@pytest.mark.parametrize(
    ("run", "gpu", "refused", "supported"),
    [
        (QLORA, "rtx-4090", "", ""),
        (QLORA, "mi300x", "", "ROCm"),
        (QLORA, "apple-m4-max-64gb", "", "Metal"),
        (EIGHT_BIT, "apple-m4-max-64gb", "no optimizers for Metal", ""),
        (EIGHT_BIT, "h100", "", ""),
        (TrainingRun(method="lora"), "apple-m4-max-64gb", "", ""),
    ],
)
def test_verdict(run: TrainingRun, gpu: str, refused: str, supported: str) -> None:
    card = find(gpu)
    assert refused in refusal(run, card)
    assert bool(refusal(run, card)) == bool(refused)
    assert supported in support(run, card)
    assert bool(support(run, card)) == bool(supported)


def test_a_bare_size_is_not_judged() -> None:
    assert refusal(QLORA, parse_gpu("24GiB").gpu) == ""


def test_what_a_run_needs() -> None:
    assert needs(TrainingRun()) == ()
    assert needs(TrainingRun(method="qlora", optimizer="lion-8bit")) == (
        "QLoRA's nf4-dq weights",
        "lion-8bit",
    )
