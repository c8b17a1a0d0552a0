"""llama.cpp's graph of one micro-batch, as far as its tensors' sizes go, and its compute buffers.

Read from src/llama-graph.cpp (build_qkv, build_attn_mha, build_ffn, build_moe_ffn) and src/models/
of the llama.cpp in llama-cpp-python 0.3.36. Every tensor is float32. The order is the order of
ggml's graph: query, value, key; the gate before the up projection.
"""

from __future__ import annotations

from msgspec import Struct

from hfmem.model.forward_shapes import (
    Attention,
    Experts,
    GatedDelta,
    LayerShape,
    Mamba2,
    Mlp,
)
from hfmem.runtimes.llama_cpp_allocator import Graph, buffer_bytes
from hfmem.runtimes.llama_cpp_mixers import gated_delta, latent, mamba2


class MicroBatch(Struct, frozen=True, kw_only=True):
    """What the engine plans its buffers for."""

    tokens: int
    """min(n_ctx, n_ubatch)."""
    outputs: int
    """Rows that logits are computed for: one a slot in llama-server (common/speculative.cpp:
    common_speculative_get_output_limits); every token in llama.cpp before 2026."""
    cells: int
    """Of one stream: n_ctx, or n_ctx / slots where the cache is not unified."""
    window_cells: int
    """The same in sliding layers; 0 where there are none."""
    flash: bool
    float_mask: bool = False
    """The mask comes in float32 though flash attention is on, and is cast (before 2026)."""


class LayerWork(Struct, frozen=True, kw_only=True):
    """A layer and what of it lies elsewhere."""

    shape: LayerShape
    copied_expert_bytes: int = 0
    """The largest expert tensor in host memory, which is copied to the device for a large batch;
    0 where the experts lie on the device."""
    copied_cache_bytes: int = 0
    """The layer's cache in host memory, which is copied for the attention of a large batch; 0 where
    it lies on the device."""


class DeviceGraph(Struct, frozen=True, kw_only=True):
    """The part of the graph that one device computes."""

    hidden: int
    layers: tuple[LayerWork, ...]
    """In order; equal neighbours beyond the second change nothing and can be left out."""
    vocabulary: int
    """0 where the head is computed elsewhere."""
    last: bool
    """Holds the model's last layer, which goes on with the outputs only."""
    embeds: bool = False
    """Looks the embeddings up too: the host without devices."""
    copies: int = 1
    """Of every input: 4 where several devices work as a pipeline (ggml-backend.cpp:
    GGML_SCHED_MAX_COPIES)."""


class _Inputs(Struct, frozen=True):
    """By whether the layer slides."""

    masks: dict[bool, int]
    indices: dict[bool, int]


def compute_buffer(part: DeviceGraph, batch: MicroBatch) -> int:
    """Bytes of a device's compute buffer.

    Llama-3.1-8B, 512 tokens, 8,192 cells, flash attention and one output: 124 MiB, of which its
    gate, up projection and product take 84 and the mask 8.
    """
    row = 4 * batch.tokens
    graph = Graph()
    mask_bytes = (2 if batch.flash and not batch.float_mask else 4) * batch.tokens
    # The layer before a head that is alone has left only the rows that are wanted.
    hidden = graph.input((row if part.layers else 4 * batch.outputs) * part.hidden)
    mixed = graph.input(row * part.hidden if part.embeds else 0)
    masks: dict[bool, int] = {}
    windows = {_slides(work.shape) for work in part.layers if _attends(work.shape)}
    for sliding in sorted(windows):
        cells = batch.window_cells if sliding else batch.cells
        masks[sliding] = graph.input(mask_bytes * cells)
    extra = [graph.input(size) for size in _pinned(part, batch, mask_bytes)]
    indices = _indices(graph, part, batch)
    if extra:
        # Copies of a pipeline are the graph's inputs and outputs: none is given up, the one in use
        # too (ggml-backend.cpp: ggml_backend_sched_split_graph).
        extra += [hidden, *masks.values(), *indices.values()]
    if part.embeds:
        hidden = _embedded(graph, row * part.hidden, hidden, mixed, extra)
    if batch.flash and batch.float_mask:
        for sliding, mask in masks.items():
            cells = batch.window_cells if sliding else batch.cells
            masks[sliding] = graph.node(2 * batch.tokens * cells, mask)
    for number, work in enumerate(part.layers):
        is_last = part.last and number == len(part.layers) - 1
        inputs = _Inputs(masks, indices)
        hidden = _layer(graph, work, batch, hidden, inputs, hidden_size=part.hidden, last=is_last)
    if part.vocabulary:
        outputs = 4 * batch.outputs
        normed = graph.node(outputs * part.hidden, hidden, in_place=True)
        logits = graph.node(outputs * part.vocabulary, normed)
        graph.node(0, logits, *extra)
    else:
        graph.node(0, hidden, *extra)
    return buffer_bytes(graph)


