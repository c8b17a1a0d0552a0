"""Weights, gradients, master weights and optimizer states of one rank."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from hfmem.memory.optimizers import Optimizer, optimizer
from hfmem.memory.quantize.schemes import scheme
from hfmem.memory.term import Term, total
from hfmem.memory.training_objective import is_value
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_sharding import (
    SUB_GROUP,
    Rank,
    largest_block,
    shards_gradients,
    shards_states,
    shards_weights,
)


class States(Struct, frozen=True, kw_only=True):
    """What a rank keeps from step to step, and what the step adds."""

    weights: Term
    gradients: Term
    """All of them, as they are after the backward pass."""
    optimizer: Term
    """Master weights included; without what lies on the host."""
    step: Term
    """Held for a moment while the optimizer runs."""
    host_bytes: int
    """What offload moves to the host, of this rank."""


def gradient_width(parameter: Parameter, run: TrainingRun) -> int:
    """Bytes of a gradient's element: the parameter's own, and fp32 in Megatron's main gradients."""
    if run.mixed and run.master == "megatron":
        return 4
    return parameter.width


def _state_width(parameter: Parameter, run: TrainingRun) -> int:
    """Bytes of an element of what the optimizer steps: the fp32 master where there is one."""
    return 4 if _has_master(parameter, run) else parameter.width


def _has_master(parameter: Parameter, run: TrainingRun) -> bool:
    return run.mixed and run.master in ("engine", "megatron") and parameter.width < 4


def states(
    rank: Rank, parameters: tuple[Parameter, ...], run: TrainingRun, *, read: bool = True
) -> States:
    """States of one rank; weights of files that were not ``read`` are derived.

    Llama-3.1-8B on one GPU: 8 bytes a parameter in bf16 with AdamW are 64,242,089,984 bytes, 16 in
    mixed precision 128,484,179,968.
    """
    chosen = optimizer(run.optimizer)
    trained = tuple(parameter for parameter in parameters if parameter.trained)
    layout = run.parallel
    weights = _weights(rank, parameters, run, read=read)
    gradients = _gradients(rank, trained, run)
    kept = _optimizer(rank, trained, run, chosen)
    step = _step(rank, trained, run, chosen)
    host = 0
    if layout.offload != "none":
        host += kept.bytes + _host_gradients(rank, trained, run)
        kept, step, gradients = _on_host(kept), _on_host(step), _on_host(gradients)
    if layout.offload == "params":
        host += weights.bytes
        weights = _on_host(weights)
    return States(weights=weights, gradients=gradients, optimizer=kept, step=step, host_bytes=host)


def _on_host(term: Term) -> Term:
    return Term(
        name=term.name,
        bytes=0,
        basis=term.basis,
        because=f"{term.bytes:,} bytes lie in the host's memory",
    )


