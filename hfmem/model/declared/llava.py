"""LLaVA's line: a tower that others trained, whole, a projector, any decoder."""

from __future__ import annotations

from hfmem.model.config import Config, of_class
from hfmem.model.declared import vision
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Part,
    Parts,
    linear,
    norm,
    under,
    weight,
)
from hfmem.model.declared.families import text_parts
from hfmem.model.declared.family import Family
from hfmem.model.declared.wrapper import (
    Wrapper,
    section,
    tower,
    two_layers,
    width,
)


def _llava_beside(config: Config) -> Parts:
    """CLIP, SigLIP or Pixtral whole, and a projector of two layers."""
    layer = config.value("vision_feature_layer")
    count = len(layer) if isinstance(layer, list | tuple) else 1
    entry = count * width(config, "vision_config")
    bias = config.flag("multimodal_projector_bias", default=True)
    return (
        *under("multi_modal_projector", two_layers(config, entry, bias=bias)),
        *under("vision_tower", tower(config)),
    )


def _newline(config: Config) -> Parts:
    """The vector that ends a row of patches."""
    return (Part("image_newline", (width(config),)),)


def _llava_next_beside(config: Config) -> Parts:
    return (*_llava_beside(config), *_newline(config))


def _video_llava_beside(config: Config) -> Parts:
    """A tower for images and another for video, both CLIP."""
    bias = config.flag("multimodal_projector_bias", default=True)
    entry = width(config, "vision_config")
    return (
        *under("multi_modal_projector", two_layers(config, entry, bias=bias)),
        *under("image_tower", tower(config)),
        *under("video_tower", tower(config)),
    )


def _vip_llava_beside(config: Config) -> Parts:
    chosen = config.value("vision_feature_layers")
    count = len(chosen) if isinstance(chosen, list | tuple) else 1
    entry = count * width(config, "vision_config")
    return (
        *under("multi_modal_projector", norm("projector_layernorm", entry, bias=True)),
        *under("multi_modal_projector", two_layers(config, entry, bias=True)),
        *under("vision_tower", tower(config)),
    )


def _gemma3_beside(config: Config) -> Parts:
    entry = width(config, "vision_config")
    return (
        Part("multi_modal_projector.mm_input_projection_weight", (entry, width(config))),
        *weight("multi_modal_projector.mm_soft_emb_norm", entry),
        # Gemma 3 reads the patches themselves, and its class switches the pooling head off.
        *under("vision_tower", vision.siglip(section(config, "vision_config"))),
    )


def _paligemma_beside(config: Config) -> Parts:
    output = config.integer("projection_dim", low=1)
    return (
        *linear("multi_modal_projector.linear", output, width(config, "vision_config"), bias=True),
        *under("vision_tower", tower(config)),
    )


def _mistral3_beside(config: Config) -> Parts:
    entry, merge = width(config, "vision_config"), config.integer("spatial_merge_size", low=1)
    layer = config.value("vision_feature_layer")
    if isinstance(layer, list | tuple):
        raise NotDeclaredError
    bias = config.flag("multimodal_projector_bias")
    return (
        *norm("multi_modal_projector.norm", entry),
        *linear("multi_modal_projector.patch_merger.merging_layer", entry, entry * merge * merge),
        *under("multi_modal_projector", two_layers(config, entry, bias=bias)),
        *under("vision_tower", tower(config)),
    )


def _internvl_beside(config: Config) -> Parts:
    ratio = config.number("downsample_ratio")
    if not ratio:
        raise NotDeclaredError
    entry = width(config, "vision_config") * int(1 / ratio) ** 2
    return (
        *norm("multi_modal_projector.layer_norm", entry, bias=True),
        *under("multi_modal_projector", two_layers(config, entry, bias=True)),
        *under("vision_tower", tower(config)),
    )


