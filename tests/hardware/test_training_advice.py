"""The nearest change: what is advised fits, and nothing in it is superfluous."""

from __future__ import annotations

import pytest

from hfmem.hardware.training_advice import advice
from hfmem.memory.training_run import Parallel, TrainingRun, checked


@pytest.mark.parametrize(
    ("run", "holds", "says"),
    [
        (TrainingRun(), lambda r: r.loss == "fused", "--loss fused"),
        (TrainingRun(), lambda r: r.checkpointing == "full", "--gradient-checkpointing"),
        (
            TrainingRun(checkpointing="selective"),
            lambda r: r.checkpointing == "full",
            "--checkpointing full",
        ),
        (
            TrainingRun(micro_batch=4, grad_accum=2),
            lambda r: r.micro_batch == 1 and r.grad_accum == 8,
            "--micro-batch 1 --grad-accum 8",
        ),
        (
            TrainingRun(parallel=Parallel(dp=4)),
            lambda r: r.parallel.zero == 3,
            "--zero 3",
        ),
        (
            TrainingRun(),
            lambda r: r.checkpointing == "full" and r.optimizer == "adamw-8bit",
            "--gradient-checkpointing --optimizer adamw-8bit",
        ),
        (
            TrainingRun(),
            lambda r: r.method == "lora" and r.loss == "fused",
            "--method lora --loss fused",
        ),
        (TrainingRun(), lambda r: r.method == "qlora", "--method qlora"),
        (
            TrainingRun(method="lora", optimizer="adamw-8bit"),
            lambda r: r.optimizer == "adamw",
            "--optimizer adamw",
        ),
        (TrainingRun(), lambda _: False, ""),
        # Neither accumulation nor sharding beside an optimizer that steps in the backward pass.
        (
            TrainingRun(optimizer_in_backward=True, micro_batch=2, parallel=Parallel(dp=8)),
            lambda r: bool(checked(r)) and r.micro_batch == 1,
            "--micro-batch 1",
        ),
        (
            TrainingRun(optimizer_in_backward=True, parallel=Parallel(dp=8)),
            lambda r: bool(checked(r)) and r.method == "lora" and r.parallel.zero == 3,
            "--method lora --zero 3",
        ),
    ],
)
def test_advice(run: TrainingRun, holds: object, says: str) -> None:
    assert callable(holds)
    assert advice(run, holds) == says


def test_another_method_is_what_the_command_answers() -> None:
    """TRL loads in fp32 for adapters: what holds over 16-bit weights need not hold over these."""
    wide = TrainingRun(method="lora", frozen_fp32=True)
    packed = TrainingRun(method="qlora", frozen_fp32=True)
    said = advice(
        TrainingRun(),
        lambda r: r == packed or (r.method == "lora" and not r.frozen_fp32),
        others={"lora": wide, "qlora": packed},
    )
    assert said == "--method qlora"
