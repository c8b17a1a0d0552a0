"""What a Hugging Face model needs in memory, before the download.

>>> import hfmem
>>> estimate = hfmem.estimate("lmms-lab/LLaVA-Video-72B-Qwen2", ctx=8192)  # doctest: +SKIP
>>> estimate.memory.peak.part("kv_cache").bytes  # doctest: +SKIP
2684354560

Importing this package imports nothing else; what a name needs is imported when it is first used.
"""

from __future__ import annotations

from os import fspath
from typing import TYPE_CHECKING, TypedDict, Unpack

from hfmem._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from os import PathLike

    from hfmem.answer import Estimate, Failure
    from hfmem.checkpoint.snapshot import Note
    from hfmem.download import Download
    from hfmem.errors import (
        CheckpointError,
        ConfigError,
        GatedModelError,
        HfmemError,
        HubUnavailableError,
        InternalError,
        InvalidListLineError,
        InvalidValueError,
        MalformedHeaderError,
        MissingKeyError,
        ModelNotFoundError,
        NoWeightsError,
        OfflineError,
        RateLimitedError,
        RevisionNotFoundError,
        SourceError,
        UnsupportedArchitectureError,
        UsageError,
    )
    from hfmem.hardware.fit import Fit
    from hfmem.memory.term import Term
    from hfmem.memory.training_run import (
        Checkpointing,
        Fsdp,
        Loss,
        Method,
        Objective,
        Offload,
        Precision,
    )
    from hfmem.memory.workload import Attention, Device
    from hfmem.source import SourceChoice
    from hfmem.training import Plan

