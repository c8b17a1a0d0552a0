"""SGLang's settings: what was given, and what it sets itself for a card.

Read from SGLang 0.5.23: srt/arg_groups/memory_hook.py, cuda_graph_hook.py, fields/schedule.py,
configs/model_config.py, configs/mamba_utils.py.
"""

from __future__ import annotations

from fractions import Fraction

from msgspec import Struct

from hfmem.dtypes import from_name
from hfmem.errors import UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.memory.workload import DEFAULT_CTX, Workload
from hfmem.model.layers import LatentAttention
from hfmem.model.model import Model
from hfmem.runtimes.serving import Serving
from hfmem.units import MIB

KV_DTYPES = ("auto", "bf16", "bfloat16", "fp8_e4m3", "fp8_e5m2", "mxfp8")
"""Of fields/model.py: kv_cache_dtype, those whose layout is known here."""
GRAPH_CARD = 81559 * MIB
"""Without a card: an H100's."""
_HYBRID_SWA = frozenset(
    {
        *("Llama4ForConditionalGeneration", "GptOssForCausalLM", "GraniteSWAForCausalLM"),
        *("GraniteMoeSWAForCausalLM", "MiMoV2ForCausalLM", "MiMoV2FlashForCausalLM"),
        *("Step3p5ForCausalLM", "Step3p7ForConditionalGeneration", "Gemma4ForCausalLM"),
        *("Gemma4ForConditionalGeneration", "Gemma4UnifiedForConditionalGeneration"),
        *("LagunaForCausalLM", "MellumForCausalLM", "MuseGlimmerForCausalLM"),
        "MuseGlimmerForConditionalGeneration",
    }
)
"""configs/model_config.py: is_hybrid_swa_model; others keep every token in sliding layers too."""
_SLOTS = {"extra_buffer": 5, "extra_buffer_lazy": 4, "no_buffer": 3}
"""State slots of a running request with the radix cache: 3, and the tracking slots of the overlap
schedule (mem_cache/kv_cache_configurator.py: _calculate_mamba_ratio)."""


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that SGLang has decided before it loads the model."""

    ctx: int
    tp: int
    pp: int
    dp: int
    experts: int
    """Ranks that the experts are dealt out to; 1 where they are split like other layers."""
    chunk: int
    """--chunked-prefill-size."""
    graph_batch: int
    """Largest batch of the decode graphs."""
    prefill_graphs: int
    """Captured prefill sizes."""
    reserved: int
    """Bytes that the automatic fraction leaves beside weights and pools."""
    fraction: Fraction
    """--mem-fraction-static."""
    swa_ratio: Fraction
    mamba_ratio: Fraction
    state_slots: int
    dtype: str
    state_dtype: str
    kv_dtype: str
    hybrid_swa: bool

    @property
    def ranks(self) -> int:
        """GPUs in all."""
        return self.tp * self.pp * self.dp


def settings(model: Model, workload: Workload, group: GpuGroup | None) -> Settings:
    """Resolve a workload's flags. Raises UsageError for a layout that SGLang refuses."""
    flags = workload.flags
    tp, pp, dp, experts = _layout(model, workload, group)
    total = _total(group.gpu if group else None)
    chunk, graph_batch = capacity_defaults(total, tp=tp)
    chunk = flags.whole("chunked_prefill_size") or chunk
    running = flags.whole("max_running_requests")
    if running is not None:
        graph_batch = min(graph_batch, running)
    if flags.whole("cuda_graph_max_bs") is not None:
        graph_batch = flags.whole("cuda_graph_max_bs") or graph_batch
    latent = any(isinstance(k, LatentAttention) for kinds in model.decoder.layers for k in kinds)
    captured = len(prefill_sizes(min(8192, chunk) if latent else chunk))
    reserved = reserved_mib(
        total // MIB,
        chunk=chunk,
        graph_batch=graph_batch,
        prefill_graphs=captured,
        ranks=tp * pp,
        latent=latent,
    )
    fraction = flags.share("mem_fraction_static")
    if fraction is None:
        fraction = Fraction(round(1 - reserved * MIB / total, 3)).limit_denominator(10**6)
        tower = _tower(model)
        fraction *= vision_factor(*tower) if tower else 1
    strategy = flags.choice("mamba_radix_cache_strategy") or "extra_buffer"
    gpu = group.gpu if group else None
    return Settings(
        ctx=workload.media_tokens
        + (workload.ctx or min(DEFAULT_CTX, model.decoder.max_context or DEFAULT_CTX)),
        tp=tp,
        pp=pp,
        dp=dp,
        experts=experts,
        chunk=chunk,
        graph_batch=graph_batch,
        prefill_graphs=captured,
        reserved=int(reserved * MIB),
        fraction=fraction,
        swa_ratio=flags.share("swa_full_tokens_ratio") or Fraction(8, 10),
        mamba_ratio=flags.share("mamba_full_memory_ratio") or Fraction(9, 10),
        state_slots=1 if flags.switch("disable_radix_cache") else _SLOTS[strategy],
        dtype=float_type(model, workload.dtype, gpu),
        state_dtype=_state_dtype(model),
        kv_dtype=_kv_dtype(model, workload.kv_dtype, gpu),
        hybrid_swa=model.class_name in _HYBRID_SWA,
    )


