"""Vision towers of the wrappers, beside SigLIP's, CLIP's and Qwen's."""

from __future__ import annotations

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
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
from hfmem.model.declared.vision import kernel, patches


def depth(config: Config) -> range:
    """The numbers of a tower's layers."""
    return range(config.integer("num_hidden_layers", high=MAX_LAYERS))


def plain_layer(
    hidden: int,
    inner: int,
    *,
    names: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj"),
    norm_names: tuple[str, str] = ("layer_norm1", "layer_norm2"),
    attention: str = "self_attn",
    bias: bool = True,
    mlp_bias: bool = True,
) -> Parts:
    """An encoder layer with LayerNorms and an MLP without a gate."""
    projections = tuple(part for name in names for part in linear(name, hidden, hidden, bias=bias))
    return (
        *norms(*norm_names, size=hidden, bias=True),
        *under(attention, projections),
        *linear("mlp.fc1", inner, hidden, bias=mlp_bias),
        *linear("mlp.fc2", hidden, inner, bias=mlp_bias),
    )


def pixtral(config: Config) -> Parts:
    """Pixtral: RMSNorms, gated MLPs, no bias, rotary positions."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    return (
        *weight("patch_conv", hidden, *kernel(config)),
        *norm("ln_pre", hidden),
        *layers(
            "transformer.layers",
            depth(config),
            norms("attention_norm", "ffn_norm", size=hidden),
            under("attention", *(linear(name, hidden, hidden) for name in names)),
            under("feed_forward", gated_mlp(hidden, inner)),
        ),
    )


def internvl(config: Config) -> Parts:
    """InternViT as transformers publishes it."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    height, width = square(config, "image_size")
    tall, wide = square(config, "patch_size")
    positions = height // tall * (width // wide) + 1
    channels = config.integer("num_channels", low=1)
    if config.text("norm_type") not in (None, "layer_norm"):
        raise NotDeclaredError
    bias = config.flag("attention_bias")
    layer = (
        Part("lambda_1", (hidden,)),
        Part("lambda_2", (hidden,)),
        *under(
            "attention",
            *(linear(name, hidden, hidden, bias=bias) for name in ("q_proj", "k_proj", "v_proj")),
            linear("projection_layer", hidden, hidden, bias=True),
            norms("q_norm", "k_norm", size=hidden) if config.flag("use_qk_norm") else (),
        ),
        *norms("layernorm_before", "layernorm_after", size=hidden, bias=True),
        *linear("mlp.fc1", inner, hidden, bias=True),
        *linear("mlp.fc2", hidden, inner, bias=True),
    )
    mask = (Part("embeddings.mask_token", (1, 1, hidden)),)
    absolute = (Part("embeddings.position_embeddings", (1, positions, hidden)),)
    return (
        Part("embeddings.cls_token", (1, 1, hidden)),
        *(mask if config.flag("use_mask_token") else ()),
        *(absolute if config.flag("use_absolute_position_embeddings", default=True) else ()),
        *weight("embeddings.patch_embeddings.projection", hidden, channels, tall, wide),
        Part("embeddings.patch_embeddings.projection.bias", (hidden,)),
        *layers("encoder.layer", depth(config), layer),
        *(
            ()
            if config.flag("use_mean_pooling", default=True)
            else norm("layernorm", hidden, bias=True)
        ),
    )


def square(config: Config, key: str) -> tuple[int, int]:
    """A size that is one number or two."""
    if isinstance(config.value(key), list | tuple):
        both = config.integer_list(key, low=1) or ()
        if len(both) != 2:
            raise NotDeclaredError
        return both[0], both[1]
    side = config.integer(key, low=1)
    return side, side


def idefics(config: Config) -> Parts:
    """SigLIP without a pooling head, as Idefics 2 and 3 and SmolVLM hold it."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    return (
        Part("embeddings.patch_embedding.bias", (hidden,)),
        *weight("embeddings.patch_embedding", hidden, *kernel(config)),
        *weight("embeddings.position_embedding", patches(config), hidden),
        *layers("encoder.layers", depth(config), plain_layer(hidden, inner)),
        *norm("post_layernorm", hidden, bias=True),
    )


def mllama(config: Config) -> Parts:
    """Llama 3.2 Vision: positions a tile and a shape of the image, two stacks of layers."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    tiles = config.integer("max_num_tiles", low=1)
    positions, shapes = patches(config) + 1, len(config.list("supported_aspect_ratios") or ()) + 1
    if shapes == 1:
        raise NotDeclaredError
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    layer = plain_layer(
        hidden,
        inner,
        names=names,
        norm_names=("input_layernorm", "post_attention_layernorm"),
        bias=False,
    )
    gates = (Part("gate_attn", (1,)), Part("gate_ffn", (1,)))
    tile_shape = (shapes, tiles * positions * hidden)
    return (
        Part("class_embedding", (hidden,)),
        *weight("patch_embedding", hidden, *kernel(config)),
        Part("gated_positional_embedding.gate", (1,)),
        Part("gated_positional_embedding.embedding", (positions, hidden)),
        *weight("gated_positional_embedding.tile_embedding", *tile_shape),
        *(
            part
            for place in ("pre", "post")
            for part in (
                Part(f"{place}_tile_positional_embedding.gate", (1,)),
                *weight(f"{place}_tile_positional_embedding.embedding", shapes, tiles * hidden),
            )
        ),
        *norms("layernorm_pre", "layernorm_post", size=hidden, bias=True),
        *layers("transformer.layers", depth(config), layer),
        *layers(
            "global_transformer.layers",
            range(config.integer("num_global_layers", high=MAX_LAYERS)),
            layer,
            gates,
        ),
    )