def _embedded(graph: Graph, size: int, given: int, mixed: int, kept: list[int]) -> int:
    """The tokens' embeddings, beside the graph's other ways in: embeddings that are given, and a
    mix of both, of which the given ones and the mixed result stay (llama.cpp of October 2026)."""
    hidden = graph.node(size)
    looked_up = graph.node(size)
    both = graph.node(size, mixed)
    graph.node(0, looked_up)
    kept += [given, both]
    return hidden


def host_buffer(part: DeviceGraph, batch: MicroBatch) -> int:
    """Bytes of the inputs that the host prepares: embeddings, masks, the places of transposed V.

    Llama-3.1-8B, 512 tokens, 8,192 cells: 8 MiB of embeddings that may be given, 8 that are looked
    up, 8 of mask; without flash attention 16 of mask and 4 of places. With several devices what is
    given is there once for every copy.
    """
    windows = {_slides(work.shape) for work in part.layers if _attends(work.shape)}
    cells = sum(batch.window_cells if sliding else batch.cells for sliding in windows)
    mask = (2 if batch.flash and not batch.float_mask else 4) * batch.tokens * cells
    places = 8 * batch.tokens * sum(_widths(part, batch).values())
    embeddings = 4 * batch.tokens * part.hidden
    return part.copies * (embeddings + mask + places) + embeddings


def _pinned(part: DeviceGraph, batch: MicroBatch, mask_bytes: int) -> list[int]:
    if part.copies == 1 or not part.layers:
        return []
    windows = {_slides(work.shape) for work in part.layers if _attends(work.shape)}
    cells = sum(batch.window_cells if sliding else batch.cells for sliding in windows)
    places = 8 * batch.tokens * sum(_widths(part, batch).values())
    each = 4 * batch.tokens * part.hidden + mask_bytes * cells + places
    return [each] * (part.copies - 1)


def _indices(graph: Graph, part: DeviceGraph, batch: MicroBatch) -> dict[bool, int]:
    return {
        sliding: graph.input(8 * batch.tokens * size)
        for sliding, size in sorted(_widths(part, batch).items())
    }


def _widths(part: DeviceGraph, batch: MicroBatch) -> dict[bool, int]:
    """Without flash attention V is stored transposed, by an index for every element of its row."""
    widths: dict[bool, int] = {}
    for work in part.layers:
        mixer = work.shape.mixer
        if isinstance(mixer, Attention) and mixer.latent is None and not batch.flash:
            size = mixer.kv_heads * mixer.v_head_dim
            widths[mixer.window is not None] = max(size, widths.get(mixer.window is not None, 0))
    return widths


def _attends(shape: LayerShape) -> bool:
    return isinstance(shape.mixer, Attention)


def _slides(shape: LayerShape) -> bool:
    return isinstance(shape.mixer, Attention) and shape.mixer.window is not None


def _layer(
    graph: Graph,
    work: LayerWork,
    batch: MicroBatch,
    hidden: int,
    inputs: _Inputs,
    *,
    hidden_size: int,
    last: bool,
) -> int:
    shape, wide = work.shape, 4 * batch.tokens * hidden_size
    residual = hidden
    mixed = _mixer(graph, work, batch, hidden, inputs, hidden_size=hidden_size)
    if last:
        wide = 4 * batch.outputs * hidden_size
        mixed = graph.node(wide, mixed)
        residual = graph.node(wide, residual)
    rows = batch.outputs if last else batch.tokens
    if shape.mixer is not None:
        residual = graph.node(wide, mixed, residual, in_place=True)
    if shape.feed_forward is None:
        return residual
    normed = graph.node(wide, residual, in_place=True)
    match shape.feed_forward:
        case Mlp():
            done = _mlp(graph, shape.feed_forward, normed, rows, hidden_size=hidden_size)
        case Experts():
            done = _experts(graph, work, shape.feed_forward, normed, rows, hidden_size=hidden_size)
    return graph.node(wide, done, residual, in_place=True)


