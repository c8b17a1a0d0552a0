"""llama.cpp's graph of the mixers that are not attention over heads of their own.

Read from src/models/deepseek2.cpp, mamba-base.cpp, qwen3next.cpp and delta-net-base.cpp of the
llama.cpp in llama-cpp-python 0.3.36. A node's order is the order in which ggml visits it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfmem.model.forward_shapes import Attention, GatedDelta, Mamba2
    from hfmem.runtimes.llama_cpp_allocator import Graph
    from hfmem.runtimes.llama_cpp_graph import MicroBatch


def latent(
    graph: Graph, attention: Attention, batch: MicroBatch, normed: int, mask: int, cells: int
) -> int:
    """Multi-head latent attention in its absorbed form: one key of rank + rope elements.

    The query of each head is multiplied into the latent space and joined with its rotary part; the
    result is brought back by ``v_b``. Without flash attention V, a part of K, is transposed.
    """
    assert attention.latent is not None
    sizes, row, heads = attention.latent, 4 * batch.tokens, attention.heads
    key_size = sizes.rank + sizes.rope_dim
    source = graph.node(row * sizes.query_rank, normed) if sizes.query_rank else normed
    query = graph.node(row * heads * (sizes.nope_dim + sizes.rope_dim), source)
    absorbed = graph.node(row * heads * sizes.rank, query)
    rotary = graph.node(row * heads * sizes.rope_dim, query)
    joined = graph.node(row * heads * key_size, absorbed, rotary)
    compressed = graph.node(row * key_size, normed)
    value = graph.node(row * sizes.rank, compressed)
    turned = graph.node(row * sizes.rope_dim, compressed)
    graph.node(0, graph.node(row * key_size, value, turned))
    if batch.flash:
        attended = graph.node(row * heads * sizes.rank, joined, mask)
    else:
        transposed = graph.node(2 * cells * sizes.rank)
        scores = graph.node(row * cells * heads, joined)
        scores = graph.node(row * cells * heads, scores, mask, in_place=True)
        attended = graph.node(row * heads * sizes.rank, transposed, scores)
    brought_back = graph.node(row * heads * attention.v_head_dim, attended)
    return graph.node(row * heads * attention.v_head_dim, brought_back)


def gated_delta(graph: Graph, delta: GatedDelta, batch: MicroBatch, normed: int) -> int:
    """One projection, its convolution with the state in front, and the fused operator, whose result
    holds the new state of every slot too."""
    row = 4 * batch.tokens
    keys, values = delta.key_heads * delta.key_dim, delta.value_heads * delta.value_dim
    projected = graph.node(row * (2 * keys + values), normed)
    gate = graph.node(row * values, normed)
    joined = graph.node(row * (2 * keys + values), projected)
    convolved = graph.node(row * (2 * keys + values), joined)
    state = 4 * delta.value_heads * delta.key_dim * delta.value_dim * batch.outputs
    mixed = graph.node(row * values + state, convolved)
    return graph.node(row * values, mixed, gate)


def mamba2(graph: Graph, mamba: Mamba2, batch: MicroBatch, normed: int) -> int:
    """One projection, whose gate waits for the scan; the scan's result holds the new state of every
    slot too, and a view of it or of the convolution is not worked on in place."""
    row, inner = 4 * batch.tokens, mamba.heads * mamba.head_dim
    wide = inner + 2 * mamba.groups * mamba.state
    projected = graph.node(row * (inner + wide + mamba.heads), normed)
    joined = graph.node(row * wide, projected)
    convolved = graph.node(row * wide, joined)
    steps = graph.node(row * mamba.heads, projected)
    state = 4 * inner * mamba.state * batch.outputs
    scanned = graph.node(row * inner + state, convolved, steps)
    gate = graph.node(row * inner, projected)
    skipped = graph.node(row * inner, convolved)
    mixed = graph.node(row * inner, scanned, skipped, in_place=True)
    gated = graph.node(row * inner, gate, mixed)
    return graph.node(row * inner, gated)
