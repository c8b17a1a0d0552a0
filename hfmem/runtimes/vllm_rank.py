"""One rank of vLLM: its weights, the pages of its cache, and what it holds beside them."""

from __future__ import annotations

import re

from msgspec import Struct

from hfmem.dtypes import width
from hfmem.gpu import GpuGroup
from hfmem.memory.cards import class_of
from hfmem.memory.estimate import Phase
from hfmem.memory.tensor_parallel import Rank, rank_weights
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.config import MAX_LAYERS
from hfmem.model.model import Model
from hfmem.runtimes.vllm_cache import CachePlan
from hfmem.runtimes.vllm_peak import Widths, activations, graphs, libraries, outside
from hfmem.runtimes.vllm_rope import rope_caches
from hfmem.runtimes.vllm_settings import Settings
from hfmem.runtimes.vllm_workspaces import latent_of


class Stage(Struct, frozen=True, kw_only=True):
    """One rank of a pipeline stage."""

    phase: Phase
    outside: int
    fixed: int
    """Inside the budget, without the cache."""
    offloaded: int
    """Of the weights, in the host's memory: as asked, at most all layers."""
    offloadable: int
    block_bytes: int


def stage_layers(layers: int, number: int, stages: int) -> range:
    """Layers of a pipeline stage: what is left over goes to the stages before the last.

    distributed/utils.py: get_pp_indices. 61 layers in 2 stages: 31 and 30. Of a model whose number
    of layers nothing tells, the first stage holds whatever there is.
    """
    if not layers:
        return range(0 if number else MAX_LAYERS)
    each, rest = divmod(layers, stages)
    sizes = [each] * stages
    for back in range(2, rest + 2):
        sizes[-back] += 1
    start = sum(sizes[:number])
    return range(start, start + sizes[number])


def stage_of(
    model: Model,
    chosen: Settings,
    size: Widths | None,
    caches: CachePlan,
    number: int,
    *,
    workload: Workload,
    group: GpuGroup | None,
) -> Stage:
    """What a rank of a pipeline stage holds of a workload, ``number`` counted from 0."""
    layout = chosen.layout
    layers = stage_layers(len(model.decoder.layers), number, layout.pp)
    last = number == layout.pp - 1
    weights = _weights(model, chosen, layers, first=number == 0, last=last)
    layered = sum(part.bytes for part in weights.parts if part.name in _LAYERED)
    offload = min(workload.flags.whole("cpu_offload_gb") or 0, layered)
    if offload:
        weights = _offloaded(weights, offload)
    peak = (
        Term(name="activations", bytes=0, basis="assumed", because="unknown: no sizes are told")
        if size is None
        else activations(model, size, chosen, last=last, items=workload.largest)
    )
    gpu_class = class_of(group.gpu if group else None)
    before = outside(chosen, gpu_class)
    inside = [libraries(chosen, gpu_class)]
    captured = graphs(len(layers), size, chosen) if size is not None else None
    if captured is not None:
        inside.append(captured)
    block_bytes = caches.bytes_per_block(layers)
    cache = _cache(caches, chosen, workload.batch, block_bytes)
    overhead = total("overhead", (before, *inside), because="beside the tensors, on one rank")
    out = before.bytes
    if captured is not None and not chosen.behaviour.graphs_in_budget:
        out += captured.bytes
    memory = total(
        "memory",
        (weights, cache, peak, overhead),
        because=f"one rank of stage {number + 1} of {layout.pp}, tensor parallel {layout.tp}",
    )
    return Stage(
        phase=Phase(name="decode", memory=memory),
        outside=out,
        fixed=memory.bytes - cache.bytes - out,
        offloaded=offload,
        offloadable=layered - offload,
        block_bytes=block_bytes,
    )


def _weights(model: Model, chosen: Settings, layers: range, *, first: bool, last: bool) -> Term:
    layout, decoder = chosen.layout, model.decoder
    runs = model.weights or ()
    held = rank_weights(
        runs,
        Rank(
            tp=layout.tp,
            experts=layout.experts,
            stage=layers,
            first=first,
            last=last,
            heads=decoder.attention_heads,
            kv_heads=decoder.kv_heads,
            tied=not any(run.component == "head" and run.loaded for run in runs),
            towers_divided=model.model_type not in _WHOLE_TOWERS,
            experts_widened=_tiles(chosen),
        ),
        dtype=chosen.dtype,
        model_type=model.model_type,
        read=model.is_read,
    )
    beside: tuple[Term, ...] = ()
    if model.weights:
        beside = (
            *rope_caches(model, element=width(chosen.dtype)),
            *_absorbed(model, chosen, layers),
        )
    return total("weights", (*held.parts, *beside), because=held.because)


