"""vLLM's own decisions: defaults of a card, types, captured sizes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.runtimes import check_version, parse_version
from hfmem.runtimes.vllm_peak import capture_sizes
from hfmem.runtimes.vllm_settings import batch_defaults, checkpoints, kv_dtype, settings
from hfmem.runtimes.vllm_versions import VERSIONS, behaviour
from hfmem.source.recorded import bundled


# vLLM 0.33 engine/arg_utils.py: get_batch_defaults, as an API server.
@pytest.mark.parametrize(
    ("gpu", "step", "sequences"),
    [
        ("h100-sxm", 8192, 1024),
        ("h200-sxm", 8192, 1024),
        ("b200-sxm", 16384, 1024),
        ("mi300x", 16384, 1024),
        ("a100-80gb-sxm", 2048, 256),
        ("l40s", 2048, 256),
        ("rtx-4090", 2048, 256),
    ],
)
def test_defaults_of_a_card(gpu: str, step: int, sequences: int) -> None:
    assert batch_defaults(find(gpu)) == (step, sequences)


def test_a_short_context_lowers_the_step() -> None:
    snapshot = bundled("Qwen/Qwen3-8B")
    assert snapshot is not None
    found = settings(describe(snapshot), workload(ctx=4, runtime="vllm"), None)
    assert (found.step, found.sequences) == (4096, 1024)


# config/vllm.py: 1, 2, 4, every 8 to 256, every 16 to 512; 51 in the runs on an H100.
@pytest.mark.parametrize(("sequences", "sizes"), [(1024, 51), (256, 51), (128, 35), (1, 2)])
def test_captured_sizes(sequences: int, sizes: int) -> None:
    snapshot = bundled("Qwen/Qwen3-8B")
    assert snapshot is not None
    found = settings(describe(snapshot), workload(ctx=8192, runtime="vllm"), None)
    assert capture_sizes(replace(found, sequences=sequences)) == sizes


def test_the_cache_follows_the_scheme_never_the_weights() -> None:
    snapshot = bundled("openai/gpt-oss-20b")
    assert snapshot is not None
    found = describe(snapshot)
    assert kv_dtype(found, "auto", dtype="BF16") == "bfloat16"
    assert kv_dtype(replace(found, kv_scheme="fp8"), "auto", dtype="BF16") == "fp8"
    assert kv_dtype(replace(found, kv_scheme="fp8"), "bfloat16", dtype="BF16") == "bfloat16"


@pytest.mark.parametrize(
    ("version", "since"),
    [
        ("0.6.3", (0, 6)),
        ("0.16", (0, 9)),
        ("0.17", (0, 17)),
        ("0.19", (0, 18)),
        ("0.27", (0, 26)),
        (None, (0, 33)),
    ],
)
def test_rows_of_versions(version: str | None, since: tuple[int, int]) -> None:
    assert behaviour(version).since == since


def test_rows_are_in_order() -> None:
    since = [row.since for row in VERSIONS]
    assert since == sorted(set(since))
    assert all(row.source for row in VERSIONS)


@pytest.mark.parametrize("version", ["0.5", "0.34", "1.0", "x", "0", "0.19.", "0.-1"])
def test_versions_that_are_not_known(version: str) -> None:
    from hfmem.errors import UsageError
    from hfmem.runtimes import RUNTIMES

    with pytest.raises(UsageError) as caught:
        check_version(RUNTIMES["vllm"], version)
    assert "0.33" in caught.value.hint
    with pytest.raises(UsageError):
        check_version(RUNTIMES["transformers"], "5.0")


def test_parse_version() -> None:
    assert parse_version("0.19.1") == (0, 19, 1)
    assert parse_version("0.19.x") is None


# v1/attention/backends/mla: get_supported_kernel_block_sizes of the first backend that
# platforms/cuda.py: _get_backend_priorities finds for a card and a cache type.
@pytest.mark.parametrize(
    ("name", "gpu", "cache", "block"),
    [
        ("deepseek-ai/DeepSeek-V3", "h200-sxm", "auto", 16),  # FLASH_ATTN_MLA
        ("deepseek-ai/DeepSeek-V3", "h200-sxm", "fp8", 64),  # FLASHMLA
        ("deepseek-ai/DeepSeek-V3", "b200-sxm", "auto", 32),  # FLASHINFER_MLA
        ("deepseek-ai/DeepSeek-V3", "a100-80gb-sxm", "auto", 16),  # TRITON_MLA
        ("Qwen/Qwen3-8B", "b200-sxm", "fp8", 16),
    ],
)
def test_blocks_are_what_the_kernels_take(name: str, gpu: str, cache: str, block: int) -> None:
    snapshot = bundled(name)
    assert snapshot is not None
    asked = workload(ctx=8192, runtime="vllm", kv_dtype=cache)
    found = settings(describe(snapshot), asked, GpuGroup(gpu=find(gpu)))
    assert found.block == block


# layers/mamba/mamba_mixer2.py, gdn/qwen_gdn_linear_attn.py: _resolve_gdn_prefill_backend.
@pytest.mark.parametrize(
    ("model_type", "gpu", "states"),
    [
        ("nemotron_h", "a100-80gb-sxm", 1),
        ("qwen3_next", "h100-sxm", 1),
        ("qwen3_next", "a100-80gb-sxm", 0),
        ("jamba", "h100-sxm", 0),
        ("llama", "h100-sxm", 0),
    ],
)
def test_states_that_a_prefill_leaves(model_type: str, gpu: str, states: int) -> None:
    snapshot = bundled("Qwen/Qwen3-8B")
    assert snapshot is not None
    model = describe(snapshot)
    named = replace(model, decoder=replace(model.decoder, model_type=model_type))
    assert checkpoints(named, find(gpu)) == states


@pytest.mark.parametrize(
    ("version", "flags", "aligned"),
    [
        (None, {}, True),
        (None, {"mamba_cache_mode": "none"}, True),  # it follows prefix caching alone
        (None, {"no_enable_prefix_caching": True}, False),
        ("0.24", {"mamba_cache_mode": "none"}, False),
        ("0.24", {}, True),
    ],
)
def test_the_mode_of_recurrent_states(
    version: str | None, flags: dict[str, object], aligned: bool
) -> None:
    snapshot = bundled("Qwen/Qwen3-8B")
    assert snapshot is not None
    asked = workload(
        ctx=8192, runtime="vllm", version=version, flags=flags_of(flags, runtime="vllm")
    )
    assert settings(describe(snapshot), asked, None).aligned_state is aligned