_HOMES = {
    "hfmem.answer": ("Estimate", "Failure"),
    "hfmem.download": ("Download",),
    "hfmem.checkpoint.snapshot": ("Note",),
    "hfmem.errors": (
        "CheckpointError",
        "ConfigError",
        "GatedModelError",
        "HfmemError",
        "HubUnavailableError",
        "InternalError",
        "InvalidListLineError",
        "InvalidValueError",
        "MalformedHeaderError",
        "MissingKeyError",
        "ModelNotFoundError",
        "NoWeightsError",
        "OfflineError",
        "RateLimitedError",
        "RevisionNotFoundError",
        "SourceError",
        "UnsupportedArchitectureError",
        "UsageError",
    ),
    "hfmem.hardware.fit": ("Fit",),
    "hfmem.memory.term": ("Term",),
    "hfmem.training": ("Plan",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Download",
    "Estimate",
    "Failure",
    "Fit",
    "GatedModelError",
    "HfmemError",
    "HubUnavailableError",
    "InternalError",
    "InvalidListLineError",
    "InvalidValueError",
    "MalformedHeaderError",
    "MissingKeyError",
    "ModelNotFoundError",
    "NoWeightsError",
    "Note",
    "OfflineError",
    "Plan",
    "RateLimitedError",
    "RevisionNotFoundError",
    "SourceError",
    "Term",
    "UnsupportedArchitectureError",
    "UsageError",
    "__version__",
    "audit",
    "estimate",
    "train",
]


class Keywords(TypedDict, total=False):
    """The command line's flags, as keyword arguments of ``estimate`` and ``audit``."""

    ctx: int | None
    batch: int
    runtime: str
    kv_dtype: str
    dtype: str | None
    quantize: str | None
    attention: Attention | None
    device: Device
    encoder_ctx: int | None
    images: int
    image_size: str | tuple[int, int] | None
    frames: int
    audio_seconds: float
    gpu: str | Sequence[str]
    revision: str | None
    token: str | None
    offline: bool
    source: SourceChoice
    recorded: str | PathLike[str] | None
    rules: bool
    quota_share: float
    variant: str | None
    subfolder: str | None
    tp: int
    pp: int
    ep: int
    dp: int
    dcp: int
    enable_expert_parallel: bool
    gpu_memory_utilization: float
    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    enforce_eager: bool
    cpu_offload_gb: float
    disable_hybrid_kv_cache_manager: bool
    kv_cache_memory_bytes: int | str
    mamba_cache_mode: str
    mamba_ssm_cache_dtype: str
    no_enable_prefix_caching: bool


class TrainKeywords(TypedDict, total=False):
    """The flags of ``hfmem train``, as keyword arguments of ``train``."""

    method: Method
    objective: Objective
    recipe: str | None
    seq_len: int | None
    micro_batch: int | None
    grad_accum: int | None
    optimizer: str | None
    precision: Precision | None
    attention: Attention | None
    lora_rank: int | None
    lora_targets: str | None
    adapter: str | PathLike[str] | None
    quantize: str | None
    gradient_checkpointing: bool | None
    checkpointing: Checkpointing | None
    loss: Loss | None
    compile: bool | None
    optimizer_in_backward: bool | None
    activation_offload: bool | None
    fused_recurrence: bool | None
    packed: bool | None
    reference_model: bool | None
    global_batch: int | None
    mfu: float | None
    images: int
    image_size: str | tuple[int, int] | None
    frames: int
    audio_seconds: float
    completion_len: int | None
    generations: int | None
    vllm_gpu_memory_utilization: float | None
    vllm_sleep: bool
    tp: int
    pp: int
    dp: int | None
    ep: int
    sp: bool
    zero: int | None
    fsdp: Fsdp | None
    offload: Offload
    device: Device
    gpu: str | Sequence[str]
    revision: str | None
    token: str | None
    offline: bool
    source: SourceChoice
    recorded: str | PathLike[str] | None
    rules: bool


def estimate(model: str, **options: Unpack[Keywords]) -> Estimate:
    """What one model needs in memory.

    ``model`` takes every form of the command line's MODEL, ``options`` are its flags: ctx, batch,
    runtime, kv_dtype, dtype, quantize, attention, device, encoder_ctx, gpu, revision, token,
    offline, source, recorded, rules, and the engines' own flags by the names of ``hfmem.flags``.
    Raises HfmemError.
    """
    from hfmem.auditing import one, options_of

    _check_names("estimate", options, of=Keywords)
    return one(fspath(model), options_of(**options))


def audit(models: Iterable[str], **options: Unpack[Keywords]) -> Iterator[Estimate | Failure]:
    """Many models, in the order given; a model that fails is a Failure, never the end.

    ``options`` are those of ``estimate``. Models are drawn as rows are taken, so both may be
    endless, and the iterator may be left at any row. A used up quota of the Hub is waited out;
    ``quota_share`` is this process's part of it, where several audit at a time (0.25 of four).
    Raises UsageError for options that fit no model.
    """
    from collections.abc import Sized

    from hfmem import auditing
    from hfmem.errors import UsageError

    _check_names("audit", options, of=Keywords)
    if isinstance(models, str):
        raise UsageError(
            f"audit() was given the single name {models!r:.120}.",
            hint="Give it a list of names, or call hfmem.estimate.",
        )
    items = (auditing.ListItem(model=fspath(model)) for model in models)
    expected = len(models) if isinstance(models, Sized) else None
    return auditing.audit(items, auditing.options_of(**options), expected=expected)


def train(model: str, **options: Unpack[TrainKeywords]) -> Plan:
    """What training or fine-tuning one model needs in memory.

    ``options`` are the flags of ``hfmem train``; method is full, lora, qlora or dora. Raises
    HfmemError.
    """
    from hfmem.planning import one

    _check_names("train", options, of=TrainKeywords)
    return one(fspath(model), **options)


def _check_names(function: str, options: Mapping[str, object], *, of: type) -> None:
    """Refuse a keyword that is none, as Python does: a misspelt one must not be left out unsaid."""
    from hfmem.flags import FLAGS

    known = {*of.__annotations__, *(flag.name for flag in FLAGS if of is Keywords)}
    for name in options:
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
