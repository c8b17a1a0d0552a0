"""The question that the options of a command line ask."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hfmem.errors import UsageError
from hfmem.flags import flags_of
from hfmem.memory.workload import Attention, Device, Workload, workload
from hfmem.units import parse_tokens


def workload_of(
    *,
    ctx: str | None,
    batch: str,
    runtime: str,
    kv_dtype: str,
    dtype: str | None,
    quantize: str | None = None,
    attention: Attention | None,
    device: Device,
    encoder_ctx: str | None,
    images: str = "0",
    image_size: str | None = None,
    frames: str = "0",
    audio_seconds: str = "0",
    engine: Mapping[str, object],
) -> Workload:
    """The question that the options ask. Raises UsageError."""
    name, at, version = runtime.partition("@")
    if at and not version:
        raise UsageError(
            f"{runtime!r:.60} names no version.", hint=f"Write {name}@VERSION, or {name} alone."
        )
    return workload(
        ctx=None if ctx is None else parse_tokens(ctx),
        batch=_whole(batch),
        images=_whole(images, what="pictures"),
        image_size=image_size,
        frames=_whole(frames, what="frames"),
        audio_seconds=_seconds(audio_seconds),
        runtime=name,
        kv_dtype=kv_dtype,
        dtype=dtype,
        quantize=quantize,
        attention=attention,
        device=device,
        encoder_ctx=None if encoder_ctx is None else parse_tokens(encoder_ctx),
        version=version or None,
        flags=flags_of(engine, runtime=name),
    )


def _seconds(text: str) -> float:
    digits = text.strip()
    if not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", digits):
        raise UsageError(
            f"{text!r:.60} is not a number of seconds.", hint="Write a number, such as 30 or 12.5."
        )
    return float(digits)


def _whole(text: str, *, what: str = "sequences") -> int:
    digits = text.strip().replace("_", "").replace(",", "")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise UsageError(
            f"{text!r:.60} is not a number of {what}.", hint="Write a whole number, such as 16."
        )
    return int(digits)
