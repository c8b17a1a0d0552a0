"""MLX (mlx-lm): caches that grow in steps, within Apple's working set.

Read from mlx-lm 0.32.2: models/cache.py, generate.py, utils.py. The limit is the recommended
maximum working set of the machine, which the catalogue gives as what is usable.
"""

from __future__ import annotations

from typing import assert_never

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import BITS, torch_name, width
from hfmem.errors import UsageError
from hfmem.gpu import GpuGroup
from hfmem.memory.estimate import MemoryEstimate, Phase, PhaseName
from hfmem.memory.overhead import MPS_CONTEXT
from hfmem.memory.term import Term, total
from hfmem.memory.workload import DEFAULT_CTX, Workload
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)
from hfmem.model.model import Model
from hfmem.model.parameters import routing
from hfmem.runtimes.mlx_weights import TOWERS, converted, held, loading
from hfmem.runtimes.vllm_peak import Widths, widths

VERSION = "0.32.2"
STEP = 256
"""Tokens that a cache grows by (models/cache.py: KVCache.step)."""
PREFILL_STEP = 2048
"""Tokens of a chunk of the prompt (generate.py: prefill_step_size)."""
QUANTIZED_START = 5000
"""generate.py: DEFAULT_QUANTIZED_KV_START."""
GROUP = 64
BITS_BY_NAME = {"q8": 8, "q4": 4, "q2": 2}
KV_DTYPES = ("auto", *BITS_BY_NAME)
"""``--kv-bits 8``, 4 and 2; the widths that a word of 32 bits holds whole."""
_ROTATING = frozenset(
    {
        *("afmoe", "baichuan_m1", "cohere2", "exaone4", "exaone_moe", "gemma3", "gemma3_text"),
        *("gemma3n", "gemma4", "gemma4_text", "gpt_oss", "laguna", "llama", "mellum"),
        *("mimo_v2_flash", "ministral3", "mistral3", "olmo3", "plamo2", "plamo3", "step3p5"),
        *("recurrent_gemma", "gemma3n_text"),
    }
)
"""models/*.py with a RotatingKVCache; other models keep every token."""


