"""vLLM's behaviour by version: one row where something that takes memory changed."""

from __future__ import annotations

from fractions import Fraction

from msgspec import Struct

from hfmem.units import GIB, MIB

OLDEST, NEWEST = "0.6", "0.33"


class Behaviour(Struct, frozen=True, kw_only=True):
    """What a version of vLLM does differently from the one before it."""

    since: tuple[int, int]
    utilization: Fraction
    """Default of --gpu-memory-utilization."""
    sampler_bytes: Fraction
    """Bytes of the sampler's warm-up per sequence and vocabulary entry, in 16-bit types."""
    non_torch: tuple[int, int]
    """What libraries allocate inside the budget: alone, and in a tensor parallel group."""
    graphs_in_budget: bool
    """Whether the CUDA graphs' estimate is taken from the KV pool."""
    batches_in_flight: int
    """Steps whose tokens a sliding window must hold at once."""
    window_block: int
    """Blocks that a sliding window takes beside those of its tokens."""
    one_engine: bool
    """Whether chunked prefill and the defaults of large cards hold (V1, the default since 0.9)."""
    reserves_null_block: bool
    """Whether the start-up check leaves out the block that the pool never hands out."""
    checkpoints_states: bool
    """Whether a prefill leaves a recurrent state for reuse inside of a step, and the cache mode of
    such states follows prefix caching."""
    packs_pages: bool
    """Whether pages of several sizes lie side by side in a block, without padding."""
    source: str


def _gib(value: str) -> int:
    return int(Fraction(value) * GIB)


# Where a figure is measured, the source is the planner's table of runs on an H100
# (llm-d-incubation/llm-d-planner#205 and its docs/empirical-vllm-memory-results.md).
MEASURED = "llm-d-planner#205, runs on an H100"
VERSIONS: tuple[Behaviour, ...] = (
    Behaviour(
        since=(0, 6),
        utilization=Fraction("0.90"),
        sampler_bytes=Fraction("37.4"),
        non_torch=(_gib("0.13"), _gib("0.55")),
        graphs_in_budget=False,
        batches_in_flight=1,
        window_block=0,
        one_engine=False,
        reserves_null_block=False,
        checkpoints_states=False,
        packs_pages=False,
        source=f"{MEASURED}: sampler 37.4 bytes up to 0.16; V0 engine: 256 sequences, and a "
        "step of the whole context (0.8 engine/arg_utils.py)",
    ),
    Behaviour(
        since=(0, 9),
        utilization=Fraction("0.90"),
        sampler_bytes=Fraction("37.4"),
        non_torch=(_gib("0.13"), _gib("0.55")),
        graphs_in_budget=False,
        batches_in_flight=1,
        window_block=0,
        one_engine=True,
        reserves_null_block=False,
        checkpoints_states=False,
        packs_pages=False,
        source=f"{MEASURED}: sampler 37.4 bytes, 0.13 and 0.55 GiB of libraries up to 0.16",
    ),
    Behaviour(
        since=(0, 17),
        utilization=Fraction("0.90"),
        sampler_bytes=Fraction(14),
        non_torch=(_gib("0.13"), _gib("0.55")),
        graphs_in_budget=False,
        batches_in_flight=1,
        window_block=0,
        one_engine=True,
        reserves_null_block=False,
        checkpoints_states=False,
        packs_pages=False,
        source=f"{MEASURED}: Qwen3-14B activations 5.64 GiB in 0.16, 2.23 in 0.17",
    ),
    Behaviour(
        since=(0, 18),
        utilization=Fraction("0.90"),
        sampler_bytes=Fraction(14),
        non_torch=(_gib("0.25"), _gib("2.1")),
        graphs_in_budget=False,
        batches_in_flight=1,
        window_block=0,
        one_engine=True,
        reserves_null_block=False,
        checkpoints_states=False,
        packs_pages=False,
        source=f"{MEASURED}: Qwen3-14B outside of torch 0.13 GiB in 0.17, 0.25 in 0.18",
    ),
    Behaviour(
        since=(0, 21),
        utilization=Fraction("0.90"),
        sampler_bytes=Fraction(14),
        non_torch=(_gib("0.25"), _gib("2.1")),
        graphs_in_budget=True,
        batches_in_flight=1,
        window_block=1,
        one_engine=True,
        reserves_null_block=False,
        checkpoints_states=False,
        packs_pages=False,
        source="vLLM 0.33 gpu_worker.py: CUDA graph memory profiling is the default "
        "since 0.21; a window "
        "of 1,024 took 577 blocks in 0.24 (configiq#112) and no block more than its tokens in 0.19",
    ),
    Behaviour(
        since=(0, 26),
        utilization=Fraction("0.90"),
        sampler_bytes=Fraction(14),
        non_torch=(_gib("0.25"), _gib("2.1")),
        graphs_in_budget=True,
        batches_in_flight=2,
        window_block=1,
        one_engine=True,
        reserves_null_block=False,
        checkpoints_states=False,
        packs_pages=False,
        source="vllm-project/vllm#47728: blocks behind a window are freed once their step is done; "
        "0.26 renamed the admission bound to max_in_flight_tokens (tenstorrent/tt-xla#5908)",
    ),
    Behaviour(
        since=(0, 33),
        utilization=Fraction("0.92"),
        sampler_bytes=Fraction(14),
        non_torch=(_gib("0.25"), _gib("2.1")),
        graphs_in_budget=True,
        batches_in_flight=2,
        window_block=1,
        one_engine=True,
        reserves_null_block=True,
        checkpoints_states=True,
        packs_pages=True,
        source="vLLM 0.33 config/cache.py, config/vllm.py: max_in_flight_tokens, "
        "v1/core/kv_cache_planning.py: get_kv_cache_configs",
    ),
)


def numbers(version: str) -> tuple[int, ...]:
    """``numbers("0.19.1") == (0, 19, 1)``, of a version that was checked."""
    return tuple(int(part) for part in version.split("."))


def behaviour(version: str | None) -> Behaviour:
    """The row of a version, the newest without one: ``behaviour("0.19").since == (0, 18)``."""
    if version is None:
        return VERSIONS[-1]
    return [row for row in VERSIONS if row.since <= numbers(version)[:2]][-1]


OUTSIDE_ALONE, OUTSIDE_TOGETHER = 522 * MIB, _gib("1.5")
"""Before vLLM takes its first measure: the driver's context on a datacenter card, and with the
communicators of two or more ranks (0.51, 1.51 to 1.53 GiB on an H100, llm-d-planner#205)."""