def serving(model: Model, workload: Workload, group: GpuGroup) -> Serving:
    """As resolved; a prompt goes through in chunks, and what is asked beyond
    ``--max-running-requests`` waits."""
    chosen = settings(model, workload, group)
    return Serving(
        tp=chosen.tp,
        dp=chosen.dp,
        shares_experts=chosen.experts > 1,
        prompt_tokens=chosen.chunk,
        sequences=workload.flags.whole("max_running_requests"),
    )


def capability(gpu: Gpu | None) -> tuple[int, int] | None:
    """CUDA compute capability: ``(9, 0)``; None of other cards and where it is not known."""
    major, _, minor = (gpu.compute_capability if gpu else "").partition(".")
    if gpu is None or gpu.vendor != "nvidia" or not (major.isdigit() and minor.isdigit()):
        return None
    return int(major), int(minor)


def float_type(model: Model, asked: str | None, gpu: Gpu | None) -> str:
    """float16 below compute capability 8.0, whatever is asked (model_runner_components/
    load_model_utils.py: maybe_downgrade_dtype_for_legacy_gpu)."""
    found = capability(gpu)
    if found is not None and found < (8, 0):
        return "F16"
    return asked or ("BF16" if model.dtype in {"F32", "F64"} else model.dtype)


def _kv_dtype(model: Model, asked: str, gpu: Gpu | None) -> str:
    """As asked; of sparse latent attention fp8_e4m3 from compute capability 10 on, else bfloat16,
    and no other (arg_groups/overrides.py, for DeepSeek DSA). Raises UsageError."""
    kinds = [kind for kinds in model.decoder.layers for kind in kinds]
    if not any(isinstance(kind, LatentAttention) and kind.indexer_dim for kind in kinds):
        return asked
    if asked == "auto":
        return "fp8_e4m3" if (capability(gpu) or (0, 0)) >= (10, 0) else asked
    if asked not in {"bf16", "bfloat16", "fp8_e4m3"}:
        raise UsageError(
            f"SGLang keeps the cache of sparse latent attention in bfloat16 or fp8_e4m3, not in "
            f"{asked}.",
            hint="Leave --kv-cache-dtype out, or give fp8_e4m3.",
        )
    return asked


def _total(gpu: Gpu | None) -> int:
    """What nvidia-smi reports, which the defaults go by (utils/common.py:
    get_device_memory_capacity)."""
    if gpu is None:
        return GRAPH_CARD
    return gpu.driver_bytes or gpu.usable_bytes


def capacity_defaults(total_bytes: int, *, tp: int) -> tuple[int, int]:
    """Tokens of a prefill chunk and the largest captured batch, for a card.

    memory_hook.py: handle_gpu_memory_settings. An H100 of 81,559 MiB: 8,192 and 256; a card of 24
    GiB: 4,096 and 48.
    """
    mib = total_bytes // MIB
    many = tp >= 4
    for limit, chunk, few_batch, many_batch in (
        (20, 2048, 8, 8),
        (35, 4096, 48, 160),
        (60, 4096, 32, 160),
        (160, 8192, 256, 512),
    ):
        if mib < limit * 1024:
            return chunk, many_batch if many else few_batch
    return 16384, 512


