"""Models that see, and run code of their repository."""

from __future__ import annotations

from hfmem.model.config import Config, of_class
from hfmem.model.declared import towers
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Part,
    Parts,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.families import text_parts
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import hidden


def minicpmv(config: Config) -> Parts:
    """MiniCPM-V 4: SigLIP with a table of 70 × 70 positions, a resampler to ``query_num`` queries,
    Llama. Other versions have other decoders."""
    seen = config.section("vision_config")
    if seen is None or config.number("version") != 4.0 or config.flag("drop_vision_last_layer"):
        raise NotDeclaredError
    found = text_parts(of_class(config.values, "llama"))
    wide, output = seen.integer("hidden_size", low=1), hidden(config)
    return (
        *under("llm", found or ()),
        *under("vpm", towers.idefics(seen)),
        *under(
            "resampler",
            (
                Part("query", (config.integer("query_num", low=1), output)),
                Part("proj", (output, output)),
                Part("attn.in_proj_weight", (3 * output, output)),
                Part("attn.in_proj_bias", (3 * output,)),
            ),
            linear("attn.out_proj", output, output, bias=True),
            linear("kv_proj", output, wide),
            norms("ln_q", "ln_kv", "ln_post", size=output, bias=True),
        ),
    )


def internvl_chat(config: Config) -> Parts:
    """InternVL as its own repository publishes it: InternViT, two layers, any decoder."""
    text, seen = config.section("llm_config"), config.section("vision_config")
    found = text_parts(text) if text is not None else None
    ratio = config.number("downsample_ratio")
    if text is None or seen is None or found is None or not ratio:
        raise NotDeclaredError
    if seen.flag("qk_normalization") or seen.text("norm_type") not in (None, "layer_norm"):
        raise NotDeclaredError
    wide, output = seen.integer("hidden_size", low=1), text.integer("hidden_size", low=1)
    inner = seen.integer("intermediate_size", low=1)
    patch, side = seen.integer("patch_size", low=1), seen.integer("image_size", low=1)
    entry = wide * int(1 / ratio) ** 2
    return (
        *under(
            "vision_model",
            (
                Part("embeddings.class_embedding", (1, 1, wide)),
                Part("embeddings.position_embedding", (1, (side // patch) ** 2 + 1, wide)),
                Part("embeddings.patch_embedding.bias", (wide,)),
            ),
            weight("embeddings.patch_embedding", wide, 3, patch, patch),
            layers(
                "encoder.layers",
                towers.depth(seen),
                (Part("ls1", (wide,)), Part("ls2", (wide,))),
                norms("norm1", "norm2", size=wide, bias=True),
                linear("attn.qkv", 3 * wide, wide, bias=seen.flag("qkv_bias", default=True)),
                linear("attn.proj", wide, wide, bias=True),
                linear("mlp.fc1", inner, wide, bias=True),
                linear("mlp.fc2", wide, inner, bias=True),
            ),
        ),
        *norm("mlp1.{0..0}", entry, bias=True),
        *linear("mlp1.{1..1}", output, entry, bias=True),
        *linear("mlp1.{3..3}", output, output, bias=True),
        *under("language_model", found),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("minicpmv",),
        classes=("MiniCPMV",),
        parts=minicpmv,
        source="openbmb/MiniCPM-V-4 modeling_minicpmv.py, resampler.py",
    ),
    Family(
        model_types=("internvl_chat",),
        classes=("InternVLChatModel",),
        parts=internvl_chat,
        source="OpenGVLab/InternVL2-2B modeling_internvl_chat.py",
    ),
)
"""Families, one row each."""