def _weights(
    rank: Rank, parameters: tuple[Parameter, ...], run: TrainingRun, *, read: bool
) -> Term:
    sharded = shards_weights(run.parallel)
    groups: dict[str, list[Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(_group(parameter), []).append(parameter)
    parts = []
    for name, members in groups.items():
        size = rank.total(members, lambda p: p.bytes, sharded=sharded)
        elements = sum(parameter.total_elements for parameter in members)
        parts.append(
            Term(
                name=name,
                bytes=size,
                basis="exact" if read else "derived",
                because=f"{elements:,} elements of {_widths(members)}"
                + _divided(size, sum(p.bytes * p.count for p in members))
                + f" ({_type_source(name, run, read=read)})",
            )
        )
    return total("weights", parts, because="the tensors' shapes in the types of this recipe")


def _type_source(group: str, run: TrainingRun, *, read: bool) -> str:
    """Where it was read in which type a group of weights lies on the device."""
    shapes = "shapes from the files' headers" if read else "shapes as config.json declares them"
    match group:
        case "adapters":
            kept = "fp32" if run.adapter_fp32 else "the type of the weights"
            return f"A [r, in] and B [out, r] in {kept}: peft 0.21 tuners/lora/layer.py"
        case "quantized":
            return f"{shapes}; {scheme(run.quantize).source}"
        case "frozen" if run.method == "qlora" and run.kbit_fp32:
            return f"{shapes}; fp32: peft 0.21 utils/other.py: prepare_model_for_kbit_training"
        case "frozen" if run.frozen_fp32:
            return f"{shapes}; fp32: trl 1.16 trainer/utils.py: create_model_from_path"
        case "trained" if run.mixed and run.master == "autocast":
            return f"{shapes}; fp32 under autocast: torch 2.13 aten/src/ATen/autocast_mode.h"
        case "trained" if run.mixed and run.master == "engine":
            return f"{shapes}; 16 bits beside master weights: arXiv:1910.02054"
        case "trained" if run.mixed and run.master == "megatron":
            return f"{shapes}; Megatron-LM training/theoretical_memory_usage.py"
        case "trained" if run.mixed:
            return f"{shapes}; fp32 shards: torch 2.13 distributed/fsdp, MixedPrecision"
        case "value model":
            return f"{shapes}; trl 1.12 experimental/ppo/ppo_trainer.py: PolicyAndValueWrapper"
        case _:
            return shapes


def _group(parameter: Parameter) -> str:
    if is_value(parameter):
        return "value model"
    if parameter.adapter:
        return "adapters"
    if parameter.packed:
        return "quantized"
    return "trained" if parameter.trained else "frozen"


def _widths(members: Iterable[Parameter]) -> str:
    kinds = sorted({parameter.width for parameter in members if not parameter.packed})
    return " and ".join(f"{width} bytes" for width in kinds) or "packed weights with their scales"


def _divided(size: int, whole: int) -> str:
    return "" if size == whole else f"; {size:,} of {whole:,} bytes on this GPU"


def _gradients(rank: Rank, trained: tuple[Parameter, ...], run: TrainingRun) -> Term:
    sharded = shards_gradients(run)
    if run.optimizer_in_backward:
        size = largest(rank, trained, run)
        because = f"the largest parameter's, {size:,} bytes: each is used and freed at once"
        if run.parallel.fsdp is not None:
            because = f"this GPU's part of what is reduced together, {size:,} bytes: a block, or "
            because += f"all that is in none; used and freed at once ({_REDUCED})"
        return Term(name="gradients", bytes=size, basis="exact", because=because)
    size = rank.total(trained, lambda p: p.elements * gradient_width(p, run), sharded=sharded)
    elements = sum(parameter.total_elements for parameter in trained)
    return Term(
        name="gradients",
        bytes=size,
        basis="exact",
        because=f"{elements:,} trained parameters"
        + _divided(size, sum(p.total_elements * gradient_width(p, run) for p in trained))
        + (
            ", fp32 (Megatron-LM training/theoretical_memory_usage.py)"
            if run.mixed and run.master == "megatron"
            else ", each in its own type (torch 2.13 autograd: AccumulateGrad)"
        ),
    )


_REDUCED = "torch 2.13 distributed/fsdp/_fully_shard/_fsdp_collectives.py: foreach_reduce"


def largest(rank: Rank, trained: tuple[Parameter, ...], run: TrainingRun) -> int:
    """Bytes of the gradients that are made at once on a rank: the largest parameter's.

    FSDP reduces those of a block together, and of what is outside of blocks: Llama-3.1-8B in bf16
    on 8 GPUs has 2 × 1,050,677,248 / 8 bytes of embedding, norm and head.
    """
    if run.parallel.fsdp is not None:

        def part(parameter: Parameter) -> int:
            return -(-parameter.elements * gradient_width(parameter, run) // rank.shards(parameter))

        outside = [parameter for parameter in trained if not parameter.layers]
        return max(largest_block(rank, trained, part), rank.total(outside, part, sharded=False))
    return max(
        (
            -(-parameter.elements * gradient_width(parameter, run) // rank.split(parameter))
            for parameter in trained
            if rank.tensors(parameter)
        ),
        default=0,
    )


def _optimizer(
    rank: Rank, trained: tuple[Parameter, ...], run: TrainingRun, chosen: Optimizer
) -> Term:
    sharded = shards_states(run.parallel)

    def kept(parameter: Parameter) -> int:
        width = _state_width(parameter, run)
        rule = chosen.state
        embedding = parameter.component == "embedding"
        if chosen.embeddings_32bit:
            embedding = embedding and run.embedding_states_32bit
        else:
            embedding = embedding or parameter.component == "head"
        if embedding and chosen.embedding_state is not None and not parameter.adapter:
            rule = chosen.embedding_state
        return rule(parameter.shape, width)

    moments = rank.total(trained, kept, sharded=sharded)
    master = rank.total(
        (parameter for parameter in trained if _has_master(parameter, run)),
        lambda p: 4 * p.elements,
        sharded=sharded,
    )
    where = "; paged: moves to the host when the GPU is full" if chosen.paged else ""
    parts = [
        Term(
            name=chosen.name,
            bytes=moments,
            basis="exact",
            because=f"states of {chosen.source}{where}",
            low=0 if chosen.paged else None,
        )
    ]
    if master:
        parts.append(
            Term(
                name="master weights",
                bytes=master,
                basis="exact",
                because="an fp32 copy of every trained 16-bit parameter",
            )
        )
    return total("optimizer", parts, because="kept from step to step")


def _fp32_gradients(rank: Rank, trained: tuple[Parameter, ...], run: TrainingRun) -> int:
    masters = (parameter for parameter in trained if _has_master(parameter, run))
    return rank.total(masters, lambda p: 4 * p.elements, sharded=shards_states(run.parallel))


def _host_gradients(rank: Rank, trained: tuple[Parameter, ...], run: TrainingRun) -> int:
    """Bytes of what the host's optimizer steps with: fp32 beside a master weight, else as is.

    Each in the type of the parameter that it updates (torch 2.13 optim; FSDP2 moves a gradient to
    the host in its own: distributed/fsdp/_fully_shard/_fsdp_collectives.py: foreach_reduce).
    """
    return rank.total(
        trained,
        lambda p: p.elements * (4 if _has_master(p, run) else gradient_width(p, run)),
        sharded=shards_states(run.parallel),
    )


def _step(rank: Rank, trained: tuple[Parameter, ...], run: TrainingRun, chosen: Optimizer) -> Term:
    """What the step holds: square roots of all second moments, one parameter's copies, nothing."""
    sharded = shards_states(run.parallel)

    def size(parameter: Parameter) -> int:
        width = chosen.temporary_bytes or _state_width(parameter, run)
        return chosen.temporaries * width * parameter.elements

    whole = run.optimizer_in_backward
    if chosen.step == "foreach" and not whole:
        held = rank.total(trained, size, sharded=sharded)
        because = f"for all parameters at once: {chosen.source}"
    else:

        def parts(parameter: Parameter) -> int:
            # FSDP2 steps the shards of a parameter; ZeRO whole flat partitions, which these bound.
            fsdp = run.parallel.fsdp is not None
            return rank.split(parameter) * (rank.shards(parameter) if fsdp else 1)

        held = max((-(-size(p) // parts(p)) for p in trained if rank.tensors(p)), default=0)
        because = f"for one parameter at a time: {chosen.source}"
    gradients = _fp32_gradients(rank, trained, run) if run.master == "engine" else 0
    if run.parallel.zero == 3:
        # runtime/zero/stage3.py: _prepare_fp32_grad_for_sub_group, one group after the other.
        gradients = min(gradients, 4 * SUB_GROUP)
    if gradients:
        held += gradients
        because += f"; fp32 gradients, {gradients:,} bytes"
    return Term(name="step", bytes=held, basis="derived", because=because)
