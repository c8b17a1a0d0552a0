"""What is asked of every model of a run, with its names resolved."""

from __future__ import annotations

from msgspec import Struct

from hfmem.errors import UsageError
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import parse_gpu
from hfmem.memory.cards import device_of
from hfmem.memory.quantize import scheme
from hfmem.memory.workload import Workload
from hfmem.runtimes import ALL, RUNTIMES, Runtime, check_version


class Question(Struct, frozen=True, kw_only=True):
    """What is asked of every model of a run, resolved once."""

    workload: Workload
    runtime: Runtime
    groups: tuple[GpuGroup, ...]
    """The GPUs that were named."""
    rules: bool = False
    every: bool = False
    """Every runtime is asked, in detail the one that suits the model and the cards."""


def question(workload: Workload, *, gpus: tuple[str, ...] = (), rules: bool = False) -> Question:
    """Resolve the names of a question. Raises UsageError for a runtime, type or GPU that is
    unknown."""
    every = workload.runtime == ALL
    runtime = RUNTIMES.get("transformers" if every else workload.runtime)
    if runtime is None:
        raise UsageError(
            f"There is no runtime {workload.runtime!r:.60}.",
            hint=f"Choose one of: {', '.join(RUNTIMES)}, {ALL}.",
        )
    if every and any(workload.kv_dtype in one.kv_dtypes for one in RUNTIMES.values()):
        kv_dtypes: tuple[str, ...] = (workload.kv_dtype,)
    else:
        kv_dtypes = runtime.kv_dtypes
    if workload.version is not None:
        check_version(runtime, workload.version)
    if workload.quantize is not None:
        scheme(workload.quantize, runtime=runtime.name)
    if workload.kv_dtype not in kv_dtypes:
        raise UsageError(
            f"{runtime.name} has no KV cache type {workload.kv_dtype!r:.60}.",
            hint=f"Choose one of: {', '.join(runtime.kv_dtypes)}.",
        )
    groups = tuple(group for name in gpus for group in _groups(name))
    for group in groups:
        if workload.device not in ("cuda", device_of(group.gpu)):
            raise UsageError(
                f"--device {workload.device} does not drive {group.gpu.name}.",
                hint="Leave --device out: it follows the GPU.",
            )
    return Question(
        workload=workload,
        runtime=runtime,
        groups=groups,
        rules=rules,
        every=every,
    )


def _groups(name: str) -> tuple[GpuGroup, ...]:
    if name != "auto":
        return (parse_gpu(name),)
    from hfmem.hardware.detect import detect

    return detect().groups
