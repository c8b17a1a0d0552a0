"""What pictures, film and sound add to a prompt: one small entry a family.

``media(config, documents, asked)`` finds the family by model type, counts by its own processor's
rule, and names every key that it read. A family without a rule is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from hfmem.errors import UsageError
from hfmem.model import media_llava, media_pictures, media_sound
from hfmem.model.config import Config, class_name
from hfmem.model.media import Documents, Found, Media, MediaInput, Reader
from hfmem.model.vision_towers import encoder_pass

Rule = Callable[[Reader, MediaInput], Found]


class Family(Struct, frozen=True, kw_only=True):
    """The rules of some model types; None is a kind of input that they do not take."""

    model_types: tuple[str, ...]
    source: str
    images: Rule | None = None
    frames: Rule | None = None
    audio: Rule | None = None


LLAVA_NEXT_CODE = Family(
    model_types=(),
    images=media_llava.llava_next_images,
    frames=media_llava.llava_next_frames,
    source="LLaVA-NeXT llava/model/llava_arch.py: get_2dPool, add_token_per_grid",
)
"""Flat configurations of LLaVA-NeXT's own classes, whatever their model type says."""
LLAVA_NEXT_CLASSES = frozenset(
    {
        "LlavaGemmaForCausalLM",
        "LlavaLlamaForCausalLM",
        "LlavaMistralForCausalLM",
        "LlavaMixtralForCausalLM",
        "LlavaQwenForCausalLM",
        "LlavaQwenMoeForCausalLM",
    }
)

FAMILIES: tuple[Family, ...] = (
    Family(
        model_types=("llava", "vipllava"),
        images=media_llava.llava_images,
        source="models/llava/processing_llava.py",
    ),
    Family(
        model_types=("video_llava",),
        images=media_llava.llava_images,
        frames=media_llava.video_llava_frames,
        source="models/video_llava/processing_video_llava.py",
    ),
    Family(
        model_types=("llava_next",),
        images=media_llava.hub_anyres_images,
        source="models/llava_next/processing_llava_next.py: _get_number_of_features",
    ),
    Family(
        model_types=("llava_next_video",),
        images=media_llava.hub_anyres_images,
        frames=media_llava.next_video_frames,
        source="models/llava_next_video/processing_llava_next_video.py",
    ),
    Family(
        model_types=("llava_onevision",),
        images=media_llava.onevision_images,
        frames=media_llava.onevision_frames,
        source="models/llava_onevision/processing_llava_onevision.py",
    ),
    Family(
        model_types=("qwen2_vl", "qwen2_5_vl"),
        images=media_pictures.qwen_images,
        frames=media_pictures.qwen2_frames,
        source="models/qwen2_vl/processing_qwen2_vl.py, image_ and video_processing_qwen2_vl.py",
    ),
    Family(
        model_types=("qwen2_5_omni", "qwen2_5_omni_thinker"),
        images=media_pictures.qwen_images,
        frames=media_pictures.qwen2_frames,
        audio=media_sound.omni_seconds,
        source="models/qwen2_5_omni/processing_qwen2_5_omni.py",
    ),
    Family(
        model_types=("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"),
        images=media_pictures.qwen_images,
        frames=media_pictures.qwen3_frames,
        source="models/qwen3_vl/processing_qwen3_vl.py, video_processing_qwen3_vl.py",
    ),
    Family(
        model_types=("qwen3_omni_moe", "qwen3_omni_moe_thinker"),
        images=media_pictures.qwen_images,
        frames=media_pictures.qwen2_frames,
        audio=media_sound.qwen3_omni_seconds,
        source="models/qwen3_omni_moe/processing_qwen3_omni_moe.py",
    ),
    Family(
        model_types=("gemma3", "shieldgemma2"),
        images=media_pictures.gemma3_images,
        source="models/gemma3/processing_gemma3.py; pan and scan is off by default",
    ),
    Family(
        model_types=("gemma3n",),
        images=media_pictures.gemma3n_images,
        audio=media_sound.gemma3n_seconds,
        source="models/gemma3n/processing_gemma3n.py",
    ),
    Family(
        model_types=("gemma4",),
        images=media_pictures.gemma4_images,
        frames=media_pictures.gemma4_frames,
        source="models/gemma4/processing_gemma4.py: _get_num_multimodal_tokens",
    ),
    Family(
        model_types=("paligemma",),
        images=media_pictures.patches_images,
        source="models/paligemma/processing_paligemma.py",
    ),
    Family(
        model_types=("internvl", "internvl_chat"),
        images=media_pictures.internvl_images,
        frames=media_pictures.internvl_frames,
        source="models/internvl/processing_internvl.py, got_ocr2/image_processing_got_ocr2.py",
    ),
    Family(
        model_types=("pixtral", "mistral3", "lighton_ocr"),
        images=media_pictures.pixtral_images,
        source="models/pixtral/processing_pixtral.py",
    ),
    Family(
        model_types=("llama4",),
        images=media_pictures.llama4_images,
        source="models/llama4/processing_llama4.py, image_processing_llama4.py",
    ),
    Family(
        model_types=("idefics3", "smolvlm"),
        images=media_pictures.idefics3_images,
        source="models/idefics3/processing_idefics3.py, image_processing_idefics3.py",
    ),
    Family(
        model_types=("mllama",),
        images=media_pictures.mllama_images,
        source="models/mllama/image_processing_mllama.py",
    ),
    Family(
        model_types=("whisper",),
        audio=media_sound.whisper_seconds,
        source="models/whisper/feature_extraction_whisper.py, modeling_whisper.py",
    ),
    Family(
        model_types=("qwen2_audio",),
        audio=media_sound.qwen2_audio_seconds,
        source="models/qwen2_audio/processing_qwen2_audio.py",
    ),
    Family(
        model_types=("voxtral",),
        audio=media_sound.voxtral_seconds,
        source="models/voxtral/processing_voxtral.py, modeling_voxtral.py",
    ),
)
"""Where nothing else is said, the files are those of transformers 5.23."""

