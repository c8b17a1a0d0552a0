"""Models that hear: an encoder of sound, a projector, a decoder."""

from __future__ import annotations

from hfmem.model.config import Config
from hfmem.model.declared import sound, vision
from hfmem.model.declared.blocks import (
    Parts,
    linear,
    under,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import Rule
from hfmem.model.declared.wrapper import (
    Wrapper,
    section,
    two_layers,
    width,
)


def _qwen2_audio_beside(config: Config) -> Parts:
    found = section(config, "audio_config")
    entry = found.integer("d_model", low=1)
    return (
        *linear("multi_modal_projector.linear", width(config), entry, bias=True),
        *under("audio_tower", sound.whisper(found)),
    )


def _voxtral_beside(config: Config) -> Parts:
    found = section(config, "audio_config")
    entry = found.integer("intermediate_size", low=1)
    return (
        *under("multi_modal_projector", two_layers(config, entry, bias=False)),
        *under("audio_tower", sound.whisper(found)),
    )


def _thinker_beside(hear: Rule, see: Rule) -> Rule:
    return lambda config: (
        *under("audio_tower", hear(section(config, "audio_config"))),
        *under("visual", see(section(config, "vision_config"))),
    )


THINKER = Wrapper(beside=_thinker_beside(sound.qwen2_5_omni, vision.qwen2_5_omni))
"""Qwen2.5-Omni's decoder with its ears and eyes."""


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("qwen2_audio",),
        classes=("Qwen2AudioForConditionalGeneration",),
        parts=Wrapper(beside=_qwen2_audio_beside, inside=False),
        source="qwen2_audio/modeling_qwen2_audio.py, names as published",
    ),
    Family(
        model_types=("voxtral",),
        classes=("VoxtralForConditionalGeneration",),
        parts=Wrapper(beside=_voxtral_beside, inside=False),
        source="voxtral/modeling_voxtral.py, names as published",
    ),
    Family(
        model_types=("qwen2_5_omni_thinker",),
        classes=("Qwen2_5OmniThinkerForConditionalGeneration",),
        parts=THINKER,
        source="qwen2_5_omni/modeling_qwen2_5_omni.py",
    ),
    Family(
        model_types=("qwen3_omni_moe_thinker",),
        classes=("Qwen3OmniMoeThinkerForConditionalGeneration",),
        parts=Wrapper(beside=_thinker_beside(sound.qwen3_omni, vision.qwen3_vl)),
        source="qwen3_omni_moe/modeling_qwen3_omni_moe.py",
    ),
)
"""Wrappers, one row each."""
