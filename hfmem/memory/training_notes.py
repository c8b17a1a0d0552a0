"""What the reader of a training estimate must know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from hfmem.checkpoint.snapshot import Note
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_towers import unsaved
from hfmem.memory.workload import Attention
from hfmem.model.forward_shapes import ForwardPass, GatedDelta, Mamba2
from hfmem.model.lora import Adapters

_TOWERS = frozenset({"vision", "audio"})


def run_notes(
    forward: ForwardPass | None,
    missing: str,
    run: TrainingRun,
    lora: Adapters | None,
    parameters: tuple[Parameter, ...],
    *,
    masked: bool,
) -> Iterator[Note]:
    """Notes of a run on a model; ``missing`` is what is not known where ``forward`` is None.

    ``masked`` is where pictures are given a mask of their own.
    """
    if forward is None:
        yield Note(
            code="activations_unknown",
            message=f"What {missing} save for the backward pass is not described: the states "
            "alone are told.",
        )
    if lora is not None and lora.skipped_experts:
        yield Note(
            code="experts_not_adapted",
            message="all-linear does not reach the routed experts: transformers 5 holds them as "
            "fused parameters, which peft adapts only when they are named.",
        )
    if forward is not None:
        yield from _encoder_notes(forward, run, parameters, masked=masked)
    kinds = forward.kinds if forward else ()
    if any(isinstance(kind.shape.mixer, (GatedDelta, Mamba2)) for kind in kinds):
        yield Note(
            code="recurrent_kernels",
            message="Recurrent layers are taken to run the kernels of flash-linear-attention or "
            "mamba-ssm; what these keep is derived from their arguments, and was not measured."
            if run.fused_recurrence
            else "Recurrent layers are taken to run in PyTorch, as they do where "
            "flash-linear-attention and mamba-ssm are not installed; with their kernels they keep "
            "several times less: --fused-recurrence.",
        )
    yield from _run_notes(run, parameters, attention=forward.default_attention if forward else None)
    yield from _objective_notes(run)


def _encoder_notes(
    forward: ForwardPass, run: TrainingRun, parameters: tuple[Parameter, ...], *, masked: bool
) -> Iterator[Note]:
    """Of encoders of pictures and sound: that nothing was brought, or what is not described."""
    towers = sorted({p.component for p in parameters if p.component in _TOWERS})
    if towers and not run.brings:
        named = " and ".join(towers)
        yield Note(
            code="text_only_activations",
            message="The activations are those of text; what the "
            f"{named} encoder keeps comes with --images, --frames or --audio-seconds.",
        )
    if masked and (run.attention or forward.default_attention) == "sdpa":
        yield Note(
            code="picture_mask",
            message="Pictures attend to themselves both ways: under sdpa every layer keeps a mask "
            "as a bias, and keys and values repeated to all heads.",
        )
    missed = unsaved(run, parameters)
    if missed:
        yield Note(
            code="encoder_unsaved",
            message=f"What {' and '.join(missed)} keeps for the backward pass is not described: "
            "the total is a lower bound without it.",
        )


def _run_notes(
    run: TrainingRun, parameters: tuple[Parameter, ...], *, attention: Attention | None
) -> Iterator[Note]:
    """Of the run itself; ``attention`` is the model's own."""
    if run.activation_offload and run.checkpointing == "none":
        yield Note(
            code="activation_offload",
            message="Everything that the layers save goes to the host's memory and comes back.",
        )
    fp32_experts = [p for p in parameters if p.component == "experts" and p.width == 4]
    if run.method == "qlora" and fp32_experts and run.kbit_fp32:
        yield Note(
            code="experts_not_quantized",
            message="bitsandbytes does not quantize fused experts, and preparing for k-bit "
            "training casts them to fp32 (peft 0.21): this takes more than --method lora.",
        )
    if run.frozen_fp32 and run.adapted:
        yield Note(
            code="loaded_in_fp32",
            message="TRL loads a model that is given by name in fp32 where no dtype is said "
            "(trl 1.16 trainer/utils.py: create_model_from_path). With dtype='bfloat16': "
            "--precision bf16-mixed.",
        )
    if run.packed and (run.attention or attention) == "sdpa":
        yield Note(
            code="packed_mask",
            message="Packed documents are kept apart by a mask under sdpa, which every layer keeps "
            "as a bias and for which keys and values are repeated to all heads; --attention flash "
            "needs neither.",
        )


def _objective_notes(run: TrainingRun) -> Iterator[Note]:
    match run.objective:
        case "sft":
            return
        case "dpo":
            message = (
                "DPO as TRL 1.16 runs it: chosen and rejected pass through the model together, so "
                "a micro-batch of n is 2 n sequences; log-probabilities are computed in tiles."
            )
        case "grpo":
            message = (
                "GRPO as TRL 1.16 runs it: --micro-batch counts completions, all micro-batches of "
                "a step are generated at once, log-probabilities are computed in tiles. Reward "
                "models are not counted."
            )
        case "ppo":
            message = (
                "PPO as TRL 1.12 ran it, the last minor version with a PPO trainer: the value "
                "model is as large as the policy and trained in full, without checkpointing; the "
                "reward model is taken to be as large."
            )
        case _:
            assert_never(run.objective)
    yield Note(code=run.objective, message=message)
    rollout = run.rollout
    whole = run.micro_batch * run.grad_accum * run.parallel.dp
    if run.objective == "grpo" and whole % rollout.generations:
        yield Note(
            code="broken_groups",
            message=f"{whole:,} completions a step are no whole groups of {rollout.generations:,}: "
            "TRL refuses that. Change --micro-batch, --grad-accum or --generations.",
        )