def llama4(config: Config) -> Parts:
    """Llama 4: unfolded patches, a class token, and an adapter that shuffles pixels."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    channels, patch, _ = kernel(config)
    layer = plain_layer(
        hidden,
        inner,
        names=("q_proj", "k_proj", "v_proj", "o_proj"),
        norm_names=("input_layernorm", "post_attention_layernorm"),
    )
    middle = config.integer("projector_input_dim", low=1)
    output = config.integer("projector_output_dim", low=1)
    return (
        Part("class_embedding", (hidden,)),
        Part("positional_embedding_vlm", (patches(config) + 1, hidden)),
        *linear("patch_embedding.linear", hidden, channels * patch * patch),
        *norms("layernorm_pre", "layernorm_post", size=hidden, bias=True),
        *layers("model.layers", depth(config), layer),
        *linear("vision_adapter.mlp.fc1", middle, inner),
        *linear("vision_adapter.mlp.fc2", output, output),
    )


def moonvit(config: Config) -> Parts:
    """MoonViT 3D of Kimi K2.5."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    patch = config.integer("patch_size", low=1)
    height = config.integer("pos_emb_height", low=1)
    width = config.integer("pos_emb_width", low=1)
    return (
        *weight("patch_embed.proj", hidden, 3, patch, patch),
        Part("patch_embed.proj.bias", (hidden,)),
        Part("patch_embed.pos_emb.position_embeddings", (height, width, hidden)),
        *layers(
            "layers",
            depth(config),
            norms("norm1", "norm2", size=hidden, bias=True),
            under(
                "attn",
                *(
                    linear(name, hidden, hidden, bias=True)
                    for name in ("proj", "q_proj", "k_proj", "v_proj")
                ),
            ),
            linear("mlp.fc1", inner, hidden, bias=True),
            linear("mlp.fc2", hidden, inner, bias=True),
        ),
        *norm("final_layernorm", hidden, bias=True),
    )


def minimax(config: Config) -> Parts:
    """MiniMax-M3: CLIP's layers over patches of two frames, rotary positions."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    channels, patch, _ = kernel(config)
    frames = config.integer("temporal_patch_size", low=1)
    return (
        *weight("embeddings.proj", hidden, channels, frames, patch, patch),
        *norm("pre_layrnorm", hidden, bias=True),
        *layers("layers", depth(config), plain_layer(hidden, inner)),
    )


def minicpmv(config: Config) -> Parts:
    """MiniCPM-V 4.6: SigLIP with a merger of windows inside."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    joined = 4 * hidden
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    merger = (
        *under("self_attn", *(linear(name, hidden, hidden, bias=True) for name in names)),
        *norm("layer_norm1", hidden, bias=True),
        *norm("pre_norm", joined, bias=True),
        *linear("linear_1", 4 * inner, joined, bias=True),
        *linear("linear_2", hidden, 4 * inner, bias=True),
    )
    if config.integer_list("window_kernel_size") not in (None, (2, 2)):
        raise NotDeclaredError
    return (*idefics(config), *under("vit_merger", merger))


def gemma4(config: Config) -> Parts:
    """Gemma 4: a table of positions an axis, gated MLPs, a norm around both halves of a layer."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    patch, size = config.integer("patch_size", low=1), config.integer("head_dim", low=1)
    query = config.integer("num_attention_heads", low=1) * size
    kv = config.integer("num_key_value_heads", low=1) * size
    bias = config.flag("attention_bias")
    if bias:
        raise NotDeclaredError
    positions = config.integer("position_embedding_size", low=1)
    return (
        Part("patch_embedder.position_embedding_table", (2, positions, hidden)),
        *linear("patch_embedder.input_proj", hidden, 3 * patch * patch),
        *layers(
            "encoder.layers",
            depth(config),
            under(
                "self_attn",
                linear("q_proj.linear", query, hidden),
                linear("k_proj.linear", kv, hidden),
                linear("v_proj.linear", kv, hidden),
                linear("o_proj.linear", hidden, query),
                norms("q_norm", "k_norm", size=size),
            ),
            under(
                "mlp",
                gated_mlp(
                    hidden,
                    inner,
                    names=("gate_proj.linear", "up_proj.linear", "down_proj.linear"),
                ),
            ),
            norms(
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
                size=hidden,
            ),
        ),
    )


def glm4v(config: Config) -> Parts:
    """GLM-4.1V: RMSNorms, gated MLPs, a merger that is as wide as the decoder."""
    hidden, inner = config.integer("hidden_size", low=1), config.integer("intermediate_size", low=1)
    output, merge = (
        config.integer("out_hidden_size", low=1),
        config.integer("spatial_merge_size", low=1),
    )
    patch, frames = (config.integer(key, low=1) for key in ("patch_size", "temporal_patch_size"))
    channels = config.integer("in_channels", low=1)
    bias = config.flag("attention_bias")
    return (
        *weight("embeddings.position_embedding", patches(config), hidden),
        *weight("patch_embed.proj", hidden, channels, frames, patch, patch),
        Part("patch_embed.proj.bias", (hidden,)),
        *layers(
            "blocks",
            range(config.integer("depth", high=MAX_LAYERS)),
            norms("norm1", "norm2", size=hidden),
            linear("attn.qkv", 3 * hidden, hidden, bias=bias),
            linear("attn.proj", hidden, hidden),
            under("mlp", gated_mlp(hidden, output)),
        ),
        *linear("merger.proj", output, output),
        *norm("merger.post_projection_norm", output, bias=True),
        *under("merger", gated_mlp(output, inner)),
        *norms("post_conv_layernorm", "post_layernorm", size=hidden),
        *weight("downsample", output, hidden, merge, merge),
        Part("downsample.bias", (output,)),
    )
