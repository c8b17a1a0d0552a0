"""What is asked of a model: how long, how many at once, in which engine and types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hfmem.dtypes import FLOATS, from_name
from hfmem.errors import UsageError

Attention = Literal["sdpa", "flash", "eager"]
Device = Literal["cuda", "rocm", "mps", "cpu"]

DEFAULT_CTX = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One question. Nothing in it depends on the model, so one workload serves a whole audit."""

    ctx: int | None = None
    """Tokens of context per sequence, prompt and generated; None is min(8192, the model's
    maximum)."""
    batch: int = 1
    """Concurrent sequences."""
    runtime: str = "transformers"
    kv_dtype: str = "auto"
    """A name that the runtime takes; ``auto`` is its own rule."""
    dtype: str | None = None
    """Load in another float type, as safetensors spells it; None is the runtime's own choice."""
    attention: Attention | None = None
    """None is what the architecture's class takes by default."""
    device: Device = "cuda"
    encoder_ctx: int | None = None
    """Encoder tokens of an encoder-decoder model; None is the decoder's context, or what the model
    fixes."""


MAX_CTX = 2**30
MAX_BATCH = 2**24


def workload(
    *,
    ctx: int | None = None,
    batch: int = 1,
    runtime: str = "transformers",
    kv_dtype: str = "auto",
    dtype: str | None = None,
    attention: Attention | None = None,
    device: Device = "cuda",
    encoder_ctx: int | None = None,
) -> Workload:
    """A checked workload; ``dtype`` is a torch name such as ``bfloat16``. Raises UsageError."""
    for name, value, most in (
        ("ctx", ctx, MAX_CTX),
        ("batch", batch, MAX_BATCH),
        ("encoder-ctx", encoder_ctx, MAX_CTX),
    ):
        if value is not None and not 1 <= value <= most:
            raise UsageError(
                f"{name} is {value!r:.40}, not a whole number from 1 to {most:,}.",
                hint=f"Give --{name} a number in that range.",
            )
    load_dtype = None
    if dtype not in (None, "auto"):
        load_dtype = from_name(dtype)
        if load_dtype not in FLOATS:
            raise UsageError(
                f"{dtype!r:.60} is not a type that weights can be loaded in.",
                hint="Choose one of: auto, bfloat16, float16, float32, float64.",
            )
    for name, choice, choices in (
        ("attention", attention, get_args(Attention)),
        ("device", device, get_args(Device)),
    ):
        if choice is not None and choice not in choices:
            raise UsageError(
                f"There is no {name} {choice!r:.60}.", hint=f"Choose one of: {', '.join(choices)}."
            )
    return Workload(
        ctx=ctx,
        batch=batch,
        runtime=runtime,
        kv_dtype=kv_dtype,
        dtype=load_dtype,
        attention=attention,
        device=device,
        encoder_ctx=encoder_ctx,
    )
