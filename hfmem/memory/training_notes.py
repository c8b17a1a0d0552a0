"""What the reader of a training estimate must know."""

from __future__ import annotations

from collections.abc import Iterator

from hfmem.checkpoint.snapshot import Note
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_run import TrainingRun
from hfmem.model.forward_shapes import ForwardPass, GatedDelta, Mamba2
from hfmem.model.lora import Adapters

_TOWERS = frozenset({"vision", "audio", "encoder"})


def run_notes(
    forward: ForwardPass | None,
    run: TrainingRun,
    lora: Adapters | None,
    parameters: tuple[Parameter, ...],
) -> Iterator[Note]:
    """Notes of a run on a model."""
    if forward is None:
        yield Note(
            code="activations_unknown",
            message="How this family's layers save for the backward pass is not described: the "
            "states alone are told.",
        )
    if lora is not None and lora.skipped_experts:
        yield Note(
            code="experts_not_adapted",
            message="all-linear does not reach the routed experts: transformers 5 holds them as "
            "fused parameters, which peft adapts only when they are named.",
        )
    if any(p.component in _TOWERS and p.trained for p in parameters) and forward is not None:
        yield Note(
            code="text_only_activations",
            message="The activations are those of text: pictures and sound through the model's "
            "encoders are not counted.",
        )
    kinds = forward.kinds if forward else ()
    if any(isinstance(kind.shape.mixer, (GatedDelta, Mamba2)) for kind in kinds):
        yield Note(
            code="recurrent_kernels",
            message="Recurrent layers are taken to run flash-linear-attention's or mamba-ssm's "
            "kernels; PyTorch's own path keeps several times as much.",
        )
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
    if run.objective == "ppo":
        yield Note(
            code="ppo_models",
            message="PPO is estimated with a reward model of the same size; its value head is "
            "taken to share the policy's layers.",
        )
