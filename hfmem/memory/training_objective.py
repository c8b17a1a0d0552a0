"""Models that an objective holds beside the one that is trained, as TRL holds them.

DPO and GRPO: trl 1.16 trainer/dpo_trainer.py and grpo_trainer.py. PPO: trl 1.12 experimental/ppo/
ppo_trainer.py, the last minor version that has it.
"""

from __future__ import annotations

from msgspec.structs import replace

from hfmem.memory.term import Term
from hfmem.memory.training_parameters import Parameter, parameters
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_sharding import Rank, shards_weights
from hfmem.model.model import Model

_WHY_NONE = {
    "full": "beta is 0 by default, and then no reference model is loaded",
    "adapted": "the same model with its adapters off",
}


def holds_reference(run: TrainingRun) -> bool:
    """Whether a frozen copy of the model is loaded.

    With adapters the reference is the model with its adapters off. GRPO loads one only where its KL
    term has a weight, which is 0 by default; DPO loads none where its log-probabilities are
    computed before (precompute_ref_log_probs).
    """
    if run.objective == "sft" or run.adapted:
        return False
    return run.objective != "grpo" if run.reference is None else run.reference


def runs_reference(run: TrainingRun) -> bool:
    """Whether a pass without gradients runs while the policy's own is kept: DPO's.

    GRPO and PPO score the reference before the step begins.
    """
    return run.objective == "dpo" and run.reference is not False


def beside_training(run: TrainingRun, rank: Rank, held: tuple[Parameter, ...]) -> tuple[Term, ...]:
    """The frozen models: a reference in the policy's own type, PPO's reward model."""
    if run.objective == "sft":
        return ()
    frozen = rank.total(
        (p for p in held if not p.adapter and not is_value(p)),
        lambda p: p.bytes,
        sharded=shards_weights(run.parallel),
    )
    has = holds_reference(run)
    why = "a frozen copy in the type of the trained model"
    if not has:
        why = _WHY_NONE["adapted" if run.adapted else "full"]
        if run.reference is False:
            why = "asked for: its log-probabilities are computed before"
    version = (
        "1.12 experimental/ppo/ppo" if run.objective == "ppo" else f"1.16 trainer/{run.objective}"
    )
    reference = Term(
        name="reference model",
        bytes=frozen if has else 0,
        basis="derived",
        because=f"{why} (trl {version}_trainer.py)",
    )
    if run.objective != "ppo":
        return (reference,)
    reward = Term(
        name="reward model",
        bytes=frozen,
        basis="assumed",
        because="a frozen model of the same size; yours may be smaller",
        low=0,
    )
    return (reference, reward)


_VALUE = "value_model."


def is_value(parameter: Parameter) -> bool:
    """Whether it is the value model's."""
    return parameter.name.startswith(_VALUE)


def value_parameters(model: Model, run: TrainingRun) -> tuple[Parameter, ...]:
    """PPO's value model: trained in full beside a policy that may be adapted, without a head.

    Llama-3.1-8B: 7,504,924,672 parameters and a score of 4,096.
    """
    if run.objective != "ppo":
        return ()
    whole = parameters(model, value_run(run), None) or ()
    kept = [p for p in whole if p.component not in ("head", "draft") and not p.packed]
    hidden = model.decoder.hidden_size or 0
    found = [replace(p, name=f"{_VALUE}{p.name}", trained=True) for p in kept]
    if found and hidden:
        width = found[0].width
        found.append(
            replace(
                found[0],
                name=f"{_VALUE}score",
                component="head",
                shape=(1, hidden),
                layers=(),
                copies=1,
                bytes=hidden * width,
                linear=True,
            )
        )
    return tuple(found)


def value_run(run: TrainingRun) -> TrainingRun:
    """How the value model trains: in full, and without checkpointing, which the trainer's wrapper
    turns on for the policy alone (PolicyAndValueWrapper.gradient_checkpointing_enable)."""
    return replace(run, method="full", objective="sft", checkpointing="none")
