"""vLLM: a share of the card, filled with weights, the peak of a step, and a paged pool.

What is asked for is the least that a workload needs of each rank; what the engine takes is the
budget, and the rest of it becomes the pool (v1/worker/gpu_worker.py:
determine_available_memory).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import torch_name
from hfmem.errors import UsageError
from hfmem.gpu import GpuGroup
from hfmem.memory.estimate import PARTS, MemoryEstimate, Phase, Pool
from hfmem.memory.host import while_serving
from hfmem.memory.parallel import times
from hfmem.memory.quantize import as_converted, scheme
from hfmem.memory.quantize.schemes import refusal as scheme_refusal
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.model.parameters import routing
from hfmem.runtimes.vllm_cache import CachePlan, plan
from hfmem.runtimes.vllm_kernels import float_type, unread_on_card, unrun_on_card
from hfmem.runtimes.vllm_peak import encoder_notes, widths
from hfmem.runtimes.vllm_rank import Stage, stage_of
from hfmem.runtimes.vllm_refusals import too_few_tokens, unread_kv_dtype
from hfmem.runtimes.vllm_settings import Settings, settings
from hfmem.runtimes.vllm_support import support
from hfmem.runtimes.vllm_workspaces import latent_of
from hfmem.units import GIB, gib


def estimate(model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
    """What vLLM needs for a workload, rank by rank.

    Raises UsageError for a layout that the group or the engine does not take.
    """
    chosen = settings(model, workload, group)
    taken = support(model, version=workload.version, quantize=workload.quantize, gpu=chosen.gpu)
    if taken.pools:
        chosen = replace(chosen, pools=True)
    if workload.quantize is not None:
        one = scheme(workload.quantize, runtime="vllm")
        model = as_converted(model, one, dtype=chosen.dtype)
    size = widths(model, routing(model.decoder.text))
    unknown = [] if model.weights is not None else ["weights"]
    if size is None:
        unknown.append("activations")
    caches = _plan(model, chosen, workload)
    if caches is None or not model.cache_known:
        unknown.append("kv_cache")
    caches = caches or CachePlan(groups=(), padding_layers=0, block=chosen.block)
    stages = tuple(
        stage_of(model, chosen, size, caches, number, workload=workload, group=group)
        for number in range(chosen.layout.pp)
    )
    worst = max(stages, key=lambda one: one.phase.memory.bytes)
    unread = unread_kv_dtype(chosen.kv_dtype, model)
    few = too_few_tokens(step=chosen.step, sequences=chosen.sequences)
    told = few if group is None else None
    version = workload.version
    old = unrun_on_card(model, chosen.dtype, chosen.gpu, version=version) or unread_on_card(
        chosen.kv_dtype, model, chosen.gpu, version=version
    )
    together = workload.flags.whole("max_num_seqs")
    packed = model.quantization == "bitsandbytes" and workload.quantize is None
    layout = chosen.layout
    return MemoryEstimate(
        phases=(_summed(tuple(one.phase for one in stages), layout.tp * layout.dp),),
        rank=(worst.phase,) if layout.ranks > 1 else (),
        count=layout.ranks,
        ctx=chosen.ctx - workload.media_tokens,
        kv_dtype=chosen.kv_dtype,
        bytes_per_token=_per_token(caches, chosen) * layout.tp,
        unknown=tuple(dict.fromkeys(unknown)),
        notes=(
            *taken.notes,
            *(Note(code="kv_dtype_unread", message=one) for one in (unread,) if one),
            *(Note(code="few_batched_tokens", message=one) for one in (told,) if one),
            *_notes(model, workload, chosen, caches),
            *encoder_notes(worst.phase.part("activations")),
            *_untold(unknown, model),
        ),
        host=while_serving(
            model, offloaded=sum(one.offloaded for one in stages) * layout.tp * layout.dp
        ),
        outside_bytes=worst.outside,
        offloaded_bytes=worst.phase.memory.bytes - worst.outside - worst.offloadable,
        budget_bytes=None if group is None else _budget(chosen, workload, group, stages),
        pool=None if group is None or unknown else _pool(chosen, workload, group, caches, stages),
        most_sequences=None if together is None else together * layout.dp,
        refusal=None
        if group is None
        else taken.refusal
        or unread
        or old
        or _refusal(chosen, group, worst, workload, packed=packed)
        or few,
    )


def offload_gib(
    _model: Model, workload: Workload, _estimate: MemoryEstimate, missing: int
) -> tuple[str, Workload]:
    """The workload with so many GiB of every GPU's weights in the host's memory."""
    whole = -(-missing // GIB)
    already = workload.flags.whole("cpu_offload_gb") or 0
    flags = workload.flags.but(cpu_offload_gb=already + whole * GIB)
    label = f"{(already + whole * GIB) / GIB:g} GiB of each GPU's weights in the host's memory"
    return label, replace(workload, flags=flags)


def _plan(model: Model, chosen: Settings, workload: Workload) -> CachePlan | None:
    hybrid = not workload.flags.switch("disable_hybrid_kv_cache_manager")
    try:
        found = plan(model.decoder.layers, chosen, hybrid=hybrid)
    except LookupError:
        return None
    if chosen.layout.dcp > 1 and any(one.kind == "sliding" for one in found.groups):
        # v1/kv_cache_interface.py: SlidingWindowSpec.max_memory_usage_bytes asserts it.
        raise UsageError(
            "vLLM does not share a sliding window among decode context parallel ranks.",
            hint="Leave --decode-context-parallel-size out for this model.",
        )
    return found


def _per_token(caches: CachePlan, chosen: Settings) -> int:
    """Mean over one block of what a longer sequence adds on one rank of each stage, all stages."""
    growing = [one for one in caches.groups if one.kind == "full"]
    largest = caches.bytes_per_block(range(2**20))
    return sum(largest // (one.block * chosen.layout.dcp) for one in growing)


def _summed(stages: tuple[Phase, ...], ranks: int) -> Phase:
    """All ranks together: each stage is held by ``ranks`` of them."""
    if len(stages) == 1 and ranks == 1:
        return stages[0]
    terms = []
    for name in PARTS:
        held = [times(stage.part(name), ranks) for stage in stages]
        because = held[0].because if len(held) == 1 else f"{len(held)} stages of {ranks} ranks"
        terms.append(total(name, _by_name(held), because=because))
    return Phase(name="decode", memory=total("memory", terms, because="all ranks together"))


def _by_name(terms: Sequence[Term]) -> tuple[Term, ...]:
    """The parts of several terms, those of one name added up."""
    found: dict[str, list[Term]] = {}
    for term in terms:
        parts = term.parts or (term,)
        whole = sum(part.bytes for part in parts) == term.bytes
        for part in parts if whole else (term,):
            found.setdefault(part.name, []).append(part)
    return tuple(
        same[0]
        if len(same) == 1
        else replace(total(name, same, because=f"of {len(same)} stages"), parts=())
        for name, same in found.items()
    )


def _budget(
    chosen: Settings, workload: Workload, group: GpuGroup, stages: tuple[Stage, ...]
) -> int:
    """ceil(total × utilization) of one card (v1/worker/utils.py: request_memory); with
    --kv-cache-memory-bytes that many bytes beside everything else."""
    given = workload.flags.whole("kv_cache_memory_bytes")
    if given is not None:
        return max(one.fixed for one in stages) + given
    return ceil(group.gpu.usable_bytes * chosen.utilization)


def _pool(
    chosen: Settings,
    workload: Workload,
    group: GpuGroup,
    caches: CachePlan,
    stages: tuple[Stage, ...],
) -> Pool:
    """What is left for blocks: as many on every rank as the fullest one holds.

    v1/core/kv_cache_planning.py: get_kv_cache_configs (the minimum), v1/core/kv_cache_utils.py:
    get_kv_cache_capacity (the tokens that are printed).
    """
    budget = _budget(chosen, workload, group, stages)
    blocks = min(
        max(0, budget - one.fixed) // one.block_bytes if one.block_bytes else 0 for one in stages
    )
    each = caches.request_blocks(chosen)
    layout = chosen.layout
    concurrency = Fraction(blocks, each) if each else Fraction(0)
    return Pool(
        bytes=sum(blocks * one.block_bytes for one in stages) * layout.tp * layout.dp,
        tokens=int(concurrency * chosen.ctx),
        concurrency=concurrency,
    )


def _refusal(
    chosen: Settings, group: GpuGroup, worst: Stage, workload: Workload, *, packed: bool
) -> str | None:
    """vLLM does not start when less than its budget is free (v1/worker/utils.py).

    ``packed`` says that bitsandbytes has quantized the checkpoint already.
    """
    if group.gpu.vendor in {"apple", "google"}:
        return f"vLLM does not run on {group.gpu.name}; --runtime transformers does."
    if group.gpu.vendor == "cpu":
        return (
            f"What vLLM takes of {group.gpu.name} is not known here: its rules for a machine "
            "without a GPU are others. --runtime transformers --device cpu has them."
        )
    if workload.quantize is not None:
        found = scheme_refusal(scheme(workload.quantize, runtime="vllm"), group.gpu)
        if found is not None:
            return found
    if packed and chosen.layout.tp > 1:
        return (
            "vLLM does not divide what bitsandbytes has quantized already (vllm-project/"
            "vllm#39583): take --pipeline-parallel-size instead of tensor parallel ranks."
        )
    before = worst.phase.part("overhead").parts[0].bytes
    free = group.gpu.usable_bytes - group.used_bytes - before
    given = workload.flags.whole("kv_cache_memory_bytes")
    if given is not None:
        if worst.fixed + given <= free:
            return None
        return (
            f"vLLM would run out of memory: --kv-cache-memory-bytes {gib(given)} beside "
            f"{gib(worst.fixed)} on {gib(max(0, free))} of a card."
        )
    wanted = ceil(group.gpu.usable_bytes * chosen.utilization)
    if free >= wanted:
        return None
    share = max(0, int(100 * free / group.gpu.usable_bytes))
    return (
        f"vLLM would not start: {gib(max(0, free))} of a card are free and "
        f"{float(chosen.utilization):g} of it, {gib(wanted)}, is asked for; give "
        f"--gpu-memory-utilization {share / 100:.2f}."
    )


def _untold(unknown: list[str], model: Model) -> tuple[Note, ...]:
    if "kv_cache" not in unknown or not model.cache_known:
        return ()
    message = (
        "How vLLM keeps the cache of this model's compressed attention is known for DeepSeek-V4 "
        "since 0.21 (ratios 4 and 128, heads of 512), with the hybrid cache manager."
    )
    return (Note(code="kv_cache_unknown", message=message),)


def _held_twice(model: Model, chosen: Settings) -> str | None:
    """What tensor parallel ranks repeat of the cache; None where each holds its own part."""
    tp, kv_heads = chosen.layout.tp, model.decoder.kv_heads
    if tp == 1 or chosen.layout.dcp > 1:
        return None
    if latent_of(model) is not None:
        return (
            f"Each of the {tp} tensor parallel ranks keeps the whole latent of every token; "
            f"--decode-context-parallel-size {tp} divides the tokens among them, and "
            f"--data-parallel-size {tp} --enable-expert-parallel the sequences."
        )
    if kv_heads and 1 < kv_heads < tp:
        return (
            f"{kv_heads} KV heads on {tp} tensor parallel ranks: each is kept {tp // kv_heads} "
            f"times, or once with --decode-context-parallel-size {tp // kv_heads}."
        )
    return None


def _notes(
    model: Model, workload: Workload, chosen: Settings, caches: CachePlan
) -> tuple[Note, ...]:
    found: list[Note] = []
    if workload.quantize is not None:
        found.extend(model.notes[-1:])
    limit = model.decoder.max_context
    if workload.ctx is None:
        message = (
            f"No context was given: {chosen.ctx - workload.media_tokens:,} tokens are assumed."
        )
        found.append(Note(code="default_ctx", message=message))
    elif limit is not None and chosen.ctx > limit:
        message = (
            f"{chosen.ctx:,} tokens are more than the model's maximum of {limit:,}; "
            "computed as asked."
        )
        found.append(Note(code="beyond_max_context", message=message))
    if chosen.gpu is None and not {"max_num_seqs", "max_num_batched_tokens"} <= set(
        dict(workload.flags.given)
    ):
        message = (
            f"Without a card, vLLM's defaults on an H100 are taken: {chosen.step:,} tokens a step "
            f"and {chosen.sequences:,} sequences."
        )
        found.append(Note(code="assumed_card", message=message))
    if workload.flags.choice("mamba_cache_mode") and chosen.behaviour.checkpoints_states:
        message = (
            "Since 0.33 --mamba-cache-mode has no effect: states are kept for reuse unless "
            "--no-enable-prefix-caching is given."
        )
        found.append(Note(code="mamba_cache_mode", message=message))
    if (shared := _held_twice(model, chosen)) is not None:
        found.append(Note(code="replicated_cache", message=shared))
    if chosen.layout.pp > 1 and workload.flags.whole("pp") is None:
        message = (
            f"{chosen.layout.ranks} GPUs are taken as {chosen.layout.pp} nodes of "
            f"{chosen.layout.tp}: tensor parallel in each, a stage of a pipeline each; "
            f"--tp {chosen.layout.ranks} divides every layer over all of them."
        )
        found.append(Note(code="nodes", message=message))
    plain = float_type(model, workload.dtype, None)
    if chosen.gpu is not None and chosen.dtype != plain:
        message = f"{chosen.gpu.name} has no bfloat16: vLLM takes {torch_name(chosen.dtype)}."
        found.append(Note(code="dtype_of_card", message=message))
    if caches.padding_layers:
        message = (
            f"vLLM adds {caches.padding_layers} padding layers to the cache, so that all its "
            f"{len(caches.groups)} groups are equally large."
        )
        found.append(Note(code="padding_layers", message=message))
    if caches.in_flight_share(chosen) * 2 > 1 and chosen.ctx > chosen.step:
        message = (
            f"{float(caches.in_flight_share(chosen)):.0%} of a request's cache is for windows and "
            f"the tokens of steps in flight; a smaller --max-num-batched-tokens than "
            f"{chosen.step:,} claims less."
        )
        found.append(Note(code="in_flight_tokens", message=message))
    together = chosen.sequences * chosen.layout.dp
    if workload.batch > together:
        message = (
            f"vLLM runs at most {together:,} sequences at once here and queues the other "
            f"{workload.batch - together:,}; raise --max-num-seqs for {workload.batch:,}, whose "
            "memory is computed."
        )
        found.append(Note(code="queued", message=message))
    return tuple(found)