def prefill_sizes(most: int) -> tuple[int, ...]:
    """Token counts that prefill graphs are captured for (cuda_graph_hook.py:
    generate_prefill_cuda_graph_batch_sizes): 58 up to 8,192."""
    sizes = (
        *range(4, 33, 4),
        *range(48, 257, 16),
        *range(288, 513, 32),
        *range(576, 1025, 64),
        *range(1280, 4097, 256),
        *range(4608, most + 1, 512),
    )
    return tuple(size for size in sizes if size <= most)


def reserved_mib(
    total_mib: int, *, chunk: int, graph_batch: int, prefill_graphs: int, ranks: int, latent: bool
) -> float:
    """MiB that stay free of weights and pools: 512, 1.5 a chunk token, 128 a rank, 2 a captured
    sequence, 8 a prefill graph or 1,536 with latent attention; at least 10 GiB above 60 GiB.

    memory_hook.py: handle_gpu_memory_settings, reserve_for_graph_mb. An H100 alone: 512 + 12,288 +
    128 + 512 + 464 = 13,904.
    """
    reserved = 512 + 1.5 * max(chunk, 2048) + ranks / 8 * 1024 + 2 * graph_batch
    reserved += 1536 if latent else 8 * prefill_graphs
    return max(reserved, 10 * 1024) if total_mib > 60 * 1024 else reserved


def vision_factor(layers: int, hidden: int) -> Fraction:
    """What a vision tower takes off the fraction: 5 %, and a tenth for every ViT-L more.

    memory_hook.py: adjust_mem_fraction_for_vlm. 24 layers of 1,024: 0.95.
    """
    ratio = Fraction(layers * hidden**2, 24 * 1024**2)
    factor = max(Fraction(8, 10), min(Fraction(105, 100), 1 - (ratio - 1) / 10))
    return Fraction(95, 100) * factor


def _tower(model: Model) -> tuple[int, int] | None:
    """Layers and hidden size of the vision tower, by its norms; None without one."""
    norms = [
        (len(numbers), run.run.shape[0])
        for run in model.weights or ()
        if run.component == "vision"
        and run.loaded
        and len(run.run.shape) == 1
        and "norm" in run.run.name
        and (numbers := run.run.indices())
    ]
    return max(norms) if norms else None


def _state_dtype(model: Model) -> str:
    """float32 unless the configuration says otherwise (configs/mamba_utils.py)."""
    named = model.decoder.text.text("mamba_ssm_dtype")
    found = from_name(named) if named else None
    return found if found in {"F32", "BF16", "F16"} else "F32"


def _layout(model: Model, workload: Workload, group: GpuGroup | None) -> tuple[int, int, int, int]:
    flags = workload.flags
    given = [flags.whole(name) for name in ("tp", "pp", "dp")]
    tp, pp, dp = (one or 1 for one in given)
    count = group.count if group else None
    if count is not None and given == [None, None, None]:
        tp = count
    if count is not None and tp * pp * dp != count:
        raise UsageError(
            f"tp {tp} × pp {pp} × dp {dp} is {tp * pp * dp} GPUs, but --gpu names {count}.",
            hint="Name a layout whose product is the group's count.",
        )
    experts = flags.whole("ep") or 1
    if tp % experts:
        raise UsageError(
            f"An expert parallel size of {experts} does not divide a tensor parallel size of {tp}.",
            hint="Give --ep a divisor of --tp.",
        )
    heads = model.decoder.attention_heads
    if heads and heads % tp:
        raise UsageError(
            f"{heads} attention heads cannot be divided by a tensor parallel size of {tp}.",
            hint="Choose a smaller --tp; or use --pp.",
        )
    if pp > max(1, len(model.decoder.layers)):
        raise UsageError(
            f"{len(model.decoder.layers)} layers cannot be dealt out to {pp} stages.",
            hint=f"Give --pp {len(model.decoder.layers)} or less.",
        )
    return tp, pp, dp, experts
