"""llama.cpp (llama-server): weights by layer, a cache allocated whole, planned compute buffers.

Read from the llama.cpp in llama-cpp-python 0.3.36. What a device holds is fixed at the start; the
host holds the input embedding, the inputs of the graph and whatever is not offloaded.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import replace

from hfmem.gpu import GpuGroup
from hfmem.memory.cards import class_of
from hfmem.memory.estimate import MemoryEstimate, Phase
from hfmem.memory.overhead import CUDA_CONTEXT, CUDA_LIBRARIES, MPS_CONTEXT, ROCM_CONTEXT
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes.llama_cpp_cache import layer_caches
from hfmem.runtimes.llama_cpp_graph import (
    DeviceGraph,
    LayerWork,
    MicroBatch,
    compute_buffer,
)
from hfmem.runtimes.llama_cpp_placement import Place, micro_batch, notes, on_host, places
from hfmem.runtimes.llama_cpp_settings import MAX_SLOTS, Settings, settings
from hfmem.runtimes.llama_cpp_shapes import GraphFacts, graph_facts
from hfmem.runtimes.llama_cpp_weights import Stored, stored
from hfmem.units import MIB

VERSION = "0.3.36"
FIT_TARGET = 1024 * MIB
"""Left free on every device by --fit (common/common.h: fit_params_target)."""
LARGE_BATCH = 32
"""Rows from which a device multiplies with matrices of the host (ggml-cuda.cu: GGML_OP_OFFLOAD_
MIN_BATCH)."""
MAX_DEVICES = 16
"""src/llama.cpp: llama_max_devices; ggml-cuda.h: GGML_CUDA_MAX_DEVICES."""
PIPELINE_COPIES = 4
"""ggml-backend.cpp: GGML_SCHED_MAX_COPIES."""


def estimate(model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
    """What llama-server holds on each device for a workload.

    Raises UsageError for what it refuses.
    """
    chosen = settings(model, workload)
    count = group.count if group else 1
    file = stored(model, workload.quantize, workload.dtype)
    facts = graph_facts(model)
    unknown = [] if file is not None else ["weights"]
    if facts is None:
        unknown.append("activations")
    caches = layer_caches(model.decoder.layers, chosen)
    if caches is None or not model.cache_known:
        unknown.append("kv_cache")
    dealt = places(count, layers=len(model.decoder.layers), gpu_layers=chosen.gpu_layers)
    alone = workload.device == "cpu"
    ranks = tuple(
        _device(
            place,
            chosen,
            file=file,
            facts=facts,
            caches=caches or (),
            workload=workload,
            group=group,
            first=number == 0,
            assists=number == 0 and _assists(model, chosen, dealt, workload),
            copies=_copies(chosen, dealt, file),
        )
        for number, place in enumerate(dealt)
    )
    worst = max(ranks, key=lambda phase: phase.memory.bytes)
    outside = worst.part("overhead").bytes
    fitted = group is not None and chosen.gpu_layers is None and not alone
    return MemoryEstimate(
        phases=(_summed(ranks),),
        rank=(worst,) if count > 1 else (),
        count=count,
        ctx=chosen.ctx,
        kv_dtype=chosen.type_k
        if chosen.type_k == chosen.type_v
        else f"{chosen.type_k}/{chosen.type_v}",
        bytes_per_token=_per_token(model, chosen),
        unknown=tuple(unknown),
        notes=notes(model, workload, chosen, file=file),
        host=None
        if alone or file is None
        else on_host(
            model,
            file,
            chosen,
            facts=facts,
            dealt=dealt,
            copies=_copies(chosen, dealt, file),
        ),
        outside_bytes=outside if fitted else 0,
        budget_bytes=max(0, group.usable_bytes // group.count - outside - FIT_TARGET)
        if fitted and group is not None
        else None,
        offloaded_bytes=None
        if alone
        else worst.part("activations").bytes + (0 if fitted else outside),
        most_sequences=MAX_SLOTS,
        refusal=_refusal(chosen, count),
    )


def _refusal(chosen: Settings, count: int) -> str | None:
    if count > MAX_DEVICES:
        return f"llama.cpp takes at most {MAX_DEVICES} devices (src/llama.cpp: llama_max_devices)."
    if chosen.slots > MAX_SLOTS:
        return f"llama.cpp runs at most {MAX_SLOTS} sequences at once."
    return None


def held(model: Model, name: str | None, workload: Workload) -> tuple[int, int]:
    """Bytes of a file type, on one device as the workload places layers, and in the files.

    Llama-3.1-8B in Q8_0: the input embedding of 558,170,112 bytes stays with the host. Raises
    UsageError.
    """
    file = stored(model, name, workload.dtype)
    if file is None:
        return 0, 0
    chosen = settings(model, workload)
    place = places(1, layers=len(model.decoder.layers), gpu_layers=chosen.gpu_layers)[0]
    term = _weights(place, chosen, file, first=True, host=workload.device == "cpu")
    return term.bytes, file.file_bytes


def _copies(chosen: Settings, dealt: tuple[Place, ...], file: Stored | None) -> int:
    """Inputs are kept several times where devices work as a pipeline (src/llama-context.cpp)."""
    layers = sum(len(place.layers) for place in dealt)
    whole = file is not None and layers == len(file.layers) and dealt[-1].head
    pipeline = len(dealt) > 1 and whole and chosen.kv_offload and chosen.cpu_moe is None
    return PIPELINE_COPIES if pipeline else 1


def _assists(model: Model, chosen: Settings, dealt: tuple[Place, ...], workload: Workload) -> bool:
    """Whether layers stay with the host for whose prompts a device multiplies."""
    left = len(model.decoder.layers) - sum(len(place.layers) for place in dealt)
    large = min(chosen.n_ctx, chosen.ubatch) >= LARGE_BATCH
    return left > 0 and large and workload.device in ("cuda", "rocm")


def _device(
    place: Place,
    chosen: Settings,
    *,
    file: Stored | None,
    facts: GraphFacts | None,
    caches: tuple[tuple[int, str], ...],
    workload: Workload,
    group: GpuGroup | None,
    first: bool,
    assists: bool,
    copies: int,
) -> Phase:
    alone = workload.device == "cpu"
    parts = (
        _weights(place, chosen, file, first=first, host=alone),
        _cache(place, chosen, caches),
        _activations(
            place,
            chosen,
            facts,
            file,
            kept=caches if assists else None,
            copies=copies,
            host=alone,
        ),
        _overhead(workload, group),
    )
    because = (
        f"layers {place.layers.start} to {place.layers.stop - 1}" if place.layers else "no layer"
    )
    return Phase(name="decode", memory=total("memory", parts, because=because))


def _weights(
    place: Place, chosen: Settings, file: Stored | None, *, first: bool, host: bool
) -> Term:
    if file is None:
        return _nothing("weights", "unknown: there are no headers")
    on_host = 0 if chosen.cpu_moe is None or host else chosen.cpu_moe
    sizes = {
        "language": sum(file.layers[n] for n in place.layers),
        "experts": sum(file.experts[n] for n in place.layers if n >= on_host),
        "output": file.output if place.head else 0,
        "mmproj": file.towers if first else 0,
        "embedding": file.embedding if host else 0,
    }
    if host and file.tied:
        sizes["output"] -= file.embedding  # It is duplicated for another device only.
    parts = [
        Term(name=name, bytes=size, basis=file.basis, because=file.because)
        for name, size in sizes.items()
        if size
    ]
    return total("weights", parts, because=file.because)


def _cache(place: Place, chosen: Settings, caches: tuple[tuple[int, str], ...]) -> Term:
    held: dict[str, list[int]] = {}
    for number in place.layers if chosen.kv_offload else ():
        if number < len(caches) and caches[number][0]:
            held.setdefault(caches[number][1], []).append(caches[number][0])
    parts = [
        Term(
            name="recurrent" if "slots ×" in why else "cells",
            bytes=sum(sizes),
            basis="exact",
            because=f"{len(sizes)} layers × {why}",
        )
        for why, sizes in held.items()
    ]
    return total(
        "kv_cache", parts, because=f"allocated at the start for {chosen.n_ctx:,} cells in all"
    )


@lru_cache(maxsize=1024)
def _buffer(part: DeviceGraph, batch: MicroBatch) -> int:
    return compute_buffer(part, batch)


def _activations(
    place: Place,
    chosen: Settings,
    facts: GraphFacts | None,
    file: Stored | None,
    *,
    kept: tuple[tuple[int, str], ...] | None,
    copies: int,
    host: bool,
) -> Term:
    """The compute buffer.

    The first device multiplies for the layers of the host too, in batches of 32 rows and more, and
    gets their matrices one after another for it, and their cache (ggml/src/ggml-backend.cpp:
    ggml_backend_sched_backend_id_from_cur, ggml_backend_sched_split_graph; ggml-cuda.cu:
    ggml_backend_cuda_device_offload_op). ``kept`` holds their caches then: Llama-3.1-8B in Q4_K_M
    with -ngl 0 takes 116 MiB and a matrix of 46.
    """
    if facts is None:
        return _nothing("activations", "unknown: no sizes are told")
    away = not host and chosen.cpu_moe is not None and place.layers.start < chosen.cpu_moe
    copied = file.expert_tensor if away and file is not None else 0
    kept_bytes = [size if chosen.kv_offload else 0 for size, _ in kept or ()]
    part = DeviceGraph(
        hidden=facts.hidden,
        layers=tuple(
            LayerWork(
                shape=shape,
                copied_expert_bytes=copied,
                copied_cache_bytes=kept_bytes[number]
                if number < min(len(kept_bytes), place.layers.start or len(facts.shapes))
                else 0,
            )
            for number, shape in enumerate(facts.shapes)
        )
        if place.layers or kept is not None
        else (),
        vocabulary=facts.vocabulary if place.head else 0,
        last=place.head,
        copies=copies,
        embeds=host,
    )
    batch = micro_batch(chosen, facts.window)
    size = _buffer(part, batch)
    low, high = (98, 102) if facts.described else (60, 200)
    if facts.described and facts.recurrent:
        low, high = 90, 110
    if kept is not None and file is not None:
        size += max(file.layer_tensor, file.expert_tensor)
        if chosen.gpu_layers == 0 and batch.outputs >= LARGE_BATCH:
            rows = 4 * batch.outputs * (facts.vocabulary + facts.hidden)
            size = max(size, file.output + rows)
        low = min(low, 70)  # The largest matrix need not come at the largest instant.
    attention = "flash attention" if chosen.flash else "scores of every head"
    return Term(
        name="activations",
        bytes=size,
        basis="derived" if facts.described else "assumed",
        because=f"compute buffer that ggml plans for {batch.tokens} tokens, {batch.outputs} "
        f"outputs and {batch.cells:,} cells with {attention} (src/llama-graph.cpp, "
        "ggml/src/ggml-alloc.c)",
        low=size * low // 100,
        high=size * high // 100,
    )


def _overhead(workload: Workload, group: GpuGroup | None) -> Term:
    card = class_of(group.gpu if group else None)
    match workload.device:
        case "cuda":
            parts = [CUDA_CONTEXT[card].term("context"), CUDA_LIBRARIES[card].term("libraries")]
        case "rocm":
            parts = [ROCM_CONTEXT.term("context")]
        case "mps":
            parts = [MPS_CONTEXT.term("context")]
        case "cpu":
            parts = []
    return total(
        "overhead", parts, because=f"what a {workload.device} process holds beside buffers"
    )


def _nothing(name: str, because: str) -> Term:
    return Term(name=name, bytes=0, basis="assumed", because=because)


def _per_token(model: Model, chosen: Settings) -> int:
    """Mean over the padding of 256 cells that a longer context adds, of one sequence."""
    longer = replace(chosen, cells=chosen.cells + 256)
    now, later = (layer_caches(model.decoder.layers, one) for one in (chosen, longer))
    if now is None or later is None:
        return 0
    grown = sum(size for size, _ in later) - sum(size for size, _ in now)
    return grown // (256 * chosen.streams)


def _summed(ranks: tuple[Phase, ...]) -> Phase:
    if len(ranks) == 1:
        return ranks[0]
    parts = []
    for name in ("weights", "kv_cache", "activations", "overhead"):
        held = [rank.part(name) for rank in ranks]
        named = [replace(term, name=f"device {n}") for n, term in enumerate(held)]
        parts.append(total(name, named, because=f"{len(ranks)} devices"))
    return Phase(name="decode", memory=total("memory", parts, because="all devices"))
