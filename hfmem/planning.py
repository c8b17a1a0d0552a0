"""From the flags of ``train`` to the question, and from models to their plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Unpack, get_args

from msgspec.structs import replace

from hfmem.answer import Failure
from hfmem.checkpoint.snapshot import Note
from hfmem.errors import HfmemError, UsageError
from hfmem.hardware.training_fit import MFU
from hfmem.lora_flags import lora_of
from hfmem.memory.optimizers import optimizer as known_optimizer
from hfmem.memory.quantize.schemes import scheme
from hfmem.memory.training_run import Method, Parallel, Rollout, TrainingRun
from hfmem.model.sparse import sparse_attention
from hfmem.recipes import Recipe, recipe
from hfmem.source import Access
from hfmem.source.ahead import find
from hfmem.training import Plan, TrainingQuestion, plan, planned_failure, question, settled
from hfmem.training_flags import TrainingFlags, flags_of

if TYPE_CHECKING:
    from hfmem import TrainKeywords


def asked_of(flags: TrainingFlags) -> TrainingQuestion:
    """The question that flags ask. Raises UsageError."""
    chosen = recipe(flags.recipe) if flags.recipe is not None else None
    run, several = run_of(flags, chosen), None
    if chosen is not None and chosen.several is not None:
        several = run_of(flags, chosen, several=True)
    if flags.global_batch is not None and flags.grad_accum is not None:
        raise UsageError(
            "--global-batch and --grad-accum settle the same.", hint="Keep one of them."
        )
    asked = question(
        run,
        several=several,
        gpus=flags.gpu,
        recipe=chosen,
        dp_given=flags.dp is not None,
        global_batch=flags.global_batch,
        grad_accum_given=flags.grad_accum is not None,
        mfu=MFU if flags.mfu is None else flags.mfu,
        rules=flags.rules,
    )
    return replace(asked, others=tuple(_others(asked, flags, chosen)))


def _others(
    asked: TrainingQuestion, flags: TrainingFlags, chosen: Recipe | None
) -> Iterator[tuple[Method, TrainingQuestion]]:
    """The question by every method that it can be asked of."""
    for method in get_args(Method):
        by = _by(flags, method)
        several = None
        if chosen is not None and chosen.several is not None:
            several = run_of(by, chosen, several=True)
        try:
            yield method, settled(replace(asked, run=run_of(by, chosen), several=several))
        except UsageError:
            continue


def _by(flags: TrainingFlags, method: Method) -> TrainingFlags:
    """The flags with another method, less those that mean nothing in it."""
    changed = replace(flags, method=method)
    if method != "qlora":
        changed = replace(changed, quantize=None)
    elif flags.precision == "fp32":
        changed = replace(changed, precision="bf16-mixed")
    if method == "full":
        return replace(changed, lora_rank=None, lora_targets=None, adapter=None)
    # Steps in the backward pass are for what is trained whole.
    return changed if method == flags.method else replace(changed, optimizer_in_backward=None)


def run_of(flags: TrainingFlags, chosen: Recipe | None, *, several: bool = False) -> TrainingRun:
    """A recipe's run, or the plain one, with what was said over it."""
    base = _plain(flags) if chosen is None else chosen.run(flags.method, several=several)
    optimizer = known_optimizer(flags.optimizer or base.optimizer).name
    if flags.quantize is not None and flags.method != "qlora":
        raise UsageError(
            f"--quantize is of QLoRA's frozen weights; the method is {flags.method}.",
            hint="Add --method qlora, or leave out --quantize.",
        )
    quantize = flags.quantize or base.quantize
    scheme(quantize)
    layout = _layout(flags, base.parallel)
    in_backward, grad_accum = _stepping(flags, base, layout)
    # DeepSpeed casts the whole model to the type that it trains in.
    loaded_wide = base.frozen_fp32 and flags.precision is None and not layout.zero
    return replace(
        base,
        objective=flags.objective,
        seq_len=_or(flags.seq_len, base.seq_len),
        micro_batch=_or(flags.micro_batch, base.micro_batch),
        grad_accum=grad_accum,
        optimizer=optimizer,
        precision=flags.precision or base.precision,
        frozen_fp32=loaded_wide,
        kbit_fp32=base.kbit_fp32 and loaded_wide == base.frozen_fp32,
        adapter_fp32=base.adapter_fp32 and not (base.one_type_at_zero3 and layout.zero == 3),
        fused_recurrence=_or(flags.fused_recurrence, base.fused_recurrence),
        packed=_or(flags.packed, base.packed),
        reference=flags.reference_model,
        rollout=_rollout(flags, base.rollout),
        attention=flags.attention or base.attention,
        lora=lora_of(
            flags.method,
            base.lora,
            rank=flags.lora_rank,
            targets=flags.lora_targets,
            adapter=flags.adapter,
        ),
        quantize=quantize,
        checkpointing=flags.checkpointing or base.checkpointing,
        loss=flags.loss or base.loss,
        fused_layers=_or(flags.compile, base.fused_layers),
        optimizer_in_backward=in_backward,
        activation_offload=_or(flags.activation_offload, base.activation_offload),
        device=flags.device,
        brings=flags.brings,
        parallel=layout,
    )


