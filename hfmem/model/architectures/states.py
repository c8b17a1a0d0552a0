"""State of fixed size from a section: Mamba, delta nets, short convolutions.

As transformers' PyTorch path keeps it: a convolution state of all kernel columns in the model's
type, and the recurrent state in fp32. Each maker reads a section and returns what ONE layer keeps.
"""

from __future__ import annotations

from collections.abc import Mapping

from hfmem.model.architectures.attention import LayerRule, heads
from hfmem.model.config import Config
from hfmem.model.layers import Layer, RecurrentState


def state(
    *, channels: int, kernel: int, elements: int, state_dtype: str | None = "F32"
) -> RecurrentState:
    """A convolution over ``channels`` of ``kernel`` columns, and ``elements`` of recurrent
    state."""
    return RecurrentState(
        conv_elements=channels * kernel,
        state_elements=elements,
        conv_dtype=None,
        state_dtype=state_dtype,
        conv_kernel=kernel,
    )


def mamba(config: Config) -> Layer:
    """Mamba 1: inner × kernel and inner × state (models/mamba/modeling_mamba.py). mamba-2.8b: 5,120
    × (4 + 16)."""
    inner = config.integer("expand", low=1) * config.integer("hidden_size", low=1)
    return (
        state(
            channels=inner,
            kernel=config.integer("conv_kernel", low=1),
            elements=inner * config.integer("state_size", low=1),
        ),
    )


def jamba(config: Config) -> Layer:
    """Mamba 1 under Jamba's names (models/jamba/modeling_jamba.py)."""
    inner = config.integer("mamba_expand", low=1) * config.integer("hidden_size", low=1)
    return (
        state(
            channels=inner,
            kernel=config.integer("mamba_d_conv", low=1),
            elements=inner * config.integer("mamba_d_state", low=1),
        ),
    )


def mamba2(config: Config) -> Layer:
    """Mamba 2: (inner + 2 groups × state) × kernel and heads × head_dim × state
    (models/mamba2/modeling_mamba2.py).

    Codestral-Mamba-7B: (8,192 + 2·8·128) × 4 and 128 × 64 × 128.
    """
    inner = config.integer("expand", low=1) * config.integer("hidden_size", low=1)
    return _mamba2(
        config, inner=inner, groups="n_groups", state_size="state_size", kernel="conv_kernel"
    )


def bamba(config: Config) -> Layer:
    """Mamba 2 under the names of Bamba and Granite 4 (models/bamba/modeling_bamba.py)."""
    inner = config.integer("mamba_expand", low=1) * config.integer("hidden_size", low=1)
    return _mamba2(
        config,
        inner=inner,
        groups="mamba_n_groups",
        state_size="mamba_d_state",
        kernel="mamba_d_conv",
    )


def falcon_h1(config: Config) -> Layer:
    """Mamba 2 of width ``mamba_d_ssm`` (models/falcon_h1/modeling_falcon_h1.py)."""
    inner = config.integer_or_none("mamba_d_ssm") or (
        config.integer("mamba_expand", low=1) * config.integer("hidden_size", low=1)
    )
    return _mamba2(
        config,
        inner=inner,
        groups="mamba_n_groups",
        state_size="mamba_d_state",
        kernel="mamba_d_conv",
    )


def zamba2(config: Config) -> Layer:
    """Mamba 2 under Zamba2's names (models/zamba2/modeling_zamba2.py)."""
    inner = config.integer("mamba_expand", low=1) * config.integer("hidden_size", low=1)
    return _mamba2(
        config,
        inner=inner,
        groups="mamba_ngroups",
        state_size="mamba_d_state",
        kernel="mamba_d_conv",
    )


def nemotron_h(config: Config) -> Layer:
    """Mamba 2 whose width is heads × head_dim (models/nemotron_h/modeling_nemotron_h.py)."""
    inner = config.integer("mamba_num_heads", low=1) * config.integer("mamba_head_dim", low=1)
    return _mamba2(
        config, inner=inner, groups="n_groups", state_size="ssm_state_size", kernel="conv_kernel"
    )


def _mamba2(config: Config, *, inner: int, groups: str, state_size: str, kernel: str) -> Layer:
    size = config.integer(state_size, low=1)
    return (
        state(
            channels=inner + 2 * config.integer(groups, low=1) * size,
            kernel=config.integer(kernel, low=1),
            elements=inner * size,
        ),
    )


def gated_delta(config: Config) -> Layer:
    """Gated delta net: queries, keys and values are convolved, the state is value × key per head.

    Qwen3-Next: (2·16·128 + 32·128) × 4 and 32 × 128 × 128
    (models/qwen3_next/modeling_qwen3_next.py).
    """
    key_heads = config.integer("linear_num_key_heads", low=1)
    key_dim = config.integer("linear_key_head_dim", low=1)
    value_heads = config.integer("linear_num_value_heads", low=1)
    value_dim = config.integer("linear_value_head_dim", low=1)
    return (
        state(
            channels=2 * key_heads * key_dim + value_heads * value_dim,
            kernel=config.integer("linear_conv_kernel_dim", low=1),
            elements=value_heads * value_dim * key_dim,
        ),
    )


