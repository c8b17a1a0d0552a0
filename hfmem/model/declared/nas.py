"""DeciLM and Nemotron-NAS: every block found by a search of its own."""

from __future__ import annotations

from collections.abc import Mapping

from hfmem.model.config import Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Parts,
    embedding,
    gated_mlp,
    head,
    heads,
    layers,
    linear,
    norm,
    under,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import hidden


def nas(config: Config) -> Parts:
    """DeciLM and Nemotron-NAS: every block has heads and a width of its own, or none."""
    blocks = config.list("block_configs")
    if blocks is None:
        raise NotDeclaredError
    size = heads(config)
    bias, mlp_bias = config.flag("attention_bias"), config.flag("mlp_bias")
    if bias or mlp_bias:
        raise NotDeclaredError
    parts: dict[Parts, list[int]] = {}
    for number, block in enumerate(blocks):
        if not isinstance(block, Mapping):
            raise NotDeclaredError
        reader = config.with_values({"attention": None, "ffn": None, **block})
        own = (*_nas_attention(reader, size.query_size, size.head_dim), *_nas_mlp(reader))
        parts.setdefault(own, []).append(number)
    return (
        *embedding(config),
        *(part for own, where in parts.items() for part in layers("model.layers", where, own)),
        *norm("model.norm", size.hidden),
        *head(config),
    )


def _nas_attention(config: Config, query: int, each: int) -> Parts:
    found, size = config.section("attention"), hidden(config)
    if found is None:
        raise NotDeclaredError
    if found.flag("no_op"):
        return ()
    if found.flag("replace_with_linear"):
        return (*linear("self_attn.linear_attn", size, size), *norm("input_layernorm", size))
    count = config.integer("num_attention_heads", low=1)
    kv = count // found.integer("n_heads_in_group", low=1) * each
    return (
        *under(
            "self_attn",
            linear("q_proj", query, size),
            linear("k_proj", kv, size),
            linear("v_proj", kv, size),
            linear("o_proj", size, query),
        ),
        *norm("input_layernorm", size),
    )


def _nas_mlp(config: Config) -> Parts:
    found, size = config.section("ffn"), hidden(config)
    if found is None:
        raise NotDeclaredError
    if found.flag("no_op"):
        return ()
    if found.flag("replace_with_linear"):
        return (
            *linear("mlp.linear_mlp", size, size),
            *norm("post_attention_layernorm", size),
        )
    ratio = found.number("ffn_mult")
    if ratio is None:
        raise NotDeclaredError
    # modeling_decilm.py: two thirds of the hidden size times the ratio, up to the next 256.
    inner = -(-int(2 * ratio * size / 3) // 256) * 256
    return (*under("mlp", gated_mlp(size, inner)), *norm("post_attention_layernorm", size))


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("nemotron-nas", "deci"),
        classes=("DeciLMForCausalLM",),
        parts=nas,
        source="nvidia/Llama-3_3-Nemotron-Super-49B-v1 modeling_decilm.py",
    ),
)
"""Families, one row each."""
