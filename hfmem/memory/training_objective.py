"""Models that an objective holds beside the one that is trained."""

from __future__ import annotations

from hfmem.memory.term import Term
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_sharding import Rank, shards_weights


def beside_training(
    run: TrainingRun, rank: Rank, parameters: tuple[Parameter, ...]
) -> tuple[Term, ...]:
    """Frozen and extra models: DPO's and PPO's reference, PPO's reward and value model.

    With adapters the reference is the model with its adapters off, and costs nothing (trl 1.16
    trainer/dpo_trainer.py). GRPO needs a reference only where its KL term has a weight, and that is
    0 by default.
    """
    frozen = rank.total(
        (p for p in parameters if not p.adapter),
        lambda p: p.bytes if p.packed else p.elements * 2,
        sharded=shards_weights(run.parallel),
    )
    reference = Term(
        name="reference model",
        bytes=0 if run.adapted else frozen,
        basis="derived",
        because="the same model with its adapters off"
        if run.adapted
        else "a frozen 16-bit copy of the model",
    )
    match run.objective:
        case "sft" | "grpo":
            return ()
        case "dpo":
            return (reference,)
        case "ppo":
            reward = Term(
                name="reward model",
                bytes=frozen,
                basis="assumed",
                because="a frozen model of the same size",
            )
            return (reference, reward)