def kimi_delta(config: Config) -> Layer:
    """Kimi delta attention: 3 × heads × dim convolved, heads × dim² of state
    (models/kimi_linear/modeling_kimi_linear.py).

    The sizes lie in ``linear_attn_config`` or flat. Kimi-Linear-48B: 3·32·128 × 4 and 32 × 128 ×
    128.
    """
    nested = config.value("linear_attn_config")
    given = nested if isinstance(nested, Mapping) else {}
    names = {
        "linear_num_heads": "num_heads",
        "linear_head_dim": "head_dim",
        "linear_conv_kernel_dim": "short_conv_kernel_size",
    }
    config = config.with_values(
        {ours: given[theirs] for ours, theirs in names.items() if theirs in given}
    )
    heads = config.integer("linear_num_heads", low=1)
    size = config.integer("linear_head_dim", low=1)
    return (
        state(
            channels=3 * heads * size,
            kernel=config.integer("linear_conv_kernel_dim", low=1),
            elements=heads * size * size,
        ),
    )


def short_conv(config: Config) -> Layer:
    """A gated short convolution over the hidden size; no recurrent state
    (models/lfm2/modeling_lfm2.py)."""
    return (
        state(
            channels=config.integer("hidden_size", low=1),
            kernel=config.integer("conv_L_cache", low=1),
            elements=0,
        ),
    )


def inkling_convolutions(attention: LayerRule) -> LayerRule:
    """Attention with four short convolutions in fp32: over its keys, its values, and twice the
    hidden size."""

    def make(config: Config) -> Layer:
        size = heads(config)
        channels = 2 * size.kv * size.head_dim + 2 * config.integer("hidden_size", low=1)
        kernel = config.integer("conv_kernel_size", low=1)
        convolutions = RecurrentState(
            conv_elements=channels * kernel,
            state_elements=0,
            conv_dtype="F32",
            state_dtype=None,
            conv_kernel=kernel,
        )
        return (*attention(config), convolutions)

    return make


def zaya(config: Config) -> Layer:
    """Convolved queries and keys, and half of the last token's value
    (models/zaya/modeling_zaya.py)."""
    size = heads(config)
    kernel = config.integer("cca_time0", low=1) + config.integer("cca_time1", low=1) - 2
    return (
        state(
            channels=(size.query + size.kv) * size.head_dim,
            kernel=kernel,
            elements=size.kv * size.head_dim // 2,
            state_dtype=None,
        ),
    )


def lightning(config: Config) -> Layer:
    """Lightning attention: heads × head_dim² in the model's type
    (models/minimax/modeling_minimax.py)."""
    size = heads(config)
    return (state(channels=0, kernel=0, elements=size.query * size.head_dim**2, state_dtype=None),)


def rg_lru(config: Config) -> Layer:
    """Griffin: width × (kernel − 1) columns and one fp32 state a channel
    (models/recurrent_gemma)."""
    width = config.integer_or_none("lru_width", low=1) or config.integer("hidden_size", low=1)
    kernel = config.integer("conv1d_width", low=1)
    return (
        RecurrentState(
            conv_elements=width * (kernel - 1),
            state_elements=width,
            conv_dtype=None,
            state_dtype="F32",
            conv_kernel=kernel - 1,
        ),
    )


def xlstm(config: Config) -> Layer:
    """mLSTM: a key × value matrix, a key vector and a scalar a head
    (models/xlstm/modeling_xlstm.py)."""
    count = config.integer("num_heads", low=1)
    hidden = config.integer("hidden_size", low=1)
    key = int(hidden * _factor(config, "qk_dim_factor", 0.5)) // count
    value = int(hidden * _factor(config, "v_dim_factor", 1.0)) // count
    return (
        state(channels=0, kernel=0, elements=count * (key * value + key + 1), state_dtype=None),
    )


def _factor(config: Config, key: str, default: float) -> float:
    said = config.number(key)
    if said is not None and not 0 < said <= 1024:
        raise config.invalid(key, said, "a number above 0, at most 1,024")
    return default if said is None else said


def rwkv4(config: Config) -> Layer:
    """RWKV-4: two shifted tokens in the model's type, three fp32 vectors
    (models/rwkv/modeling_rwkv.py)."""
    hidden = config.integer("hidden_size", low=1)
    attention = config.integer_or_none("attention_hidden_size", low=1) or hidden
    return (
        RecurrentState(
            conv_elements=2 * hidden,
            state_elements=3 * attention,
            conv_dtype=None,
            state_dtype="F32",
            conv_kernel=2,
        ),
    )
