"""The runtimes side by side for one workload, at one context."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.errors import HfmemError, UsageError
from hfmem.flags import flags_for
from hfmem.gpu import GpuGroup
from hfmem.hardware.advice import Limits, advise
from hfmem.hardware.fit import Fit, judge
from hfmem.memory.cards import device_of
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES, Runtime
from hfmem.runtimes.requantized import settled


class Compared(Struct, frozen=True, kw_only=True):
    """One runtime's answer to the common question."""

    runtime: str
    memory: MemoryEstimate | None
    """None where the runtime refuses the question."""
    fit: tuple[Fit, ...]
    """With the command that runs it, where it fits."""
    refusal: str
    """Why it does, or why it would not start on the first card; else empty."""


def suited(model: Model, workload: Workload, groups: tuple[GpuGroup, ...]) -> Runtime:
    """The runtime whose answer is shown in detail: llama.cpp for GGUF files, MLX for what it has
    quantized and on Apple's machines, else transformers; the next one that takes the question where
    that does not, as llama.cpp a cache in q8_0."""
    apple = bool(groups) and all(group.gpu.vendor == "apple" for group in groups)
    by_mlx = any((run.format or "").lower().startswith("mlx") for run in model.weights or ())
    name = "mlx" if apple or by_mlx else "transformers"
    first = RUNTIMES["llama.cpp" if model.gguf_architecture is not None else name]
    others = (one for one in RUNTIMES.values() if one is not first)
    taking = (one for one in (first, *others) if _takes(one, model, workload, groups))
    return next(taking, first)


def _takes(
    runtime: Runtime, model: Model, workload: Workload, groups: tuple[GpuGroup, ...]
) -> bool:
    try:
        _asked(runtime, model, workload, groups)
    except HfmemError:
        return False
    return True


def compare(model: Model, workload: Workload, groups: tuple[GpuGroup, ...]) -> tuple[Compared, ...]:
    """Every runtime's figures for one workload, each with those of the flags that it takes.

    The workload says its context: engines have defaults of their own, Ollama's by the cards.
    """
    return tuple(_one(runtime, model, workload, groups) for runtime in RUNTIMES.values())


def _asked(
    runtime: Runtime, model: Model, workload: Workload, groups: tuple[GpuGroup, ...]
) -> tuple[Workload, MemoryEstimate]:
    """The question with the flags that a runtime takes, and its figures on the first card. Raises
    HfmemError where it refuses them."""
    own = {flag.name for flag in flags_for(runtime.name)}
    others = {name: None for name, _ in workload.flags.given if name not in own}
    asked = replace(workload, runtime=runtime.name, flags=workload.flags.but(**others))
    if asked.kv_dtype not in runtime.kv_dtypes:
        raise UsageError(
            f"{runtime.name} has no KV cache type {asked.kv_dtype!r:.60}.",
            hint=f"Choose one of: {', '.join(runtime.kv_dtypes)}.",
        )
    first = groups[0] if groups else None
    asked, _ = settled(model, asked)
    placed = asked if first is None else replace(asked, device=device_of(first.gpu))
    return asked, runtime.estimate(model, placed, first)


def _one(
    runtime: Runtime, model: Model, workload: Workload, groups: tuple[GpuGroup, ...]
) -> Compared:
    try:
        asked, memory = _asked(runtime, model, workload, groups)
        return Compared(
            runtime=runtime.name,
            memory=memory,
            fit=tuple(
                _with_command(fit, model=model, workload=asked, runtime=runtime)
                for fit in (
                    judge(group, model=model, workload=asked, runtime=runtime) for group in groups
                )
            ),
            refusal=memory.refusal or "",
        )
    except HfmemError as error:
        return Compared(runtime=runtime.name, memory=None, fit=(), refusal=error.message)


def with_commands(
    fits: tuple[Fit, ...], compared: tuple[Compared, ...], *, own: str
) -> tuple[Fit, ...]:
    """The judgements of the runtime in detail, with the commands of all that hold the workload."""
    return tuple(
        replace(
            fit,
            advice=(
                *(replace(one, label=f"in {own}") for one in fit.advice if one.change == "none"),
                *(
                    replace(one, label=f"in {other.runtime}")
                    for other in compared
                    if other.runtime != own and other.fit
                    for one in other.fit[number].advice
                ),
                *(one for one in fit.advice if one.change != "none"),
            ),
        )
        for number, fit in enumerate(fits)
    )


def _with_command(fit: Fit, *, model: Model, workload: Workload, runtime: Runtime) -> Fit:
    if not fit.fits:
        return fit
    limits = Limits(
        fits=True, max_ctx=fit.max_ctx, max_batch=fit.max_batch, smallest_count=fit.group.count
    )
    found = advise(fit.group, limits, model=model, workload=workload, runtime=runtime)
    return replace(fit, advice=found)
