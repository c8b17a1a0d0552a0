"""What is asked of a model: how long, how many at once, in which engine and types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

from msgspec import Struct, field

from hfmem.dtypes import FLOATS, from_name
from hfmem.errors import UsageError
from hfmem.flag import Flags

if TYPE_CHECKING:
    from hfmem.model.media import Media

Attention = Literal["sdpa", "flash", "eager"]
Device = Literal["cuda", "rocm", "mps", "cpu"]

DEFAULT_CTX = 8192


class Workload(Struct, frozen=True, kw_only=True):
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
    images: int = 0
    """Pictures that each sequence brings, on top of ``ctx``."""
    image_size: tuple[int, int] | None = None
    """Height and width in pixels of every picture and frame; None where nobody said it."""
    frames: int = 0
    """Sampled frames of one film in each sequence."""
    audio_seconds: float = 0
    """Length of one recording in each sequence."""
    media: Media | None = None
    """What the pictures, frames and sound become in the model that is asked about; ``answer`` fills
    it in for each one."""
    largest: tuple[Media, ...] = ()
    """What the largest inputs that the model takes become, for engines that profile its encoder
    with them; ``answer`` fills them in."""
    quantize: str | None = None
    """What if it were quantized: a name of ``hfmem.memory.quantize.choices``."""
    version: str | None = None
    """The engine's version, ``0.19``; None is the one that the runtime's rules were read from."""
    flags: Flags = field(default_factory=Flags)
    """The engine's own flags, the parallel layout among them."""

    @property
    def media_tokens(self) -> int:
        """Tokens of each sequence on top of ``ctx``."""
        return 0 if self.media is None else self.media.tokens


MAX_CTX = 2**30
MAX_BATCH = 2**24
MAX_ITEMS = 2**20
"""Pictures or frames of a sequence."""
MAX_SIDE = 2**17
"""Pixels on a side."""
MAX_SECONDS = 10**7


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
    images: int = 0,
    image_size: str | tuple[int, int] | None = None,
    frames: int = 0,
    audio_seconds: float = 0,
    quantize: str | None = None,
    version: str | None = None,
    flags: Flags = Flags(),  # noqa: B008
) -> Workload:
    """A checked workload. Raises UsageError.

    ``dtype`` is a torch name such as ``bfloat16``; ``image_size`` is width and height, as a pair or
    as ``1920x1080``.
    """
    size = _checked_media(
        images=images, image_size=image_size, frames=frames, audio_seconds=audio_seconds
    )
    _check_range("ctx", ctx, most=MAX_CTX)
    _check_range("batch", batch, most=MAX_BATCH)
    _check_range("encoder-ctx", encoder_ctx, most=MAX_CTX)
    load_dtype = _checked_dtype(dtype)
    _check_choice("attention", attention, get_args(Attention))
    _check_choice("device", device, get_args(Device))
    return Workload(
        ctx=ctx,
        batch=batch,
        runtime=runtime,
        kv_dtype=kv_dtype,
        dtype=load_dtype,
        attention=attention,
        device=device,
        encoder_ctx=encoder_ctx,
        images=images,
        image_size=size,
        frames=frames,
        audio_seconds=audio_seconds,
        quantize=quantize.strip().lower() if quantize else None,
        version=version,
        flags=flags,
    )


def _checked_media(
    *,
    images: int,
    image_size: str | tuple[int, int] | None,
    frames: int,
    audio_seconds: float,
) -> tuple[int, int] | None:
    """Height and width of the pictures and frames."""
    for name, count in (("images", images), ("frames", frames)):
        if not 0 <= count <= MAX_ITEMS:
            raise UsageError(
                f"{name} is {count!r:.40}, not a whole number from 0 to {MAX_ITEMS:,}.",
                hint=f"Give --{name} a number in that range.",
            )
    if not 0 <= audio_seconds <= MAX_SECONDS:
        raise UsageError(
            f"audio-seconds is {audio_seconds!r:.40}, not a number from 0 to {MAX_SECONDS:,}.",
            hint="Give --audio-seconds a number in that range.",
        )
    size = None if image_size is None else _height_and_width(image_size)
    if size is not None and not (images or frames):
        raise UsageError(
            "--image-size says nothing without --images or --frames.",
            hint="Add --images N or --frames N.",
        )
    return size


def _check_range(name: str, value: int | None, *, most: int) -> None:
    # The Python interface takes what its callers give it.
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (whole and 1 <= value <= most):
        raise UsageError(
            f"{name} is {value!r:.40}, not a whole number from 1 to {most:,}.",
            hint=f"Give --{name} a number in that range.",
        )


def _checked_dtype(name: str | None) -> str | None:
    """As safetensors spells it; None is the runtime's own choice."""
    if name in (None, "auto"):
        return None
    found = from_name(name)
    if found not in FLOATS:
        raise UsageError(
            f"{name!r:.60} is not a type that weights can be loaded in.",
            hint="Choose one of: auto, bfloat16, float16, float32, float64.",
        )
    return found


def _check_choice(name: str, choice: str | None, choices: tuple[str, ...]) -> None:
    if choice is not None and choice not in choices:
        raise UsageError(
            f"There is no {name} {choice!r:.60}.", hint=f"Choose one of: {', '.join(choices)}."
        )


def _height_and_width(given: str | tuple[int, int]) -> tuple[int, int]:
    """``_height_and_width("1920x1080") == (1080, 1920)``."""
    sides: list[int] = []
    for part in (
        re.split(r"[x×]", given.lower().replace(" ", "")) if isinstance(given, str) else given
    ):
        if isinstance(part, int):
            sides.append(part)
        elif part.isascii() and part.isdecimal() and len(part) < 8:
            sides.append(int(part))
    if len(sides) != 2 or not all(1 <= side <= MAX_SIDE for side in sides):
        raise UsageError(
            f"image-size is {given!r:.40}, not a width and a height in pixels.",
            hint="Write --image-size 1920x1080.",
        )
    return sides[1], sides[0]
