"""The options that several verbs share, in groups: a command gets the values of a group by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from hfmem.cli import options
from hfmem.memory.workload import Attention, Device
from hfmem.report.formats import Format

Group = Mapping[str, tuple[object, object]]
"""Declaration and default by the name of the keyword argument."""

QUESTION: Group = {
    "ctx": (options.Ctx, None),
    "batch": (options.Batch, "1"),
    "runtime": (options.Runtime, "transformers"),
    "kv_dtype": (options.KvDtype, "auto"),
    "dtype": (options.Dtype, None),
    "quantize": (options.Quantize, None),
    "attention": (options.Attention, None),
    "encoder_ctx": (options.EncoderCtx, None),
    "images": (options.Images, "0"),
    "image_size": (options.ImageSize, None),
    "frames": (options.Frames, "0"),
    "audio_seconds": (options.AudioSeconds, "0"),
    "device": (options.Device, "cuda"),
}
"""What is asked of every model."""

ACCESS: Group = {
    "revision": (options.Revision, None),
    "token": (options.Token, None),
    "offline": (options.Offline, False),
    "source": (options.Source, "auto"),
    "recorded": (options.Recorded, None),
}
"""How facts may be had."""

FORM: Group = {
    "json": (options.Json, False),
    "format": (options.Format, None),
    "output": (options.Output, None),
    "explain": (options.Explain, False),
}
"""Where the answer goes, and in which format."""


class QuestionWords(TypedDict):
    """The values of ``QUESTION``."""

    ctx: str | None
    batch: str
    runtime: str
    kv_dtype: str
    dtype: str | None
    quantize: str | None
    attention: Attention | None
    encoder_ctx: str | None
    images: str
    image_size: str | None
    frames: str
    audio_seconds: str
    device: Device


class AccessWords(TypedDict):
    """The values of ``ACCESS``."""

    revision: str | None
    token: str | None
    offline: bool
    source: options.SourceChoice
    recorded: Path | None


class FormWords(TypedDict):
    """The values of ``FORM``."""

    json: bool
    format: Format | None
    output: str | None
    explain: bool
