"""Which of vLLM's kernels run a model on a card: for its float type, its attention and its cache.

vLLM 0.33 v1/attention/backends (supported_kv_cache_dtypes, supports_compute_capability,
supports_sink, supports_combination and __init__ of each), platforms/cuda.py, config/model.py. Of
older versions nothing is said.
"""

from __future__ import annotations

from msgspec import Struct

from hfmem.errors import UsageError
from hfmem.gpu import Gpu
from hfmem.model.layers import ChunkedAttention, FullAttention, LatentAttention, SlidingWindow
from hfmem.model.model import Model
from hfmem.runtimes.vllm_versions import NEWEST, numbers

BUILT_FOR = (7, 5)
"""Least compute capability of CUDA 13, which the wheels of 0.33 are built with (METADATA: cu13);
those up to 0.20 were for 7.0 too (docker/Dockerfile: torch_cuda_arch_list)."""
BFLOAT16 = (8, 0)
"""platforms/cuda.py: supported_dtypes, check_if_supports_dtype."""
_NO_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
"""config/model.py: _FLOAT16_NOT_SUPPORTED_MODELS, by the configuration's own model_type."""
_PREFIX = frozenset({"bagel", "gemma3", "molmo2", "moondream3", "paligemma"})
"""Whose pictures' positions attend both ways, which of these kernels Triton does alone
(transformers_utils/model_arch_config_convertor.py: is_mm_prefix_lm; supports_mm_prefix)."""
_FLASHINFER_SIZES = frozenset({64, 128, 256, 512})
_SPARSE = (9, 10, 12)
"""Major capabilities of the kernels for sparse latent attention (mla/flashmla_sparse.py,
flashinfer_mla_sparse.py)."""


class _Heads(Struct, frozen=True, kw_only=True):
    """What the kernels ask of a model's attention."""

    sizes: tuple[int, ...]
    """Of the heads of keys and values; empty for a latent."""
    latent: bool
    sparse: bool
    """A latent with an indexer."""
    sinks: bool
    prefix: bool
    """Pictures attend both ways."""


def float_type(model: Model, asked: str | None, gpu: Gpu | None) -> str:
    """The type of the weights and of what is computed, as safetensors spells it.

    config/model.py: _resolve_auto_dtype. A card below compute capability 8.0 has no bfloat16: there
    vLLM takes float16, or float32 for what float16 does not hold. Gemma-3 on a T4: F32, twice the
    bytes. Raises UsageError for float16 where vLLM refuses it.
    """
    unheld = model.model_type in _NO_FLOAT16
    if asked is not None:
        if asked == "F16" and unheld:
            raise UsageError(
                f"vLLM does not run {model.model_type} in float16.",
                hint="Leave --dtype out, or give bfloat16 or float32.",
            )
        return asked
    stored = "BF16" if model.dtype in {"F32", "F64"} else model.dtype
    if stored == "F16" and unheld:
        stored = "BF16"
    if stored == "BF16" and _below(gpu, BFLOAT16):
        return "F32" if unheld else "F16"
    return stored


def _below(gpu: Gpu | None, least: tuple[int, int]) -> bool:
    """Whether an NVIDIA card has less; of others and of unknown ones it is not said."""
    if gpu is None or gpu.vendor != "nvidia" or not gpu.compute_capability:
        return False
    return numbers(gpu.compute_capability) < least


def unrun_on_card(model: Model, dtype: str, gpu: Gpu | None, *, version: str | None) -> str | None:
    """Why an NVIDIA card has no kernels for a model in a float type; None where it has.

    A V100 is not what 0.33 is built for, a T4 has no bfloat16, an L40S no sparse latent attention.
    """
    if gpu is None or _older(version):
        return None
    has = f"and {gpu.name} has {gpu.compute_capability}"
    if _below(gpu, BUILT_FOR):
        return (
            "vLLM would not start: its wheels are of CUDA 13, from compute capability 7.5 on, "
            f"{has}; older ones were built for 7.0 too, such as --runtime vllm@0.14."
        )
    if dtype == "BF16" and _below(gpu, BFLOAT16):
        return (
            f"vLLM would not start: bfloat16 needs compute capability 8.0, {has}; give --dtype "
            f"{'float32' if model.model_type in _NO_FLOAT16 else 'float16'}."
        )
    if gpu.vendor != "nvidia" or not gpu.compute_capability or not _heads(model).sparse:
        return None
    if numbers(gpu.compute_capability)[0] in _SPARSE:
        return None
    return (
        "vLLM would not start: its kernels for sparse latent attention run on compute capability "
        f"9, 10 and 12, {has}."
    )


