"""llama.cpp's compute buffers against what the engine itself planned."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.model.forward_shapes import Attention, Experts, LatentProjection, LayerShape, Mlp, Stored
from hfmem.runtimes.llama_cpp_allocator import Graph, buffer_bytes
from hfmem.runtimes.llama_cpp_graph import (
    DeviceGraph,
    LayerWork,
    MicroBatch,
    compute_buffer,
    host_buffer,
)
from hfmem.units import MIB


def attention(heads: int, kv_heads: int, head_dim: int, window: int | None = None) -> Attention:
    return Attention(
        heads=heads, kv_heads=kv_heads, head_dim=head_dim, v_head_dim=head_dim, window=window
    )


def latent(heads: int) -> Attention:
    return Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=192,
        v_head_dim=128,
        latent=LatentProjection(rank=512, rope_dim=64, nope_dim=128),
    )


def layer(mixer: Attention, feed_forward: Mlp | Experts) -> LayerWork:
    return LayerWork(
        shape=LayerShape(
            mixer=mixer,
            feed_forward=feed_forward,
            parallel_mlp=None,
            stored=Stored(key=0, value=0),
        )
    )


def mlp(width: int) -> Mlp:
    return Mlp(width=width, form="gated", activation_copies=0)


def routed(experts: int, top_k: int, width: int) -> Experts:
    return Experts(
        experts=experts,
        top_k=top_k,
        width=width,
        input_width=0,
        gated=True,
        gate_copies=0,
        router_bytes=None,
        bias=False,
        shared_width=0,
        shared_form="gated",
        shared_copies=0,
        shared_first=False,
    )


MODELS: dict[str, tuple[int, list[LayerWork], int]] = {
    # hidden size, layers, cells of the sliding ones
    "llama 8b": (4096, [layer(attention(32, 8, 128), mlp(14336))] * 3, 0),
    "narrow mlp": (4096, [layer(attention(32, 8, 128), mlp(1024))] * 3, 0),
    "wide heads": (4096, [layer(attention(64, 8, 128), mlp(8192))] * 3, 0),
    "wider heads": (1024, [layer(attention(64, 8, 128), mlp(1024))] * 3, 0),
    "few heads": (8192, [layer(attention(8, 8, 64), mlp(1024))] * 3, 0),
    "qwen3 30b": (2048, [layer(attention(32, 4, 128), routed(128, 8, 768))] * 3, 0),
    "gemma 3 27b": (
        5376,
        [layer(attention(32, 16, 128, 1024), mlp(21504))] * 5
        + [layer(attention(32, 16, 128), mlp(21504))],
        1536,
    ),
    "deepseek v3": (7168, [layer(latent(128), mlp(18432))] * 2, 0),
    "small latent": (2048, [layer(latent(16), mlp(2048))] * 2, 0),
    "gpt-oss": (
        2880,
        [
            layer(attention(64, 8, 64, 128), routed(32, 4, 2880)),
            layer(attention(64, 8, 64), routed(32, 4, 2880)),
        ]
        * 2,
        768,
    ),
}


# "CPU compute buffer size" in MiB that llama.cpp prints (build 11549, in xllamacpp 2026.10) for
# GGUF files of these shapes, a vocabulary of 512 and one slot.
@pytest.mark.parametrize(
    ("name", "cells", "flash", "printed"),
    [
        ("llama 8b", 8192, True, 132.02),
        ("llama 8b", 16384, True, 140.02),
        ("llama 8b", 32768, True, 156.02),
        ("llama 8b", 8192, False, 580.01),
        ("llama 8b", 16384, False, 1108.01),
        ("narrow mlp", 8192, True, 56.02),
        ("narrow mlp", 8192, False, 580.01),
        ("wide heads", 8192, True, 96.02),
        ("wide heads", 8192, False, 1116.01),
        ("wider heads", 8192, True, 50.02),
        ("wider heads", 8192, False, 1086.01),
        ("few heads", 8192, True, 88.02),
        ("few heads", 8192, False, 226.01),
        ("qwen3 30b", 8192, True, 96.02),
        ("qwen3 30b", 8192, False, 566.01),
        ("gemma 3 27b", 8192, True, 188.03),
        ("gemma 3 27b", 8192, False, 599.52),
        ("deepseek v3", 8192, True, 414.01),
        ("deepseek v3", 8192, False, 2470.01),
        ("small latent", 8192, True, 68.01),
        ("small latent", 8192, False, 332.01),
        ("gpt-oss", 8192, True, 104.40),
        ("gpt-oss", 8192, False, 1089.64),
    ],
)
def test_planned_buffer(name: str, cells: int, flash: bool, printed: float) -> None:
    hidden, layers, window_cells = MODELS[name]
    part = DeviceGraph(hidden=hidden, layers=tuple(layers), vocabulary=512, last=True, embeds=True)
    batch = MicroBatch(tokens=512, outputs=1, cells=cells, window_cells=window_cells, flash=flash)
    # Positions, indices and token numbers are left out: less than 0.1 MiB.
    assert compute_buffer(part, batch) / MIB == pytest.approx(printed, abs=0.06)


@pytest.mark.parametrize(
    ("tokens", "outputs", "printed"),
    # Llama-3.1-8B with logits for every token: 512 × 128,256 × 4 bytes and the last norm's 8 MiB
    # (ggml-org/llama.cpp's logs of 2024: 258.50 MiB).
    [(512, 512, 258.5)],
)
def test_logits_of_every_token(tokens: int, outputs: int, printed: float) -> None:
    hidden, layers, _ = MODELS["llama 8b"]
    part = DeviceGraph(hidden=hidden, layers=tuple(layers), vocabulary=128256, last=True)
    batch = MicroBatch(tokens=tokens, outputs=outputs, cells=1024, window_cells=0, flash=True)
    assert compute_buffer(part, batch) / MIB == pytest.approx(printed, abs=0.05)


def test_the_host_prepares_embeddings_and_mask() -> None:
    # A mask of 32,768 × 512 float32 and 6,144 × 512 × 4 of embeddings is printed as 76.01 MiB by
    # llama.cpp of 2025 for GLM-Z1-32B, which had one way in.
    part = DeviceGraph(
        hidden=6144, layers=(layer(attention(48, 2, 128), mlp(23040)),), vocabulary=0, last=False
    )
    batch = MicroBatch(
        tokens=512, outputs=1, cells=32768, window_cells=0, flash=True, float_mask=True
    )
    assert host_buffer(part, batch) == 76 * MIB + 12 * MIB


@given(sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=30))
def test_a_chain_holds_two_neighbours(sizes: list[int]) -> None:
    graph = Graph()
    previous = graph.node(sizes[0])
    for size in sizes[1:]:
        previous = graph.node(size, previous)
    padded = [-(-size // 128) * 128 for size in sizes]
    least = max((a + b for a, b in itertools.pairwise(padded)), default=padded[0])
    assert least <= buffer_bytes(graph) <= sum(padded)


def test_in_place_takes_a_source_that_nothing_else_reads() -> None:
    graph = Graph()
    first = graph.node(1024)
    second = graph.node(1024, first, in_place=True)
    graph.node(1024, first, second, in_place=True)
    assert buffer_bytes(graph) == 2048
