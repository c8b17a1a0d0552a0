"""One model's answer about training: what the reports render and the Python interface returns."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from hfmem.answer import Failure, failure
from hfmem.checkpoint.snapshot import Note, Snapshot
from hfmem.errors import HfmemError, UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware import bitsandbytes
from hfmem.hardware.catalogue import COMMON, find, parse_gpu
from hfmem.hardware.training_fit import MFU, TrainingFit, judge_training
from hfmem.memory.cards import class_of, device_of
from hfmem.memory.overhead import GpuClass
from hfmem.memory.rules import Rule
from hfmem.memory.training import resolved, training_estimate
from hfmem.memory.training_estimate import TrainingEstimate
from hfmem.memory.training_rules import training_rules
from hfmem.memory.training_run import Method, TrainingRun, checked, in_range
from hfmem.memory.workload import Device
from hfmem.model.config import read
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.model.multimodal import media
from hfmem.recipes import Recipe

__all__ = ["Failure", "MethodRow", "Plan", "TrainingQuestion", "plan", "planned_failure"]


class MethodRow(Struct, frozen=True, kw_only=True):
    """A way to fine-tune, and on which cards it fits."""

    name: str
    method: str
    optimizer: str
    trainable: int
    need_bytes: int
    """On one GPU."""
    cards: tuple[tuple[str, bool], ...]
    """Ids of the cards, and whether one holds it."""


class Plan(Struct, frozen=True, kw_only=True):
    """A model whose training could be estimated."""

    model: Model
    run: TrainingRun
    recipe: str | None
    memory: TrainingEstimate
    fit: tuple[TrainingFit, ...]
    """One a named GPU group."""
    methods: tuple[MethodRow, ...]
    """Methods against the GPUs that were named, one of each, or against the common cards."""

    rules: tuple[Rule, ...] = ()
    """Rules of thumb beside the exact figures; empty unless asked for."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Of the model, then of the estimate."""
        return (*self.model.notes, *self.memory.notes)

    def to_dict(self) -> dict[str, object]:
        """The JSON element of the ``results`` array."""
        from hfmem.report.training_json import result

        return result(self)


class TrainingQuestion(Struct, frozen=True, kw_only=True):
    """What is asked of every model of a run, resolved once."""

    run: TrainingRun
    several: TrainingRun | None = None
    """On more than one GPU, where the recipe has another for that."""
    recipe: Recipe | None
    groups: tuple[GpuGroup, ...]
    dp_given: bool
    """Otherwise a group's GPUs are data-parallel."""
    global_batch: int | None = None
    """Sequences a step over all GPUs, for which micro-batches are accumulated."""
    grad_accum_given: bool = False
    """Otherwise a recipe's own global batch settles it."""
    mfu: float = MFU
    rules: bool = False
    others: tuple[tuple[Method, TrainingQuestion], ...] = ()
    """The same by every method, with a recipe's defaults for each."""

    def on(self, gpus: int) -> TrainingRun:
        """What runs on a number of GPUs."""
        return self.several if self.several is not None and gpus > 1 else self.run


def question(
    run: TrainingRun,
    *,
    several: TrainingRun | None = None,
    gpus: tuple[str, ...] = (),
    recipe: Recipe | None = None,
    dp_given: bool = False,
    global_batch: int | None = None,
    grad_accum_given: bool = False,
    mfu: float = MFU,
    rules: bool = False,
) -> TrainingQuestion:
    """Resolve the names of a question.

    Raises UsageError for a GPU that is unknown, and for a global batch that no number of
    micro-batches makes.
    """
    if not 0 < mfu <= 1:
        raise UsageError(f"mfu is {mfu!r:.20}.", hint="Give --mfu a share from 0 to 1: 0.4.")
    groups = tuple(group for name in gpus for group in _groups(name))
    if run.rollout.vllm_share is not None and not groups:
        raise UsageError(
            "vLLM takes a share of a card, and no card was named.",
            hint="Name it: --gpu h100.",
        )
    asked = TrainingQuestion(
        run=run,
        several=several,
        recipe=recipe,
        groups=groups,
        dp_given=dp_given,
        global_batch=global_batch,
        grad_accum_given=grad_accum_given,
        mfu=mfu,
        rules=rules,
    )
    return settled(asked)