def _stepping(flags: TrainingFlags, base: TrainingRun, layout: Parallel) -> tuple[bool, int]:
    """Whether the optimizer steps in the backward pass, and the micro-batches of a step.

    The two exclude each other, and what is said wins over the recipe: torchtune 0.6.1 has
    ``optimizer_in_bwd`` where a step is one micro-batch (8B_full_single_device.yaml) and not where
    steps are accumulated (8B_lora_single_device.yaml) or gradients sharded (8B_full.yaml).
    """
    in_backward = _or(flags.optimizer_in_backward, base.optimizer_in_backward)
    grad_accum = _or(flags.grad_accum, base.grad_accum)
    if flags.optimizer_in_backward is None:
        sharded = layout.zero > 0 or layout.fsdp is not None
        once = _or(flags.micro_batch, base.micro_batch)
        accumulated = grad_accum > 1 or (flags.global_batch or 0) > once * layout.dp
        in_backward = in_backward and not sharded and not accumulated
    elif in_backward and flags.grad_accum is None:
        grad_accum = 1
    return in_backward, grad_accum


def _layout(flags: TrainingFlags, base: Parallel) -> Parallel:
    """How a run is spread; ZeRO that is said replaces a recipe's FSDP, and the other way round."""
    zero = flags.zero if flags.zero is not None else (0 if flags.fsdp else base.zero)
    return replace(
        base,
        dp=flags.dp or base.dp,
        tp=flags.tp,
        pp=flags.pp,
        ep=flags.ep,
        sp=flags.sp,
        zero=zero,
        fsdp=flags.fsdp if flags.zero is not None else (flags.fsdp or base.fsdp),
        offload=flags.offload,
    )


def _rollout(flags: TrainingFlags, base: Rollout) -> Rollout:
    if flags.generations is not None and flags.objective != "grpo":
        raise UsageError(
            f"Completions of a prompt are compared in GRPO alone; the objective is "
            f"{flags.objective}.",
            hint="Say --objective grpo, or leave out --generations.",
        )
    return replace(
        base,
        completion=_or(flags.completion_len, base.completion),
        generations=base.generations if flags.generations is None else flags.generations,
        vllm_share=flags.vllm_gpu_memory_utilization,
        vllm_sleeps=flags.vllm_sleep,
    )


def one(model: str, **options: Unpack[TrainKeywords]) -> Plan:
    """Plan a single model from the keyword arguments of the Python interface. Raises HfmemError."""
    asked = asked_of(flags_of(options))
    recorded = options.get("recorded")
    access = Access(
        source=options.get("source", "auto"),
        recorded=None if recorded is None else Path(recorded),
        revision=options.get("revision"),
        token=options.get("token"),
        offline=options.get("offline", False),
        waits_for_quota=False,
    )
    return plan(find(model, access), asked)


def _plain(flags: TrainingFlags) -> TrainingRun:
    """A run without a recipe.

    Preparing for k-bit training turns checkpointing on (peft 0.21 utils/other.py:
    prepare_model_for_kbit_training). Preferences and rewards are trained on as TRL 1.16 does: the
    head in tiles, and in GRPO a group of completions at once.
    """
    groups = flags.objective == "grpo" and flags.grad_accum is None
    tiled = flags.objective in ("dpo", "grpo")
    return TrainingRun(
        method=flags.method,
        checkpointing="full" if flags.method == "qlora" else "none",
        micro_batch=(flags.generations or Rollout().generations) if groups else 1,
        loss="chunked" if tiled else "standard",
        tiled_head=tiled,
        one_type_at_zero3=tiled,
    )


_Value = TypeVar("_Value")


def _or(said: _Value | None, default: _Value) -> _Value:
    return default if said is None else said


def with_sparse_note(answer: Plan | Failure) -> Plan | Failure:
    """A plan that says which attention of its model is sparse; no number changes."""
    if isinstance(answer, Failure):
        return answer
    note = Note(code="sparse_attention", message=sparse_attention(answer.model))
    return replace(answer, model=replace(answer.model, notes=(*answer.model.notes, note)))


def answers(
    models: Iterable[str], asked: TrainingQuestion, access: Access
) -> Iterator[Plan | Failure]:
    """Every model's plan, in order; a model that fails is a Failure, never the end."""
    for model in models:
        try:
            yield plan(find(model, access), asked)
        except HfmemError as error:
            yield planned_failure(model, error)
