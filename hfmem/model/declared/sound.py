"""Encoders of sound: Whisper's, which half of the models that listen have, and Gemma 4's."""

from __future__ import annotations

from hfmem.model.config import MAX_LAYERS, Config
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


def projections(hidden: int, *, bias: bool = True, key_bias: bool = True) -> Parts:
    """The four projections of an encoder-decoder's attention, as BART names them."""
    return (
        *linear("k_proj", hidden, hidden, bias=bias and key_bias),
        *linear("v_proj", hidden, hidden, bias=bias),
        *linear("q_proj", hidden, hidden, bias=bias),
        *linear("out_proj", hidden, hidden, bias=bias),
    )


def encoder_layer(hidden: int, inner: int, *, key_bias: bool = True) -> Parts:
    """An encoder layer of BART and Whisper; Whisper's keys have no bias."""
    return (
        *under("self_attn", projections(hidden, key_bias=key_bias)),
        *norms("self_attn_layer_norm", "final_layer_norm", size=hidden, bias=True),
        *linear("fc1", inner, hidden, bias=True),
        *linear("fc2", hidden, inner, bias=True),
    )


def convolutions(bins: int, hidden: int) -> Parts:
    """Two convolutions of three columns over a spectrogram."""
    return (
        *weight("conv1", hidden, bins, 3),
        Part("conv1.bias", (hidden,)),
        *weight("conv2", hidden, hidden, 3),
        Part("conv2.bias", (hidden,)),
    )


def whisper(config: Config) -> Parts:
    """Whisper's encoder, also that of Qwen2-Audio and Voxtral. Whisper-large-v3: 636,965,120
    parameters."""
    hidden = _either(config, "hidden_size", "d_model")
    inner = _either(config, "encoder_ffn_dim", "intermediate_size")
    count = _either(config, "encoder_layers", "num_hidden_layers")
    if count > MAX_LAYERS:
        raise NotDeclaredError
    positions = config.integer("max_source_positions", low=1)
    return (
        *convolutions(config.integer("num_mel_bins", low=1), hidden),
        *weight("embed_positions", positions, hidden),
        *layers("layers", range(count), encoder_layer(hidden, inner, key_bias=False)),
        *norm("layer_norm", hidden, bias=True),
    )


def _either(config: Config, first: str, second: str) -> int:
    found = config.integer_or_none(first, low=1)
    return config.integer(second, low=1) if found is None else found


def qwen2_5_omni(config: Config) -> Parts:
    """Qwen2.5-Omni: Whisper's layers without learned positions."""
    hidden, inner = config.integer("d_model", low=1), config.integer("encoder_ffn_dim", low=1)
    output = config.integer("output_dim", low=1)
    count = config.integer("encoder_layers", high=MAX_LAYERS)
    return (
        *convolutions(config.integer("num_mel_bins", low=1), hidden),
        *weight("audio_bos_eos_token", 2, output),
        *layers("layers", range(count), encoder_layer(hidden, inner, key_bias=False)),
        *norm("ln_post", hidden, bias=True),
        *linear("proj", output, hidden, bias=True),
    )


def qwen3_omni(config: Config) -> Parts:
    """Qwen3-Omni and Qwen3-ASR: three convolutions in two dimensions, which halve the mel bins
    each."""
    hidden, inner = config.integer("d_model", low=1), config.integer("encoder_ffn_dim", low=1)
    output, wide = (
        config.integer("output_dim", low=1),
        config.integer("downsample_hidden_size", low=1),
    )
    bins = config.integer("num_mel_bins", low=1)
    for _ in range(3):
        bins = (bins + 1) // 2
    count = config.integer("encoder_layers", high=MAX_LAYERS)
    shapes = (("conv2d1", 1), ("conv2d2", wide), ("conv2d3", wide))
    return (
        *(part for name, inputs in shapes for part in weight(name, wide, inputs, 3, 3)),
        *(Part(f"{name}.bias", (wide,)) for name, _ in shapes),
        *linear("conv_out", hidden, wide * bins),
        *layers("layers", range(count), encoder_layer(hidden, inner)),
        *norm("ln_post", hidden, bias=True),
        *linear("proj1", hidden, hidden, bias=True),
        *linear("proj2", output, hidden, bias=True),
    )


