"""vLLM's groups of cache layers: pages, padding, blocks of a request."""

from __future__ import annotations

import pytest

from hfmem.memory.workload import workload
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    CompressedAttention,
    FullAttention,
    LatentAttention,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)
from hfmem.runtimes.vllm_cache import CachePlan, element_bytes, plan, spec
from hfmem.runtimes.vllm_settings import Layout, Settings
from hfmem.runtimes.vllm_versions import behaviour
from hfmem.units import KIB


def chosen(
    *,
    ctx: int = 8192,
    step: int = 8192,
    tp: int = 1,
    version: str | None = None,
    kv_dtype: str = "bfloat16",
    state_dtype: str = "BF16",
    aligned: bool = True,
    dcp: int = 1,
) -> Settings:
    row = behaviour(version)
    return Settings(
        behaviour=row,
        layout=Layout(tp=tp, pp=1, dp=1, experts=tp, dealt=False, dcp=dcp),
        gpu=None,
        ctx=ctx,
        sequences=256,
        step=step,
        dtype="BF16",
        state_dtype=state_dtype,
        kv_dtype=kv_dtype,
        block=16,
        utilization=row.utilization,
        eager=False,
        aligned_state=aligned,
    )


def planned(
    counts: list[tuple[CacheKind, int]], settings: Settings, *, hybrid: bool = True
) -> CachePlan:
    layers = tuple((kind,) for kind, count in counts for _ in range(count))
    return plan(layers, settings, hybrid=hybrid)


def full(heads: int, width: int, v_width: int | None = None) -> FullAttention:
    return FullAttention(kv_heads=heads, head_dim=width, v_head_dim=v_width or width)


def sliding(heads: int, width: int, window: int, v_width: int | None = None) -> SlidingWindow:
    return SlidingWindow(kv_heads=heads, head_dim=width, v_head_dim=v_width or width, window=window)


def request_bytes(found: CachePlan, settings: Settings) -> int:
    return found.request_blocks(settings) * found.bytes_per_block(range(1000))


GEMMA_3 = [(sliding(16, 128, 1024), 52), (full(16, 128), 10)]
GEMMA_4 = [(sliding(16, 256, 1024), 50), (full(4, 512), 10)]
GPT_OSS = [(sliding(8, 64, 128), 18), (full(8, 64), 18)]
MIMO = [(sliding(8, 192, 128, 128), 39), (full(4, 192, 128), 9)]


def test_gemma_3_pays_eight_layers_of_padding() -> None:
    # vLLM's log: "Add 8 padding layers"; 36,560 tokens in 19.53 GiB at 8,192, which is seven
    # groups of ten layers of 8,192 bytes (llm-d-planner#205).
    found = planned(GEMMA_3, chosen(version="0.19"))
    assert found.padding_layers == 8
    assert len(found.groups) == 7
    assert request_bytes(found, chosen(version="0.19")) == 8192 * 7 * 10 * 8192


@pytest.mark.parametrize(("step", "blocks"), [(2048, 3974), (8192, 8582)])
def test_gemma_3_at_32k(step: int, blocks: int) -> None:
    # 2,048 blocks of the full group, and six times the window and the tokens of two steps:
    # ceil((1,023 + 2 × step) / 16) + 1.
    settings = chosen(ctx=32_768, step=step)
    found = planned(GEMMA_3, settings)
    assert found.request_blocks(settings) == blocks


def test_gemma_4_as_the_engine_counts() -> None:
    # vLLM 0.24 on an H200 at 262,144 tokens prints 108.2 KiB a token, 626,949 tokens in
    # 64.68 GiB (configiq#112): the full layers' block is twice as long as the sliding ones'.
    settings = chosen(ctx=262_144, version="0.24")
    found = planned(GEMMA_4, settings)
    per_token = request_bytes(found, settings) / settings.ctx
    assert round(per_token / KIB, 1) == 108.2
    assert 64.68 * 2**30 / per_token == pytest.approx(626_949, rel=1e-3)
    assert {(one.kind, one.block) for one in found.groups} == {("sliding", 16), ("full", 32)}


def test_gpt_oss_120b() -> None:
    # 36 × 2,048 bytes: a window saves nothing while a step is longer than the context.
    settings = chosen(version="0.19")
    found = planned(GPT_OSS, settings)
    assert request_bytes(found, settings) // settings.ctx == 36 * 2048
    longer = chosen(ctx=131_072, version="0.19")
    # 8,192 blocks and ceil((127 + 8,192) / 16).
    assert found.request_blocks(longer) == 8192 + 520


