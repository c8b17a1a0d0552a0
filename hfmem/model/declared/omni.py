"""Qwen2.5-Omni: what thinks, what talks, and what turns the talk into sound."""

from __future__ import annotations

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Part,
    Parts,
    attention,
    heads,
    layer_count,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.listening import THINKER
from hfmem.model.declared.style import PRE_NORMS, gated, hidden
from hfmem.model.declared.wrapper import section

_CHANNELS_CAP = 64


def omni(config: Config) -> Parts:
    """Qwen2.5-Omni whole; without ``enable_audio_output`` the thinker alone."""
    thinker = under("thinker", THINKER(section(config, "thinker_config")))
    if not config.flag("enable_audio_output", default=True):
        return thinker
    sound = section(config, "token2wav_config")
    return (
        *thinker,
        *under("talker", _talker(section(config, "talker_config"))),
        *under("token2wav.code2wav_dit_model", _diffusion(section(sound, "dit_config"))),
        *under("token2wav.code2wav_bigvgan_model", _vocoder(section(sound, "bigvgan_config"))),
    )


def _talker(config: Config) -> Parts:
    """Qwen2 over codec tokens, which reads what the thinker thought."""
    size, wide = heads(config), config.integer("embedding_size", low=1)
    rows = config.integer("vocab_size", low=1)
    return (
        *linear("thinker_to_talker_proj", size.hidden, wide, bias=True),
        *weight("model.embed_tokens", rows, wide),
        *layers(
            "model.layers",
            range(layer_count(config)),
            attention(size, bias=True),
            gated()(config),
            norms(*PRE_NORMS, size=size.hidden),
        ),
        *norm("model.norm", size.hidden),
        *weight("codec_head", rows, size.hidden),
    )


def _convolution(name: str, *shape: int, bias: int | None = None) -> Parts:
    """A convolution in one dimension; ``bias`` where its size is not the first of the shape."""
    return (*weight(name, *shape), Part(f"{name}.bias", (bias or shape[0],)))


def _numbers(config: Config, key: str) -> tuple[int, ...]:
    found = config.integer_list(key, low=1, high=2**20)
    if not found or len(found) > _CHANNELS_CAP:
        raise NotDeclaredError
    return found


def _speaker(config: Config) -> Parts:
    """ECAPA-TDNN: who speaks, told from a spectrogram."""
    channels, kernels = _numbers(config, "enc_channels"), _numbers(config, "enc_kernel_sizes")
    scale, squeezed = (
        config.integer("enc_res2net_scale", low=1, high=_CHANNELS_CAP),
        config.integer("enc_se_channels", low=1),
    )
    attended, last = config.integer("enc_attention_channels", low=1), channels[-1]
    if len(kernels) != len(channels) or len(channels) < 3:
        raise NotDeclaredError
    parts = _convolution("blocks.0.conv", channels[0], config.integer("mel_dim", low=1), kernels[0])
    for number in range(1, len(channels) - 1):
        size, part = channels[number], channels[number] // scale
        parts += under(
            f"blocks.{number}",
            _convolution("tdnn1.conv", size, channels[number - 1], 1),
            layers(
                "res2net_block.blocks",
                range(scale - 1),
                _convolution("conv", part, part, kernels[number]),
            ),
            _convolution("tdnn2.conv", size, size, 1),
            _convolution("se_block.conv1", squeezed, size, 1),
            _convolution("se_block.conv2", size, squeezed, 1),
        )
    joined = sum(channels[1:-1])
    return (
        *parts,
        *_convolution("mfa.conv", last, joined, kernels[-1]),
        *_convolution("asp.tdnn.conv", attended, 3 * last, 1),
        *_convolution("asp.conv", last, attended, 1),
        *_convolution("fc", config.integer("enc_dim", low=1), 2 * last, 1),
    )


def _diffusion(config: Config) -> Parts:
    """A diffusion transformer from codec tokens to a spectrogram."""
    size, mel = hidden(config), config.integer("mel_dim", low=1)
    inner = config.integer("num_attention_heads", low=1) * config.integer("head_dim", low=1)
    wide = size * config.integer("ff_mult", low=1)
    codes, speaker = config.integer("emb_dim", low=1), config.integer("enc_emb_dim", low=1)
    entry = mel + config.integer("enc_dim", low=1) + speaker + codes
    return (
        *linear("time_embed.time_mlp.{0..0}", size, 256, bias=True),
        *linear("time_embed.time_mlp.{2..2}", size, size, bias=True),
        *weight("text_embed.codec_embed", config.integer("num_embeds", low=1) + 1, codes),
        *linear("input_embed.proj", size, entry, bias=True),
        *under("input_embed.spk_encoder", _speaker(config)),
        *layers(
            "transformer_blocks",
            range(config.integer("num_hidden_layers", high=MAX_LAYERS)),
            linear("attn_norm.linear", 6 * size, size, bias=True),
            *(linear(f"attn.{name}", inner, size, bias=True) for name in ("to_q", "to_k", "to_v")),
            linear("attn.to_out.{0..0}", size, inner, bias=True),
            linear("ff.ff.{0..0}", wide, size, bias=True),
            linear("ff.ff.{3..3}", size, wide, bias=True),
        ),
        *linear("norm_out.linear", 2 * size, size, bias=True),
        *linear("proj_out", mel, size, bias=True),
    )


def _vocoder(config: Config) -> Parts:
    """BigVGAN: from a spectrogram to a waveform, half the channels at every step up."""
    first, mel = (
        config.integer("upsample_initial_channel", low=1),
        config.integer("mel_dim", low=1),
    )
    ups, kernels = (
        _numbers(config, "upsample_kernel_sizes"),
        _numbers(config, "resblock_kernel_sizes"),
    )
    # The class's own are three of three, which the table of defaults has no room for.
    dilations = config.list("resblock_dilation_sizes") or ([1, 3, 5],) * len(kernels)
    if len(dilations) != len(kernels) or first >> len(ups) < 1:
        raise NotDeclaredError
    if any(not isinstance(one, list) or len(one) != 3 for one in dilations):
        raise NotDeclaredError
    parts = _convolution("conv_pre", first, mel, 7)
    for number, kernel in enumerate(ups):
        before, size = first >> number, first >> (number + 1)
        parts += _convolution(f"ups.{number}.0", before, size, kernel, bias=size)
        for place, width in enumerate(kernels):
            parts += under(
                f"resblocks.{number * len(kernels) + place}",
                layers("convs1", range(3), _plain_convolution(size, width)),
                layers("convs2", range(3), _plain_convolution(size, width)),
                layers("activations", range(6), _snake(size)),
            )
    last = first >> len(ups)
    return (*parts, *under("activation_post", _snake(last)), *weight("conv_post", 1, last, 7))


def _plain_convolution(size: int, width: int) -> Parts:
    return (Part("weight", (size, size, width)), Part("bias", (size,)))


def _snake(size: int) -> Parts:
    """An activation with two parameters a channel."""
    return (Part("act.alpha", (size,)), Part("act.beta", (size,)))


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("qwen2_5_omni",),
        classes=("Qwen2_5OmniForConditionalGeneration", "Qwen2_5OmniModel"),
        parts=omni,
        source="qwen2_5_omni/modeling_qwen2_5_omni.py",
    ),
)
"""One family, of three models."""
