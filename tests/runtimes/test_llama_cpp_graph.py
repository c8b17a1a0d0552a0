"""llama.cpp's compute buffers against what the engine itself planned."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.model.forward_shapes import (
    Attention,
    Experts,
    LatentProjection,
    LayerShape,
    Mamba2,
    Mlp,
    Stored,
)
from hfmem.runtimes.llama_cpp_allocator import Graph, buffer_bytes
from hfmem.runtimes.llama_cpp_graph import (
    DeviceGraph,
    LayerWork,
    MicroBatch,
    compute_buffer,
    host_buffer,
)
from hfmem.runtimes.llama_cpp_placement import places
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
        latent=LatentProjection(rank=512, rope_dim=64, nope_dim=128, query_rank=1536),
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
    "64 experts": (2048, [layer(attention(32, 4, 128), routed(64, 8, 768))] * 3, 0),
    "small gemma 3": (
        1024,
        [layer(attention(8, 4, 128, 1024), mlp(4096))] * 5
        + [layer(attention(8, 4, 128), mlp(4096))],
        8192,
    ),
    "gpt-oss, 8 experts": (
        2880,
        [
            layer(attention(64, 8, 64, 128), routed(8, 4, 2880)),
            layer(attention(64, 8, 64), routed(8, 4, 2880)),
        ]
        * 2,
        8192,
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


# What the same GGUF files take on devices of their own: buffers that llama.cpp (llama-cpp-python
# 0.3.36) prints with its layers on one, two or three local RPC servers, the host's last.
@pytest.mark.parametrize(
    ("name", "cells", "flash", "printed"),
    [
        ("llama 8b", 8192, True, (116.01, 24.01)),
        ("llama 8b", 16384, True, (124.01, 32.01)),
        ("llama 8b", 8192, False, (564.01, 36.01)),
        ("llama 8b", 8192, True, (172.04, 88.04, 72.05)),
        ("narrow mlp", 8192, True, (42.01, 24.01)),
        ("narrow mlp", 8192, False, (566.01, 36.01)),
        ("narrow mlp", 1024, False, (104.01, 22.01)),
        ("wider heads", 8192, True, (46.01, 12.01)),
        ("wider heads", 8192, False, (1082.01, 24.01)),
        ("wider heads", 1024, False, (172.01, 10.01)),
        ("wider heads", 8192, True, (76.04, 74.04, 42.05)),
        ("wider heads", 8192, False, (1150.02, 1146.02, 0.02, 90.03)),
        ("few heads", 8192, True, (57.01, 40.01)),
        ("few heads", 8192, False, (196.01, 50.01)),
        ("few heads", 8192, True, (133.04, 115.04, 112.05)),
        ("64 experts", 8192, True, (92.01, 16.01)),
        ("64 experts", 8192, False, (554.01, 26.01)),
        ("64 experts", 8192, True, (132.04, 68.04, 52.05)),
        # A mask of 8,192 cells in sliding layers too: --swa-full.
        ("small gemma 3", 8192, True, (46.02, 20.02)),
        ("small gemma 3", 8192, False, (172.01, 40.01)),
        ("small gemma 3", 8192, True, (70.04, 100.07, 74.08)),
        ("small latent", 8192, True, (59.01, 16.01)),
        ("small latent", 8192, False, (324.01, 24.01)),
        ("gpt-oss, 8 experts", 8192, True, (102.77, 27.27)),
        ("gpt-oss, 8 experts", 8192, False, (1087.26, 47.26)),
    ],
)
def test_buffers_of_devices(name: str, cells: int, flash: bool, printed: tuple[float, ...]) -> None:
    hidden, layers, window_cells = MODELS[name]
    *devices, host = printed
    copies = 1 if len(devices) == 1 else 4
    batch = MicroBatch(tokens=512, outputs=1, cells=cells, window_cells=window_cells, flash=flash)
    for place, size in zip(
        places(len(devices), layers=len(layers), gpu_layers=None), devices, strict=True
    ):
        part = DeviceGraph(
            hidden=hidden,
            layers=tuple(layers[number] for number in place.layers),
            vocabulary=512 if place.head else 0,
            last=place.head,
            copies=copies,
        )
        assert compute_buffer(part, batch) / MIB == pytest.approx(size, abs=0.08)
    whole = DeviceGraph(
        hidden=hidden, layers=tuple(layers), vocabulary=0, last=False, copies=copies
    )
    assert host_buffer(whole, batch) / MIB == pytest.approx(host, abs=0.1)


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


# Mamba-2 of 32 heads of 64, 8 groups of 128: 38.11 MiB, printed as above. ggml visits the states of
# the next layer before this one ends, which moves a block.
def test_a_recurrent_layer_is_near() -> None:
    mixer = Mamba2(heads=32, head_dim=64, groups=8, state=128, chunk=256)
    shape = LayerShape(
        mixer=mixer, feed_forward=None, parallel_mlp=None, stored=Stored(key=0, value=0)
    )
    part = DeviceGraph(hidden=1024, layers=(LayerWork(shape=shape),) * 3, vocabulary=512, last=True)
    batch = MicroBatch(tokens=512, outputs=1, cells=8192, window_cells=0, flash=True)
    assert compute_buffer(part, batch) / MIB == pytest.approx(38.11, rel=0.06)


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
