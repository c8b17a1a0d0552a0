"""Vision towers: SigLIP, CLIP and those of Qwen2-VL."""

from __future__ import annotations

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    Part,
    Parts,
    gated_mlp,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)


def siglip(config: Config) -> Parts:
    """SigLIP: a patch embedding with a bias, LayerNorms, and the pooling head where the class
    builds it.
    """
    hidden = config.integer("hidden_size", low=1)
    pooled = _siglip_head(config, hidden) if config.flag("vision_use_head", default=True) else ()
    return under(
        "vision_model",
        (Part("embeddings.patch_embedding.bias", (hidden,)),),
        weight("embeddings.patch_embedding", hidden, *kernel(config)),
        weight("embeddings.position_embedding", patches(config), hidden),
        _encoder(config, config.integer("num_hidden_layers", high=MAX_LAYERS)),
        norm("post_layernorm", hidden, bias=True),
        pooled,
    )


def siglip2(config: Config) -> Parts:
    """SigLIP 2 for any aspect ratio: patches come unfolded, positions from a table of their own."""
    hidden = config.integer("hidden_size", low=1)
    channels, side, _ = kernel(config)
    pooled = _siglip_head(config, hidden) if config.flag("vision_use_head", default=True) else ()
    return under(
        "vision_model",
        linear("embeddings.patch_embedding", hidden, channels * side * side, bias=True),
        weight("embeddings.position_embedding", config.integer("num_patches", low=1), hidden),
        _encoder(config, config.integer("num_hidden_layers", high=MAX_LAYERS)),
        norm("post_layernorm", hidden, bias=True),
        pooled,
    )


def clip(config: Config) -> Parts:
    """CLIP: a class token, a patch embedding without a bias, norms around the encoder."""
    hidden = config.integer("hidden_size", low=1)
    return under(
        "vision_model",
        (Part("embeddings.class_embedding", (hidden,)),),
        weight("embeddings.patch_embedding", hidden, *kernel(config)),
        weight("embeddings.position_embedding", patches(config) + 1, hidden),
        # The misspelt name is the class's own.
        norms("pre_layrnorm", "post_layernorm", size=hidden, bias=True),
        _encoder(config, config.integer("num_hidden_layers", high=MAX_LAYERS)),
    )


def siglip_so400m(layer_count: int) -> Parts:
    """google/siglip-so400m-patch14-384 cut to its first layers, without the head: 397,747,744
    parameters at 26.
    """
    values = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": layer_count,
        "num_channels": 3,
        "image_size": 384,
        "patch_size": 14,
        "vision_use_head": False,
    }
    return siglip(Config(values=values, model_type="siglip_vision_model"))


def qwen2_vl(config: Config) -> Parts:
    """Qwen2-VL's tower: LayerNorms, an MLP of ``mlp_ratio`` times the width, a merger of 2 × 2
    patches.
    """
    width = config.integer("embed_dim", low=1)
    inner = width * config.integer("mlp_ratio", low=1)
    block = (
        *norms("norm1", "norm2", size=width, bias=True),
        *linear("attn.qkv", 3 * width, width, bias=True),
        *linear("attn.proj", width, width, bias=True),
        *linear("mlp.fc1", inner, width, bias=True),
        *linear("mlp.fc2", width, inner, bias=True),
    )
    output = config.integer("hidden_size", low=1)
    return _qwen_tower(config, width, output, block, norm("ln_q", width, bias=True))


def qwen2_5_vl(config: Config) -> Parts:
    """Qwen2.5-VL's tower: RMSNorms and a gated MLP with biases."""
    width = config.integer("hidden_size", low=1)
    block = (
        *norms("norm1", "norm2", size=width),
        *linear("attn.qkv", 3 * width, width, bias=True),
        *linear("attn.proj", width, width, bias=True),
        *under("mlp", gated_mlp(width, config.integer("intermediate_size", low=1), bias=True)),
    )
    output = config.integer("out_hidden_size", low=1)
    return _qwen_tower(config, width, output, block, norm("ln_q", width))


