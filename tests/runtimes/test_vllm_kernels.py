"""What vLLM's kernels run on which card. Sources: vLLM 0.33, the file of each row."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

import hfmem
from hfmem.dtypes import torch_name
from hfmem.errors import UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.layers import FullAttention, LatentAttention
from hfmem.model.model import Model
from hfmem.runtimes.vllm import estimate
from hfmem.runtimes.vllm_kernels import float_type, unread_on_card, unrun_on_card
from hfmem.runtimes.vllm_settings import kv_dtype
from hfmem.source.recorded import bundled

QWEN, SINKS = "Qwen/Qwen3-8B", "openai/gpt-oss-20b"
GEMMA, LATENT = "google/gemma-3-27b-it", "deepseek-ai/DeepSeek-V3"


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def sized(head_dim: int) -> Model:
    """Qwen3-8B with heads of another size."""
    plain = model(QWEN)
    layer = (FullAttention(kv_heads=8, head_dim=head_dim, v_head_dim=head_dim),)
    layers = (layer,) * len(plain.decoder.layers)
    return replace(plain, decoder=replace(plain.decoder, layers=layers))


def sparse() -> Model:
    """DeepSeek-V3 with an indexer, as DeepSeek-V3.2."""
    plain = model(LATENT)
    layers = tuple(
        tuple(
            replace(kind, indexer_dim=128) if isinstance(kind, LatentAttention) else kind
            for kind in kinds
        )
        for kinds in plain.decoder.layers
    )
    return replace(plain, decoder=replace(plain.decoder, layers=layers))


def run(chosen: Model, gpu: str, **given: Any) -> MemoryEstimate:
    asked = workload(ctx=2048, runtime="vllm", **given)
    return estimate(chosen, asked, GpuGroup(gpu=find(gpu)))


# flash_attn.py: supports_combination (sinks from 9.0 on), fa_utils.py: get_flash_attn_version (FA3
# on 9, FA4 on 10, FA2 elsewhere), flash_attn_supports_sinks; flashinfer.py: supports_sink (9.0, 10
# and 12), supports_combination (nvfp4 not with heads of 64, nor beside sinks, on 8, 9 and 12),
# supports_kv_cache_dtype (nvfp4_4over6 on 10 only), get_supported_head_sizes (64, 128, 256, 512),
# supports_compute_capability (8.0); triton_attn.py: __init__ (fp8 from 8.9, bfloat16 from 8.0);
# mla/triton_mla.py and flashmla.py: supported_kv_cache_dtypes (no fp8_e5m2); backend.py:
# supports_mm_prefix, which FlashInfer leaves at False (Gemma-3).
@pytest.mark.parametrize(
    ("chosen", "cache", "gpu", "read"),
    [
        (model(SINKS), "bfloat16", "a100-80gb", True),
        (model(SINKS), "fp8", "a100-80gb", False),
        (model(SINKS), "fp8", "l40s", True),
        (model(SINKS), "fp8", "h100", True),
        (model(SINKS), "nvfp4", "a100-80gb", False),
        (model(SINKS), "nvfp4", "h100", False),
        (model(SINKS), "nvfp4", "rtx-5090", False),
        (model(SINKS), "nvfp4", "b200", True),
        (model(SINKS), "int8_per_token_head", "h100", True),
        (model(GEMMA), "fp8", "a100-80gb", False),
        (model(GEMMA), "fp8", "l40s", True),
        (model(GEMMA), "nvfp4", "h100", False),
        (model(GEMMA), "int8_per_token_head", "a100-80gb", True),
        (model(QWEN), "fp8", "a100-80gb", True),
        (model(QWEN), "fp8_e5m2", "a100-80gb", True),
        (model(QWEN), "nvfp4", "h100", True),
        (model(QWEN), "nvfp4", "rtx-5090", True),
        (model(QWEN), "nvfp4", "t4", False),
        (model(QWEN), "nvfp4", "mi300x", False),
        (model(QWEN), "fp8", "mi300x", True),
        (model(QWEN), "bfloat16", "t4", False),
        (model(QWEN), "float16", "t4", True),
        (model(QWEN), "int8_per_token_head", "t4", True),
        (sized(64), "nvfp4", "h100", False),
        (sized(64), "nvfp4", "b200", True),
        (sized(96), "nvfp4", "b200", False),
        (sized(96), "fp8", "a100-80gb", False),
        (sized(96), "fp8", "l40s", True),
        (model(LATENT), "fp8", "a100-80gb", False),
        (model(LATENT), "fp8", "h200", True),
        (model(LATENT), "fp8_e5m2", "h200", False),
    ],
)
def test_who_reads_a_cache(chosen: Model, cache: str, gpu: str, read: bool) -> None:
    found = unread_on_card(cache, chosen, find(gpu), version=None)
    assert (found is None) == read
    assert found is None or "; give --kv-cache-dtype " in found
    assert unread_on_card(cache, chosen, find(gpu), version="0.19") is None


def test_the_type_that_is_named_instead_is_read() -> None:
    for gpu in ("a100-80gb", "h100", "t4", "mi300x", "rtx-5090"):
        for chosen in (model(SINKS), model(QWEN), model(GEMMA), sized(96)):
            for cache in ("fp8", "nvfp4", "fp8_per_token_head", "bfloat16"):
                said = unread_on_card(cache, chosen, find(gpu), version=None)
                if said is not None:
                    other = said.rstrip(".").split()[-1]
                    assert unread_on_card(other, chosen, find(gpu), version=None) is None


# config/model.py: _resolve_auto_dtype, _FLOAT16_NOT_SUPPORTED_MODELS; platforms/cuda.py:
# supported_dtypes.
@pytest.mark.parametrize(
    ("name", "asked", "gpu", "taken"),
    [
        (QWEN, None, None, "BF16"),
        (QWEN, None, "a100-80gb", "BF16"),
        (QWEN, None, "t4", "F16"),
        (QWEN, None, "mi300x", "BF16"),
        (QWEN, "F32", "t4", "F32"),
        (GEMMA, None, "t4", "F32"),
        (GEMMA, None, "l4", "BF16"),
    ],
)
def test_float_types(name: str, asked: str | None, gpu: str | None, taken: str) -> None:
    assert float_type(model(name), asked, find(gpu) if gpu else None) == taken


def test_float16_that_is_refused() -> None:
    with pytest.raises(UsageError, match="gemma3 in float16"):
        float_type(model(GEMMA), "F16", None)


def test_a_t4_holds_gemma_in_float32() -> None:
    plain, doubled = run(model(GEMMA), "l4"), run(model(GEMMA), "t4")
    held = [one.phases[0].part("weights").bytes for one in (plain, doubled)]
    assert held[1] == pytest.approx(2 * held[0], rel=1e-6)
    assert "has no bfloat16: vLLM takes float32." in [
        note.message.partition(" T4 ")[2] for note in doubled.notes if note.code == "dtype_of_card"
    ]


def test_a_t4_holds_the_rest_in_float16() -> None:
    found = run(model(QWEN), "t4")
    assert found.kv_dtype == torch_name("F16")
    assert found.refusal is None


# platforms/cuda.py: check_if_supports_dtype; METADATA of the 0.33 wheel: cu13; mla/*sparse*.py:
# supports_compute_capability (majors 9, 10 and 12).
@pytest.mark.parametrize(
    ("chosen", "dtype", "gpu", "version", "says"),
    [
        (model(QWEN), "BF16", "t4", None, "bfloat16 needs compute capability 8.0"),
        (model(QWEN), "F16", "t4", None, None),
        (model(QWEN), "F16", "v100-32gb", None, "CUDA 13"),
        (model(QWEN), "F16", "v100-32gb", "0.14", None),
        (model(GEMMA), "BF16", "t4", None, "--dtype float32"),
        (sparse(), "BF16", "l40s", None, "9, 10 and 12, and L40S has 8.9"),
        (sparse(), "BF16", "a100-80gb", None, "sparse latent attention"),
        (sparse(), "BF16", "h200", None, None),
        (sparse(), "BF16", "rtx-pro-6000", None, None),
        (model(LATENT), "BF16", "a100-80gb", None, None),
        (model(QWEN), "BF16", "mi300x", None, None),
    ],
)
def test_what_a_card_does_not_run(
    chosen: Model, dtype: str, gpu: str, version: str | None, says: str | None
) -> None:
    found = unrun_on_card(chosen, dtype, find(gpu), version=version)
    assert (found is None) if says is None else says in (found or "")


# model_executor/layers/attention/mla_attention.py: _canonicalize_sparse_mla_kv_cache_dtype.
@pytest.mark.parametrize(
    ("gpu", "asked", "held"),
    [
        (find("rtx-pro-6000"), "auto", "fp8_ds_mla"),
        (find("h200"), "auto", "bfloat16"),
        (find("h200"), "fp8", "fp8_ds_mla"),
        (find("b200"), "fp8", "fp8"),
    ],
)
def test_the_cache_of_sparse_latent_attention(gpu: Gpu, asked: str, held: str) -> None:
    assert kv_dtype(sparse(), asked, dtype="BF16", gpu=gpu) == held


def test_an_answer_and_its_advice() -> None:
    found = hfmem.estimate(
        SINKS, runtime="vllm", gpu="a100-80gb", kv_dtype="fp8", source="recorded"
    )
    assert [fit.verdict for fit in found.fit] == ["no"]
    tight = hfmem.estimate(
        SINKS, runtime="vllm", gpu="a100-40gb", batch=2000, ctx=65_536, source="recorded"
    )
    assert "kv_dtype" not in [one.change for one in tight.fit[0].advice]