_BY_TYPE: Mapping[str, Family] = {
    name: family for family in FAMILIES for name in family.model_types
}
_ASKED = (
    ("images", "--images", "pictures"),
    ("frames", "--frames", "film"),
    ("audio_seconds", "--audio-seconds", "sound"),
)


def family_of(config: Config) -> Family | None:
    """The entry of a configuration; None where none is known."""
    if class_name(config) in LLAVA_NEXT_CLASSES and config.has("mm_vision_tower"):
        return LLAVA_NEXT_CODE
    kind = config.model_type or ""
    if kind == "llava" and _vision_type(config) == "pixtral":
        kind = "pixtral"
    return _BY_TYPE.get(kind)


def _vision_type(config: Config) -> str | None:
    vision = config.section("vision_config")
    return None if vision is None else vision.model_type


def media(config: Config, documents: Documents, asked: MediaInput) -> Media | None:
    """What the input adds to one sequence; None where nothing is asked.

    Raises UsageError where the family's rule is unknown, takes no such input or needs a size, and
    MissingKeyError and InvalidValueError where the files lack a number or give nonsense.
    """
    if not asked:
        return None
    family = family_of(config)
    if family is None:
        raise UsageError(
            f"How many tokens {_inputs(asked)} become in {config.type_shown()} is not known.",
            hint="Its processor's rule is not in hfmem; add the tokens to --ctx yourself.",
        )
    thinker = config.section("thinker_config")
    reader = Reader(config=thinker or config, documents=documents)
    found: list[Found] = []
    for (name, flag, what), rule in zip(
        _ASKED, (family.images, family.frames, family.audio), strict=True
    ):
        if not getattr(asked, name):
            continue
        if rule is None:
            raise UsageError(
                f"{config.type_shown()} takes no {what}: its processor has no rule for {flag}.",
                hint="Give frames as pictures with --images."
                if name == "frames" and family.images
                else f"Leave out {flag}.",
            )
        found.append(rule(reader, asked))
    runs = [encoder_pass(reader.config, each) for one in found for each in one.passes]
    encoders = tuple(each for each in runs if each is not None)
    return Media(
        tokens=sum(one.tokens for one in found),
        encoder_tokens=sum(one.encoder_tokens for one in found),
        rule="; ".join(one.rule for one in found),
        keys=tuple(reader.said),
        source=family.source,
        encoders=encoders,
        encoders_known=len(encoders) == len(runs) and all(one.passes for one in found),
    )


def _inputs(asked: MediaInput) -> str:
    return " and ".join(what for name, _, what in _ASKED if getattr(asked, name))
