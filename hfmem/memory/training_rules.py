"""Rules of thumb about training, and other estimators' figures, beside the exact ones."""

from __future__ import annotations

from hfmem.memory.rules import Rule
from hfmem.memory.training_conventions import (
    deepspeed_zero2,
    deepspeed_zero3,
    megatron_activations,
    megatron_states,
)
from hfmem.memory.training_estimate import TrainingEstimate, TrainingPhase
from hfmem.memory.training_run import TrainingRun
from hfmem.model.model import Model


def training_rules(model: Model, run: TrainingRun, found: TrainingEstimate) -> tuple[Rule, ...]:
    """Every rule on this run, in the order of its write-up; none where a size is not known.

    Llama-3.1-8B: E2 says 128.48 GB, which is exact for mixed precision with AdamW.
    """
    parameters = model.parameters.total if model.parameters else None
    if parameters is None or found.unknown:
        return ()
    step = next(phase for phase in found.phases if phase.name == "step")
    forward = next(phase for phase in found.phases if phase.name == "forward")
    states = _states(step)
    activations = forward.part("activations").bytes
    return (
        *_wholes(run, found, step=step, parameters=parameters, activations=activations),
        *_parts(model, run, found, parameters=parameters, activations=activations),
        *_estimators(model, parameters, run, states),
        *_megatron_activations(model, run, found, activations),
    )


def _wholes(
    run: TrainingRun,
    found: TrainingEstimate,
    *,
    step: TrainingPhase,
    parameters: int,
    activations: int,
) -> tuple[Rule, ...]:
    """Multiples of the weights, and bytes a parameter."""
    states = _states(step)
    return (
        Rule(
            id="A3",
            name="training",
            formula="activations 2 to 3 ×, optimizer states 2 to 3 × the parameters",
            bytes=3 * step.part("weights").bytes,
            exact_bytes=activations,
            comment="activations grow with tokens, not with parameters",
        ),
        Rule(
            id="D4",
            name="optimizer",
            formula="Adam up to 8 × the 16-bit weights",
            bytes=8 * 2 * parameters,
            exact_bytes=step.part("optimizer").bytes,
            comment="moments and master weights are 6 ×; 8 × counts weights and gradients too",
        ),
        Rule(
            id="E2",
            name="states, AdamW",
            formula=f"16 B × {parameters:,}",
            bytes=16 * parameters,
            exact_bytes=states * found.gpus if run.parallel.zero == 3 else states,
            comment="right for full fine-tuning in mixed precision on one GPU",
        ),
    )


def _parts(
    model: Model,
    run: TrainingRun,
    found: TrainingEstimate,
    *,
    parameters: int,
    activations: int,
) -> tuple[Rule, ...]:
    """Activations, adapters and the batch."""
    layers, hidden = len(model.decoder.layers), model.decoder.hidden_size or 0
    rows = found.seq_len * run.sequences
    batch = run.micro_batch * run.grad_accum * run.parallel.dp
    return (
        Rule(
            id="E3",
            name="activations",
            formula=f"layers·hidden·tokens = {layers}·{hidden}·{rows}, 2 B each",
            bytes=2 * layers * hidden * rows,
            exact_bytes=activations,
            comment="what full checkpointing keeps; without it a layer keeps 34 to 49 bytes for "
            "each element of its width",
        ),
        Rule(
            id="E4",
            name="adapters",
            formula=f"1 % of the parameters = {parameters // 100:,}, 16 B each",
            bytes=16 * (parameters // 100),
            exact_bytes=16 * found.trainable if run.adapted else None,
            comment="depends on rank and targets",
        ),
        Rule(
            id="E5",
            name="effective batch",
            formula=f"{run.micro_batch} × {run.grad_accum} × {run.parallel.dp} = {batch} sequences",
            bytes=None,
            exact_bytes=None,
            comment="right: only the micro-batch costs memory",
        ),
    )


def _states(step: TrainingPhase) -> int:
    return sum(step.part(name).bytes for name in ("weights", "gradients", "optimizer"))


def _megatron_activations(
    model: Model, run: TrainingRun, found: TrainingEstimate, activations: int
) -> tuple[Rule, ...]:
    text = model.decoder.text
    hidden, vocab = model.decoder.hidden_size, text.integer_or_none("vocab_size")
    ffn = text.integer_or_none("intermediate_size")
    if run.method != "full" or not hidden or not vocab or not ffn:
        return ()
    layout = run.parallel
    size = megatron_activations(
        tokens=found.seq_len,
        micro_batch=run.micro_batch,
        hidden=hidden,
        ffn=ffn,
        layers=-(-len(model.decoder.layers) // layout.pp),
        vocab=vocab,
        tp=layout.tp,
        pp=layout.pp,
        micro_batches=run.grad_accum,
    )
    return (
        Rule(
            id="Megatron activations",
            name="by its estimator",
            formula="s b h (18 + 4 ffn / h) a layer, over tp",
            bytes=size,
            exact_bytes=activations,
            comment="fused kernels, sequence parallelism and selective recomputation; what it "
            "counts of the head is among the logits here",
        ),
    )


def _estimators(model: Model, parameters: int, run: TrainingRun, states: int) -> tuple[Rule, ...]:
    layout = run.parallel
    per_node = min(layout.gpus, layout.gpus_per_node)
    nodes = -(-layout.gpus // per_node)
    found = [
        Rule(
            id="Megatron",
            name="states by its estimator",
            formula=f"18 B × {parameters:,}",
            bytes=megatron_states(parameters=parameters) if layout.gpus == 1 else None,
            exact_bytes=states,
            comment="fp32 gradients beside master weights",
        )
    ]
    if layout.zero == 2:
        needs = deepspeed_zero2(
            parameters=parameters,
            gpus_per_node=per_node,
            nodes=nodes,
            offload=layout.offload != "none",
        )
        found.append(_deepspeed("ZeRO-2", needs.gpu_bytes, states))
    if layout.zero == 3:
        needs = deepspeed_zero3(
            parameters=parameters,
            largest_layer=max(
                (weight.run.elements for weight in model.weights or () if weight.loaded), default=0
            ),
            gpus_per_node=per_node,
            nodes=nodes,
            offload=layout.offload,
        )
        found.append(_deepspeed("ZeRO-3", needs.gpu_bytes, states))
    return tuple(found)


def _deepspeed(name: str, size: int, states: int) -> Rule:
    return Rule(
        id="DeepSpeed",
        name=f"states by its estimator, {name}",
        formula="model_states_mem_needs",
        bytes=size,
        exact_bytes=states,
        comment="counts fp32 gradients beside the 16-bit ones; no activations, no buckets",
    )
