"""What stands in an attention's place and keeps a state: Mamba 1 and 2, delta nets, short
convolutions."""

from __future__ import annotations

from msgspec import Struct

from hfmem.model.config import Config
from hfmem.model.declared.blocks import Part, Parts, linear, norm, weight
from hfmem.model.declared.style import hidden


def convolution(channels: int, kernel: int, *, bias: bool, name: str = "conv1d") -> Parts:
    """A causal convolution, one filter a channel."""
    shift = (Part(f"{name}.bias", (channels,)),) if bias else ()
    return (*weight(name, channels, 1, kernel), *shift)


def mamba(
    size: int, *, inner: int, state: int, kernel: int, rank: int, bias: bool, conv_bias: bool
) -> Parts:
    """Mamba 1 (models/mamba/modeling_mamba.py). mamba-2.8b: 41,057,280 parameters a layer at an
    inner size of 5,120."""
    return (
        Part("A_log", (inner, state)),
        Part("D", (inner,)),
        *convolution(inner, kernel, bias=conv_bias),
        *linear("in_proj", 2 * inner, size, bias=bias),
        *linear("x_proj", rank + 2 * state, inner),
        *linear("dt_proj", inner, rank, bias=True),
        *linear("out_proj", size, inner, bias=bias),
    )


class Mamba2(Struct, frozen=True, kw_only=True):
    """The sizes of a Mamba 2 mixer (models/mamba2/modeling_mamba2.py)."""

    hidden: int
    inner: int
    heads: int
    groups: int
    state: int
    kernel: int
    bias: bool
    conv_bias: bool
    output_bias: bool | None = None
    """None follows ``bias``."""
    normed: bool = True

    def parts(self) -> Parts:
        """Its tensors: the input's projection puts out gate, values, keys, queries and steps."""
        channels = self.inner + 2 * self.groups * self.state
        output_bias = self.bias if self.output_bias is None else self.output_bias
        return (
            *(Part(name, (self.heads,)) for name in ("dt_bias", "A_log", "D")),
            *convolution(channels, self.kernel, bias=self.conv_bias),
            *linear("in_proj", self.inner + channels + self.heads, self.hidden, bias=self.bias),
            *(norm("norm", self.inner) if self.normed else ()),
            *linear("out_proj", self.hidden, self.inner, bias=output_bias),
        )


def delta_net(config: Config, *, joined: bool) -> Parts:
    """The gated delta net of Qwen3-Next (in two matrices) and Qwen3.5 (in four)."""
    size = hidden(config)
    count = config.integer("linear_num_value_heads", low=1)
    value_dim = config.integer("linear_value_head_dim", low=1)
    value = count * value_dim
    key = config.integer("linear_num_key_heads", low=1) * config.integer(
        "linear_key_head_dim", low=1
    )
    kernel = config.integer("linear_conv_kernel_dim", low=1)
    if joined:
        inputs = (
            *linear("in_proj_qkvz", 2 * key + 2 * value, size),
            *linear("in_proj_ba", 2 * count, size),
        )
    else:
        inputs = (
            *linear("in_proj_qkv", 2 * key + value, size),
            *linear("in_proj_z", value, size),
            *linear("in_proj_b", count, size),
            *linear("in_proj_a", count, size),
        )
    return (
        *(Part(name, (count,)) for name in ("dt_bias", "A_log")),
        *convolution(2 * key + value, kernel, bias=False),
        *norm("norm", value_dim),
        *linear("out_proj", size, value),
        *inputs,
    )


def olmo_delta(config: Config) -> Parts:
    """The gated delta net of OLMo Hybrid, every projection a matrix of its own."""
    size, heads = hidden(config), config.integer("num_attention_heads", low=1)
    # configuration_olmo_hybrid.py derives what the file leaves out.
    keys = config.integer_or_none("linear_num_key_heads", low=1) or heads
    count = config.integer_or_none("linear_num_value_heads", low=1) or heads
    narrow = config.integer_or_none("linear_key_head_dim", low=1) or int(0.75 * size / keys)
    each = config.integer_or_none("linear_value_head_dim", low=1) or 2 * narrow
    key, value = keys * narrow, count * each
    kernel = config.integer("linear_conv_kernel_dim", low=1)
    return (
        *(Part(name, (count,)) for name in ("A_log", "dt_bias")),
        *(part for name in ("q_proj", "k_proj") for part in linear(name, key, size)),
        *(part for name in ("v_proj", "g_proj") for part in linear(name, value, size)),
        *(part for name in ("a_proj", "b_proj") for part in linear(name, count, size)),
        *linear("o_proj", size, value),
        *convolution(2 * key + value, kernel, bias=False),
        *norm("o_norm", each),
    )


def kimi_delta(config: Config) -> Parts:
    """Kimi Delta Attention: a convolution each for queries, keys and values, as published."""
    nested = config.section("linear_attn_config") or config
    count = _either(nested, config, "num_heads", "linear_num_heads")
    each = _either(nested, config, "head_dim", "linear_head_dim")
    kernel = _either(nested, config, "short_conv_kernel_size", "linear_conv_kernel_dim")
    size, width = hidden(config), count * each
    streams = ("q", "k", "v")
    return (
        *(part for name in streams for part in linear(f"{name}_proj", width, size)),
        *(
            part
            for name in streams
            for part in convolution(width, kernel, bias=False, name=f"{name}_conv1d")
        ),
        Part("A_log", (1, 1, count, 1)),
        Part("dt_bias", (width,)),
        *linear("f_a_proj", each, size),
        *linear("f_b_proj", width, each),
        *linear("b_proj", count, size),
        *linear("g_a_proj", each, size),
        *linear("g_b_proj", width, each),
        *norm("o_norm", each),
        *linear("o_proj", size, width),
    )


def _either(nested: Config, config: Config, short: str, long: str) -> int:
    if nested is not config and nested.value(short) is not None:
        return nested.integer(short, low=1)
    return config.integer(long, low=1)


def short_convolution(config: Config) -> Parts:
    """LFM2: a gated convolution over ``conv_L_cache`` columns."""
    size, bias = hidden(config), config.flag("conv_bias")
    return (
        *convolution(size, config.integer("conv_L_cache", low=1), bias=bias, name="conv"),
        *linear("in_proj", 3 * size, size, bias=bias),
        *linear("out_proj", size, size, bias=bias),
    )
