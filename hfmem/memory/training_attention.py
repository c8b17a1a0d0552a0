"""What attention keeps for the backward pass, by the kernel that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from hfmem.memory.training_tensors import Saved, Saving
from hfmem.model.forward_shapes import Attention


def attention_saved(attention: Attention, saving: Saving) -> Iterator[Saved]:
    """One attention without the norm before it.

    sdpa and flash on 4,096 query and 1,024 key elements of 32 heads in bf16:
    4 × (4,096 + 1,024) + 4 × 32 bytes a token. Eager adds the scores of all pairs of tokens.
    """
    yield from _projections(attention, saving)
    if attention.broadcast_kv and saving.attention == "sdpa":
        yield from _math(attention, saving)
        return
    match saving.attention:
        case "sdpa" | "flash":
            yield from _fused(attention, saving)
        case "eager":
            yield from _eager(attention, saving)
        case other:
            assert_never(other)
    if attention.output_gate:
        elements = attention.heads * attention.v_head_dim
        copies = 1 if saving.frozen else 2
        yield saving.tensor(
            "output gate", copies * elements, saving.width, "sigmoid and gated output", inner=True
        )


def cross_saved(attention: Attention, saving: Saving) -> Iterator[Saved]:
    """A fused kernel's attention to an encoder's output, without the norm before it.

    Keys and values are of the encoder's positions, whose output is kept once for all layers.
    """
    query = attention.heads * attention.head_dim
    output = attention.heads * attention.v_head_dim
    kept = saving.keeps_inputs or not saving.frozen
    if kept:
        yield saving.tensor("input of cross-attention", saving.hidden, saving.width, "")
        if saving.cast_bytes is not None:
            yield saving.source.tensor(
                "encoder's output", 2 * saving.hidden, saving.width, "cast for keys and values"
            )
    yield saving.tensor("cross-attention query", query, saving.kernel, "", inner=True)
    yield saving.source.tensor(
        "cross-attention keys and values",
        attention.kv_heads * (attention.head_dim + attention.v_head_dim),
        saving.kernel,
        "of the encoder's output",
        inner=True,
    )
    copies = 2 if kept and saving.backward.copies_attention else 1
    yield saving.tensor("cross-attention output", copies * output, saving.kernel, "", inner=True)
    yield saving.tensor("cross-attention log-sum-exp", attention.heads, 4, "fp32", inner=True)
    if saving.dropouts:
        yield saving.tensor("cross-attention dropout mask", saving.hidden, 1, "boolean")


def _projections(attention: Attention, saving: Saving) -> Iterator[Saved]:
    """Norms of query and keys, latents, and the one tensor that fused projections are views of."""
    query = attention.heads * attention.head_dim
    keys = attention.kv_heads * attention.head_dim
    if attention.qk_norm:
        yield from _head_norms(attention, saving, query + keys)
    latent = attention.latent
    if latent is not None:
        for name, size in (("query latent", saving.query_rank), ("latent", latent.rank)):
            if size:
                copies = 0 if saving.frozen else 2
                yield saving.tensor(f"{name} norm", size, 4, "fp32 copy of the input")
                yield saving.tensor(f"{name} deviation", 1, 4, "fp32")
                if copies:
                    yield saving.tensor(name, copies * size, saving.width, "normed; product input")


def _head_norms(attention: Attention, saving: Saving, size: int) -> Iterator[Saved]:
    trained = not saving.frozen
    heads = attention.heads + attention.kv_heads
    if saving.fused_layers:
        yield saving.tensor("query and key norms", size, saving.width, "input", inner=True)
    elif saving.backward.norm == "rms_fp32":
        yield saving.tensor(
            "query and key norms", (2 if trained else 1) * size, 4, "fp32", inner=True
        )
    else:
        yield saving.tensor("query and key norms", size, 4, "fp32 input", inner=True)
        if trained:
            yield saving.tensor("query and keys normed", size, saving.width, "", inner=True)
    yield saving.tensor("query and key deviations", heads, 4, "fp32", inner=True)


def _own(attention: Attention, *, repeated: bool) -> tuple[int, int, int]:
    """Elements of query, keys and values as the kernel is given them, views counted whole."""
    query = attention.heads * attention.head_dim
    kv_heads = attention.heads if repeated else attention.kv_heads
    keys, values = kv_heads * attention.head_dim, kv_heads * attention.v_head_dim
    if attention.latent is not None:
        # Values are a view of the expanded latent, which holds the keys' unrotated part too.
        values = attention.heads * (attention.latent.nope_dim + attention.v_head_dim)
    elif attention.fused_qkv and not repeated:
        whole = query + attention.kv_heads * (attention.head_dim + attention.v_head_dim)
        if attention.rotary == "none":
            return 0, 0, whole
        values = whole
    return query, keys, values


def _fused(attention: Attention, saving: Saving) -> Iterator[Saved]:
    masked = saving.packed and saving.attention == "sdpa"
    query, keys, values = _own(attention, repeated=masked)
    output = attention.heads * attention.v_head_dim
    yield saving.tensor("query", query, saving.kernel, "rotated", inner=True)
    what = "repeated to all heads, as a mask rules enable_gqa out" if masked else ""
    yield saving.tensor("keys and values", keys + values, saving.kernel, what, inner=True)
    yield saving.tensor("attention output", output, saving.kernel, "", inner=True)
    yield saving.tensor("log-sum-exp", attention.heads, 4, "fp32", inner=True)
    if masked:
        # torch 2.13 aten/src/ATen/native/transformers/attention.cpp: convert_boolean_attn_mask
        # makes a bias in the query's type in every layer, which the kernel keeps.
        yield saving.tensor("attention bias", saving.tokens, saving.kernel, "the mask")
    if saving.backward.copies_attention and (saving.keeps_inputs or not saving.frozen):
        yield saving.tensor("attention output, copied", output, saving.kernel, "", inner=True)


def _eager(attention: Attention, saving: Saving) -> Iterator[Saved]:
    """Keys and values are repeated to all heads; probabilities in fp32 and in the model's type."""
    query, keys, values = _own(attention, repeated=True)
    kept = saving.keeps_inputs or not saving.frozen
    output = attention.heads * attention.v_head_dim if kept else 0
    if attention.fused_qkv and attention.rotary == "none":
        query, keys = 0, 0
        values = attention.heads * attention.head_dim + attention.kv_heads * (
            attention.head_dim + attention.v_head_dim
        )
    yield saving.tensor("query", query, saving.kernel, "rotated", inner=True)
    yield saving.tensor("keys and values", keys + values, saving.kernel, "repeated", inner=True)
    yield saving.tensor("attention output", output, saving.kernel, "", inner=True)
    match attention.eager_scores:
        case "fp32" | "fp32_product" | "fp32_two" | "fp32_three" | "returned":
            narrow = saving.backward.narrow_scores
            each = saving.kernel if narrow else 4 + saving.kernel
            what = "softmax" if narrow else "fp32 softmax and its copy"
            if saving.drops_scores:
                each += saving.kernel + 1
                what += ", dropped softmax and the mask"
        case "twice":
            each = 2 * saving.kernel + 1 if saving.drops_scores else saving.kernel
            what = "softmax, dropped softmax and the mask" if saving.drops_scores else "softmax"
        case "sinks" | "joined_sinks":
            each = saving.kernel
            what = "softmax with sinks"
        case other:
            assert_never(other)
    if saving.backward.soft_capped:
        each += saving.kernel
        what += ", capped scores"
    pairs = attention.heads * saving.tokens
    yield saving.tensor("scores", pairs, each, what, inner=True)


def _math(attention: Attention, saving: Saving) -> Iterator[Saved]:
    """sdpa without a fused kernel: everything in fp32, and the scores once."""
    query, keys, values = _own(attention, repeated=False)
    output = attention.heads * attention.v_head_dim
    yield saving.tensor("query, keys and values", query + keys + values, 4, "fp32", inner=True)
    yield saving.tensor("attention output", output, saving.kernel, "", inner=True)
    yield saving.tensor("scores", attention.heads * saving.tokens, 4, "fp32 softmax", inner=True)
