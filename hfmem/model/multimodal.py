"""What pictures, film and sound add to a prompt.

``media(config, documents, asked)`` finds the family by model type, counts by its own processor's
rule, and names every key that it read. A family without a rule is refused by name, and so is a
model of text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hfmem.errors import UsageError
from hfmem.model.config import Config, class_name
from hfmem.model.encoder_runs import encoder_run
from hfmem.model.forward import picture_positions
from hfmem.model.media import Documents, Found, Media, MediaInput, Reader, TowerPass
from hfmem.model.media_families import FAMILIES, LLAVA_NEXT_CLASSES, LLAVA_NEXT_CODE, Family
from hfmem.model.tower_layers import tower_layers
from hfmem.model.vision_towers import encoder_pass

__all__ = ["FAMILIES", "Family", "family_of", "media"]

_BY_TYPE: Mapping[str, Family] = {
    name: family for family in FAMILIES for name in family.model_types
}
_ASKED = (
    ("images", "--images", "pictures"),
    ("frames", "--frames", "film"),
    ("audio_seconds", "--audio-seconds", "sound"),
)


_OWN_CODE: Final = {"DeepseekOCR2ForCausalLM": "deepseek_ocr2"}
"""Classes of repositories with code of their own that counts as a class of transformers does."""


def family_of(config: Config) -> Family | None:
    """The entry of a configuration; None where none is known."""
    if class_name(config) in LLAVA_NEXT_CLASSES and config.has("mm_vision_tower"):
        return LLAVA_NEXT_CODE
    kind = _OWN_CODE.get(class_name(config) or "", config.model_type or "")
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
    if family is None and _reads_one_picture(config, documents):
        raise UsageError(
            f"{config.type_shown()} reads one picture a sequence, and nothing beside it.",
            hint="Give the number of pictures with --batch.",
        )
    if family is None and not _has_tower(config):
        flags = ", ".join(flag for name, flag, _ in _ASKED if getattr(asked, name))
        raise UsageError(
            f"{config.type_shown()} takes no {_inputs(asked)}: it is a model of text alone.",
            hint=f"Leave out {flags}.",
        )
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
        undescribed=_undescribed(reader.config, found, by=encoder_pass),
        layers=tuple(
            layers
            for one in found
            for each in one.passes
            if (layers := tower_layers(reader.config, each)) is not None
        ),
        unsaved=_undescribed(reader.config, found, by=tower_layers),
    )


def _reads_one_picture(config: Config, documents: Documents) -> bool:
    return picture_positions(config) is not None or encoder_run(config, documents) is not None


def _undescribed(
    config: Config, found: Sequence[Found], *, by: Callable[[Config, TowerPass], object | None]
) -> tuple[str, ...]:
    """The encoders that run and have no figure, by their own names where they have one."""
    names = []
    for one in found:
        if not one.passes:
            names.append(f"the encoder of {config.type_shown()}")
        for run in one.passes:
            if by(config, run) is None:
                section = config.section(run.section)
                known = section.model_type if section is not None else None
                names.append(f"the encoder {known or run.section}")
    return tuple(dict.fromkeys(names))


_TOWERS: Final = (
    *(
        "vision_config",
        "audio_config",
        "vision_tower",
        "mm_vision_tower",
        "visual",
        "vision_tower_name",
    ),
    *("img_processor", "image_processor", "audio_processor", "speech_config", "encoder_config"),
    *("image_token_id", "image_token_index", "audio_token_id", "audio_token_index", "vision"),
    *("siglip_config", "perceiver_config", "vision_cfg", "image_size", "num_mel_bins"),
)
"""Keys of which a configuration has one where its model sees or hears."""


def _has_tower(config: Config) -> bool:
    scopes = (config, config.section("thinker_config"))
    # A class may bring an encoder by its defaults alone.
    built_in = any(config.section(key) is not None for key in ("vision_config", "audio_config"))
    return built_in or any(
        scope.has(key) for scope in scopes if scope is not None for key in _TOWERS
    )


def _inputs(asked: MediaInput) -> str:
    return " and ".join(what for name, _, what in _ASKED if getattr(asked, name))