def test_keys_and_values_of_different_widths() -> None:
    # MiMo-V2-Flash: 8 and 4 heads of 192 + 128, so a full layer's block is twice as long.
    settings = chosen()
    found = planned(MIMO, settings)
    sizes = {(one.kind, one.block, one.pages[0][1]) for one in found.groups}
    assert sizes == {("sliding", 16, 16 * 8 * 320 * 2), ("full", 32, 32 * 4 * 320 * 2)}
    assert found.padding_layers == 6  # 39 of five groups of nine
    assert found.bytes_per_block(range(48)) == 9 * 16 * 8 * 320 * 2


@pytest.mark.parametrize(
    ("state_dtype", "block"),
    # One page of attention (2 heads of 256 + 256) must hold the state: 1,097,728 and 2,146,304
    # bytes, in steps of 16 tokens.
    [("BF16", 544), ("F32", 1056)],
)
def test_qwen3_next_raises_the_block(state_dtype: str, block: int) -> None:
    state = RecurrentState(
        conv_elements=8192 * 4,
        state_elements=32 * 128 * 128,
        conv_dtype=None,
        state_dtype=None,
        conv_kernel=4,
    )
    settings = chosen(state_dtype=state_dtype)
    found = planned([(state, 36), (full(2, 256), 12)], settings)
    assert found.block == block
    assert {one.pages[0][1] for one in found.groups} == {block * 2048}
    assert found.request_blocks(settings) == -(-8192 // block) + 3 * 2
    once = chosen(state_dtype=state_dtype, aligned=False)
    assert found.request_blocks(once) == -(-8192 // block) + 3


def test_a_latent_is_not_divided() -> None:
    # Kimi-VL-A3B on two ranks: 31,107 bytes a token measured, 27 × 576 × 2 (llm-d-planner#205).
    latent = LatentAttention(rank=512, rope_dim=64, heads=16)
    for tp in (1, 2):
        found = planned([(latent, 27)], chosen(tp=tp))
        assert found.bytes_per_block(range(27)) == 16 * 31_104
    sparse = LatentAttention(rank=512, rope_dim=64, heads=128, indexer_dim=128)
    packed = planned([(sparse, 61)], chosen(tp=8, kv_dtype="fp8_ds_mla"))
    assert packed.bytes_per_block(range(61)) == 16 * 61 * (656 + 132)


def test_context_parallel_shares_the_tokens() -> None:
    settings = chosen(tp=16, dcp=2)
    found = planned([(full(8, 128), 32)], settings)
    assert found.request_blocks(settings) == 256


def test_chunks_hold_a_chunk_and_the_step() -> None:
    chunked = ChunkedAttention(kv_heads=8, head_dim=128, v_head_dim=128, chunk=8192)
    settings = chosen(ctx=131_072, version="0.19")
    found = planned([(chunked, 36), (full(8, 128), 12)], settings)
    assert found.request_blocks(settings) == 8192 + 3 * 1024


def test_without_the_hybrid_manager_every_token_is_kept() -> None:
    settings = chosen(ctx=131_072)
    found = planned(GPT_OSS, settings, hybrid=False)
    assert request_bytes(found, settings) == 131_072 * 36 * 2048


def test_groups_of_nearly_equal_size_take_the_larger() -> None:
    # kv_cache_planning.py names it: 12 sliding and 13 full layers are two groups of 13.
    found = planned([(sliding(8, 64, 128), 12), (full(8, 64), 13)], chosen())
    assert len(found.groups) == 2
    assert found.padding_layers == 1


def test_layers_that_keep_nothing() -> None:
    found = planned([(NoCache(), 4), (SharedCache(of_layer=1), 2), (full(8, 128), 6)], chosen())
    assert [len(one.pages) for one in found.groups] == [6]
    assert planned([(NoCache(), 4)], chosen()).bytes_per_block(range(4)) == 0


def test_an_unknown_layout_is_not_guessed() -> None:
    kind = CompressedAttention(head_dim=512, window=128, ratio=4)
    with pytest.raises(LookupError):
        spec(kind, chosen())


@pytest.mark.parametrize(
    ("kv_dtype", "size"),
    # nvfp4: 64 bytes and 8 scales of 16 elements; a scale of four bytes a token and head.
    [
        ("bfloat16", 256),
        ("float32", 512),
        ("fp8", 128),
        ("nvfp4", 72),
        ("int8_per_token_head", 132),
        ("int4_per_token_head", 68),  # triton_attn.py: customize_spec
    ],
)
def test_element_bytes(kv_dtype: str, size: int) -> None:
    assert element_bytes(kv_dtype, 128) == size


def test_default_workload_is_of_no_engine() -> None:
    assert not workload().flags