def grown(tokens: int) -> int:
    """Cells of a cache of so many tokens: ``grown(1000) == 1024``."""
    return -(-tokens // STEP) * STEP


def cells(kind: CacheKind, tokens: int, *, rotating: bool, chunk: int) -> int:
    """Cells of one layer; ``chunk`` tokens of the prompt come at once, 1 while generating.

    A rotating cache of 1,024 holds 1,024 while it generates and 3,071 while chunks of 2,048 come
    (models/cache.py: RotatingKVCache._update_concat).
    """
    match kind:
        case FullAttention():
            return grown(tokens)
        case LatentAttention():
            return grown(tokens)
        case SlidingWindow():
            return _rotated(kind.window, tokens, chunk) if rotating else grown(tokens)
        case ChunkedAttention():
            # ChunkedKVCache: trimmed to a chunk before the next tokens are added.
            return min(grown(tokens), kind.chunk + grown(chunk))
        case (
            RecurrentState() | CrossAttention() | CompressedAttention() | SharedCache() | NoCache()
        ):
            return 0
        case _:
            assert_never(kind)


def _rotated(window: int, tokens: int, chunk: int) -> int:
    """The prompt comes in without its last token, which makes room for a step more."""
    if chunk > 1:
        return min(tokens, window - 1 + chunk)
    return min(tokens - 1 + STEP, window)


def row_bytes(elements: int, *, element: int, bits: int | None, group: int = GROUP) -> int:
    """Bytes of a row: elements, or ``bits`` of each and a scale and an offset a group.

    models/cache.py: QuantizedKVCache. 128 elements in 4 bits: 64 + 2 × 2 × 2 = 72.
    """
    if bits is None:
        return elements * element
    return elements // (32 // bits) * 4 + 2 * (elements // group) * element


def estimate(model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
    """What mlx-lm holds for a workload. Raises UsageError for what it refuses."""
    dtype = workload.dtype or model.dtype
    ctx = workload.ctx or min(DEFAULT_CTX, model.decoder.max_context or DEFAULT_CTX)
    tokens = ctx + workload.media_tokens
    bits = _bits(model, workload, tokens=tokens)
    if workload.quantize is not None:
        if not workload.quantize.startswith("mlx-"):
            raise UsageError(
                f"mlx-lm does not load {workload.quantize!r:.60}.",
                hint="Choose one of its own: mlx-4bit, mlx-8bit, mlx-4bit-g32 …",
            )
        model = converted(model, workload.quantize, dtype=dtype)
    kinds = [kind for layer in model.decoder.layers for kind in layer]
    unknown = [] if model.weights is not None else ["weights"]
    described = not any(isinstance(kind, CrossAttention | CompressedAttention) for kind in kinds)
    if not (described and model.cache_known):
        unknown.append("kv_cache")
    size = widths(model, routing(model.decoder.text))
    if size is None:
        unknown.append("activations")
    if _elsewhere(group):
        unknown.append("overhead")
    weights, how = held(model, dtype=dtype), loading(model)
    overhead = total("overhead", (MPS_CONTEXT.term("context"),), because="Metal's own memory")
    prompt = min(PREFILL_STEP, tokens)
    instants: tuple[tuple[PhaseName, int], ...] = (("prefill", prompt), ("decode", 1))
    phases = tuple(
        Phase(
            name=name,
            memory=total(
                "memory",
                (
                    weights,
                    _cache(model, workload, tokens, dtype=dtype, bits=bits, chunk=chunk),
                    _activations(size, chunk * workload.batch, dtype=dtype),
                    overhead,
                ),
                because=f"held together at the peak of {name}",
            ),
        )
        for name, chunk in instants
    )
    count = group.count if group else 1
    return MemoryEstimate(
        phases=phases,
        ctx=ctx,
        kv_dtype=torch_name(dtype) if bits is None else f"{bits} bits in groups of {GROUP}",
        bytes_per_token=sum(
            _token_bytes(kind, model, dtype=dtype, bits=bits)
            for kind in kinds
            if cells(kind, tokens + STEP, rotating=_rotates(model), chunk=1)
            > cells(kind, tokens, rotating=_rotates(model), chunk=1)
        ),
        unknown=tuple(unknown),
        notes=_notes(model, workload, ctx, group, held=weights),
        refusal=how.refusal if count == 1 else "mlx-lm runs a model on one machine here.",
    )


def _elsewhere(group: GpuGroup | None) -> bool:
    """Not on a Mac: MLX's CUDA and CPU backends allocate in ways that are not described here."""
    return group is not None and group.gpu.vendor != "apple"


def _rotates(model: Model) -> bool:
    return (model.decoder.model_type or model.model_type) in _ROTATING or (
        model.model_type in _ROTATING
    )


def _bits(model: Model, workload: Workload, *, tokens: int) -> int | None:
    """The quantized cache's width, once the context reaches its start; None before."""
    bits = BITS_BY_NAME.get(workload.kv_dtype) or workload.flags.whole("kv_bits")
    start = workload.flags.whole("quantized_kv_start")
    if bits is None or tokens < (QUANTIZED_START if start is None else start):
        return None
    if bits not in BITS_BY_NAME.values():
        raise UsageError(
            f"--kv-bits {bits} does not divide a word of 32 bits.", hint="Give 8, 4 or 2."
        )
    kinds = [kind for layer in model.decoder.layers for kind in layer]
    latents = [kind for kind in kinds if isinstance(kind, LatentAttention)]
    if any(kind.indexer_dim for kind in latents):
        return None
    if latents and not _expands(model):
        raise UsageError(
            "mlx-lm does not run latent attention over a quantized cache.",
            hint="Leave --kv-bits out (mlx-lm 0.32 models/deepseek_v3.py: k_pe.swapaxes).",
        )
    if _rotates(model) and any(isinstance(kind, SlidingWindow) for kind in kinds):
        raise UsageError(
            "mlx-lm does not quantize the rotating cache of sliding layers.",
            hint="Leave --kv-bits out (mlx-lm 0.32 models/cache.py: RotatingKVCache.to_quantized).",
        )
    return bits


def _token_bytes(kind: CacheKind, model: Model, *, dtype: str, bits: int | None) -> int:
    """Bytes of one cell of one layer."""
    element = width(dtype)
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention():
            key = row_bytes(kind.head_dim, element=element, bits=bits)
            value = row_bytes(kind.v_head_dim, element=element, bits=bits)
            return kind.kv_heads * (key + value)
        case LatentAttention():
            if _expands(model):
                return _expanded(kind, model, element=element, bits=bits)
            # The indexer's cache holds its keys twice (models/deepseek_v32.py).
            return (kind.rank + kind.rope_dim + 2 * kind.indexer_dim) * element
        case _:
            return 0


_EXPANDED = frozenset({"deepseek_v2", "minicpm3", "youtu_llm"})
"""models/*.py that cache keys and values of every head in place of their latent."""


def _expands(model: Model) -> bool:
    return (model.decoder.model_type or model.model_type) in _EXPANDED


def _expanded(kind: LatentAttention, model: Model, *, element: int, bits: int | None) -> int:
    text = model.decoder.text
    plain = text.integer_or_none("qk_nope_head_dim") or 0
    key = row_bytes(plain + kind.rope_dim, element=element, bits=bits)
    value = row_bytes(text.integer_or_none("v_head_dim") or 0, element=element, bits=bits)
    return kind.heads * (key + value)


def _cache(
    model: Model, workload: Workload, tokens: int, *, dtype: str, bits: int | None, chunk: int
) -> Term:
    rotating = _rotates(model)
    counts: dict[CacheKind, int] = {}
    for layer in model.decoder.layers:
        for kind in layer:
            counts[kind] = counts.get(kind, 0) + 1
    parts = []
    start = workload.flags.whole("quantized_kv_start")
    start = max(1, QUANTIZED_START if start is None else start)
    # Looked at after every chunk of the prompt (generate.py: maybe_quantize_kv_cache).
    start = -(-start // PREFILL_STEP) * PREFILL_STEP
    for kind, count in counts.items():
        if isinstance(kind, RecurrentState):
            each, what = _state(kind, dtype=dtype), "a state"
        else:
            held = cells(kind, tokens, rotating=rotating, chunk=chunk)
            token = _token_bytes(kind, model, dtype=dtype, bits=bits)
            each, what = held * token, f"{held:,} cells × {token:,} bytes"
            if bits is not None:
                plain = _token_bytes(kind, model, dtype=dtype, bits=None)
                before = cells(kind, min(tokens, start), rotating=rotating, chunk=chunk)
                if before * plain > each:
                    each, what = before * plain, f"{before:,} cells before they are quantized"
        if each:
            parts.append(
                Term(
                    name="recurrent" if isinstance(kind, RecurrentState) else "cells",
                    bytes=count * workload.batch * each,
                    basis="exact",
                    because=f"{count} layers × {workload.batch} sequences × {what}",
                )
            )
    return total("kv_cache", parts, because=f"mlx-lm {VERSION} models/cache.py, steps of {STEP}")


def _state(kind: RecurrentState, *, dtype: str) -> int:
    """The convolution in the model's type without its newest column, the state in float32
    (models/gated_delta.py, ssm.py)."""
    conv = kind.conv_elements
    if kind.conv_kernel > 1:
        conv = conv // kind.conv_kernel * (kind.conv_kernel - 1)
    return (conv * BITS[dtype] + kind.state_elements * 32) // 8


def _activations(size: Widths | None, tokens: int, *, dtype: str) -> Term:
    """One layer's tensors and, of the last token, the logits; MLX's graph is lazy, so what is held
    at once is a guess within a factor of two."""
    if size is None:
        return Term(name="activations", bytes=0, basis="assumed", because="unknown sizes")
    element = width(dtype)
    layer = tokens * element * (4 * size.hidden + 3 * size.feed_forward)
    routed = tokens * size.chosen * (3 * size.expert + 2 * size.hidden) * element
    found = layer + routed + size.vocabulary * (element + 4)
    return Term(
        name="activations",
        bytes=found,
        basis="assumed",
        because=f"{tokens:,} tokens of one layer: 4 × {size.hidden:,} and 3 × "
        f"{size.feed_forward or size.expert:,}, and one row of logits",
        low=found // 2,
        high=found * 2,
    )


def _notes(
    model: Model, workload: Workload, ctx: int, group: GpuGroup | None, *, held: Term
) -> tuple[Note, ...]:
    found = []
    if (how := loading(model)).refusal is not None:
        found.append(Note(code="not_loaded", message=f"{how.refusal}."))
    elif how.expansion is not None:
        message = f"mlx-lm {VERSION} expands these FP8 weights to bf16 as it loads them."
        found.append(Note(code="expanded", message=message))
    if workload.ctx is None:
        message = f"No context was given: {ctx:,} tokens are assumed."
        found.append(Note(code="default_ctx", message=message))
    limit = model.decoder.max_context
    asked = workload.kv_dtype != "auto" or workload.flags.whole("kv_bits") is not None
    kinds = [kind for layer in model.decoder.layers for kind in layer]
    if asked and any(isinstance(kind, LatentAttention) and kind.indexer_dim for kind in kinds):
        message = "mlx-lm does not quantize the cache of layers with an indexer; computed so."
        found.append(Note(code="kv_not_quantized", message=message))
    if limit is not None and ctx > limit:
        message = (
            f"{ctx:,} tokens are more than the model's maximum of {limit:,}; computed as asked."
        )
        found.append(Note(code="beyond_max_context", message=message))
    if any(run.component in TOWERS and run.loaded for run in model.weights or ()):
        message = "Encoders of pictures and sound are left out, as mlx-lm does for most models."
        found.append(Note(code="language_only", message=message))
    if _elsewhere(group):
        message = "MLX is described on Apple machines; what it holds on others is unknown."
        found.append(Note(code="not_on_a_mac", message=message))
        return tuple(found)
    if group is not None and held.bytes * 10 > group.gpu.usable_bytes * 9:
        message = "The weights take more than nine tenths of the working set: mlx-lm warns of this."
        found.append(Note(code="near_working_set", message=message))
    if group is not None and group.gpu.vendor == "apple":
        message = "The working set can be raised: sudo sysctl iogpu.wired_limit_mb=N (macOS 15)."
        found.append(Note(code="wired_limit", message=message))
    return tuple(found)