def _aya_beside(config: Config) -> Parts:
    factor = config.integer("downsample_factor", low=1)
    entry = width(config, "vision_config") * factor * factor
    middle = config.integer_or_none("alignment_intermediate_size", low=1) or width(config)
    return under(
        "multi_modal_projector",
        norm("layernorm", entry, bias=True),
        linear("linear_1", middle, entry, bias=True),
        linear("linear_2", width(config), middle // 2, bias=True),
    ) + under("vision_tower", tower(config))


def _cohere2_vision_beside(config: Config) -> Parts:
    factor = config.integer("downsample_factor", low=1)
    entry = width(config, "vision_config") * factor * factor
    middle = config.integer("alignment_intermediate_size", low=1)
    return under(
        "multi_modal_projector",
        linear("linear_1", middle, entry, bias=True),
        linear("linear_2", width(config), middle // 2, bias=True),
    ) + under("vision_tower", tower(config))


def _lfm2_beside(config: Config) -> Parts:
    factor = config.integer("downsample_factor", low=1)
    entry = width(config, "vision_config") * factor * factor
    middle, bias = (
        config.integer("projector_hidden_size", low=1),
        config.flag("projector_bias", default=True),
    )
    normed = config.flag("projector_use_layernorm", default=True)
    return (
        *under(
            "model.multi_modal_projector",
            norm("layer_norm", entry, bias=True) if normed else (),
            linear("linear_1", middle, entry, bias=bias),
            linear("linear_2", width(config), middle, bias=bias),
        ),
        *under("model.vision_tower", tower(config)),
    )


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
    found = text_parts(of_class(config.values, "qwen2"))
    if found is None:
        return None
    size = config.integer("hidden_size", low=1)
    newline = "unpad" in (config.text("mm_patch_merge_type") or "")
    return (
        *found,
        *((Part("model.image_newline", (size,)),) if newline else ()),
        *under(
            "model.mm_projector",
            linear("{0..0}", size, 1152, bias=True),
            linear("{2..2}", size, size, bias=True),
        ),
        *under("model.vision_tower.vision_tower", vision.siglip_so400m(26)),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("gemma3",),
        classes=("Gemma3ForConditionalGeneration",),
        parts=Wrapper(beside=_gemma3_beside, inside=False),
        source="gemma3/modeling_gemma3.py, names as published",
    ),
    Family(
        model_types=("llava",),
        classes=("LlavaForConditionalGeneration",),
        parts=Wrapper(beside=_llava_beside, inside=False),
        source="llava/modeling_llava.py, names as published",
    ),
    Family(
        model_types=("llava_next",),
        classes=("LlavaNextForConditionalGeneration",),
        parts=Wrapper(beside=_llava_next_beside, inside=False),
        source="llava_next/modeling_llava_next.py, names as published",
    ),
    Family(
        model_types=("llava_next_video", "llava_onevision"),
        classes=(
            "LlavaNextVideoForConditionalGeneration",
            "LlavaOnevisionForConditionalGeneration",
        ),
        parts=Wrapper(beside=_llava_next_beside, inside=False),
        source="llava_next_video/modeling_llava_next_video.py, llava_onevision/"
        "modeling_llava_onevision.py, names as published",
    ),
    Family(
        model_types=("video_llava",),
        classes=("VideoLlavaForConditionalGeneration",),
        parts=Wrapper(beside=_video_llava_beside, inside=False),
        source="video_llava/modeling_video_llava.py, names as published",
    ),
    Family(
        model_types=("vipllava",),
        classes=("VipLlavaForConditionalGeneration",),
        parts=Wrapper(beside=_vip_llava_beside, inside=False),
        source="vipllava/modeling_vipllava.py, names as published",
    ),
    Family(
        model_types=("llava", "llava_qwen", "qwen2"),
        classes=("LlavaQwenForCausalLM",),
        parts=llava_qwen,
        source="github.com/LLaVA-VL/LLaVA-NeXT llava/model/llava_arch.py",
    ),
    Family(
        model_types=("paligemma",),
        classes=("PaliGemmaForConditionalGeneration",),
        parts=Wrapper(beside=_paligemma_beside, inside=False),
        source="paligemma/modeling_paligemma.py, names as published",
    ),
    Family(
        model_types=("mistral3",),
        classes=("Mistral3ForConditionalGeneration",),
        parts=Wrapper(beside=_mistral3_beside, inside=False),
        source="mistral3/modeling_mistral3.py, names as published",
    ),
    Family(
        model_types=("internvl",),
        classes=("InternVLForConditionalGeneration",),
        parts=Wrapper(beside=_internvl_beside, inside=False),
        source="internvl/modeling_internvl.py, names as published",
    ),
    Family(
        model_types=("aya_vision",),
        classes=("AyaVisionForConditionalGeneration",),
        parts=Wrapper(beside=_aya_beside, inside=False),
        source="aya_vision/modeling_aya_vision.py, names as published",
    ),
    Family(
        model_types=("cohere2_vision",),
        classes=("Cohere2VisionForConditionalGeneration",),
        parts=Wrapper(beside=_cohere2_vision_beside, inside=False),
        source="cohere2_vision/modeling_cohere2_vision.py, names as published",
    ),
    Family(
        model_types=("lfm2_vl",),
        classes=("Lfm2VlForConditionalGeneration",),
        parts=Wrapper(beside=_lfm2_beside),
        source="lfm2_vl/modeling_lfm2_vl.py",
    ),
)
"""Wrappers, one row each."""