def gemma3n(config: Config) -> Parts:
    """Gemma 3n's conformer, the older sister of Gemma 4's: 681,348,640 parameters."""
    size, bins = config.integer("hidden_size", low=1), config.integer("input_feat_size", low=1)
    channels = config.integer_list("sscp_conv_channel_size", low=1) or ()
    if len(channels) != 2 or bins % 4:
        raise NotDeclaredError
    head_dim = size // config.integer("conf_num_attention_heads", low=1)
    kernel, wide = config.integer("conf_conv_kernel_size", low=1), 4 * size
    halves = tuple(
        part
        for name in ("ffw_layer_start", "ffw_layer_end")
        for part in under(
            name,
            norms("pre_layer_norm", "post_layer_norm", size=size),
            linear("ffw_layer_1", wide, size),
            linear("ffw_layer_2", size, wide),
        )
    )
    names = ("relative_position_embedding.pos_proj", "q_proj", "k_proj", "v_proj")
    return (
        *under(
            "subsample_conv_projection",
            weight("conv_0.conv", channels[0], 1, 3, 3),
            norm("conv_0.norm", channels[0]),
            weight("conv_1.conv", channels[1], channels[0], 3, 3),
            norm("conv_1.norm", channels[1]),
            linear("input_proj_linear", size, channels[1] * (bins // 4)),
        ),
        *layers(
            "conformer",
            range(config.integer("conf_num_hidden_layers", high=MAX_LAYERS)),
            halves,
            under(
                "attention",
                norms("pre_attn_norm", "post_norm", size=size),
                (Part("attn.per_dim_scale", (head_dim,)),),
                *(linear(f"attn.{name}", size, size) for name in names),
                linear("post", size, size),
            ),
            under(
                "lconv1d",
                norms("pre_layer_norm", "conv_norm", size=size),
                linear("linear_start", 2 * size, size),
                weight("depthwise_conv1d", size, 1, kernel),
                linear("linear_end", size, size),
            ),
            norm("norm", size),
        ),
    )


def gemma4(config: Config) -> Parts:
    """Gemma 4's conformer: half an MLP, attention, a light convolution, half an MLP."""
    hidden = config.integer("hidden_size", low=1)
    channels = config.integer_list("subsampling_conv_channels", low=1) or ()
    if len(channels) != 2:
        raise NotDeclaredError
    kernel = config.integer("conv_kernel_size", low=1)
    output = config.integer("output_proj_dims", low=1)
    head_dim = hidden // config.integer("num_attention_heads", low=1)
    wide = 4 * hidden
    halves = tuple(
        part
        for name in ("feed_forward1", "feed_forward2")
        for part in under(
            name,
            linear("ffw_layer_1.linear", wide, hidden),
            linear("ffw_layer_2.linear", hidden, wide),
            norms("pre_layer_norm", "post_layer_norm", size=hidden),
        )
    )
    names = ("q_proj.linear", "k_proj.linear", "v_proj.linear", "post.linear", "relative_k_proj")
    return (
        *under(
            "subsample_conv_projection",
            weight("layer0.conv", channels[0], 1, 3, 3),
            norm("layer0.norm", channels[0]),
            weight("layer1.conv", channels[1], channels[0], 3, 3),
            norm("layer1.norm", channels[1]),
            linear("input_proj_linear", hidden, channels[0] // 4 * channels[1]),
        ),
        *layers(
            "layers",
            range(config.integer("num_hidden_layers", high=MAX_LAYERS)),
            halves,
            under(
                "self_attn",
                (Part("per_dim_scale", (head_dim,)),),
                *(linear(name, hidden, hidden) for name in names),
            ),
            under(
                "lconv1d",
                linear("linear_start.linear", 2 * hidden, hidden),
                linear("linear_end.linear", hidden, hidden),
                weight("depthwise_conv1d", hidden, 1, kernel),
                norms("pre_layer_norm", "conv_norm", size=hidden),
            ),
            norms("norm_pre_attn", "norm_post_attn", "norm_out", size=hidden),
        ),
        *linear("output_proj", output, hidden, bias=True),
    )