def _absorbed(model: Model, chosen: Settings, layers: range) -> tuple[Term, ...]:
    """A quantized ``kv_b_proj`` once more in 16 bits, for decoding in the latent.

    vLLM 0.33 mla_attention.py: process_weights_after_loading; of weights in 16 bits it takes views.
    DeepSeek-V3 on 8 ranks: 61 layers × 512 × 16 heads × 256 × 2 bytes, 0.24 GiB.
    """
    rows = [
        run.run.restricted(layers)
        for run in model.weights or ()
        if run.loaded and _ABSORBED.search(run.run.name) and (run.packed or run.run.dtype in FP8)
    ]
    kind = latent_of(model)
    wide = sum(
        model.decoder.text.integer_or_none(key) or 0 for key in ("qk_nope_head_dim", "v_head_dim")
    )
    count = sum(run.count for run in rows if run is not None)
    if kind is None or not count or not wide:
        return ()
    heads = -(-kind.heads // chosen.layout.tp)
    each = kind.rank * heads * wide * width(chosen.dtype)
    return (
        Term(
            name="absorbed projections",
            bytes=count * each,
            basis="derived",
            because=f"{count} layers × {kind.rank} × {heads} heads × {wide} × "
            f"{width(chosen.dtype)} bytes: kv_b_proj dequantized (vLLM 0.33 mla_attention.py)",
        ),
    )


_ABSORBED = re.compile(r"\.kv_b_proj\.weight(?:_packed)?$")
FP8 = frozenset({"F8_E4M3", "F8_E5M2"})


_WHOLE_TOWERS = frozenset({"pixtral", "mistral3", "kimi_vl", "kimi_k25"})
"""Vision towers of plain or replicated linear layers (models/pixtral.py, models/moonvit.py)."""


_LAYERED = frozenset({"language", "experts"})
"""Of the weights, what the offloader takes: decoder layers, neither embeddings nor encoders
(model_executor/offloader/uva.py: wrap_modules, models/utils.py: make_layers)."""


def _tiles(chosen: Settings) -> tuple[int, int]:
    """What MXFP4 experts are padded to, by the kernels that a card gets.

    fused_moe/oracle/mxfp4.py: Triton on Hopper swizzles the inputs in tiles of 256; Marlin (before
    Hopper) and TRT-LLM (Blackwell) pad hidden sizes to 256 and experts to 128. gpt-oss-120b takes
    64.4 GiB on an H100 and 66.0 with Marlin, of 60.8 in the files.
    """
    capability = chosen.gpu.compute_capability if chosen.gpu else "9.0"
    if capability.startswith("9."):
        return (256, 1)
    return (256, 128) if capability[:1].isdigit() else (1, 1)


def _offloaded(weights: Term, offload: int) -> Term:
    part = Term(
        name="offloaded",
        bytes=-offload,
        basis="derived",
        because=f"--cpu-offload-gb {offload / 2**30:g}: that much of every rank's weights stays in "
        "the host's memory",
    )
    return total("weights", (*weights.parts, part), because=weights.because)


def _cache(caches: CachePlan, chosen: Settings, batch: int, block_bytes: int) -> Term:
    sequences = -(-batch // chosen.layout.dp)
    each = caches.request_blocks(chosen)
    blocks = sequences * each
    parts = [
        Term(
            name="blocks",
            bytes=blocks * block_bytes,
            basis="exact",
            because=f"{sequences} sequences × {each:,} blocks of {block_bytes:,} bytes in "
            f"{len(caches.groups)} groups, {caches.padding_layers} layers of padding",
        )
    ]
    if caches.groups and chosen.behaviour.reserves_null_block:
        parts.append(
            Term(
                name="null block",
                bytes=block_bytes,
                basis="exact",
                because="the block that the pool never hands out (kv_cache_planning.py)",
            )
        )
    return total("kv_cache", parts, because="pages of the pool that the sequences claim")
