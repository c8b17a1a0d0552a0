"""What attention holds: query norm, rotary embedding, the kernel and what it is given, masks.

Kernels are torch 2.13's. sdpa takes a fused kernel, which holds its output and one fp32 number per
query and head, unless the shapes forbid it; then the math kernel holds all scores, in fp32, twice,
and a byte for what is masked. On CUDA a value narrower than the key is still fused (the
memory-efficient kernel); on a CPU it is not (sdp_utils_cpp.cpp: check_head_dim_size_cpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from msgspec.structs import replace

from hfmem.memory.instants import Instant, Part, Step, part
from hfmem.model.forward_shapes import Attention, ForwardPass, LatentProjection

MATH_SCORE_BYTES = 9
"""fp32 scores, fp32 softmax, and one byte from ``isneginf`` in ``_safe_softmax``: the allocator's
events of torch 2.13's ``_scaled_dot_product_attention_math`` on a CPU."""


def mask_parts(forward: ForwardPass, step: Step) -> tuple[Part, ...]:
    """Masks that live through the pass (masking_utils.py: sdpa_mask, eager_mask).

    sdpa needs none for plain causal attention; one byte a pair for each window that the keys have
    outgrown. Eager attention holds a mask of the model's dtype for every kind of layer.
    """
    pairs = step.queries * step.keys
    if step.attention == "flash":
        return ()
    if step.attention == "eager":
        count = forward.eager_masks
        return (part("attention mask", step.pairs, count, step.width, f"{count} of all pairs"),)
    count = forward.masks + sum(step.keys >= window for window in forward.window_masks)
    return (part("attention mask", pairs, count, 1, f"{count} boolean, of all pairs"),)


def attention_instants(
    forward: ForwardPass, shape: Attention, step: Step, *, residents: int
) -> Iterator[Instant]:
    """The instants of one attention layer."""
    if step.queries == 1 and shape.window is not None:
        step = replace(step, keys=min(step.keys, shape.window))
    stream = part(
        "residual stream", step.rows, residents * forward.hidden, step.width, f"{residents} wide"
    )
    if shape.latent is not None:
        yield from _latent_instants(forward, shape, shape.latent, step, stream=stream)
        return
    query = shape.heads * shape.head_dim
    key, value = shape.kv_heads * shape.head_dim, shape.kv_heads * shape.v_head_dim
    projection = (2 * query if shape.output_gate else 0) + (
        query + key + value if shape.fused_qkv else 0
    )
    if shape.qk_norm:
        projected = projection + query + (key + value if shape.norms_late else 0)
        yield Instant(
            name="query norm",
            parts=(
                stream,
                part("query, key, value", step.rows, projected, step.width, "as projected"),
                part("query norm", step.rows, 2 * query, 4, "fp32 copy and product"),
            ),
            stored=False,
        )
    if shape.rotary != "none":
        whole = projection + query + key + value
        qkv = part("query, key, value", step.rows, whole, step.width, "as projected")
        turned = _rotated_part(shape, step, query=query, key=key)
        yield Instant(name="rotary embedding", parts=(stream, qkv, turned), stored=False)
    # Without a rotation the query stays a view of the joint projection.
    viewed = shape.fused_qkv and shape.rotary == "none"
    alive = projection + shape.kept_rotation + (0 if viewed else query)
    qkv = part("query, key, value", step.rows, alive, step.width, "query")
    kernel = _kernel_parts(shape, step, masked=_is_masked(forward, shape, step))
    yield Instant(name="attention", parts=(stream, qkv, *kernel))
    if shape.block_mask and step.queries > 1:
        # Zeros and their filled copy; chosen blocks a head, those with causal, and the others.
        bytes_each = 2 * step.width + 3
        mask = part("block mask", step.pairs, shape.heads, bytes_each, "of all heads, while built")
        causal = part("attention mask", step.pairs, 1, 1, "causal")
        yield Instant(name="block mask", parts=(stream, qkv, mask, causal))
    if shape.rotated_dim and step.attention != "eager":
        wide = 2 * shape.heads * shape.v_head_dim
        output = part("attention output", step.rows, wide, step.width, "by heads, and by tokens")
        yield Instant(name="attention output", parts=(stream, qkv, output))


