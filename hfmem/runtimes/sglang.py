"""SGLang: a fraction of what is free, filled with weights and pools; activations lie outside.

Read from SGLang 0.5.23: srt/mem_cache/kv_cache_configurator.py and
srt/model_executor/pool_configurator.py. What is asked for is the least pool that holds the
workload; what the engine takes is the fraction, and the rest of it becomes the pool.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from fractions import Fraction

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import BITS, torch_name
from hfmem.gpu import GpuGroup
from hfmem.memory.cards import class_of
from hfmem.memory.estimate import MemoryEstimate, Phase, Pool
from hfmem.memory.overhead import CUDA_CONTEXT, CUDA_LIBRARIES
from hfmem.memory.parallel import times
from hfmem.memory.quantize import scheme
from hfmem.memory.quantize.convert import as_converted
from hfmem.memory.tensor_parallel import Rank, rank_weights
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
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
from hfmem.runtimes.sglang_settings import Settings, settings
from hfmem.runtimes.vllm_rank import stage_layers
from hfmem.units import MIB

VERSION = "0.5.23"
_INDEXER_BLOCK = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Bytes of one token in the pools of a rank, and of one sequence's recurrent state."""

    full: int
    sliding: int
    """Summed over the sliding layers; in the full pool's tokens they weigh the ratio."""
    window: int
    state: int

    def token(self, ratio: Fraction) -> Fraction:
        """Bytes of a token of the pool: full layers, and the ratio's share of sliding ones."""
        if not self.full:
            return Fraction(self.sliding)
        return self.full + ratio * self.sliding


def cells(model: Model, chosen: Settings, layers: range) -> Cells | None:
    """Sums over a rank's layers; None for a layout that is not described.

    Llama-3.1-8B in bf16: 131,072 bytes a token; gpt-oss-120b 36,864 in 18 full layers and as many
    in sliding ones.
    """
    full = sliding = state = window = 0
    for number in layers:
        for kind in model.decoder.layers[number]:
            match kind:
                case FullAttention() | SlidingWindow() | ChunkedAttention():
                    size = _attention(kind, chosen)
                    if isinstance(kind, FullAttention) or not chosen.hybrid_swa:
                        full += size
                    else:
                        sliding += size
                        window = kind.window if isinstance(kind, SlidingWindow) else kind.chunk
                case LatentAttention():
                    full += _latent(kind, chosen)
                case RecurrentState():
                    state += _state(kind, chosen)
                case CompressedAttention() | CrossAttention():
                    return None
                case SharedCache() | NoCache():
                    pass
    return Cells(full=full, sliding=sliding, window=window, state=state)


def _element_bits(chosen: Settings) -> int:
    match chosen.kv_dtype:
        case "auto":
            return BITS[chosen.dtype]
        case "fp8_e4m3" | "fp8_e5m2" | "mxfp8":
            return 8
        case _:
            return 16


