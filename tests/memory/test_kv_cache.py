"""Cache bytes: worked examples whose truth lies elsewhere, and what must hold for any layers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hfmem.memory.kv_cache import (
    LayerGroup,
    bytes_by_kind,
    bytes_per_token,
    cache_bytes,
    cell_elements,
    dynamic_cells,
    group,
    pooled_elements,
    reference_elements,
    total_bytes,
)
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    Layer,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)

GIB = 2**30


def full(heads: int, dim: int) -> FullAttention:
    return FullAttention(kv_heads=heads, head_dim=dim, v_head_dim=dim)


def sliding(heads: int, dim: int, window: int) -> SlidingWindow:
    return SlidingWindow(kv_heads=heads, head_dim=dim, v_head_dim=dim, window=window)


def state(conv: int, elements: int, *, state_dtype: str | None = "F32") -> RecurrentState:
    return RecurrentState(
        conv_elements=conv, state_elements=elements, conv_dtype=None, state_dtype=state_dtype
    )


def bytes_of(groups: tuple[LayerGroup, ...], ctx: int, **options: Any) -> int:
    chosen = {"kv_dtype": "BF16", "model_dtype": "BF16", **options}
    return total_bytes(groups, ctx=ctx, **chosen)


LLAMA_8B = group(((full(8, 128),),) * 32)
QWEN2_72B = group(((full(8, 128),),) * 80)
DEEPSEEK_V3 = group(((LatentAttention(rank=512, rope_dim=64, heads=128),),) * 61)
DEEPSEEK_V32 = group(((LatentAttention(rank=512, rope_dim=64, heads=128, indexer_dim=128),),) * 61)
GEMMA3_27B = group(((sliding(16, 128, 1024),),) * 52 + ((full(16, 128),),) * 10)
GPT_OSS_120B = group(((sliding(8, 64, 128),), (full(8, 64),)) * 18)
QWEN3_NEXT = group(((full(2, 256),),) * 12 + ((state(8192 * 4, 32 * 128 * 128),),) * 36)
CODESTRAL = group(((state(10240 * 4, 8192 * 128),),) * 64)
CROSS = CrossAttention(kv_heads=20, head_dim=64, v_head_dim=64, source_tokens=1500)
WHISPER = group(((full(20, 64), CROSS),) * 32)
T5_CROSS = CrossAttention(kv_heads=32, head_dim=64, v_head_dim=64, source_tokens=None)
FLAN_T5_XL = group(((full(32, 64), T5_CROSS),) * 24)
MLLAMA_CROSS = CrossAttention(kv_heads=8, head_dim=128, v_head_dim=128, source_tokens=None)
LLAMA_VISION = group(((full(8, 128),),) * 32 + ((MLLAMA_CROSS,),) * 8)
FALCON_40B = group(
    ((FullAttention(kv_heads=8, head_dim=64, v_head_dim=64, repeated_heads=128),),) * 60
)
MIMO = group(
    ((FullAttention(kv_heads=4, head_dim=192, v_head_dim=128),),) * 9
    + ((SlidingWindow(kv_heads=8, head_dim=192, v_head_dim=128, window=129),),) * 39
)

# (layers, context, options, bytes, where the number came from)
WORKED: list[tuple[tuple[LayerGroup, ...], int, dict[str, Any], int, str]] = [
    (LLAMA_8B, 8192, {}, GIB, "Llama-3.1-8B: 1.000 GiB"),
    (LLAMA_8B, 131072, {}, 16 * GIB, "Llama-3.1-8B: 16 GiB"),
    (LLAMA_8B, 8192, {"kv_dtype": "F8_E4M3"}, GIB // 2, "Llama-3.1-8B in fp8: 0.5 GiB"),
    (LLAMA_8B, 8192, {"batch": 8}, 8 * GIB, "Llama-3.1-8B, eight sequences"),
    (QWEN2_72B, 8192, {}, 5 * GIB // 2, "Qwen2-72B: 2.5 GiB"),
    (QWEN2_72B, 11648, {}, 11648 * 327_680, "LLaVA-Video-72B: 64 frames are 3.555 GiB"),
    (DEEPSEEK_V3, 8192, {}, 575_668_224, "DeepSeek-V3, transformers on the meta device"),
    (DEEPSEEK_V3, 131072, {}, 131072 * 70_272, "DeepSeek-V3: 8.578 GiB"),
    (DEEPSEEK_V32, 8192, {}, 703_594_496, "DeepSeek-V3.2, transformers on the meta device"),
    (GEMMA3_27B, 8192, {}, 1_106_870_272, "gemma-3-27b-it, transformers on the meta device"),
    (GEMMA3_27B, 32768, {}, 3_120_136_192, "gemma-3-27b-it, transformers on the meta device"),
    (GPT_OSS_120B, 8192, {}, 306_671_616, "gpt-oss-120b, transformers on the meta device"),
    (QWEN3_NEXT, 8192, {}, 279_183_360, "Qwen3-Next-80B, transformers on the meta device"),
    (CODESTRAL, 1, {"model_dtype": "F32"}, 278_921_216, "Codestral-Mamba-7B in fp32, meta device"),
    (CODESTRAL, 32768, {"model_dtype": "F32"}, 278_921_216, "the same at any context"),
    (WHISPER, 448, {}, 245_760_000 + 70 * 2**20, "whisper-large-v3: 234.375 + 70 MiB"),
    (FLAN_T5_XL, 0, {"encoder_ctx": 512}, 96 * 2**20, "Flan-T5-XL: 512 encoder tokens, 96 MiB"),
    (FLAN_T5_XL, 1, {"encoder_ctx": 0}, 196_608, "Flan-T5-XL: a decoder token"),
    (LLAMA_VISION, 8192, {"encoder_ctx": 6404}, 1_283_588_096, "Llama-3.2-11B, one picture"),
    (LLAMA_VISION, 8192, {}, GIB, "Llama-3.2-11B-Vision without a picture"),
    (FALCON_40B, 8192, {}, 16_106_127_360, "falcon-40b, transformers on the meta device"),
    (MIMO, 8192, {}, 214_302_720, "MiMo-V2-Flash, transformers on the meta device"),
]


@pytest.mark.parametrize(
    ("groups", "ctx", "options", "expected"),
    [row[:4] for row in WORKED],
    ids=[f"{index}-{row[4]}" for index, row in enumerate(WORKED)],
)
def test_worked_examples(
    groups: tuple[LayerGroup, ...], ctx: int, options: dict[str, Any], expected: int
) -> None:
    assert bytes_of(groups, ctx, **options) == expected


def test_falcon_in_an_engine_that_repeats_nothing() -> None:
    found = bytes_of(FALCON_40B, 8192, elements=cell_elements)
    assert found == 60 * 8192 * 8 * (64 + 64) * 2


def test_an_engine_brings_its_own_cells() -> None:
    def whole_blocks(kind: CacheKind, ctx: int) -> int:
        return -(-dynamic_cells(kind, ctx) // 16) * 16

    assert bytes_of(LLAMA_8B, 1, cells=whole_blocks) == 16 * 131_072


V4_SPARSE = CompressedAttention(head_dim=512, window=128, ratio=4, indexer_dim=128)
V4_HEAVY = CompressedAttention(head_dim=512, window=128, ratio=128)


@pytest.mark.parametrize(
    ("kind", "ctx", "expected", "why"),
    [
        (V4_HEAVY, 0, 0, "nothing yet"),
        (V4_HEAVY, 127, 2 * 127 * 512, "a key and a gate a token wait"),
        (V4_HEAVY, 128, 512, "they are pooled into one key"),
        (V4_SPARSE, 3, 2 * 2 * 3 * 640, "two series of keys and gates wait"),
        (V4_SPARSE, 4, 640 + 2 * 4 * 640, "one pool, and its tokens kept for the next"),
        (V4_SPARSE, 8, 2 * 640 + 2 * 4 * 640, "only the last pool's tokens are kept"),
    ],
)
def test_pools_of_deepseek_v4(kind: CompressedAttention, ctx: int, expected: int, why: str) -> None:
    assert pooled_elements(kind, ctx) == expected, why


def test_deepseek_v4_flash() -> None:
    # 62,428,160 bytes: transformers 5.23.0 on the meta device, 8,192 tokens.
    window = SlidingWindow(kv_heads=1, head_dim=512, v_head_dim=512, window=128)
    layers = ((window,),) * 2 + ((V4_SPARSE,),) * 21 + ((V4_HEAVY,),) * 20
    assert bytes_of(group(layers), 8192) == 62_428_160


@pytest.mark.parametrize(
    ("groups", "ctx", "expected", "why"),
    [
        (LLAMA_8B, 8192, 131_072, "32 layers of 2,048 elements"),
        (DEEPSEEK_V3, 8192, 70_272, "61 layers of 576 elements"),
        (GEMMA3_27B, 100, 62 * 8192, "below the window every layer grows"),
        (GEMMA3_27B, 8192, 10 * 8192, "beyond it the full layers only"),
        (CODESTRAL, 8192, 0, "a state does not grow"),
        (WHISPER, 8192, 32 * 2 * 20 * 64 * 2, "cross-attention does not grow"),
        (group(((V4_HEAVY,),)), 8192, 2 * 512 // 128, "one key of 512 every 128 tokens"),
        (group(((V4_SPARSE,),)), 8192, 2 * 640 // 4, "512 + 128 every 4 tokens"),
        ((), 8192, 0, "no layers"),
    ],
)
def test_bytes_per_token(groups: tuple[LayerGroup, ...], ctx: int, expected: int, why: str) -> None:
    found = bytes_per_token(groups, ctx=ctx, kv_dtype="BF16", model_dtype="BF16")
    assert found == expected, why


def test_totals_by_kind() -> None:
    parts = cache_bytes(GEMMA3_27B, ctx=8192, kv_dtype="BF16", model_dtype="BF16")
    expected = {"sliding": 52 * 1023 * 8192, "full": 10 * 8192 * 8192}
    assert bytes_by_kind(parts) == expected


def test_groups_keep_their_order_and_fold_equal_kinds() -> None:
    groups = group(((sliding(1, 2, 3),), (full(1, 2), CROSS), (sliding(1, 2, 3),)))
    assert [(type(one.kind), one.count) for one in groups] == [
        (SlidingWindow, 2),
        (FullAttention, 1),
        (CrossAttention, 1),
    ]


SIZES = st.integers(1, 512)
DTYPES = st.sampled_from(["BF16", "F16", "F32", "F8_E4M3", "I8"])
KINDS: st.SearchStrategy[CacheKind] = st.one_of(
    st.builds(FullAttention, kv_heads=SIZES, head_dim=SIZES, v_head_dim=SIZES, indexer_dim=SIZES),
    st.builds(SlidingWindow, kv_heads=SIZES, head_dim=SIZES, v_head_dim=SIZES, window=SIZES),
    st.builds(ChunkedAttention, kv_heads=SIZES, head_dim=SIZES, v_head_dim=SIZES, chunk=SIZES),
    st.builds(LatentAttention, rank=SIZES, rope_dim=SIZES, heads=SIZES, indexer_dim=SIZES),
    st.builds(
        RecurrentState,
        conv_elements=SIZES,
        state_elements=SIZES,
        conv_dtype=st.none(),
        state_dtype=st.sampled_from([None, "F32"]),
    ),
    st.builds(
        CrossAttention,
        kv_heads=SIZES,
        head_dim=SIZES,
        v_head_dim=SIZES,
        source_tokens=st.none() | SIZES,
    ),
    st.builds(SharedCache, of_layer=st.none() | SIZES),
    st.builds(NoCache),
)
COMPRESSED = st.builds(
    CompressedAttention,
    head_dim=SIZES,
    window=SIZES,
    ratio=st.integers(1, 128),
    indexer_dim=st.integers(0, 128),
)
LAYERS: st.SearchStrategy[list[Layer]] = st.lists(
    st.lists(KINDS, min_size=1, max_size=2).map(tuple), max_size=6
)
CONTEXTS = st.integers(0, 2**20)


@given(layers=LAYERS, ctx=CONTEXTS, more=CONTEXTS, batch=st.integers(1, 64), dtype=DTYPES)
def test_more_tokens_never_need_less(
    layers: list[Layer], ctx: int, more: int, batch: int, dtype: str
) -> None:
    groups = group(layers)
    options = {"kv_dtype": dtype, "model_dtype": "BF16", "encoder_ctx": 7}
    now = bytes_of(groups, ctx, batch=batch, **options)
    assert 0 <= now <= bytes_of(groups, ctx + more, batch=batch, **options)


@given(layers=LAYERS, ctx=CONTEXTS, batch=st.integers(1, 64), dtype=DTYPES)
def test_sequences_share_nothing(layers: list[Layer], ctx: int, batch: int, dtype: str) -> None:
    groups = group(layers)
    one = bytes_of(groups, ctx, kv_dtype=dtype)
    assert bytes_of(groups, ctx, kv_dtype=dtype, batch=batch) == batch * one


@given(layers=LAYERS, ctx=CONTEXTS)
def test_folding_changes_no_sum(layers: list[Layer], ctx: int) -> None:
    apart = sum(bytes_of(group((layer,)), ctx) for layer in layers)
    assert bytes_of(group(layers), ctx) == apart


@given(layers=LAYERS, ctx=CONTEXTS)
def test_parts_add_up(layers: list[Layer], ctx: int) -> None:
    groups = group(layers)
    parts = cache_bytes(groups, ctx=ctx, kv_dtype="BF16", model_dtype="BF16")
    assert sum(bytes_by_kind(parts).values()) == bytes_of(groups, ctx)
    assert tuple(part.group for part in parts) == groups


@given(heads=SIZES, dim=SIZES, ctx=CONTEXTS, window=st.integers(1, 2**21))
def test_a_window_beyond_the_context_is_full_attention(
    heads: int, dim: int, ctx: int, window: int
) -> None:
    assume(window > ctx)
    windowed, whole = sliding(heads, dim, window), full(heads, dim)
    assert bytes_of(group(((windowed,),)), ctx) == bytes_of(group(((whole,),)), ctx)


@given(layers=LAYERS, ctx=CONTEXTS, dtype=DTYPES)
def test_a_token_adds_what_it_is_said_to(layers: list[Layer], ctx: int, dtype: str) -> None:
    groups = group(layers)
    added = bytes_of(groups, ctx + 1, kv_dtype=dtype) - bytes_of(groups, ctx, kv_dtype=dtype)
    assert added == bytes_per_token(groups, ctx=ctx, kv_dtype=dtype, model_dtype="BF16")


@given(kind=COMPRESSED, pools=st.integers(1, 1000))
def test_a_full_pool_leaves_nothing_waiting(kind: CompressedAttention, pools: int) -> None:
    series = kind.head_dim + kind.indexer_dim
    kept = pooled_elements(kind, pools * kind.ratio)
    overlap = 2 * kind.ratio * series if kind.indexer_dim else 0
    assert kept == pools * series + overlap


@given(kind=KINDS)
def test_only_repeated_heads_tell_the_reference_apart(kind: CacheKind) -> None:
    assert reference_elements(kind) == cell_elements(kind)
