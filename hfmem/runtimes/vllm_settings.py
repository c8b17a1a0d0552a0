"""vLLM's settings: what was given, and what the engine sets itself for a card and a model."""

from __future__ import annotations

from fractions import Fraction

from msgspec import Struct

from hfmem.dtypes import BITS, from_name, torch_name
from hfmem.errors import UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.memory.workload import DEFAULT_CTX, Workload
from hfmem.model.layers import CompressedAttention, LatentAttention
from hfmem.model.model import Model
from hfmem.runtimes.nodes import usual_split
from hfmem.runtimes.serving import Serving
from hfmem.runtimes.vllm_kernels import float_type
from hfmem.runtimes.vllm_refusals import refuse_kv_dtype, refuse_layout
from hfmem.runtimes.vllm_versions import Behaviour, behaviour
from hfmem.units import GIB

KV_DTYPES = (
    "auto",
    "bfloat16",
    "float16",
    "fp8",
    "fp8_e4m3",
    "fp8_e5m2",
    "fp8_ds_mla",
    "nvfp4_ds_mla",
    "fp8_per_token_head",
    "int8_per_token_head",
    "int4_per_token_head",
    "nvfp4",
    "nvfp4_4over6",
)
"""Of vLLM 0.33 config/cache.py: CacheDType, those whose layout is known here."""
DEFAULT_BLOCK = 16
"""config/cache.py: CacheConfig.DEFAULT_BLOCK_SIZE; FlashAttention and FlashInfer take it."""
COMPRESSED_BLOCK = 256
"""DeepSeek-V4's, and its multiples (models/deepseek_v4/sparse_mla.py)."""


class Layout(Struct, frozen=True, kw_only=True):
    """How many ranks share what."""

    tp: int
    pp: int
    dp: int
    experts: int
    """Ranks that hold the experts together, whole ones or slices of each: all of tp × dp
    (fused_moe/config.py: flatten_tp_across_dp_and_pcp)."""
    dealt: bool
    """Whole experts are dealt out (--enable-expert-parallel); else each is sliced."""
    dcp: int

    @property
    def ranks(self) -> int:
        """GPUs in all."""
        return self.tp * self.pp * self.dp


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that vLLM has decided before it loads the model."""

    behaviour: Behaviour
    layout: Layout
    gpu: Gpu | None
    ctx: int
    """--max-model-len."""
    sequences: int
    """--max-num-seqs."""
    step: int
    """--max-num-batched-tokens."""
    dtype: str
    """As safetensors spells it."""
    state_dtype: str
    """Of a recurrent state, as safetensors spells it."""
    kv_dtype: str
    """vLLM's name, ``auto`` resolved."""
    block: int
    """Tokens, before a hybrid model raises it."""
    utilization: Fraction
    eager: bool
    aligned_state: bool
    """--mamba-cache-mode align: a state of the last block boundary beside the running one."""
    checkpoints: int = 0
    """States of a sequence beside these two, which a prefill leaves on the way."""
    pools: bool = False
    """A pooling model, whose profile samples no token."""


def settings(model: Model, workload: Workload, group: GpuGroup | None) -> Settings:
    """Resolve a workload's flags as vLLM 0.33 does.

    Raises UsageError for a layout that the group or the engine does not take.
    """
    flags, gpu = workload.flags, group.gpu if group else None
    row = behaviour(workload.version)
    ctx = workload.ctx or min(DEFAULT_CTX, model.decoder.max_context or DEFAULT_CTX)
    ctx += workload.media_tokens
    default_step, default_sequences = batch_defaults(gpu) if row.one_engine else _v0_defaults(ctx)
    sequences = flags.whole("max_num_seqs") or default_sequences
    step = flags.whole("max_num_batched_tokens")
    if step is None:
        step = min(sequences * ctx, default_step)
    if flags.whole("max_num_seqs") is None:
        sequences = min(sequences, step)
    dtype = float_type(model, workload.dtype, gpu)
    cache_type = kv_dtype(model, workload.kv_dtype, dtype=dtype, gpu=gpu)
    cached = not flags.switch("no_enable_prefix_caching")
    return Settings(
        behaviour=row,
        layout=layout(model, workload, group),
        gpu=gpu,
        ctx=ctx,
        sequences=sequences,
        step=step,
        dtype=dtype,
        state_dtype=_state_dtype(model, flags.choice("mamba_ssm_cache_dtype"), dtype=dtype),
        kv_dtype=cache_type,
        block=_block(model, flags.whole("block_size"), kv_dtype=cache_type, gpu=gpu),
        utilization=flags.share("gpu_memory_utilization") or row.utilization,
        eager=flags.switch("enforce_eager"),
        # Since 0.33 the mode follows prefix caching (models/config.py: MambaModelConfig).
        aligned_state=cached
        and (row.checkpoints_states or flags.choice("mamba_cache_mode") != "none"),
        checkpoints=checkpoints(model, gpu) if cached and row.checkpoints_states else 0,
    )