def _attention(kind: CacheKind, chosen: Settings) -> int:
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention():
            heads = max(1, kind.kv_heads // chosen.tp)
            elements = heads * (kind.head_dim + kind.v_head_dim)
            size = elements * _element_bits(chosen) // 8
            return size + (elements // 32 if chosen.kv_dtype == "mxfp8" else 0)
        case _:
            return 0


def _latent(kind: LatentAttention, chosen: Settings) -> int:
    """rank + rope elements on every rank; with an indexer 656 bytes in fp8 and 132 of its keys
    (calculate_mla_kv_cache_dim, _compute_dsa_indexer_cell_size)."""
    bits = _element_bits(chosen)
    size = (kind.rank + kind.rope_dim) * bits // 8
    if not kind.indexer_dim:
        return size
    if bits == 8:
        size = kind.rank + kind.rank // _INDEXER_BLOCK * 4 + 2 * kind.rope_dim
    return size + kind.indexer_dim + kind.indexer_dim // _INDEXER_BLOCK * 4


def _state(kind: RecurrentState, chosen: Settings) -> int:
    """The convolution in bf16 without its newest column, the state in float32 by default
    (configs/mamba_utils.py: mamba2_state_dtype); both divided by the tensor parallel size."""
    conv = kind.conv_elements
    if kind.conv_kernel > 1:
        conv = conv // kind.conv_kernel * (kind.conv_kernel - 1)
    size = 2 * conv + kind.state_elements * BITS[chosen.state_dtype] // 8
    return -(-size // chosen.tp)


def estimate(model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
    """What SGLang needs for a workload, rank by rank.

    Raises UsageError for a layout that the group or the engine does not take.
    """
    chosen = settings(model, workload, group)
    unknown = [] if model.weights is not None else ["weights"]
    if workload.quantize is not None:
        model = as_converted(model, scheme(workload.quantize, runtime="sglang"), dtype=chosen.dtype)
    count = len(model.decoder.layers)
    stages = [stage_layers(count, number, chosen.pp) for number in range(chosen.pp)]
    sizes = [cells(model, chosen, stage) for stage in stages]
    if None in sizes or not model.cache_known:
        unknown.append("kv_cache")
    known = [one or Cells(full=0, sliding=0, window=0, state=0) for one in sizes]
    phases = tuple(
        _rank(
            model,
            chosen,
            stage,
            size,
            workload=workload,
            group=group,
            first=number == 0,
            last=number == chosen.pp - 1,
        )
        for number, (stage, size) in enumerate(zip(stages, known, strict=True))
    )
    worst = max(phases, key=lambda phase: phase.memory.bytes)
    outside = worst.part("activations").bytes + worst.part("overhead").bytes
    budget = None if group is None else _budget(chosen, group, worst)
    return MemoryEstimate(
        phases=(_summed(phases, chosen.tp * chosen.dp),),
        rank=(worst,) if chosen.ranks > 1 else (),
        count=chosen.ranks,
        ctx=chosen.ctx,
        kv_dtype=torch_name(chosen.dtype) if chosen.kv_dtype == "auto" else chosen.kv_dtype,
        bytes_per_token=int(
            sum(one.token(chosen.swa_ratio) for one in known) * chosen.tp * chosen.dp
        ),
        unknown=tuple(unknown),
        notes=_notes(model, workload, chosen, known),
        outside_bytes=outside,
        budget_bytes=budget,
        pool=None if budget is None or unknown else _pool(chosen, known, phases, budget=budget),
    )


def _rank(
    model: Model,
    chosen: Settings,
    stage: range,
    size: Cells,
    *,
    workload: Workload,
    group: GpuGroup | None,
    first: bool,
    last: bool,
) -> Phase:
    decoder = model.decoder
    weights = rank_weights(
        model.weights or (),
        Rank(
            tp=chosen.tp,
            experts=max(chosen.tp, chosen.experts),
            stage=stage,
            first=first,
            last=last,
            heads=decoder.attention_heads,
            kv_heads=decoder.kv_heads,
            tied=not any(run.component == "head" and run.loaded for run in model.weights or ()),
            towers_divided=True,
            experts_widened=(1, 1),
        ),
        dtype=chosen.dtype,
        model_type=model.model_type,
    )
    card = class_of(group.gpu if group else None)
    overhead = total(
        "overhead",
        (CUDA_CONTEXT[card].term("context"), CUDA_LIBRARIES[card].term("libraries")),
        because="driver context and libraries of a process",
    )
    parts = (
        weights,
        claim(
            size,
            chosen,
            sequences=-(-workload.batch // chosen.dp),
            tokens=chosen.ctx + workload.media_tokens,
        ),
        _activations(chosen),
        overhead,
    )
    return Phase(
        name="decode", memory=total("memory", parts, because=f"tensor parallel {chosen.tp}")
    )


def claim(size: Cells, chosen: Settings, *, sequences: int, tokens: int) -> Term:
    """The least pools that hold the sequences, in the shares that SGLang gives them.

    Full and sliding pools keep the ratio 1 : 0.8 whatever the window; recurrent state gets 0.9 of
    what the tokens get, so the larger need decides (kv_cache_configurator.py:
    _handle_max_mamba_cache, pool_configurator.py: _solve_pool_sizes).
    """
    ratio = chosen.swa_ratio
    pool_tokens = sequences * tokens
    if size.sliding and size.full:
        held = max(sequences * min(tokens, size.window), size.window + 2)
        pool_tokens = max(pool_tokens, int(-(-held // ratio)))
    cached = int(pool_tokens * size.token(ratio))
    parts = [
        Term(
            name="tokens",
            bytes=cached,
            basis="exact",
            because=f"{pool_tokens:,} tokens × {float(size.token(ratio)):,.0f} bytes"
            + (f", sliding layers at {float(ratio):g}" if size.sliding and size.full else ""),
        )
    ]
    if size.state:
        slots = sequences * chosen.state_slots
        states = (slots + 2) * size.state
        share = chosen.mamba_ratio
        parts.append(
            Term(
                name="recurrent",
                bytes=states,
                basis="exact",
                because=f"({sequences} sequences × {chosen.state_slots} slots + 2) × "
                f"{size.state:,} bytes",
            )
        )
        whole = max(int(states * (1 + share) / share), int(cached * (1 + share)))
        parts.append(
            Term(
                name="unused share",
                bytes=whole - states - cached,
                basis="exact",
                because=f"state and tokens share the pool {float(share):g} : 1",
            )
        )
    return total("kv_cache", parts, because=f"pools of SGLang {VERSION}")


def _activations(chosen: Settings) -> Term:
    chunk, graphs = max(chosen.chunk, 2048), 2 * chosen.graph_batch
    size = int((1.5 * chunk + graphs) * MIB)
    return Term(
        name="activations",
        bytes=size,
        basis="assumed",
        because=f"what SGLang itself sets aside: 1.5 MiB × {chunk:,} tokens of a chunk and 2 MiB × "
        f"{chosen.graph_batch} captured sequences (srt/arg_groups/memory_hook.py)",
        low=size // 5,
        high=size,
    )


def _budget(chosen: Settings, group: GpuGroup, worst: Phase) -> int:
    """The fraction of what is free before the model is loaded, the context being there already."""
    context = worst.part("overhead").parts[0].bytes
    return int(max(0, group.gpu.usable_bytes - group.used_bytes - context) * chosen.fraction)


def _pool(chosen: Settings, sizes: list[Cells], phases: tuple[Phase, ...], *, budget: int) -> Pool:
    """What is left for tokens: as many on every rank as the fullest one holds."""
    found = []
    for size, phase in zip(sizes, phases, strict=True):
        rest = max(0, budget - phase.part("weights").bytes)
        if size.state:
            rest = int(rest / (1 + chosen.mamba_ratio))
        each = size.token(chosen.swa_ratio)
        found.append(int(rest / each) if each else 0)
    tokens = min(found)
    held = sum(int(tokens * size.token(chosen.swa_ratio)) for size in sizes)
    return Pool(
        bytes=held * chosen.tp * chosen.dp,
        tokens=tokens,
        concurrency=Fraction(tokens * chosen.dp, chosen.ctx),
    )


def _summed(phases: tuple[Phase, ...], ranks: int) -> Phase:
    if len(phases) == 1 and ranks == 1:
        return phases[0]
    parts = []
    for name in ("weights", "kv_cache", "activations", "overhead"):
        held = [times(phase.part(name), ranks) for phase in phases]
        parts.append(
            total(name, held[0].parts or held if len(held) == 1 else held, because="all ranks")
        )
    return Phase(name="decode", memory=total("memory", parts, because="all ranks together"))


def _notes(
    model: Model, workload: Workload, chosen: Settings, sizes: list[Cells]
) -> tuple[Note, ...]:
    found = []
    if workload.ctx is None:
        message = f"No context was given: {chosen.ctx:,} tokens are assumed."
        found.append(Note(code="default_ctx", message=message))
    limit = model.decoder.max_context
    if limit is not None and chosen.ctx > limit:
        message = (
            f"{chosen.ctx:,} tokens are more than the model's maximum of {limit:,}; computed as "
            "asked."
        )
        found.append(Note(code="beyond_max_context", message=message))
    sliding = any(isinstance(k, SlidingWindow) for kinds in model.decoder.layers for k in kinds)
    if sliding and not chosen.hybrid_swa:
        message = "SGLang keeps every token in this model's sliding layers too."
        found.append(Note(code="no_sliding_pool", message=message))
    if any(size.state for size in sizes) and chosen.state_slots > 1:
        message = (
            f"Each running request holds {chosen.state_slots} recurrent states, for reuse of "
            "prefixes; 1 with --disable-radix-cache."
        )
        found.append(Note(code="state_slots", message=message))
    return tuple(found)


_SPELLED = {"tp": "--tp-size", "pp": "--pp-size", "dp": "--dp-size", "ep": "--ep-size"}
_MADE_AS_IT_LOADS = {"fp8": "fp8"}


def launch_server(
    model: Model, workload: Workload, group: GpuGroup, _estimate: MemoryEstimate
) -> str:
    """``sglang serve --model-path org/name --context-length 8192 --tp-size 2``, as asked."""
    name, quantized = model.name, workload.quantize
    if quantized is not None and quantized not in _MADE_AS_IT_LOADS:
        name = f"CHECKPOINT-OF-{name.split('/')[-1]}-IN-{quantized}"
    words = ["python", "-m", "sglang.launch_server", "--model-path", name]
    if model.revision:
        words += ["--revision", model.revision]
    if workload.ctx is not None:
        words += ["--context-length", str(workload.ctx)]
    flags = dict(workload.flags.given)
    if group.count > 1 and not {"tp", "pp", "dp"} & flags.keys():
        words += ["--tp-size", str(group.count)]
    if workload.dtype is not None:
        words += ["--dtype", torch_name(workload.dtype)]
    if workload.kv_dtype != "auto":
        words += ["--kv-cache-dtype", workload.kv_dtype]
    if quantized in _MADE_AS_IT_LOADS:
        words += ["--quantization", _MADE_AS_IT_LOADS[quantized or ""]]
    for flag, value in flags.items():
        spelled = _SPELLED.get(flag, f"--{flag.replace('_', '-')}")
        if value is True:
            words.append(spelled)
        elif isinstance(value, Fraction):
            words += [spelled, f"{float(value):g}"]
        else:
            words += [spelled, str(value)]
    return shlex.join(words)