def qwen2_5_omni(config: Config) -> Parts:
    """Qwen2.5-Omni's tower: that of Qwen2.5-VL, whose three projections are one matrix there."""
    return tuple(
        part._replace(name=part.name.removeprefix("visual.")) for part in qwen2_5_vl(config)
    )


def qwen3_vl(config: Config) -> Parts:
    """Qwen3-VL's tower: a table of positions, and a merger for each layer that the decoder sees."""
    width = config.integer("hidden_size", low=1)
    merged = width * config.integer("spatial_merge_size", low=1) ** 2
    inner, output = config.integer("intermediate_size", low=1), config.integer("out_hidden_size")
    projections = (
        *linear("linear_fc1", merged, merged, bias=True),
        *linear("linear_fc2", output, merged, bias=True),
    )
    deep = range(len(config.list("deepstack_visual_indexes") or ()))
    return (
        *_patch_kernel(config, width),
        Part("patch_embed.proj.bias", (width,)),
        *weight("pos_embed", config.integer("num_position_embeddings", low=1), width),
        *layers(
            "blocks",
            range(config.integer("depth", high=MAX_LAYERS)),
            norms("norm1", "norm2", size=width, bias=True),
            linear("attn.qkv", 3 * width, width, bias=True),
            linear("attn.proj", width, width, bias=True),
            linear("mlp.linear_fc1", inner, width, bias=True),
            linear("mlp.linear_fc2", width, inner, bias=True),
        ),
        *under("merger", norm("norm", width, bias=True), projections),
        *layers("deepstack_merger_list", deep, norm("norm", merged, bias=True), projections),
    )


def _patch_kernel(config: Config, width: int) -> Parts:
    patch, frames = (config.integer(key, low=1) for key in ("patch_size", "temporal_patch_size"))
    # Published files say in_chans, which the class does not read: its in_channels is what is built.
    channels = config.integer("in_channels", low=1)
    return weight("patch_embed.proj", width, channels, frames, patch, patch)


def _qwen_tower(config: Config, width: int, output: int, block: Parts, merger_norm: Parts) -> Parts:
    merged = width * config.integer("spatial_merge_size", low=1) ** 2
    return under(
        "visual",
        _patch_kernel(config, width),
        layers("blocks", range(config.integer("depth", high=MAX_LAYERS)), block),
        under(
            "merger",
            merger_norm,
            linear("mlp.{0..0}", merged, merged, bias=True),
            linear("mlp.{2..2}", output, merged, bias=True),
        ),
    )


def kernel(config: Config) -> tuple[int, int, int]:
    """Channels and the two sides of a patch."""
    patch = config.integer("patch_size", low=1)
    return config.integer("num_channels", low=1), patch, patch


def patches(config: Config) -> int:
    """Patches of a square image."""
    side: int = config.integer("image_size", low=1) // config.integer("patch_size", low=1)
    return side * side


def _encoder(config: Config, layer_count: int) -> Parts:
    hidden = config.integer("hidden_size", low=1)
    inner = config.integer("intermediate_size", low=1)
    projections = tuple(
        part
        for name in ("q_proj", "k_proj", "v_proj", "out_proj")
        for part in linear(name, hidden, hidden, bias=True)
    )
    return layers(
        "encoder.layers",
        range(layer_count),
        norms("layer_norm1", "layer_norm2", size=hidden, bias=True),
        under("self_attn", projections),
        linear("mlp.fc1", inner, hidden, bias=True),
        linear("mlp.fc2", hidden, inner, bias=True),
    )


def _siglip_head(config: Config, hidden: int) -> Parts:
    inner = config.integer("intermediate_size", low=1)
    return under(
        "head",
        (
            Part("probe", (1, 1, hidden)),
            Part("attention.in_proj_weight", (3 * hidden, hidden)),
            Part("attention.in_proj_bias", (3 * hidden,)),
        ),
        linear("attention.out_proj", hidden, hidden, bias=True),
        norm("layernorm", hidden, bias=True),
        linear("mlp.fc1", inner, hidden, bias=True),
        linear("mlp.fc2", hidden, inner, bias=True),
    )
