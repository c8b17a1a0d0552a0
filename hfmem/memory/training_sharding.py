"""Who holds which part of the parameters, gradients and states when a run is spread over GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from hfmem.memory.term import Term
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_run import Parallel, TrainingRun

# DeepSpeed runtime/zero/config.py and its defaults for stages 1 to 3.
REDUCE_BUCKET, ALLGATHER_BUCKET = 500_000_000, 500_000_000
PREFETCH_BUCKET, MAX_LIVE = 50_000_000, 1_000_000_000
SUB_GROUP = 1_000_000_000
ZERO_SOURCE = "DeepSpeed runtime/zero/config.py"
FSDP_SOURCE = "torch 2.13 distributed/fsdp: the current block and the prefetched one"
_FIRST_STAGE = frozenset({"embedding", "vision", "audio", "projector", "encoder", "other"})


class Rank(Struct, frozen=True, kw_only=True):
    """One GPU: a pipeline stage, and the share of it that tensor and expert parallelism leave."""

    layout: Parallel
    layers: range
    """Decoder layers of its stage."""
    first: bool
    last: bool
    tied: bool = False
    """The head is the embedding, so the last stage holds a copy of it."""

    def in_flight(self, micro_batches: int) -> int:
        """Micro-batches whose activations it keeps: 1F1B, stage i of p keeps p − i
        (arXiv:2104.04473)."""
        if self.last:
            return 1
        stage = self.layers.start // max(1, len(self.layers))
        return min(micro_batches, self.layout.pp - stage)

    def tensors(self, parameter: Parameter) -> int:
        """How many of a parameter's tensors its stage holds."""
        layers = parameter.layers
        if not layers:
            home = self.first if parameter.component in _FIRST_STAGE else self.last
            copied = self.tied and parameter.component == "embedding" and self.last
            return parameter.copies if home or copied else 0
        if isinstance(layers, range):
            first, last = max(layers.start, self.layers.start), min(layers.stop, self.layers.stop)
            return parameter.copies * max(0, last - first)
        return parameter.copies * sum(1 for layer in layers if layer in self.layers)

    def split(self, parameter: Parameter) -> int:
        """Into how many parts tensor and expert parallelism cut each tensor."""
        if parameter.component == "experts":
            return max(self.layout.tp // self.layout.ep, 1) * self.layout.ep
        matrix = parameter.linear or parameter.component in ("embedding", "head")
        return self.layout.tp if matrix and not parameter.adapter else 1

    def shards(self, parameter: Parameter) -> int:
        """Into how many parts data parallelism may cut what is left."""
        shards = self.layout.shards
        if parameter.component == "experts":
            return max(1, shards * self.layout.tp // self.split(parameter))
        return shards

    def total(
        self, parameters: Iterable[Parameter], size: Callable[[Parameter], int], *, sharded: bool
    ) -> int:
        """Bytes on this rank of what takes ``size`` bytes a tensor."""
        whole = 0
        for parameter in parameters:
            count = self.tensors(parameter)
            if count:
                parts = self.split(parameter) * (self.shards(parameter) if sharded else 1)
                whole += -(-count * size(parameter) // parts)
        return whole


def stages(layout: Parallel, *, layers: int, tied: bool) -> tuple[Rank, ...]:
    """One rank of every pipeline stage; layers are dealt out evenly, the first stages one more.

    32 layers on 4 stages: 8 each.
    """
    base, more = divmod(layers, layout.pp)
    found, start = [], 0
    for stage in range(layout.pp):
        count = base + (1 if stage < more else 0)
        found.append(
            Rank(
                layout=layout,
                layers=range(start, start + count),
                first=stage == 0,
                last=stage == layout.pp - 1,
                tied=tied and layout.pp > 1,
            )
        )
        start += count
    return tuple(found)


def shards_weights(layout: Parallel) -> bool:
    """Whether each data-parallel rank keeps only its part of the weights."""
    return layout.zero == 3 or layout.fsdp in ("full", "hybrid", "grad-op")


def shards_gradients(run: TrainingRun) -> bool:
    """Whether each data-parallel rank keeps only its part of the gradients."""
    layout = run.parallel
    whole = layout.no_sync and run.grad_accum > 1
    return layout.zero >= 2 or (layout.fsdp is not None and not whole)


def shards_states(layout: Parallel) -> bool:
    """Whether each data-parallel rank keeps only its part of the optimizer's states."""
    return layout.zero >= 1 or layout.fsdp is not None


def live_parts(rank: Rank, parameters: tuple[Parameter, ...], *, compute: int) -> tuple[Term, ...]:
    """What sharded weights and gradients hold for a moment: gathered blocks and buckets.

    An 8 B model under FSDP: two blocks of 218 M parameters in bf16 are 872 MB, and its embedding
    and head stay gathered beside them.
    """
    layout = rank.layout
    if layout.dp == 1:
        return ()
    trained = [parameter for parameter in parameters if parameter.trained]
    all_trained = rank.total(trained, lambda p: p.elements, sharded=False)
    if layout.fsdp is not None:
        return _fsdp(rank, parameters, compute=compute)
    if layout.zero == 0:
        width = max((parameter.width for parameter in trained), default=0)
        return (
            _derived(
                "gradient buckets",
                all_trained * width,
                "torch 2.13 DistributedDataParallel: gradient_as_bucket_view is False, so every "
                "gradient is in a bucket too",
            ),
        ) * int(layout.ddp)
    bucket = min(REDUCE_BUCKET, all_trained) * 2
    parts = [_derived("reduce bucket", bucket, f"5e8 elements at most; {ZERO_SOURCE}")]
    if layout.zero < 3:
        gather = min(ALLGATHER_BUCKET, all_trained) * 2
        parts.append(_derived("gather bucket", gather, f"5e8 elements at most; {ZERO_SOURCE}"))
        return tuple(parts)
    held = rank.total(parameters, lambda p: p.elements, sharded=False)
    live = largest_block(rank, parameters, lambda p: p.elements)
    live = min(held, live + PREFETCH_BUCKET) * compute
    parts.append(
        Term(
            name="gathered weights",
            bytes=live,
            basis="derived",
            because=f"the largest block and a prefetch of 5e7 elements × {compute} bytes; up to "
            f"stage3_max_live_parameters of 1e9; {ZERO_SOURCE}",
            high=max(live, min(held, MAX_LIVE) * compute),
        )
    )
    return tuple(parts)


def _fsdp(rank: Rank, parameters: tuple[Parameter, ...], *, compute: int) -> tuple[Term, ...]:
    def gathered(parameter: Parameter) -> int:
        return parameter.bytes if parameter.packed else parameter.elements * compute

    block = largest_block(rank, parameters, gathered)
    outside = [p for p in parameters if not p.layers]
    root = rank.total(outside, gathered, sharded=False)
    trained = [parameter for parameter in parameters if parameter.trained]
    gradients = largest_block(rank, trained, lambda p: p.elements * compute)
    parts = []
    if rank.layout.fsdp == "grad-op":
        whole = rank.total(parameters, gathered, sharded=False)
        parts.append(_derived("gathered weights", whole, "kept from forward to backward"))
    else:
        parts.append(_derived("gathered blocks", 2 * block, f"2 × {block:,} bytes; {FSDP_SOURCE}"))
        parts.append(
            _derived("gathered root", root, "embedding, norm and head stay gathered in a pass")
        )
    parts.append(_derived("gradients of a block", gradients, "before they are reduced"))
    outer = [parameter for parameter in trained if not parameter.layers]
    parts.append(
        _derived(
            "gradients of the root",
            rank.total(outer, lambda p: p.elements * compute, sharded=False),
            "of embedding, norm and head: reduced when the embedding's is there",
        )
    )
    return tuple(part for part in parts if part.bytes)


def largest_block(
    rank: Rank, parameters: Iterable[Parameter], size: Callable[[Parameter], int]
) -> int:
    """The largest decoder layer of a rank, in what ``size`` counts."""
    by_layer: dict[int, int] = {}
    for parameter in parameters:
        each = parameter.copies * -(-size(parameter) // rank.split(parameter))
        for layer in parameter.layers:
            if layer in rank.layers:
                by_layer[layer] = by_layer.get(layer, 0) + each
    return max(by_layer.values(), default=0)


def _derived(name: str, size: int, because: str) -> Term:
    return Term(name=name, bytes=size, basis="derived", because=because)
