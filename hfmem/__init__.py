"""What a Hugging Face model needs in memory, before the download.

>>> import hfmem
>>> estimate = hfmem.estimate("lmms-lab/LLaVA-Video-72B-Qwen2", ctx=8192)  # doctest: +SKIP
>>> estimate.memory.peak.part("kv_cache").bytes  # doctest: +SKIP
2684354560

Importing this package imports nothing else; what a name needs is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

from hfmem._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from os import PathLike

    from hfmem.answer import Download, Estimate, Failure
    from hfmem.checkpoint.snapshot import Note
    from hfmem.errors import (
        CheckpointError,
        ConfigError,
        GatedModelError,
        HfmemError,
        HubUnavailableError,
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
    from hfmem.memory.workload import Attention, Device
    from hfmem.source import SourceChoice

_HOMES = {
    "hfmem.answer": ("Download", "Estimate", "Failure"),
    "hfmem.checkpoint.snapshot": ("Note",),
    "hfmem.errors": (
        "CheckpointError",
        "ConfigError",
        "GatedModelError",
        "HfmemError",
        "HubUnavailableError",
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
    "InvalidListLineError",
    "InvalidValueError",
    "MalformedHeaderError",
    "MissingKeyError",
    "ModelNotFoundError",
    "NoWeightsError",
    "Note",
    "OfflineError",
    "RateLimitedError",
    "RevisionNotFoundError",
    "SourceError",
    "Term",
    "UnsupportedArchitectureError",
    "UsageError",
    "__version__",
    "audit",
    "estimate",
]


class Keywords(TypedDict, total=False):
    """The command line's flags, as keyword arguments of ``estimate`` and ``audit``."""

    ctx: int | None
    batch: int
    runtime: str
    kv_dtype: str
    dtype: str | None
    attention: Attention | None
    device: Device
    encoder_ctx: int | None
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
    runtime, kv_dtype, dtype, attention, device, encoder_ctx, gpu, revision, token, offline, source,
    recorded, rules. Raises HfmemError.
    """
    from hfmem.auditing import one, options_of

    return one(model, options_of(**options))


def audit(models: Iterable[str], **options: Unpack[Keywords]) -> Iterator[Estimate | Failure]:
    """Many models, in the order given; a model that fails is a Failure, never the end.

    ``options`` are those of ``estimate``. Raises UsageError for options that fit no model.
    """
    from hfmem.auditing import ListItem, options_of, run

    return run((ListItem(model=model) for model in models), options_of(**options))


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