def _block(model: Model, asked: int | None, *, kv_dtype: str, gpu: Gpu | None) -> int:
    """Tokens of a block: as asked, else the smallest from 16 on that the attention kernels take.

    vLLM 0.33 platforms/interface.py: update_block_size_for_backend, platforms/cuda.py:
    _get_backend_priorities. DeepSeek-V3 in bf16 16 on an H100 (FLASH_ATTN_MLA), in fp8 64
    (FLASHMLA), 32 on a B200 (FLASHINFER_MLA); with an indexer 64. Raises UsageError.
    """
    kinds = [kind for kinds in model.decoder.layers for kind in kinds]
    latent = [kind for kind in kinds if isinstance(kind, LatentAttention)]
    capability = (gpu.compute_capability if gpu else None) or "9.0"
    least = DEFAULT_BLOCK
    if any(isinstance(kind, CompressedAttention) for kind in kinds):
        least = COMPRESSED_BLOCK
    elif any(kind.indexer_dim for kind in latent):
        least = 64
    elif latent and capability.startswith("10."):
        least = 32
    elif latent and capability.startswith("9.") and kv_dtype.startswith("fp8"):
        least = 64
    block = asked or least
    if block % least:
        raise UsageError(
            f"A block of {block:,} tokens suits no attention kernel of vLLM for this model.",
            hint=f"Give --block-size a multiple of {least}, or leave it out.",
        )
    return block


_MAMBA_2 = frozenset({"nemotron_h", "zamba2", "granitemoehybrid", "falcon_h1"})
_DELTA = frozenset({"qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"})


def checkpoints(model: Model, gpu: Gpu | None) -> int:
    """State blocks that a prefill leaves inside of a step, for reuse of prefixes: 1 or 0.

    vLLM 0.33 v1/kv_cache_interface.py: MambaSpec, layers/mamba/mamba_mixer2.py: get_kv_cache_spec;
    Qwen's delta net only with FlashInfer's kernels, on compute capability 9, 10 and 12
    (gdn/qwen_gdn_linear_attn.py), and Kimi-K3 with FlashKDA there. Without a card: an H100's.
    """
    kind = model.decoder.model_type or ""
    capability = gpu.compute_capability if gpu is not None else "9.0"
    fast = capability.startswith(("9.", "10.", "12."))
    delta = kind in _DELTA or (model.model_type or "").startswith("kimi_k3")
    return int(kind in _MAMBA_2 or (fast and delta))


def serving(model: Model, workload: Workload, group: GpuGroup) -> Serving:
    """As resolved; weights in the host are read in place, of the experts those that tokens go
    through (vLLM 0.33 model_executor/offloader/uva.py)."""
    chosen = settings(model, workload, group)
    return Serving(
        tp=chosen.layout.tp,
        dp=chosen.layout.dp,
        shares_experts=chosen.layout.dealt,
        prompt_tokens=chosen.step,
        sequences=chosen.sequences * chosen.layout.dp,
        host="read" if chosen.behaviour.one_engine else "copied",
    )


def _v0_defaults(ctx: int) -> tuple[int, int]:
    """The V0 engine's: a whole prompt in a step up to 32 Ki tokens, chunks of 2,048 beyond."""
    return (max(2048, ctx) if ctx <= 2**15 else 2048), 256


def batch_defaults(gpu: Gpu | None) -> tuple[int, int]:
    """Tokens of a step and sequences that ``vllm serve`` sets by default for a card.

    vLLM 0.33 engine/arg_utils.py: get_batch_defaults. An H100 gets 8,192 and 1,024, an A100 or a
    card of less than 70 GiB 2,048 and 256, a B200 16,384 and 1,024. Without a card: an H100's.
    """
    if gpu is None:
        return 8192, 1024
    if gpu.usable_bytes >= 160 * GIB:
        return 16384, 1024
    small = "a100" in gpu.id.lower() or "gb10" in gpu.id.lower() or "gb10" in gpu.name.lower()
    if gpu.usable_bytes >= 70 * GIB and not small:
        return 8192, 1024
    return 2048, 256


