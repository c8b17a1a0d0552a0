"""What vLLM's profile holds while it runs the encoder on its largest input.

vLLM 0.33 v1/worker/gpu_model_runner.py: profile_run, multimodal/encoder_budget.py: as many items of
the largest size as the encoder's budget holds, all of the kind that becomes the most tokens. What
they become is kept beside the decoder's step.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from hfmem.dtypes import width
from hfmem.errors import HfmemError
from hfmem.memory.term import Term
from hfmem.model.config import Config
from hfmem.model.media import Documents, Media, MediaInput
from hfmem.model.multimodal import family_of, media
from hfmem.runtimes.vllm_settings import Settings

_SIDE = 8192
_PICTURES = ((_SIDE, _SIDE), (_SIDE, 2 * _SIDE), (2 * _SIDE, _SIDE), (3 * _SIDE, 4 * _SIDE))
"""Height and width, beyond what any processor keeps; it scales or tiles them down."""
_FILM_PICTURES = 7
"""A film of the profile is at most 14 frames of the largest picture's size, two in one
(models/qwen2_vl.py: _MAX_FRAMES_PER_VIDEO, get_max_video_tokens)."""
_FILMED = frozenset({"qwen2_vl", "qwen2_5_vl", "qwen2_5_omni", "qwen2_5_omni_thinker"})
"""Families whose largest film becomes more tokens than their largest picture."""
PER_PROMPT = 999
"""config/multimodal.py: items of a kind that a prompt may bring by default."""


class EncoderRun(Struct, frozen=True, kw_only=True):
    """The encoder's part of the profile."""

    peak: Term
    """While it runs; the decoder has not begun."""
    outputs: Term
    """What it leaves for the decoder's step."""


def largest_items(config: Config, documents: Documents) -> tuple[Media, ...]:
    """The largest picture and, where films become more, films of every length; () without a rule.

    Qwen2.5-VL: 16,384 tokens a picture, and up to 114,688 for a film of 14 frames.
    """
    if family_of(config) is None:
        return ()
    pictures = [
        found
        for size in _PICTURES
        if (found := _told(config, documents, MediaInput(images=1, image_size=size))) is not None
    ]
    picture = max(pictures, key=lambda one: one.tokens, default=None)
    if picture is None:
        return ()
    films = range(2, _FILM_PICTURES + 1) if config.model_type in _FILMED else ()
    return (picture, *(_film(picture, count) for count in films))


def _film(picture: Media, pictures: int) -> Media:
    encoders = tuple(
        replace(one, positions=one.positions * pictures, values=one.values * pictures)
        for one in picture.encoders
    )
    return replace(picture, tokens=picture.tokens * pictures, encoders=encoders)


def _told(config: Config, documents: Documents, asked: MediaInput) -> Media | None:
    try:
        return media(config, documents, asked)
    except HfmemError:
        return None


def encoder_run(items: Sequence[Media], settings: Settings, *, hidden: int) -> EncoderRun | None:
    """The profile's encoder run; None where no item or no encoder is described.

    Gemma-3 on an H100: 8,192 tokens are 32 pictures of 256 tokens and 4,096 patches. Films are
    those that a context holds; what takes most counts, so that a longer context never needs less.
    """
    films = [one for one in items[1:] if one.tokens <= settings.ctx]
    runs = [_run(one, settings, hidden=hidden) for one in (*items[:1], *films) if _described(one)]
    return max(runs, key=lambda run: run.peak.bytes, default=None)


def _described(found: Media) -> bool:
    return bool(found.tokens and found.encoders and found.encoders_known)


def _run(found: Media, settings: Settings, *, hidden: int) -> EncoderRun:
    element = width(settings.dtype)
    budget = max(settings.step, found.tokens)
    held = settings.sequences * max(1, min(PER_PROMPT, settings.ctx // found.tokens))
    count = max(1, min(budget // found.tokens, held))
    run = max(found.encoders, key=lambda one: one.positions * (one.hidden + one.inner))
    rows = count * run.positions
    inner = -(-run.inner // settings.layout.tp)
    layer = rows * (run.residents * run.hidden + inner) * element
    outputs = count * found.tokens * hidden * element
    size = layer + count * run.values * element + outputs
    what = f"{count} × the largest input of {found.tokens:,} tokens"
    return EncoderRun(
        peak=Term(
            name="encoder",
            bytes=size,
            basis="derived",
            because=f"{what}: {rows:,} positions × ({run.residents} × {run.hidden:,} + {inner:,}) "
            f"× {element} bytes, its values and outputs (0.33 multimodal/encoder_budget.py)",
            low=size * 6 // 10,
            high=size * 15 // 10,
        ),
        outputs=Term(
            name="encoder outputs",
            bytes=outputs,
            basis="derived",
            because=f"{what} × {hidden:,} × {element} bytes, kept beside the decoder's step",
        ),
    )
