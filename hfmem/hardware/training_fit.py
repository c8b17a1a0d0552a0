"""Does a training run fit: the verdict, how far it could go, and the nearest change if not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware import bitsandbytes
from hfmem.hardware.fit import TIGHT_PERCENT, Verdict
from hfmem.hardware.training_advice import advice
from hfmem.memory.cards import class_of, device_of
from hfmem.memory.training import training_estimate
from hfmem.memory.training_estimate import TRAINING_PARTS, TrainingEstimate
from hfmem.memory.training_objective import runs_reference
from hfmem.memory.training_run import ONLINE, Method, TrainingRun
from hfmem.model.model import Model

_MOST_BATCH, _MOST_TOKENS, _MOST_RANKS = 2**20, 2**24, 1024
ZERO_STAGES = (0, 1, 2, 3)
MFU = 0.4
"""Share of the peak rate that a step is taken to reach: 0.35 to 0.55 is usual for dense models on
datacenter cards."""


class TrainingFit(Struct, frozen=True, kw_only=True):
    """The judgement on one group of GPUs."""

    group: GpuGroup
    verdict: Verdict | None
    """None where a part is not known."""
    decided_by: str | None
    usable_bytes: int
    """Of one GPU."""
    per_gpu_bytes: int | None
    headroom_bytes: int | None
    """Of one GPU; negative when it does not fit."""
    max_micro_batch: int | None
    max_seq_len: int | None
    advice: str = ""
    """The nearest change that makes it fit."""
    zero_ranks: tuple[tuple[int, int | None], ...] = ()
    """Fewest GPUs by ZeRO stage, at this micro-batch on each; None where even 1,024 do not do."""
    step_seconds: float | None = None
    """One optimizer step at ``mfu`` of the peak rate; None where no rate is known, and where
    completions are generated first."""
    mfu: float = MFU
    refusal: str = ""
    """Why it would not start on this card, whatever its memory: a kernel that is not there."""
    support: str = ""
    """What must be known of a library's support for this card."""

    @property
    def fits(self) -> bool:
        """Fits; a tight fit is a fit."""
        return self.verdict in ("fits", "tight")


def judge_training(
    group: GpuGroup,
    *,
    model: Model,
    run: TrainingRun,
    mfu: float = MFU,
    others: Mapping[Method, TrainingRun] | None = None,
    whole_batch: bool = False,
) -> TrainingFit:
    """Whether a run fits on a group, and how far it could go.

    ``others`` are what the same question is by other methods, which the advice may name, and
    ``whole_batch`` is where a global batch was asked for.

    The run is spread as it says; its GPUs must be those of the group. Need is monotone in the
    micro-batch and in the tokens, so both limits are found by bisection.
    """
    device = device_of(group.gpu)
    asked = replace(run, device=device)
    on_card = {method: replace(one, device=device) for method, one in (others or {}).items()}
    usable = max(0, group.gpu.usable_bytes - group.used_bytes)
    gpu_class = class_of(group.gpu)

    def need(changed: TrainingRun) -> int:
        return training_estimate(model, changed, gpu_class).need_bytes

    def holds(changed: TrainingRun) -> bool:
        try:
            return not bitsandbytes.refusal(changed, group.gpu) and need(changed) <= usable
        except UsageError:  # QLoRA over weights that are quantized already
            return False

    refused = bitsandbytes.refusal(asked, group.gpu)
    found = training_estimate(model, asked, gpu_class)
    if found.unknown:
        return _unknown(group, usable)
    needed = found.need_bytes
    peak = found.peak
    fitting = needed <= usable and not refused
    return TrainingFit(
        group=group,
        verdict=("fits" if needed * 100 <= usable * TIGHT_PERCENT else "tight")
        if fitting
        else "no",
        decided_by=None if refused else max(TRAINING_PARTS, key=lambda name: peak.part(name).bytes),
        usable_bytes=usable,
        per_gpu_bytes=needed,
        headroom_bytes=usable - needed,
        max_micro_batch=_most(lambda n: need(replace(asked, micro_batch=n)) <= usable, _MOST_BATCH),
        max_seq_len=_most(
            lambda n: need(replace(asked, seq_len=n)) <= usable,
            model.decoder.max_context or _MOST_TOKENS,
        ),
        advice="" if fitting else advice(asked, holds, others=on_card, whole_batch=whole_batch),
        zero_ranks=_zero_ranks(asked, lambda changed: need(changed) <= usable),
        step_seconds=step_seconds(model, asked, found, group.gpu, mfu=mfu),
        mfu=mfu,
        refusal=refused,
        support=bitsandbytes.support(asked, group.gpu),
    )


def _unknown(group: GpuGroup, usable: int) -> TrainingFit:
    return TrainingFit(
        group=group,
        verdict=None,
        decided_by=None,
        usable_bytes=usable,
        per_gpu_bytes=None,
        headroom_bytes=None,
        max_micro_batch=None,
        max_seq_len=None,
    )


def _most(holds: Callable[[int], bool], limit: int) -> int:
    """The largest number up to ``limit`` for which it holds; 0 where not even 1 does."""
    if not holds(1):
        return 0
    low, high = 1, 2
    while high <= limit and holds(high):
        low, high = high, high * 2
    if high > limit:
        high = limit + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _zero_ranks(
    run: TrainingRun, holds: Callable[[TrainingRun], bool]
) -> tuple[tuple[int, int | None], ...]:
    """The fewest data-parallel ranks of each stage, the micro-batch on each unchanged."""
    if run.optimizer_in_backward or run.parallel.fsdp is not None:
        return ()

    def at(stage: int, ranks: int) -> bool:
        layout = replace(run.parallel, dp=ranks, zero=stage, offload="none")
        try:
            return holds(replace(run, parallel=layout))
        except UsageError:
            return False

    found: list[tuple[int, int | None]] = []
    for stage in ZERO_STAGES:
        if at(stage, 1):
            found.append((stage, 1))
        elif not at(stage, _MOST_RANKS):
            found.append((stage, None))
        else:
            low, high = 1, _MOST_RANKS
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if at(stage, middle) else (middle, high)
            found.append((stage, high))
    each = run.parallel.tp * run.parallel.pp
    return tuple((stage, None if ranks is None else ranks * each) for stage, ranks in found)


def step_seconds(
    model: Model, run: TrainingRun, found: TrainingEstimate, gpu: Gpu, *, mfu: float = MFU
) -> float | None:
    """Seconds of one optimizer step: operations by tokens over the rate at ``mfu``.

    6 operations a parameter and token: 2 forward, 4 backward (arXiv:2001.08361); 2 more where
    layers are computed again or a reference scores, 2 less where the weights are frozen. A pipeline
    of p stages takes (m + p - 1) / m as long for m micro-batches (arXiv:2104.04473, section 2.2).
    Llama-3.1-8B, 16,384 tokens, full, on an H100 of 989 TFLOPS:
    6 × 8.03e9 × 16,384 / (0.4 × 989e12) = 2.0 s.
    """
    rate = gpu.bf16_flops or gpu.fp16_flops
    active = model.parameters.active if model.parameters else None
    if rate is None or active is None or run.objective in ONLINE:
        return None
    each = 4 if run.adapted else 6
    each += 2 if run.checkpointing != "none" else 0
    each += 2 if runs_reference(run) else 0
    tokens = found.seq_len * run.sequences * run.grad_accum * run.parallel.dp
    bubble = (run.grad_accum + run.parallel.pp - 1) / run.grad_accum
    return bubble * each * active * tokens / (rate * mfu * run.parallel.gpus)
