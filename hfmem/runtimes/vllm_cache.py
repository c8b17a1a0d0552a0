"""vLLM's paged KV cache: layers in groups that share one pool of blocks.

vLLM 0.33 v1/core/kv_cache_planning.py, v1/kv_cache_interface.py, platforms/interface.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Literal, assert_never

from msgspec import Struct
from msgspec.structs import replace

from hfmem.dtypes import BITS
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    Layer,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)
from hfmem.runtimes.vllm_settings import Settings

SpecKind = Literal["full", "sliding", "chunked", "cross", "state"]


class Spec(Struct, frozen=True, kw_only=True):
    """What one layer keeps on one rank, as vLLM's KVCacheSpec tells it."""

    kind: SpecKind
    token_bytes: int = 0
    """Of one token; 0 for a state."""
    state_bytes: int = 0
    span: int = 0
    """Tokens of a window or a chunk."""
    latent: bool = False


class CacheGroup(Struct, frozen=True, kw_only=True):
    """Layers with one block table."""

    kind: SpecKind
    span: int
    block: int
    """Tokens of a block; of a state, one sequence."""
    pages: tuple[tuple[int, int], ...]
    """(layer, bytes of its page) of every layer in the group."""


class CachePlan(Struct, frozen=True, kw_only=True):
    """All groups of a model and the arithmetic of their common pool."""

    groups: tuple[CacheGroup, ...]
    padding_layers: int
    """Layers that are added to make the groups equally large."""
    block: int
    repeated_bytes: int = 0
    """Where a block repeats one page of every size (DeepSeek-V4 up to 0.32): their sum."""

    def bytes_per_block(self, stage: range) -> int:
        """Of one block on the rank that holds these layers: the widest group's pages."""
        if self.repeated_bytes:
            pages = (
                Counter(page for layer, page in one.pages if layer in stage) for one in self.groups
            )
            return self.repeated_bytes * max(max(one.values(), default=0) for one in pages)
        return max(
            (sum(page for layer, page in one.pages if layer in stage) for one in self.groups),
            default=0,
        )

    def request_blocks(self, settings: Settings) -> int:
        """Blocks that one sequence of ``settings.ctx`` tokens claims, over all groups."""
        return sum(_blocks(one, settings) for one in self.groups)

    def in_flight_share(self, settings: Settings) -> Fraction:
        """Of these blocks, what windows and chunks claim: for the tokens of steps in flight."""
        moving = [one for one in self.groups if one.kind in {"sliding", "chunked"}]
        every = self.request_blocks(settings)
        return (
            Fraction(sum(_blocks(one, settings) for one in moving), every) if every else Fraction(0)
        )