def _rotated_part(shape: Attention, step: Step, *, query: int, key: int) -> Part:
    """models/llama/modeling_llama.py: apply_rotary_pos_emb, ``q * cos + rotate_half(q) * sin``.

    Three tensors as wide as the query; or, once it is rotated, that and three as wide as the keys.
    """
    if shape.rotary == "complex":
        # xq.float() and xk.float(), both products, and both results in the model's dtype.
        both = query + key
        return part("rotated query and keys", step.rows, both, 8 + step.width, "complex64")
    share = shape.rotated_dim or shape.head_dim
    joined = (query + key) if shape.rotated_dim else 0
    whole = max(shape.head_dim, 1)
    query, key = query * share // whole, key * share // whole
    turned = max(3 * query, query + 3 * key, query + key + joined)
    if shape.rotary == "fp32":
        turned += query + key
    width = step.width if shape.rotary == "model" else 4
    return part("rotated query and keys", step.rows, turned, width, "products, halves swapped")


def _latent_instants(
    forward: ForwardPass,
    shape: Attention,
    latent: LatentProjection,
    step: Step,
    *,
    stream: Part,
) -> Iterator[Instant]:
    """models/deepseek_v3/modeling_deepseek_v3.py: DeepseekV3Attention.forward, expand_kv.

    The projected query, its rotated part and their concatenation are alive together; the latents of
    ALL cached tokens are expanded to every head, at decode too.
    """
    heads = shape.heads
    query = heads * (2 * shape.head_dim + latent.rope_dim) + latent.rank + latent.rope_dim
    expanded = heads * (latent.nope_dim + shape.v_head_dim + shape.head_dim)
    tokens = step.batch * step.keys
    parts = [
        stream,
        part("query, key, value", step.rows, query, step.width, "query twice, latents"),
        part("expanded keys and values", tokens, expanded, step.width, "kv_b_proj and keys"),
    ]
    if latent.selected:
        chosen = min(latent.selected, step.keys)
        parts.append(part("selected tokens", step.rows, chosen, 4, "int32 indices"))
    if latent.indexer_heads:
        wide = latent.indexer_heads * (2 * latent.indexer_dim + latent.rope_dim)
        wide += latent.query_rank
        scores = 2 * latent.indexer_heads
        yield Instant(
            name="indexer",
            parts=(
                *parts,
                part("indexer query", step.rows, wide, step.width, "projected, rotated, joined"),
                part("indexer scores", step.pairs, scores, 4, "scores and scaled scores"),
            ),
        )
        if step.batch > 1 and step.queries > 1:
            # The product of several sequences copies each one's keys for every query.
            keys = part("indexer keys", step.pairs, latent.indexer_dim, 4, "fp32, for every query")
            products = part("indexer scores", step.pairs, latent.indexer_heads, 4, "their product")
            yield Instant(name="indexer keys", parts=(*parts, keys, products))
    masked = _is_masked(forward, shape, step)
    if latent.selected and step.attention == "sdpa":
        parts.append(part("attention mask", step.pairs, 2, 1, "selected tokens, and with causal"))
    kernel = _kernel_parts(shape, step, masked=masked)
    yield Instant(name="attention", parts=(*parts, *kernel))


def _is_masked(forward: ForwardPass, shape: Attention, step: Step) -> bool:
    outgrown = shape.window is not None and step.keys >= shape.window
    return outgrown or forward.masked


