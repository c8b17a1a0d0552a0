"""vLLM's cache of DeepSeek-V4: pages, groups and blocks against what the engine printed."""

from __future__ import annotations

from fractions import Fraction

import pytest
from msgspec.structs import replace

from hfmem.model.layers import CacheKind, CompressedAttention, FullAttention, Layer, SlidingWindow
from hfmem.runtimes.vllm_cache import plan
from hfmem.runtimes.vllm_settings import COMPRESSED_BLOCK, Settings
from hfmem.runtimes.vllm_versions import behaviour
from hfmem.units import GIB
from tests.runtimes.test_vllm_cache import chosen

FOUR = CompressedAttention(head_dim=512, window=128, ratio=4, indexer_dim=128)
MANY = CompressedAttention(head_dim=512, window=128, ratio=128)
WINDOW = SlidingWindow(kv_heads=1, head_dim=512, v_head_dim=512, window=128)


def stacked(*kinds: tuple[CacheKind, int]) -> tuple[Layer, ...]:
    return tuple((kind,) for kind, count in kinds for _ in range(count))


FLASH = stacked((WINDOW, 2), (FOUR, 21), (MANY, 20))
PRO = stacked((MANY, 31), (FOUR, 30))


def settings(*, ctx: int, step: int = 8192, version: str | None = None) -> Settings:
    found = chosen(ctx=ctx, step=step, version=version, kv_dtype="fp8_ds_mla")
    return replace(found, block=COMPRESSED_BLOCK)


# LLM(…) of 0.22 on two GH200: 6.66 GiB for 30,000 tokens, and 13,528 tokens in 5.44 GiB
# (vllm-project/vllm#44376); a step of 16,384 tokens is that class's default.
@pytest.mark.parametrize(("ctx", "needed"), [(30_000, 6.66), (13_528, 5.44)])
def test_v4_flash_as_the_engine_printed_it(ctx: int, needed: float) -> None:
    asked = settings(ctx=ctx, step=16_384, version="0.22")
    found = plan(FLASH, asked, hybrid=True)
    size = found.request_blocks(asked) * found.bytes_per_block(range(43))
    assert round(size / GIB, 2) == needed


@pytest.mark.parametrize(
    ("layers", "version", "block_bytes"),
    [
        # Of 256 tokens: 64 keys of 584 bytes and 64 of the indexer's 132, two of ratio 128; each
        # padded to 576: 37,440, 8,640 and 1,728 bytes.
        (FLASH, None, 21 * (37_440 + 8_640) + 20 * 1_728),
        (PRO, None, 30 * (37_440 + 8_640) + 31 * 1_728),
        # Before 0.33 one page of each size, as often as the longest group has layers: 43 windows
        # in two groups of 22 and 21.
        (FLASH, "0.32", 22 * (37_440 + 8_640 + 1_728)),
    ],
)
def test_bytes_of_a_block(layers: tuple[Layer, ...], version: str | None, block_bytes: int) -> None:
    found = plan(layers, settings(ctx=8192, version=version), hybrid=True)
    assert found.bytes_per_block(range(len(layers))) == block_bytes


def test_groups_and_the_blocks_of_a_request() -> None:
    asked = settings(ctx=131_072)
    found = plan(PRO, asked, hybrid=True)
    # Windows beside the states of ratio 4 (two pages a layer) and of ratio 128.
    assert [(one.span, one.block, len(one.pages)) for one in found.groups] == [
        (0, 256, 31 + 2 * 30),
        (128, 64, 31),
        (128, 64, 30),
        (8, 4, 2 * 30),
        (128, 8, 31),
    ]
    flight = 2 * 8192  # two steps
    windows = 2 * (-(-(127 + flight) // 64) + 1)
    states = -(-(7 + flight) // 4) + 1 + -(-(127 + flight) // 8) + 1
    assert found.request_blocks(asked) == 131_072 // 256 + windows + states


def test_stages_hold_their_own_layers() -> None:
    found = plan(FLASH, settings(ctx=8192), hybrid=True)
    # The first 23 layers compress by four only.
    assert found.bytes_per_block(range(23)) == 21 * (37_440 + 8_640)


@pytest.mark.parametrize(
    ("layers", "version", "hybrid"),
    [
        (FLASH, "0.20", True),
        (FLASH, None, False),
        (stacked((replace(FOUR, ratio=16), 4)), None, True),
        (
            stacked((FOUR, 2), (FullAttention(kv_heads=8, head_dim=128, v_head_dim=128), 2)),
            None,
            True,
        ),
    ],
)
def test_what_is_not_known_is_not_guessed(
    layers: tuple[Layer, ...], version: str | None, hybrid: bool
) -> None:
    with pytest.raises(LookupError):
        plan(layers, settings(ctx=8192, version=version), hybrid=hybrid)


def test_the_newest_version_is_the_packed_one() -> None:
    assert [behaviour(version).packs_pages for version in ("0.22", "0.32", "0.33")] == [
        False,
        False,
        True,
    ]


def test_most_of_a_request_is_for_tokens_in_flight() -> None:
    # 13 of V4-Pro's 14 thousand blocks at 128 Ki tokens are windows and states of two steps.
    asked = settings(ctx=131_072, step=16_384)
    found = plan(PRO, asked, hybrid=True)
    kept = 131_072 // 256
    assert found.in_flight_share(asked) == 1 - Fraction(kept, found.request_blocks(asked))
    assert found.in_flight_share(asked) > Fraction(9, 10)
    shorter = settings(ctx=131_072, step=2048)
    assert found.request_blocks(shorter) < found.request_blocks(asked) // 5
