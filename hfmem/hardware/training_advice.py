"""The nearest change after which a training run fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from hfmem.memory.optimizers import optimizer
from hfmem.memory.training_run import Method, TrainingRun

Holds = Callable[[TrainingRun], bool]
Change = tuple[str, Callable[[TrainingRun], TrainingRun]]
"""Words as they are typed, and what they do."""


def advice(
    run: TrainingRun,
    holds: Holds,
    *,
    others: Mapping[Method, TrainingRun] | None = None,
    whole_batch: bool = False,
) -> str:
    """What to add to the command: a single saver, several, then another method with savers.

    ``--method lora --gradient-checkpointing`` for Llama-3.1-8B in full on 24 GB. Empty where
    nothing does. ``others`` are what the command answers by other methods; ``whole_batch`` is where
    it says --global-batch, which sets --grad-accum itself.
    """
    for method in _methods(run, others or {}):
        changed = method[1](run) if method else run
        named = [method] if method else []
        if named and holds(changed):
            return named[0][0]
        savers = tuple(_savers(changed, whole_batch=whole_batch))
        for saver in savers:
            if holds(saver[1](changed)):
                return _words((*named, saver))
        enough = _enough(changed, savers, holds)
        if enough:
            return _words((*named, *enough))
    return ""


def _words(changes: Sequence[Change]) -> str:
    return " ".join(words for words, _ in changes)


def _enough(run: TrainingRun, savers: Sequence[Change], holds: Holds) -> tuple[Change, ...]:
    """The first savers that are enough together, without those that are not needed for it."""
    taken: list[Change] = []
    for saver in savers:
        taken.append(saver)
        if holds(_applied(run, taken)):
            break
    else:
        return ()
    for one in tuple(taken):
        fewer = [other for other in taken if other is not one]
        if fewer and holds(_applied(run, fewer)):
            taken = fewer
    return tuple(taken)


def _applied(run: TrainingRun, changes: Sequence[Change]) -> TrainingRun:
    for _, change in changes:
        run = change(run)
    return run


def _methods(run: TrainingRun, others: Mapping[Method, TrainingRun]) -> Iterator[Change | None]:
    """None for the method that was asked for, then those that take less."""
    yield None
    adapted = replace(run, optimizer_in_backward=False)
    if run.method == "full":
        lora = others.get("lora", replace(adapted, method="lora"))
        yield "--method lora", lambda _: lora
    if run.method != "qlora" and run.precision != "fp32":
        # The command turns checkpointing on with it where nothing is said.
        qlora = others.get("qlora", replace(adapted, method="qlora", checkpointing="full"))
        yield "--method qlora", lambda _: qlora


def _savers(run: TrainingRun, *, whole_batch: bool) -> Iterator[Change]:
    """Single changes, the one that costs least first."""
    if optimizer(run.optimizer).library == "bitsandbytes":
        # For a card without its kernels; it takes more, so it is no change where memory is short.
        yield "--optimizer adamw", lambda r: replace(r, optimizer="adamw")
    if run.loss == "standard" and run.objective != "ppo":
        yield "--loss fused", lambda r: replace(r, loss="fused")
    if run.checkpointing != "full":
        some = run.checkpointing != "none"
        words = "--checkpointing full" if some else "--gradient-checkpointing"
        yield words, lambda r: replace(r, checkpointing="full")
    if run.micro_batch > 1 and run.optimizer_in_backward:
        yield "--micro-batch 1", lambda r: replace(r, micro_batch=1)
    elif run.micro_batch > 1:
        accumulated = "" if whole_batch else f" --grad-accum {run.micro_batch * run.grad_accum}"
        yield (
            f"--micro-batch 1{accumulated}",
            lambda r: replace(r, micro_batch=1, grad_accum=r.micro_batch * r.grad_accum),
        )
    layout = run.parallel
    unsharded = layout.dp > 1 and not layout.zero and layout.fsdp is None
    if unsharded and not run.optimizer_in_backward:
        yield "--zero 3", lambda r: replace(r, parallel=replace(r.parallel, zero=3))
    if run.rollout.vllm_share is not None and not run.rollout.vllm_sleeps:
        yield (
            "--vllm-sleep",
            lambda r: replace(r, rollout=replace(r.rollout, vllm_sleeps=True)),
        )
    if run.optimizer == "adamw" and not run.adapted:
        yield "--optimizer adamw-8bit", lambda r: replace(r, optimizer="adamw-8bit")
    if run.precision in ("bf16-mixed", "fp16-mixed") and not run.adapted:
        yield "--precision bf16", lambda r: replace(r, precision="bf16")