def _state_dtype(model: Model, asked: str | None, *, dtype: str) -> str:
    """vLLM 0.33 model_executor/models/config.py (Nemotron-H: float32 unless the configuration says
    otherwise, Qwen3.5: ``mamba_ssm_dtype``), layers/mamba/mamba_utils.py (KDA: float32)."""
    if asked not in (None, "auto"):
        return from_name(asked or "") or dtype
    text = model.decoder.text
    for key in ("mamba_ssm_cache_dtype", "mamba_ssm_dtype"):
        named = text.text(key)
        if named is not None and (found := from_name(named)) in BITS:
            return found or dtype
    always = ("nemotron_h", "kimi_linear")
    return "F32" if (model.decoder.model_type or "").startswith(always) else dtype


def kv_dtype(model: Model, asked: str, *, dtype: str, gpu: Gpu | None = None) -> str:
    """The type of the cache: the checkpoint's KV scheme, else the model's, never the weights'.

    vLLM 0.33 utils/torch_utils.py: resolve_kv_cache_dtype_string (ModelOpt's
    ``kv_cache_quant_algo``), layers/attention/attention.py (``kv_cache_scheme`` of
    compressed-tensors), models/config.py (GLM's sparse attention takes fp8 on Blackwell). Sparse
    MLA in fp8 is held as fp8_ds_mla by FlashMLA, which every card but a datacenter Blackwell gets
    (mla_attention.py: _canonicalize_sparse_mla_kv_cache_dtype, platforms/cuda.py).
    """
    kinds = [kind for kinds in model.decoder.layers for kind in kinds]
    if any(isinstance(kind, CompressedAttention) for kind in kinds):
        return _compressed_kv_dtype(asked)
    sparse = any(isinstance(kind, LatentAttention) and kind.indexer_dim for kind in kinds)
    blackwell = gpu is not None and gpu.compute_capability.startswith("10.")
    if asked == "auto" and sparse and gpu is not None and gpu.compute_capability.startswith("12."):
        return "fp8_ds_mla"  # FLASHINFER_MLA_SPARSE_SM120, in which auto is that.
    if asked == "auto":
        asked = model.kv_scheme or torch_name(dtype)
        if blackwell and sparse and model.class_name == "GlmMoeDsaForCausalLM":
            asked = "fp8_e4m3"
    if sparse and not blackwell and asked in {"fp8", "fp8_e4m3"}:
        return "fp8_ds_mla"
    refuse_kv_dtype(asked, kinds, gpu=gpu)
    return asked


def _compressed_kv_dtype(asked: str) -> str:
    """DeepSeek-V4 is held as fp8_ds_mla by FlashMLA, which every NVIDIA card gets by itself.

    models/deepseek_v4/attention.py: _resolve_dsv4_kv_cache_dtype. Raises UsageError for the rest.
    """
    if asked not in {"auto", "fp8", "fp8_e4m3", "fp8_ds_mla"}:
        raise UsageError(
            f"vLLM keeps DeepSeek-V4's cache in fp8 only, not in {asked}.",
            hint="Leave --kv-cache-dtype out, or give fp8.",
        )
    return "fp8_ds_mla"


def layout(model: Model, workload: Workload, group: GpuGroup | None) -> Layout:
    """The parallel layout: as given, else every layer divided over the GPUs of a node, and nodes as
    stages of a pipeline.

    Raises UsageError where tp × pp × dp is not the group's count, and for what vLLM refuses
    (``vllm_refusals``).
    """
    flags = workload.flags
    given = [flags.whole(name) for name in ("tp", "pp", "dp")]
    count = group.count if group else None
    tp, pp, dp = (one or 1 for one in given)
    if count is not None and given == [None, None, None]:
        tp, pp = usual_split(count)
    if count is not None and tp * pp * dp != count:
        raise UsageError(
            f"tp {tp} × pp {pp} × dp {dp} is {tp * pp * dp} GPUs, but --gpu names {count}.",
            hint=f"Name {tp * pp * dp} of the card, as --gpu NAME:{tp * pp * dp}, or leave the "
            "layout out: every layer is divided over the GPUs that are named.",
        )
    ep = flags.whole("ep")
    if ep is not None and ep not in {1, tp * dp}:
        raise UsageError(
            f"vLLM deals experts out to tp × dp = {tp * dp} GPUs, not to {ep}.",
            hint="Leave --ep out for experts split like other layers, or give "
            f"--enable-expert-parallel (--ep {tp * dp}).",
        )
    found = Layout(
        tp=tp,
        pp=pp,
        dp=dp,
        experts=tp * dp,
        dealt=flags.switch("enable_expert_parallel") or (ep or 1) > 1,
        dcp=flags.whole("dcp") or 1,
    )
    refuse_layout(model, found)
    return found
