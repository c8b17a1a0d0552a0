"""Reads recurrent mixers and short convolutions: what each family's code holds while it scans."""

from __future__ import annotations

from typing import Final, assert_never

from hfmem.model.config import Config
from hfmem.model.forward_family import Recurrence
from hfmem.model.forward_shapes import GatedDelta, Listed, Live, LiveInstant, Mamba2

_KDA_CHUNK: Final = 64


def recurrent(config: Config, recurrence: Recurrence) -> GatedDelta | Mamba2 | Listed:
    """The mixer of a recurrent layer.

    Raises MissingKeyError and InvalidValueError where the configuration lacks a size or gives
    nonsense.
    """
    match recurrence:
        case "delta" | "fused_delta":
            return GatedDelta(
                key_heads=config.integer("linear_num_key_heads", low=1),
                value_heads=config.integer("linear_num_value_heads", low=1),
                key_dim=config.integer("linear_key_head_dim", low=1),
                value_dim=config.integer("linear_value_head_dim", low=1),
                fused_projection=recurrence == "fused_delta",
            )
        case "nemotron_h":
            return _mamba2(
                config, "mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size"
            )
        case "mamba2":
            return _mamba2(config, "num_heads", "head_dim", "n_groups", "state_size")
        case "bamba":
            return _mamba2(
                config, "mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state"
            )
        case "zamba2":
            return _mamba2(
                config, "n_mamba_heads", "mamba_headdim", "mamba_ngroups", "mamba_d_state"
            )
        case "mamba":
            return _mamba(config, expand="expand", state="state_size")
        case "jamba":
            return _mamba(config, expand="mamba_expand", state="mamba_d_state")
        case "short_conv":
            return _short_conv(config)
        case "kimi_delta":
            return _kimi_delta(config)
        case _:
            assert_never(recurrence)


def _mamba2(config: Config, heads: str, head_dim: str, groups: str, state: str) -> Mamba2:
    count = config.integer(heads, low=1)
    # Bamba and Falcon-H1 write "auto" for the width that the expansion leaves to a head.
    wide = config.value(head_dim)
    dim = (
        _inner(config, "mamba_expand", "mamba_d_ssm") // count
        if wide is None or wide == "auto"
        else config.integer(head_dim, low=1)
    )
    return Mamba2(
        heads=count,
        head_dim=max(dim, 1),
        groups=config.integer(groups, low=1),
        state=config.integer(state, low=1),
        chunk=config.integer_or_none("chunk_size", low=1)
        or config.integer("mamba_chunk_size", low=1),
    )


def _inner(config: Config, expand: str, stated: str | None = None) -> int:
    found = None if stated is None else config.integer_or_none(stated, low=1)
    return found or config.integer(expand, low=1) * config.integer("hidden_size", low=1)


def _mamba(config: Config, *, expand: str, state: str) -> Listed:
    """models/mamba/modeling_mamba.py: mamba_selective_scan, a loop over the tokens.

    Decay, input matrix and their product with the input hold a state of every token in fp32. At the
    end live too: the joint projection, the convolved input and its copy, the step sizes, the
    outputs token by token and joined, and two fp32 products with D.
    """
    inner = config.integer_or_none("intermediate_size", low=1) if expand == "expand" else None
    inner = inner or _inner(config, expand)
    states = inner * config.integer(state, low=1)
    projections = Live(name="projections", elements=2 * inner, what="input and gate")
    convolution = Live(name="convolution", elements=inner, what="convolved input")
    scan = (
        Live(name="scan states", elements=3 * states, bytes=4, what="decay, input and product"),
        Live(name="scan inputs", elements=4 * inner, what="copy, step sizes, outputs twice"),
        Live(name="scan output", elements=2 * inner, bytes=4, what="fp32, with D's product"),
    )
    result = Live(name="recurrence output", elements=inner, what="of the fused kernel")
    update = Live(
        name="recurrent state",
        elements=6 * states,
        bytes=4,
        per="sequence",
        what="one layer's: A, decay, input matrix, its product, decayed, sum",
    )
    held = (projections, convolution)
    return Listed(
        instants=(
            LiveInstant(name="recurrence", tensors=(*held, *scan), path="python", steps="prefill"),
            LiveInstant(name="recurrence", tensors=(*held, result), path="fused", steps="prefill"),
            LiveInstant(name="recurrence", tensors=(*held, update), steps="decode"),
        )
    )


def _short_conv(config: Config) -> Listed:
    """models/lfm2/modeling_lfm2.py: Lfm2ShortConv, ``C * conv(B * x)``: one projection of three,
    the convolution, and the product as it is and laid out again."""
    hidden = config.integer("hidden_size", low=1)
    return Listed(
        instants=(
            LiveInstant(
                name="convolution",
                tensors=(
                    Live(name="projections", elements=3 * hidden, what="B, C and x"),
                    Live(name="convolution", elements=3 * hidden, what="result, product, its copy"),
                ),
            ),
        )
    )


def _kimi_delta(config: Config) -> Listed:
    """models/kimi_linear/modeling_kimi_linear.py: chunk_kimi_delta_attention.

    Decays between all pairs of a chunk's 64 tokens are held for every channel, three times in fp32;
    beside them queries, keys, values, gates, both products with beta and the gates' sum.
    """
    nested = config.section("linear_attn_config")
    scope, heads, dim = (
        (config, "linear_num_heads", "linear_head_dim")
        if nested is None
        else (nested, "num_heads", "head_dim")
    )
    inner = scope.integer(heads, low=1) * scope.integer(dim, low=1)
    convolution = Live(name="convolution", elements=3 * inner, what="query, keys and values")
    scan = (
        Live(name="scan matrices", elements=3 * _KDA_CHUNK * inner, bytes=4, what="decays"),
        Live(name="scan inputs", elements=7 * inner, bytes=4, what="fp32"),
    )
    result = Live(name="recurrence output", elements=inner, what="of the fused kernel")
    update = Live(
        name="recurrent state",
        elements=3 * inner * scope.integer(dim, low=1),
        bytes=4,
        per="sequence",
        what="one layer's, while it changes",
    )
    return Listed(
        instants=(
            LiveInstant(
                name="recurrence", tensors=(convolution, *scan), path="python", steps="prefill"
            ),
            LiveInstant(
                name="recurrence", tensors=(convolution, result), path="fused", steps="prefill"
            ),
            LiveInstant(name="recurrence", tensors=(convolution, update), steps="decode"),
        )
    )
