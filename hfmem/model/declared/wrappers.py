"""Models that see: a tower, a projector and one of the decoders."""

from __future__ import annotations

import re
from collections.abc import Callable

from hfmem.model.config import Config, of_class
from hfmem.model.declared import vision
from hfmem.model.declared.blocks import Part, Parts, linear, under, weight
from hfmem.model.declared.families import text_parts
from hfmem.model.declared.family import Family


def gemma3(config: Config) -> Parts | None:
    """Gemma 3 with SigLIP; named as published, with the wrapper's names of transformers 4.50."""
    text, tower = config.section("text_config"), config.section("vision_config")
    if text is None or tower is None:
        return None
    width, hidden = tower.integer("hidden_size", low=1), text.integer("hidden_size", low=1)
    return (
        *under("language_model", text_parts(text) or ()),
        Part("multi_modal_projector.mm_input_projection_weight", (width, hidden)),
        *weight("multi_modal_projector.mm_soft_emb_norm", width),
        # Gemma 3 reads the patches themselves, and its class switches the pooling head off.
        *under("vision_tower", vision.siglip(tower)),
    )


def llava(config: Config) -> Parts | None:
    """LLaVA as transformers publishes it (llava-hf): CLIP or SigLIP whole, a projector of two
    layers, any decoder.
    """
    text, tower = config.section("text_config"), config.section("vision_config")
    if text is None or tower is None:
        return None
    build = {"clip_vision_model": vision.clip, "siglip_vision_model": vision.siglip}.get(
        tower.model_type or ""
    )
    decoder = text_parts(text)
    if decoder is None or build is None or isinstance(config.value("vision_feature_layer"), list):
        return None
    width, hidden = tower.integer("hidden_size", low=1), text.integer("hidden_size", low=1)
    bias = config.flag("multimodal_projector_bias", default=True)
    return (
        *under("language_model", decoder),
        *under(
            "multi_modal_projector",
            linear("linear_1", hidden, width, bias=bias),
            linear("linear_2", hidden, hidden, bias=bias),
        ),
        *under("vision_tower", build(tower)),
    )


def llava_next(config: Config) -> Parts | None:
    """LLaVA-NeXT as transformers publishes it: LLaVA and the vector that ends a row of patches."""
    parts, text = llava(config), config.section("text_config")
    if parts is None or text is None:
        return None
    return (*parts, Part("image_newline", (text.integer("hidden_size", low=1),)))


def llava_qwen(config: Config) -> Parts | None:
    """LLaVA-NeXT's own format (LLaVA-OneVision, LLaVA-Video): a flat Qwen2 configuration with
    ``mm_`` keys.

    LLaVA-NeXT llava/model/multimodal_encoder/siglip_encoder.py drops the tower's last layer and its
    head, so 26 of 27 layers are stored; that reproduces the published 8,030,348,832 parameters of
    llava-onevision-qwen2-7b-ov. None for other towers and projectors.
    """
    if (
        config.text("mm_vision_tower") != "google/siglip-so400m-patch14-384"
        or config.text("mm_projector_type") != "mlp2x_gelu"
        or config.text("mm_resampler_type") is not None
        or config.flag("add_faster_video")
    ):
        return None
    hidden = config.integer("hidden_size", low=1)
    newline = "unpad" in (config.text("mm_patch_merge_type") or "")
    return (
        *(text_parts(of_class(config.values, "qwen2")) or ()),
        *((Part("model.image_newline", (hidden,)),) if newline else ()),
        *under(
            "model.mm_projector",
            linear("{0..0}", hidden, 1152, bias=True),
            linear("{2..2}", hidden, hidden, bias=True),
        ),
        *under("model.vision_tower.vision_tower", vision.siglip_so400m(26)),
    )


def qwen2_vl(config: Config) -> Parts | None:
    """Qwen2-VL: Qwen2 beside a tower of its own."""
    return _with_tower(config, vision.qwen2_vl)


def qwen2_5_vl(config: Config) -> Parts | None:
    """Qwen2.5-VL: Qwen2 beside a tower of its own."""
    return _with_tower(config, vision.qwen2_5_vl)


def qwen3_vl(config: Config) -> Parts | None:
    """Qwen3-VL: Qwen3 and a tower, both below ``model``; the wrapper says if the head is tied."""
    text, tower = config.section("text_config"), config.section("vision_config")
    if text is None or tower is None:
        return None
    tied = config.flag("tie_word_embeddings") or text.flag("tie_word_embeddings")
    decoder = text_parts(text.with_values({"tie_word_embeddings": tied}))
    return (
        *under("model.visual", vision.qwen3_vl(tower)),
        *(
            part._replace(name=re.sub(r"^model\.", "model.language_model.", part.name))
            for part in decoder or ()
        ),
    )


def _with_tower(config: Config, build: Callable[[Config], Parts]) -> Parts | None:
    text, tower = config.section("text_config"), config.section("vision_config")
    if text is None or not text.values:
        text = config
    decoder = text_parts(of_class(text.values, "qwen2", where=text.where))
    return None if tower is None or decoder is None else (*decoder, *build(tower))


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("gemma3",),
        classes=("Gemma3ForConditionalGeneration",),
        parts=gemma3,
        source="gemma3/modeling_gemma3.py, names as published",
    ),
    Family(
        model_types=("llava",),
        classes=("LlavaForConditionalGeneration",),
        parts=llava,
        source="llava/modeling_llava.py, names as published",
    ),
    Family(
        model_types=("llava_next",),
        classes=("LlavaNextForConditionalGeneration",),
        parts=llava_next,
        source="llava_next/modeling_llava_next.py, names as published",
    ),
    Family(
        model_types=("llava", "llava_qwen", "qwen2"),
        classes=("LlavaQwenForCausalLM",),
        parts=llava_qwen,
        source="github.com/LLaVA-VL/LLaVA-NeXT llava/model/llava_arch.py",
    ),
    Family(
        model_types=("qwen2_vl",),
        classes=("Qwen2VLForConditionalGeneration",),
        parts=qwen2_vl,
        source="qwen2_vl/modeling_qwen2_vl.py, names as published",
    ),
    Family(
        model_types=("qwen2_5_vl",),
        classes=("Qwen2_5_VLForConditionalGeneration",),
        parts=qwen2_5_vl,
        source="qwen2_5_vl/modeling_qwen2_5_vl.py, names as published",
    ),
    Family(
        model_types=("qwen3_vl",),
        classes=("Qwen3VLForConditionalGeneration",),
        parts=qwen3_vl,
        source="qwen3_vl/modeling_qwen3_vl.py",
    ),
)
"""Wrappers, one row each."""
