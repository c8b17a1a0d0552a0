"""SGLang: a fraction of what is free, filled with weights and pools; activations lie outside.

Read from SGLang 0.5.23: srt/mem_cache/kv_cache_configurator.py and
srt/model_executor/pool_configurator.py. What is asked for is the least pool that holds the
workload; what the engine takes is the fraction, and the rest of it becomes the pool.
"""

from __future__ import annotations

from fractions import Fraction

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import torch_name
from hfmem.gpu import GpuGroup
from hfmem.memory.cards import class_of
from hfmem.memory.estimate import MemoryEstimate, Phase, Pool
from hfmem.memory.host import while_serving
from hfmem.memory.overhead import CUDA_CONTEXT, CUDA_LIBRARIES
from hfmem.memory.parallel import times
from hfmem.memory.quantize import scheme
from hfmem.memory.quantize.convert import as_converted
from hfmem.memory.tensor_parallel import Rank, rank_weights
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.layers import SlidingWindow, kind_name
from hfmem.model.model import Model
from hfmem.runtimes.sglang_pools import Cells, cells, claim
from hfmem.runtimes.sglang_settings import Settings, capability, float_type, settings
from hfmem.runtimes.sglang_support import unrun
from hfmem.runtimes.vllm_rank import stage_layers
from hfmem.units import MIB, gib

VERSION = "0.5.23"


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
        ctx=chosen.ctx - workload.media_tokens,
        kv_dtype=torch_name(chosen.dtype) if chosen.kv_dtype == "auto" else chosen.kv_dtype,
        bytes_per_token=int(
            sum(one.token(chosen.swa_ratio) for one in known) * chosen.tp * chosen.dp
        ),
        unknown=tuple(unknown),
        notes=_notes(model, workload, chosen, known, carded=group is not None),
        host=while_serving(model, offloaded=0),
        outside_bytes=outside,
        budget_bytes=budget,
        refusal=_refusal(model, workload, group),
        pool=None if budget is None or unknown else _pool(chosen, known, phases, budget=budget),
    )


def _refusal(model: Model, workload: Workload, group: GpuGroup | None) -> str | None:
    """Its backends for other machines (srt/hardware_backend) set aside and fill by other rules; of
    NVIDIA's it takes compute capability 7.5 and more (maybe_downgrade_dtype_for_legacy_gpu)."""
    if group is None:
        return None
    found = capability(group.gpu)
    if found is not None and found < (7, 5):
        return f"SGLang needs compute capability 7.5; {group.gpu.name} has {found[0]}.{found[1]}."
    if group.gpu.vendor in {"nvidia", "amd", ""}:
        return unrun(model, workload.quantize, group.gpu)
    return (
        f"What SGLang takes of {group.gpu.name} is not known here: its rules for machines without "
        "an NVIDIA or AMD GPU are others."
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
        read=model.is_read,
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
            tokens=chosen.ctx,
        ),
        _activations(chosen),
        overhead,
    )
    return Phase(
        name="decode", memory=total("memory", parts, because=f"tensor parallel {chosen.tp}")
    )


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
    model: Model, workload: Workload, chosen: Settings, sizes: list[Cells], *, carded: bool
) -> tuple[Note, ...]:
    found = []
    if workload.ctx is None:
        assumed = chosen.ctx - workload.media_tokens
        message = f"No context was given: {assumed:,} tokens are assumed."
        found.append(Note(code="default_ctx", message=message))
    if not carded and not {"chunked_prefill_size", "cuda_graph_max_bs"} <= set(
        dict(workload.flags.given)
    ):
        message = (
            f"Without a card, SGLang's defaults on an H100 are taken: chunks of {chosen.chunk:,} "
            f"tokens and {chosen.graph_batch} captured sequences, for which it sets "
            f"{gib(_activations(chosen).bytes)} aside."
        )
        found.append(Note(code="assumed_card", message=message))
    if chosen.dtype != float_type(model, workload.dtype, None):
        message = f"Below compute capability 8.0 SGLang takes {torch_name(chosen.dtype)}."
        found.append(Note(code="dtype_of_card", message=message))
    kinds = {kind_name(kind) for kinds in model.decoder.layers for kind in kinds}
    if untold := sorted(kinds & {"compressed", "cross"}):
        what = " and ".join(untold)
        message = f"How SGLang keeps the {what} attention cache of this model is not known here."
        found.append(Note(code="kv_cache_unknown", message=message))
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
