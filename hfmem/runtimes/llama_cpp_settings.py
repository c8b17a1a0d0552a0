"""llama.cpp's settings: what was given, and what llama-server sets itself.

Read from the llama.cpp in llama-cpp-python 0.3.36: common/common.h, common/arg.cpp,
tools/server/server.cpp, src/llama-context.cpp.
"""

from __future__ import annotations

from msgspec import Struct

from hfmem.checkpoint.ggml import BY_NAME
from hfmem.errors import UsageError
from hfmem.gpu import GpuGroup
from hfmem.memory.workload import DEFAULT_CTX, Workload
from hfmem.model.layers import FullAttention, LatentAttention, SlidingWindow
from hfmem.model.model import Model
from hfmem.runtimes.serving import Serving

KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""common/arg.cpp: kv_cache_types."""
KV_DTYPES = ("auto", *KV_TYPES)
AUTO_SLOTS = 4
"""tools/server/server.cpp: with -np unset, 4 slots that share one cache."""
MAX_SLOTS = 256
"""src/llama-cparams.h: LLAMA_MAX_SEQ."""
CTX_PADDING = 256
"""src/llama-context.cpp: GGML_PAD(n_ctx, 256)."""
UBATCH, BATCH = 512, 2048


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that llama-server has decided before it loads the model."""

    ctx: int
    """Tokens of one sequence, as asked."""
    slots: int
    unified: bool
    """One cache for all slots, else one stream of its own for each."""
    cells: int
    """Of one stream: n_ctx_seq."""
    streams: int
    ubatch: int
    type_k: str
    type_v: str
    flash: bool
    swa_full: bool
    kv_offload: bool
    gpu_layers: int | None
    """-ngl; None is all of them, with the output layer."""
    cpu_moe: int | None
    """Layers, from the first, whose routed experts stay in the host's memory; None is none."""

    @property
    def n_ctx(self) -> int:
        """Cells of all streams: what ``-c`` comes to."""
        return self.cells * self.streams


def settings(model: Model, workload: Workload) -> Settings:
    """Resolve a workload as llama-server does.

    Every sequence is to have its whole context: one shared cache of batch × ctx cells with the
    automatic slots, a stream of ctx cells a slot with ``-np``, which is raised where there are more
    sequences. Raises UsageError for what llama.cpp refuses: a quantized V cache without flash
    attention, a head that is no multiple of a type's block (src/llama-context.cpp:
    llama_init_from_model).
    """
    flags = workload.flags
    ctx = workload.ctx or min(DEFAULT_CTX, model.decoder.max_context or DEFAULT_CTX)
    tokens = ctx + workload.media_tokens
    given = flags.whole("parallel")
    slots = max(given or AUTO_SLOTS, workload.batch)
    unified = given is None or flags.switch("kv_unified")
    cells = _padded(tokens * workload.batch if unified else tokens)
    both = workload.kv_dtype if workload.kv_dtype != "auto" else "f16"
    chosen = Settings(
        ctx=ctx,
        slots=slots,
        unified=unified,
        cells=cells,
        streams=1 if unified else slots,
        ubatch=min(flags.whole("ubatch_size") or UBATCH, flags.whole("batch_size") or BATCH),
        type_k=flags.choice("cache_type_k") or both,
        type_v=flags.choice("cache_type_v") or both,
        flash=flags.choice("flash_attn") != "off",
        swa_full=flags.switch("swa_full"),
        kv_offload=not flags.switch("no_kv_offload"),
        gpu_layers=flags.whole("n_gpu_layers"),
        cpu_moe=len(model.decoder.layers) if flags.switch("cpu_moe") else flags.whole("n_cpu_moe"),
    )
    _refuse(model, chosen)
    return chosen


def serving(_model: Model, workload: Workload, _group: GpuGroup) -> Serving:
    """A micro-batch of a prompt in each pass (common/common.h: n_ubatch, 512), and the host
    computes with what lies there."""
    return Serving(prompt_tokens=workload.flags.whole("ubatch_size") or UBATCH, host="computed")


def _padded(tokens: int) -> int:
    return -(-tokens // CTX_PADDING) * CTX_PADDING


def block_of(name: str) -> tuple[int, int]:
    """Elements and bytes of a block of a cache type: ``block_of("q8_0") == (32, 34)``."""
    found = BY_NAME[name.upper()]
    return found.block_elements, found.block_bytes


def _refuse(model: Model, chosen: Settings) -> None:
    if block_of(chosen.type_v)[0] > 1 and not chosen.flash:
        raise UsageError(
            f"llama.cpp holds V in {chosen.type_v} with flash attention only.",
            hint="Leave -fa out, or give -ctv f16.",
        )
    sizes = set()
    for kind in (kind for kinds in model.decoder.layers for kind in kinds):
        match kind:
            case FullAttention() | SlidingWindow():
                sizes |= {(chosen.type_k, kind.head_dim), (chosen.type_v, kind.v_head_dim)}
            case LatentAttention():
                sizes.add((chosen.type_k, kind.rank + kind.rope_dim))
    for name, size in sorted(sizes):
        block = block_of(name)[0]
        if chosen.flash and size % block:
            raise UsageError(
                f"Heads of {size} elements are no multiple of the {block} that {name} packs.",
                hint="Leave the cache at f16.",
            )