def _mlp(graph: Graph, mlp: Mlp, normed: int, rows: int, *, hidden_size: int) -> int:
    size = 4 * rows * mlp.width
    match mlp.form:
        case "gated":
            gate = graph.node(size, normed)
            up = graph.node(size, normed)
            product = graph.node(size, gate, up)
        case "fused":
            product = graph.node(size, graph.node(2 * size, normed))
        case "plain":
            product = graph.node(size, normed)
    return graph.node(4 * rows * hidden_size, product)


def _experts(
    graph: Graph, work: LayerWork, experts: Experts, normed: int, rows: int, *, hidden_size: int
) -> int:
    row = 4 * rows
    probabilities = graph.node(row * experts.experts, normed)
    ranked = graph.node(row * experts.experts, probabilities)
    weights = graph.node(row * experts.top_k, probabilities, ranked)
    size = row * experts.top_k * experts.width
    up: tuple[int, ...] = ()
    gate = graph.node(size, normed, ranked, *_copied(graph, work))
    if experts.gated:
        up = (graph.node(size, normed, ranked, *_copied(graph, work)),)
        product = graph.node(size, gate, *up)
    else:
        product = gate
    down = graph.node(row * experts.top_k * hidden_size, product, ranked, *_copied(graph, work))
    down = graph.node(row * experts.top_k * hidden_size, down, weights, in_place=True)
    done = graph.node(row * hidden_size, down)
    if experts.shared_width:
        shared = Mlp(width=experts.shared_width, form=experts.shared_form, activation_copies=0)
        beside = _mlp(graph, shared, normed, rows, hidden_size=hidden_size)
        done = graph.node(row * hidden_size, done, beside, in_place=True)
    return done


def _copied(graph: Graph, work: LayerWork) -> tuple[int, ...]:
    if not work.copied_expert_bytes:
        return ()
    return (graph.node(work.copied_expert_bytes),)


def _mixer(
    graph: Graph,
    work: LayerWork,
    batch: MicroBatch,
    hidden: int,
    inputs: _Inputs,
    *,
    hidden_size: int,
) -> int:
    shape, row = work.shape, 4 * batch.tokens
    if shape.mixer is None:
        return hidden
    normed = graph.node(row * hidden_size, hidden, in_place=True)
    match shape.mixer:
        case Attention():
            cells = batch.window_cells if shape.mixer.window is not None else batch.cells
            if shape.mixer.latent is not None:
                mask = inputs.masks[shape.mixer.window is not None]
                joined = latent(graph, shape.mixer, batch, normed, mask, cells)
            else:
                cache = work.copied_cache_bytes
                joined = _heads(graph, shape.mixer, batch, normed, inputs, cells, cache=cache)
        case GatedDelta():
            joined = gated_delta(graph, shape.mixer, batch, normed)
        case Mamba2():
            joined = mamba2(graph, shape.mixer, batch, normed)
    return graph.node(row * hidden_size, joined)


def _heads(
    graph: Graph,
    attention: Attention,
    batch: MicroBatch,
    normed: int,
    inputs: _Inputs,
    cells: int,
    *,
    cache: int,
) -> int:
    row = 4 * batch.tokens
    gated = 2 if attention.output_gate else 1
    # A rotation or a norm of a view is not done in place (ggml-alloc.c: ggml_gallocr_is_own).
    copied = attention.rotary != "none" or attention.qk_norm
    query = graph.node(gated * row * attention.heads * attention.head_dim, normed)
    if copied:
        query = graph.node(row * attention.heads * attention.head_dim, query)
    value = graph.node(row * attention.kv_heads * attention.v_head_dim, normed)
    key = graph.node(row * attention.kv_heads * attention.head_dim, normed)
    if copied:
        key = graph.node(row * attention.kv_heads * attention.head_dim, key)
    sliding = attention.window is not None
    graph.node(0, key)
    graph.node(0, value, *([inputs.indices[sliding]] if not batch.flash else []))
    mask = inputs.masks[sliding]
    out = row * attention.heads * attention.v_head_dim
    moved = (graph.node(cache),) if cache else ()
    if batch.flash:
        return graph.node(out, query, mask, *moved)
    scores = graph.node(4 * batch.tokens * cells * attention.heads, query, *moved)
    scores = graph.node(4 * batch.tokens * cells * attention.heads, scores, mask, in_place=True)
    return graph.node(out, graph.node(out, scores, *moved))
