"""One model's answer about training: what the reports render and the Python interface returns."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.answer import Failure, failure
from hfmem.checkpoint.snapshot import Note, Snapshot
from hfmem.errors import HfmemError, UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.catalogue import COMMON, find, parse_gpu
from hfmem.hardware.training_fit import TrainingFit, judge_training
from hfmem.memory.cards import class_of, device_of
from hfmem.memory.optimizers import optimizer
from hfmem.memory.overhead import GpuClass
from hfmem.memory.quantize.schemes import refusal, scheme
from hfmem.memory.rules import Rule
from hfmem.memory.training import resolved, training_estimate
from hfmem.memory.training_estimate import TrainingEstimate
from hfmem.memory.training_rules import training_rules
from hfmem.memory.training_run import Method, TrainingRun
from hfmem.memory.workload import Device
from hfmem.model.describe import describe
from hfmem.model.model import Model
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
    """Ids of the common cards, and whether one holds it."""


class Plan(Struct, frozen=True, kw_only=True):
    """A model whose training could be estimated."""

    model: Model
    run: TrainingRun
    recipe: str | None
    memory: TrainingEstimate
    fit: tuple[TrainingFit, ...]
    """One a named GPU group."""
    methods: tuple[MethodRow, ...]
    """Methods against the common cards, when no GPU was named."""

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
    recipe: Recipe | None
    groups: tuple[GpuGroup, ...]
    dp_given: bool
    """Otherwise a group's GPUs are data-parallel."""
    rules: bool = False


def question(
    run: TrainingRun,
    *,
    gpus: tuple[str, ...] = (),
    recipe: Recipe | None = None,
    dp_given: bool = False,
    rules: bool = False,
) -> TrainingQuestion:
    """Resolve the names of a question. Raises UsageError for a GPU that is unknown."""
    groups = tuple(group for name in gpus for group in _groups(name))
    if run.rollout.vllm_share is not None and not groups:
        raise UsageError(
            "vLLM takes a share of a card, and no card was named.",
            hint="Name it: --gpu h100.",
        )
    asked = TrainingQuestion(run=run, recipe=recipe, groups=groups, dp_given=dp_given, rules=rules)
    for group in groups:
        spread(asked, group)
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
    layout = asked.run.parallel
    if asked.dp_given:
        if layout.gpus != group.count:
            raise UsageError(
                f"tp × pp × dp = {layout.gpus}, but {group.gpu.id}:{group.count} is "
                f"{group.count} GPUs.",
                hint=f"Say --gpu {group.gpu.id}:{layout.gpus}, or leave --dp out.",
            )
        return _on_card(asked.run, group)
    each = layout.tp * layout.pp
    if group.count % each:
        raise UsageError(
            f"{group.count} GPUs cannot hold tp × pp = {each} whole times.",
            hint=f"Say --gpu {group.gpu.id}:{each} or a multiple of it.",
        )
    run = replace(asked.run, parallel=replace(layout, dp=group.count // each))
    return _on_card(run, group)


def _on_card(run: TrainingRun, group: GpuGroup) -> TrainingRun:
    """The run with what a share of the card is of."""
    return replace(run, rollout=replace(run.rollout, card_bytes=group.gpu.usable_bytes))


def plan(snapshot: Snapshot, asked: TrainingQuestion) -> Plan:
    """Everything about training one model. Raises HfmemError where its facts do not suffice."""
    model = describe(snapshot)
    run = asked.run
    gpu_class = class_of(asked.groups[0].gpu) if asked.groups else "unknown"
    if asked.groups:
        run = spread(asked, asked.groups[0])
    memory = training_estimate(model, run, gpu_class)
    return Plan(
        model=model,
        run=resolved(run),
        recipe=asked.recipe.name if asked.recipe else None,
        memory=memory,
        fit=tuple(
            judge_training(group, model=model, run=spread(asked, group)) for group in asked.groups
        ),
        methods=() if asked.groups or memory.unknown else _methods(model, run),
        rules=training_rules(model, resolved(run), memory) if asked.rules else (),
    )


_METHODS: tuple[tuple[str, Method, str | None], ...] = (
    ("full, as asked", "full", None),
    ("full, 8-bit AdamW", "full", "adamw-8bit"),
    ("LoRA", "lora", None),
    ("QLoRA", "qlora", None),
)
"""Names, methods, and the optimizer where it is not the one that was asked for."""


def _methods(model: Model, run: TrainingRun) -> tuple[MethodRow, ...]:
    """The table of methods and cards, on one GPU each, all else as asked."""
    rows = []
    for name, method, other in _METHODS:
        changed = replace(run, method=method, optimizer=other or run.optimizer)
        if changed.method != "full":
            changed = replace(changed, optimizer_in_backward=False)
        if changed.method == "qlora" and changed.kbit_fp32:
            changed = replace(changed, checkpointing="full")
        if changed.method == "qlora" and changed.precision == "fp32":
            changed = replace(changed, precision="bf16-mixed")
        try:
            needs = _needs(model, changed)
        except UsageError:
            continue
        cards = tuple((card, needs[_kind(find(card))]) for card in COMMON)
        rows.append(
            MethodRow(
                name=name,
                method=changed.method,
                optimizer=changed.optimizer,
                trainable=cards[0][1].trainable,
                need_bytes=max(found.need_bytes for _, found in cards),
                cards=tuple(
                    (card, _runs(changed, find(card)) and found.need_bytes <= usable)
                    for card, found in cards
                    for usable in (find(card).usable_bytes,)
                ),
            )
        )
    return tuple(rows)


def _runs(run: TrainingRun, gpu: Gpu) -> bool:
    """Whether bitsandbytes has kernels for the card, where the run needs them."""
    quantized = run.method == "qlora" or optimizer(run.optimizer).library == "bitsandbytes"
    return not quantized or refusal(scheme(run.quantize), gpu) is None


def _kind(gpu: Gpu) -> tuple[GpuClass, Device]:
    return class_of(gpu), device_of(gpu)


def _needs(model: Model, run: TrainingRun) -> dict[tuple[GpuClass, Device], TrainingEstimate]:
    """The run on every kind of the common cards."""
    kinds = {_kind(find(card)) for card in COMMON}
    return {
        (gpu_class, device): training_estimate(model, replace(run, device=device), gpu_class)
        for gpu_class, device in kinds
    }


def planned_failure(model: str, error: HfmemError) -> Failure:
    """The row of a model whose training could not be estimated."""
    return failure(model, error)