def settled(asked: TrainingQuestion) -> TrainingQuestion:
    """The question, its run settled where no GPU is named; UsageError where it cannot be."""
    if not asked.groups:
        alone = checked(asked.on(asked.run.parallel.gpus))
        return replace(asked, run=_accumulated(asked, alone), several=None)
    for group in asked.groups:
        in_range(asked.on(group.count))
        checked(spread(asked, group))
    return asked


def _groups(name: str) -> tuple[GpuGroup, ...]:
    if name != "auto":
        return (parse_gpu(name),)
    from hfmem.hardware.detect import detect

    return detect().groups


def spread(asked: TrainingQuestion, group: GpuGroup) -> TrainingRun:
    """The run on a group: what tensor and pipeline parallelism leave is data-parallel.

    Raises UsageError where the layout does not make the group's number.
    """
    base = asked.on(group.count)
    layout = base.parallel
    if asked.dp_given:
        if layout.gpus != group.count:
            raise UsageError(
                f"tp × pp × dp = {layout.gpus}, but {group.gpu.id}:{group.count} was named.",
                hint=f"Say --gpu {group.gpu.id}:{layout.gpus}, or leave --dp out.",
            )
        return _on_card(_accumulated(asked, base), group)
    each = layout.tp * layout.pp
    if group.count % each:
        raise UsageError(
            f"{group.gpu.id}:{group.count} is no multiple of tp × pp = {each} GPUs.",
            hint=f"Say --gpu {group.gpu.id}:{each}, or as many times more.",
        )
    run = replace(base, parallel=replace(layout, dp=group.count // each))
    return _on_card(_accumulated(asked, run), group)


def _accumulated(asked: TrainingQuestion, run: TrainingRun) -> TrainingRun:
    """The run with as many micro-batches a step as a global batch takes.

    32 sequences on 4 GPUs with micro-batches of 2: 4 are accumulated.
    """
    global_batch, by = asked.global_batch, asked.recipe
    if global_batch is None:
        if by is None or asked.grad_accum_given or run.optimizer_in_backward:
            return run
        own = by.accumulated(micro_batch=run.micro_batch, dp=run.parallel.dp)
        return run if own is None else checked(replace(run, grad_accum=own))
    once = run.micro_batch * run.parallel.dp
    if global_batch < once or global_batch % once:
        below = max(once, global_batch - global_batch % once)
        raise UsageError(
            f"A global batch of {global_batch:,} is no multiple of {run.micro_batch:,} × "
            f"{run.parallel.dp:,} sequences, a micro-batch on every GPU.",
            hint=f"Say --global-batch {below} or {below + once}, or change --micro-batch.",
        )
    return checked(replace(run, grad_accum=global_batch // once))


def _on_card(run: TrainingRun, group: GpuGroup) -> TrainingRun:
    """The run with what a share of the card is of."""
    return replace(run, rollout=replace(run.rollout, card_bytes=group.gpu.usable_bytes))


def plan(snapshot: Snapshot, asked: TrainingQuestion) -> Plan:
    """Everything about training one model. Raises HfmemError where its facts do not suffice."""
    model, asked = describe(snapshot), _with_media(asked, snapshot)
    run = asked.run
    gpu_class = class_of(asked.groups[0].gpu) if asked.groups else "unknown"
    if asked.groups:
        run = spread(asked, asked.groups[0])
    alone = run if asked.several is None else asked.run
    memory = training_estimate(model, run, gpu_class)
    if asked.recipe is not None:
        memory = replace(memory, notes=(*memory.notes, *asked.recipe.notes(run)))
    return Plan(
        model=model,
        run=resolved(run),
        recipe=asked.recipe.name if asked.recipe else None,
        memory=memory,
        fit=tuple(
            judge_training(
                group,
                model=model,
                run=spread(asked, group),
                mfu=asked.mfu,
                whole_batch=asked.global_batch is not None,
                others={
                    method: replace(spread(other, group), media=asked.run.media)
                    for method, other in asked.others
                },
            )
            for group in asked.groups
        ),
        methods=() if memory.unknown else _methods(model, asked, alone),
        rules=training_rules(model, resolved(run), memory) if asked.rules else (),
    )


def _with_media(asked: TrainingQuestion, snapshot: Snapshot) -> TrainingQuestion:
    """The question with what its pictures, frames and sound become in this model."""
    if not asked.run.brings:
        return asked
    config = read(snapshot.config or {})
    found = media(config, snapshot.documents, asked.run.brings)
    several = None if asked.several is None else replace(asked.several, media=found)
    return replace(asked, run=replace(asked.run, media=found), several=several)


def _cards(groups: tuple[GpuGroup, ...]) -> tuple[Gpu, ...]:
    """One of each GPU that was named, or the common ones."""
    if not groups:
        return tuple(find(card) for card in COMMON)
    return tuple({group.gpu.id: group.gpu for group in groups}.values())


def _ways(asked: TrainingQuestion, run: TrainingRun) -> Iterator[tuple[str, TrainingRun]]:
    """Ways to fine-tune on one GPU, all else as asked; the savers are in the names.

    What is "as asked" is what ``--method`` alone would answer.
    """
    others = dict(asked.others)

    def way(method: Method) -> TrainingRun:
        base = others[method].run if method in others else replace(run, method=method)
        layout = replace(base.parallel, dp=1, tp=1, pp=1, ep=1, sp=False)
        one = replace(base, parallel=layout, media=run.media, rollout=run.rollout)
        return _accumulated(asked, one)

    def saved(one: TrainingRun) -> TrainingRun:
        loss = "fused" if one.loss == "standard" else one.loss
        return replace(one, loss=loss, checkpointing="full")

    full = way("full")
    adapted = replace(way("dora" if run.method == "dora" else "lora"), optimizer_in_backward=False)
    quantized = replace(way("qlora"), optimizer_in_backward=False)
    if quantized.precision == "fp32":
        quantized = replace(quantized, precision="bf16-mixed")
    told = "checkpointed, fused loss" if run.loss == "standard" else "checkpointed"
    name = "DoRA" if adapted.method == "dora" else "LoRA"
    yield "full, as asked", full
    yield (
        f"full, bf16, 8-bit AdamW, {told}",
        replace(saved(full), precision="bf16", optimizer="adamw-8bit"),
    )
    yield f"{name}, as asked", adapted
    yield f"{name}, {told}", saved(adapted)
    yield f"QLoRA, {told}", saved(quantized)


def _methods(model: Model, asked: TrainingQuestion, run: TrainingRun) -> tuple[MethodRow, ...]:
    """The table of methods and cards."""
    cards = _cards(asked.groups)
    rows: list[MethodRow] = []
    told: list[TrainingRun] = []
    for name, changed in _ways(asked, run):
        if changed in told:
            continue
        told.append(changed)
        try:
            needs = _needs(model, changed, cards)
        except UsageError:
            continue
        found = [(gpu, needs[_kind(gpu)]) for gpu in cards]
        rows.append(
            MethodRow(
                name=name,
                method=changed.method,
                optimizer=changed.optimizer,
                trainable=found[0][1].trainable,
                need_bytes=max(need.need_bytes for _, need in found),
                cards=tuple(
                    (
                        gpu.id,
                        not bitsandbytes.refusal(changed, gpu)
                        and need.need_bytes <= gpu.usable_bytes,
                    )
                    for gpu, need in found
                ),
            )
        )
    return tuple(rows)


def _kind(gpu: Gpu) -> tuple[GpuClass, Device]:
    return class_of(gpu), device_of(gpu)


def _needs(
    model: Model, run: TrainingRun, cards: tuple[Gpu, ...]
) -> dict[tuple[GpuClass, Device], TrainingEstimate]:
    """The run on every kind of card."""
    return {
        (gpu_class, device): training_estimate(model, replace(run, device=device), gpu_class)
        for gpu_class, device in {_kind(gpu) for gpu in cards}
    }


def planned_failure(model: str, error: HfmemError) -> Failure:
    """The row of a model whose training could not be estimated."""
    return failure(model, error)