def unread_on_card(
    kv_dtype: str, model: Model, gpu: Gpu | None, *, version: str | None
) -> str | None:
    """Why no attention kernel reads a cache of a type on a card; None where one does.

    A T4, of compute capability 7.5, reads no fp8; an A100, of 8.0, keys and values in fp8 but no
    latent, and none beside attention sinks (gpt-oss) or in Gemma-3; an H100 nvfp4, but not beside
    sinks, nor for heads of 64, which a B200 does.
    """
    if gpu is None or gpu.vendor not in {"nvidia", "amd"} or _older(version):
        return None
    heads = _heads(model)
    if not heads.sizes and not heads.latent:
        return None
    if gpu.vendor == "amd":
        if not kv_dtype.startswith("nvfp4"):
            return None
        return _unread(kv_dtype, "on AMD's cards", "fp8")
    if not gpu.compute_capability:
        return None
    capability = numbers(gpu.compute_capability)
    if all(_read(kv_dtype, size, heads, capability) for size in heads.sizes or (0,)):
        return None
    plain = "bfloat16" if capability >= BFLOAT16 else "float16"
    if kv_dtype.startswith("nvfp4"):
        fp8 = all(_read("fp8", size, heads, capability) for size in heads.sizes)
        why = f"{_beside(heads)} on {gpu.name}, of compute capability {gpu.compute_capability}"
        return _unread(kv_dtype, why.strip(), "fp8" if fp8 else plain)
    if kv_dtype == "fp8_e5m2" and heads.latent:
        return _unread(kv_dtype, "of a latent", "fp8")
    least = next(
        (
            one
            for one in (BFLOAT16, (8, 9))
            if all(_read(kv_dtype, size, heads, one) for size in heads.sizes or (0,))
        ),
        (9, 0),
    )
    what = "" if least == BFLOAT16 or heads.latent else _beside(heads)
    return (
        f"vLLM would not start: its attention kernels read a KV cache in {kv_dtype}{what} from "
        f"compute capability {least[0]}.{least[1]} on, and {gpu.name} has "
        f"{gpu.compute_capability}; give --kv-cache-dtype {plain}."
    )


def _unread(kv_dtype: str, why: str, other: str) -> str:
    return (
        f"vLLM would not start: none of its attention kernels reads a KV cache in {kv_dtype} "
        f"{why}; give --kv-cache-dtype {other}."
    )


def _beside(heads: _Heads) -> str:
    if heads.sinks:
        return " beside attention sinks"
    if heads.prefix:
        return " where pictures attend both ways"
    return f" for heads of {' and '.join(map(str, heads.sizes))}"


def _read(kv_dtype: str, size: int, heads: _Heads, capability: tuple[int, ...]) -> bool:
    """Whether FlashAttention, FlashInfer or Triton reads it, or Triton or FlashMLA a latent."""
    major = capability[0]
    small = kv_dtype.startswith("fp8") and capability < (8, 9)
    if heads.latent:
        return not small and kv_dtype != "fp8_e5m2"
    packed = kv_dtype.startswith("nvfp4")
    if not packed and not small and (kv_dtype != "bfloat16" or capability >= BFLOAT16):
        return True  # Triton.
    if kv_dtype.endswith("_per_token_head") or size not in _FLASHINFER_SIZES or heads.prefix:
        return False
    if not BFLOAT16 <= capability <= (12, 1):
        return False
    if heads.sinks and major not in (9, 10, 12):
        return False
    if not packed or major == 10:
        return True
    return kv_dtype == "nvfp4" and size != 64 and not heads.sinks


def _heads(model: Model) -> _Heads:
    kinds = [kind for kinds in model.decoder.layers for kind in kinds]
    own = (FullAttention, SlidingWindow, ChunkedAttention)
    latent = [kind for kind in kinds if isinstance(kind, LatentAttention)]
    return _Heads(
        sizes=()
        if latent
        else tuple(sorted({kind.head_dim for kind in kinds if isinstance(kind, own)})),
        latent=bool(latent),
        sparse=any(kind.indexer_dim for kind in latent),
        sinks=any(
            run.loaded and run.run.name.endswith(("self_attn.sinks", "attention_sink_bias"))
            for run in model.weights or ()
        ),
        prefix=model.model_type in _PREFIX,
    )


def _older(version: str | None) -> bool:
    return version is not None and numbers(version)[:2] < numbers(NEWEST)[:2]