def _blocks(group: CacheGroup, settings: Settings) -> int:
    """vLLM 0.33 v1/kv_cache_interface.py: max_memory_usage_bytes of each spec."""
    ctx, block = settings.ctx, group.block
    in_flight = settings.step
    if settings.behaviour.batches_in_flight > 1:
        in_flight *= settings.layout.pp + 1
    match group.kind:
        case "full":
            return ceil(Fraction(ctx, settings.layout.dcp * block))
        case "sliding":
            tokens = min(group.span - 1 + in_flight, ctx)
            return -(-tokens // block) + settings.behaviour.window_block
        case "chunked":
            return -(-min(group.span + in_flight, ctx) // block)
        case "cross":
            return -(-settings.step // block)
        case "state":
            return 2 + settings.checkpoints if settings.aligned_state and group.span else 1
        case _:
            assert_never(group.kind)


def element_bytes(kv_dtype: str, elements: int) -> int:
    """Bytes of the keys or the values of one head and token.

    ``element_bytes("nvfp4", 128) == 72``: half a byte each and a scale a group of 16
    (utils/torch_utils.py: nvfp4_kv_cache_full_dim).
    """
    match kv_dtype:
        case "bfloat16" | "float16":
            return 2 * elements
        case "float32":
            return 4 * elements
        case "nvfp4" | "nvfp4_4over6":
            return elements // 2 + elements // 16
        case "fp8_per_token_head" | "int8_per_token_head":
            return elements + 4
        case "int4_per_token_head":
            return elements // 2 + 4
        case _:
            return elements


_PACKED_LATENT = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}
"""512 fp8 values, four fp32 scales and 64 bf16 (mla_attention.py); 352 in NVFP4."""


def spec(kind: CacheKind, settings: Settings) -> Spec | None:
    """What vLLM keeps of a layer on one rank; None for what keeps nothing.

    KV heads are divided by the tensor parallel size and repeated below one; the latent of MLA is
    held whole by every rank. Raises LookupError for a kind whose layout is not known.
    """
    tp = settings.layout.tp
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention() | CrossAttention():
            heads = max(1, kind.kv_heads // tp)
            size = heads * (
                element_bytes(settings.kv_dtype, kind.head_dim)
                + element_bytes(settings.kv_dtype, kind.v_head_dim)
            )
        case LatentAttention():
            size = _PACKED_LATENT.get(settings.kv_dtype) or element_bytes(
                settings.kv_dtype, kind.rank + kind.rope_dim
            )
            if kind.indexer_dim:  # one fp8 key a token with an fp32 scale every 128 elements
                size += kind.indexer_dim + kind.indexer_dim // 128 * 4
        case RecurrentState():
            return Spec(kind="state", state_bytes=_state_bytes(kind, settings))
        case SharedCache() | NoCache():
            return None
        case CompressedAttention():
            raise LookupError("compressed attention")
        case _:
            assert_never(kind)
    match kind:
        case FullAttention():
            if kind.indexer_dim:
                size += element_bytes(settings.kv_dtype, kind.indexer_dim)
            return Spec(kind="full", token_bytes=size)
        case SlidingWindow():
            return Spec(kind="sliding", token_bytes=size, span=kind.window)
        case ChunkedAttention():
            return Spec(kind="chunked", token_bytes=size, span=kind.chunk)
        case CrossAttention():
            return Spec(kind="cross", token_bytes=size)
        case LatentAttention() if kind.window is not None:
            return Spec(kind="sliding", token_bytes=size, span=kind.window, latent=True)
        case LatentAttention():
            return Spec(kind="full", token_bytes=size, latent=True)
        case _:
            assert_never(kind)


def _state_bytes(kind: RecurrentState, settings: Settings) -> int:
    """A layer's state of one sequence on one rank: one convolution column less than the reference.

    model_executor/layers/mamba/mamba_utils.py: MambaStateShapeCalculator and
    MambaStateDtypeCalculator: the convolution in the model's type, the state in
    --mamba-ssm-cache-dtype, which is the configuration's or else the convolution's.
    """
    conv = kind.conv_elements
    if kind.conv_kernel > 1:
        conv = conv // kind.conv_kernel * (kind.conv_kernel - 1)
    bits = conv * BITS[settings.dtype] + kind.state_elements * BITS[settings.state_dtype]
    return -(-bits // (8 * settings.layout.tp))


@lru_cache(maxsize=64)
def plan(layers: tuple[Layer, ...], settings: Settings, *, hybrid: bool) -> CachePlan:
    """Group the layers as vLLM does; ``hybrid`` is False with --disable-hybrid-kv-cache-manager.

    Gemma-3-27B: 10 full layers are one group and 52 sliding ones six of at most ten, so that eight
    layers of padding are paid. Raises LookupError for a layer whose layout is not known.
    """
    if any(isinstance(kind, CompressedAttention) for kinds in layers for kind in kinds):
        from hfmem.runtimes.vllm_compressed import compressed_plan

        return compressed_plan(layers, settings, hybrid=hybrid)
    found = [
        (number, one)
        for number, kinds in enumerate(layers)
        for kind in kinds
        if (one := spec(kind, settings)) is not None
    ]
    if not hybrid and any(one.kind == "full" for _, one in found):
        found = [(number, _promoted(one)) for number, one in found]
    block = _block(found, settings)
    kinds = {(one.kind, one.span) for _, one in found}
    if len(kinds) <= 1:
        pages = tuple((number, one.token_bytes * block or one.state_bytes) for number, one in found)
        if not pages:
            return CachePlan(groups=(), padding_layers=0, block=block)
        kind, span = next(iter(kinds))
        only = CacheGroup(kind=kind, span=span, block=block, pages=pages)
        return CachePlan(groups=(only,), padding_layers=0, block=block)
    return _hybrid(found, block)


def _promoted(one: Spec) -> Spec:
    return replace(one, kind="full", span=0) if one.kind in {"sliding", "chunked"} else one


def _block(found: Iterable[tuple[int, Spec]], settings: Settings) -> int:
    """Tokens of a block: raised until a page of attention holds a recurrent state.

    platforms/interface.py: _align_hybrid_block_size; 16 tokens of alignment, 128 with MLA.
    """
    specs = [one for _, one in found]
    state = max((one.state_bytes for one in specs), default=0)
    attention = [one for one in specs if one.token_bytes]
    if not state or not attention:
        return settings.block
    alignment = 128 if any(one.latent for one in attention) else 16
    token = max(one.token_bytes for one in attention)
    return max(settings.block, alignment * -(-state // (alignment * token)))


def _hybrid(found: list[tuple[int, Spec]], block: int) -> CachePlan:
    """Groups of equal pages and, as far as padding makes sense, of equally many layers.

    kv_cache_planning.py: unify_kv_cache_spec_page_size raises the block of a narrow layer, or pads
    its page; _get_kv_cache_groups_uniform_page_size takes the smallest bucket for the size of a
    group, or the largest where it is less than half as large again.
    """
    page = max(one.token_bytes * block or one.state_bytes for _, one in found)
    buckets: dict[Spec, list[int]] = {}
    for number, one in found:
        buckets.setdefault(one, []).append(number)
    counts = [len(numbers) for numbers in buckets.values()]
    size = max(counts) if 2 * max(counts) < 3 * min(counts) else min(counts)
    groups: list[CacheGroup] = []
    padding = 0
    for one, numbers in buckets.items():
        own = one.token_bytes * block
        raised = block * (page // own) if own and page % own == 0 else block
        parts = -(-len(numbers) // size)
        padding += parts * size - len(numbers)
        groups.extend(
            CacheGroup(
                kind=one.kind,
                span=one.span if one.kind != "state" else 1,
                block=raised,
                pages=tuple((number, page) for number in numbers[start::parts]),
            )
            for start in range(parts)
        )
    return CachePlan(groups=tuple(groups), padding_layers=padding, block=block)