def _kernel_parts(shape: Attention, step: Step, *, masked: bool) -> tuple[Part, ...]:
    output = part(
        "attention output", step.rows, shape.heads * shape.v_head_dim, step.width, "all heads"
    )
    repeated = part(
        "repeated keys and values",
        step.batch * step.keys,
        shape.heads * (shape.head_dim + shape.v_head_dim) if _grouped(shape) else 0,
        step.width,
        "repeat_kv to all heads",
    )
    if step.attention == "eager":
        copied = (
            shape.heads + shape.kv_heads if shape.eager_scores == "fp32_product" else 0
        ) * shape.head_dim
        floats = part("fp32 query and keys", step.rows, copied, 4, "before the product")
        return (repeated, _eager_scores(shape, step), floats)
    fused = (output, part("log-sum-exp", step.rows, shape.heads, 4, "one a query and head"))
    if step.attention == "flash":
        return fused
    mask = part(
        "attention mask", step.pairs if masked else 0, 1, step.width, "as the kernel takes it"
    )
    if shape.position_bias:
        # models/t5/modeling_t5.py: compute_bias; sdpa_attention.py: create_position_bias_mask.
        bias = part("position bias", step.pairs, 4 * shape.heads, step.width, "and as the mask")
        return (*fused, bias)
    if _needs_math(shape, step):
        return _math_parts(shape, step, mask=mask, masked=masked)
    # use_gqa_in_sdpa: K and V are repeated where there is a mask, or above head size 256.
    packed = step.queries == 1 or (not masked and shape.head_dim <= 256)
    return (*fused, mask) if packed else (*fused, mask, repeated)


def _grouped(shape: Attention) -> bool:
    # One K/V head is repeated by a view: repeat_kv's reshape copies nothing.
    return shape.heads != shape.kv_heads and shape.kv_heads > 1 and not shape.broadcast_kv


def _needs_math(shape: Attention, step: Step) -> bool:
    if shape.broadcast_kv:
        return True
    return step.device == "cpu" and shape.head_dim != shape.v_head_dim


def _eager_scores(shape: Attention, step: Step) -> Part:
    """models/llama/modeling_llama.py: eager_attention_forward takes the softmax in fp32.

    Scores in the model's dtype, their fp32 copy and the fp32 result: 10 bytes a score in bf16.
    """
    match shape.eager_scores:
        case "fp32" | "fp32_product":
            copies, each, pairs = 1, 8 if step.width == 4 else step.width + 8, step.pairs
        case "fp32_two":
            copies, each, pairs = 1, 2 * step.width + 8, step.pairs
        case "fp32_three":
            copies, each, pairs = 1, 3 * step.width + 8, step.pairs
        case "twice":
            copies, each, pairs = 2, step.width, step.pairs
        case "sinks":
            copies, each, pairs = 3, step.width, step.pairs + step.rows
        case "joined_sinks":
            copies, each, pairs = 2, step.width, step.pairs + step.rows
        case "returned":
            copies, each, pairs = 4, step.width, step.pairs
        case other:
            assert_never(other)
    what = "scores and their softmax"
    return part("attention scores", pairs, copies * shape.heads, each, what)


def _math_parts(shape: Attention, step: Step, *, mask: Part, masked: bool) -> tuple[Part, ...]:
    tokens = step.batch * step.keys
    query = shape.heads * shape.head_dim
    copied = step.width < 4
    keys = shape.kv_heads * (shape.head_dim + shape.v_head_dim) if copied else 0
    causal = step.queries * step.keys if step.queries > 1 and not masked else 0
    scores = part(
        "attention scores", step.pairs, shape.heads, MATH_SCORE_BYTES, "fp32 scores and softmax"
    )
    # The product of several sequences copies a broadcast head to all heads.
    spread = shape.heads if shape.broadcast_kv and step.batch > 1 else shape.kv_heads
    # While one token is decoded there are hardly any scores: the scaled keys are the larger.
    scaled = part("scaled keys", tokens, spread * shape.head_dim, 4, "fp32, before the product")
    return (
        part("fp32 query", step.rows, query * (2 if copied else 1), 4, "copied and scaled"),
        part("fp32 keys and values", tokens, keys, 4, "copied"),
        max(scores, scaled, key=lambda each: each.bytes),
        mask,
        part("causal mask", causal, 1, 4, "fp32, of all pairs"),
    )
