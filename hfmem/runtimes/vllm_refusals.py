"""What vLLM refuses of a model's layout and cache type, before it loads anything.

vLLM 0.33 config/model.py: verify_with_parallel_config, model_executor/layers/linear.py,
v1/attention/backends: supported_kv_cache_dtypes, supports_combination.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hfmem.errors import UsageError
from hfmem.gpu import Gpu
from hfmem.model.config import Config
from hfmem.model.layers import CacheKind, LatentAttention, RecurrentState
from hfmem.model.model import Model
from hfmem.model.parameters import routing

if TYPE_CHECKING:
    from hfmem.runtimes.vllm_settings import Layout


def refuse_layout(model: Model, layout: Layout) -> None:
    """Raises UsageError for what vLLM does not divide or share."""
    decoder, tp = model.decoder, layout.tp
    heads, kv_heads = decoder.attention_heads, decoder.kv_heads
    if heads and heads % tp:
        raise UsageError(
            f"{heads} attention heads cannot be divided by a tensor parallel size of {tp}.",
            hint=_nearest(layout, heads, kv_heads or heads),
        )
    latent = any(isinstance(kind, LatentAttention) for kinds in decoder.layers for kind in kinds)
    if kv_heads and not latent and kv_heads % tp and tp % kv_heads:
        raise UsageError(
            f"{kv_heads} KV heads can neither be divided by a tensor parallel size of {tp} nor "
            "repeated for it.",
            hint=_nearest(layout, heads or kv_heads, kv_heads),
        )
    slices = 1 if layout.dealt else layout.experts
    for key, share in (("intermediate_size", tp), ("moe_intermediate_size", slices)):
        size = decoder.text.integer_or_none(key)
        if size and size % share:
            raise UsageError(
                f"{key} {size:,} cannot be divided among {share} GPUs.",
                hint="Use a smaller --tp, --pp, or --enable-expert-parallel for experts.",
            )
    _refuse_blocks(decoder.text, tp)
    if layout.pp > max(1, len(decoder.layers)):
        raise UsageError(
            f"{len(decoder.layers)} layers cannot be dealt out to {layout.pp} stages.",
            hint=f"Give --pp {len(decoder.layers)} or less.",
        )
    if layout.dealt and routing(decoder.text) is None and not _has_experts(model):
        raise UsageError(
            "Expert parallelism needs experts, and this model has none.",
            hint="Leave --enable-expert-parallel (--ep) out.",
        )
    if layout.dcp > 1:
        copies = tp if latent or not kv_heads else tp // kv_heads
        if tp % layout.dcp:
            raise UsageError(
                f"A decode context parallel size of {layout.dcp} does not divide a tensor parallel "
                f"size of {tp}.",
                hint=f"Choose --decode-context-parallel-size from: {_divisors(tp)}.",
            )
        if layout.dcp > max(1, copies):
            raise UsageError(
                f"A decode context parallel size of {layout.dcp} needs KV heads that are held "
                f"{layout.dcp} times; with --tp {tp} each is held {max(1, copies)} times.",
                hint="Raise --tp, or leave --decode-context-parallel-size out.",
            )
        if not latent and heads and kv_heads and heads // kv_heads % layout.dcp:
            raise UsageError(
                f"{heads // kv_heads} query heads for each KV head cannot be divided by a decode "
                f"context parallel size of {layout.dcp}.",
                hint="Choose a divisor, or leave --decode-context-parallel-size out.",
            )


def _divisors(number: int) -> str:
    return ", ".join(str(one) for one in range(1, number + 1) if number % one == 0)


def _nearest(layout: Layout, heads: int, kv_heads: int) -> str:
    """The layout of as many GPUs that divides the most layers: 28 heads on eight, 4 × 2."""
    ranks = layout.ranks // layout.dp
    tp = next(
        one
        for one in range(ranks, 0, -1)
        if ranks % one == 0 and heads % one == 0 and (kv_heads % one == 0 or one % kv_heads == 0)
    )
    whole = f"Give --tp {tp} --pp {ranks // tp}" + (f" --dp {layout.dp}" if layout.dp > 1 else "")
    return f"{whole}, or another --tp of: {_divisors(heads)}."


def _refuse_blocks(text: Config, tp: int) -> None:
    """Weights in FP8 with a scale for every block cannot be cut through a block.

    quantization/utils/fp8_utils.py: validate_fp8_block_shape; experts get smaller blocks instead.
    """
    settings, size = text.value("quantization_config"), text.integer_or_none("intermediate_size")
    blocks = settings.get("weight_block_size") if isinstance(settings, dict) else None
    if tp == 1 or not size or not isinstance(blocks, list) or len(blocks) != 2:
        return
    block = blocks[0]
    if type(block) is int and 1 <= block <= 2**16 and size // tp % block:
        fitting = [one for one in range(1, 65) if size % one == 0 and size // one % block == 0]
        raise UsageError(
            f"A {tp}th of intermediate_size {size:,} is {size // tp:,}, which cuts the FP8 "
            f"checkpoint's blocks of {block}.",
            hint=f"Choose --tp from: {', '.join(map(str, fitting))}; or use --pp.",
        )


def _has_experts(model: Model) -> bool:
    return any(run.component == "experts" for run in model.weights or ())


def unread_kv_dtype(kv_dtype: str, model: Model) -> str | None:
    """Why no attention kernel would take the cache that was computed; None where one does.

    v1/attention/backends/mla: of latent attention the sparse kernels alone read the packed types.
    """
    kinds = [kind for kinds in model.decoder.layers for kind in kinds]
    latent = [kind for kind in kinds if isinstance(kind, LatentAttention)]
    if not latent or not kv_dtype.endswith("_ds_mla") or any(one.indexer_dim for one in latent):
        return None
    return (
        f"vLLM 0.33 would not start: {kv_dtype} is read by its kernels for sparse attention only "
        "(DeepSeek-V3.2), and this model's is dense; --kv-cache-dtype fp8 is the nearest."
    )


def too_few_tokens(*, step: int, sequences: int) -> str | None:
    """Why a step of so few tokens is refused; None where it gives every sequence one.

    vLLM 0.33 config/scheduler.py: verify_max_model_len, whether prefill is chunked or not.
    """
    if step >= sequences:
        return None
    return (
        f"vLLM would not start: --max-num-batched-tokens {step:,} is less than --max-num-seqs "
        f"{sequences:,}; raise the one or lower the other."
    )


def refuse_kv_dtype(asked: str, kinds: Sequence[CacheKind], *, gpu: Gpu | None) -> None:
    """Raises UsageError for a cache type that no attention kernel of vLLM reads.

    The packed types of latent attention hold nothing else; FlashInfer's NVFP4 and Triton's types
    with a scale for each token and head do not hold a latent.
    """
    attends = [kind for kind in kinds if not isinstance(kind, RecurrentState)]
    latent = any(isinstance(kind, LatentAttention) for kind in attends)
    if asked.endswith("_ds_mla") and attends and not latent:
        raise UsageError(
            f"{asked} is a layout of latent attention, which this model has not.",
            hint="Give --kv-cache-dtype fp8.",
        )
    if latent and (asked in {"nvfp4", "nvfp4_4over6"} or asked.endswith("_per_token_head")):
        raise UsageError(
            f"No attention kernel of vLLM keeps a latent in {asked}.",
            hint="Give --kv-cache-dtype fp8.",
        )
    capability = gpu.compute_capability if gpu else ""
    if asked == "nvfp4_4over6" and capability and not capability.startswith("10."):
        raise UsageError(
            f"{asked} needs compute capability 10.x; {gpu.name if gpu else ''} has {capability}.",
            hint="Give --kv-cache-dtype nvfp4 or fp8.",
        )
