"""Who holds what of the weights under tensor, pipeline and expert parallelism.

Which dimension of a tensor is divided follows from its role, and its role from its name: vLLM
0.33 model_executor/layers/linear.py (ColumnParallelLinear, QKVParallelLinear, RowParallelLinear,
ReplicatedLinear) and vocab_parallel_embedding.py.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from hfmem.checkpoint.tensor import template
from hfmem.dtypes import width
from hfmem.memory.term import Term, total
from hfmem.memory.weights import loaded_bytes, loaded_dtype
from hfmem.model.weights import WeightRun

VOCAB_PADDING = 64
"""vocab_parallel_embedding.py: DEFAULT_VOCAB_PADDING_SIZE."""


class Rank(Struct, frozen=True, kw_only=True):
    """One rank of a layout, by what its weights depend on."""

    tp: int
    experts: int
    """Ranks that share the experts, whole ones or slices; at least ``tp``."""
    stage: range
    """Decoder layers of its pipeline stage."""
    first: bool
    last: bool
    heads: int | None
    kv_heads: int | None
    tied: bool
    """The head is the embedding."""
    towers_divided: bool
    """Whether encoders of pictures and sound are divided too."""
    experts_widened: tuple[int, int]
    """Multiple that MXFP4 experts' input and output sizes are padded to; (1, 1) is none."""


# Held whole by every rank: norms, routers, the down-projections of latent attention, indexers.
_WHOLE = re.compile(
    r"(?:norm\w*|ln_\w+|layernorm\w*|router|\.gate|shared_expert_gate|q_a_proj|kv_a_proj\w*"
    r"|fused_qkv_a_proj|wq_a|wkv_a|indexer\.\w+|f_a_proj|g_a_proj)\.(?:weight|bias|weight_scale\w*"
    r"|e_score_correction_bias|linear\.weight)$|e_score_correction_bias$|indexer\.|position_embed"
    r"|embed_positions|\.wpe\."
    # DeepSeek-V4 (models/deepseek_v4: disable_tp): compressors, the joint key, hyper-connections.
    r"|\.compressor\.|\.wkv\.|self_attn\.kv_proj\.|\bhc_\w+|_hc\."
)
_KV = re.compile(r"\.(?:k_proj|v_proj|wk|wv|key|value|k|v)\.[\w.]+$")
_FUSED = re.compile(r"\.(?:qkv_proj|query_key_value|c_attn|Wqkv|wqkv|qkv)\.[\w.]+$")
_LAYERS = re.compile(r"(?:^|\.)(?:layers|h|blocks|block|layer)\.\{\d")
_MXFP4 = re.compile(r"\.experts\.(?:gate_up_proj|down_proj)_(?:blocks|scales)$")


def rank_bytes(weight: WeightRun, rank: Rank, *, dtype: str, model_type: str | None) -> int:
    """Bytes of a run on one rank.

    Llama-3.1-8B's ``k_proj`` of 8 heads: an eighth on each of 8 ranks, and an eighth too on each of
    16, which hold every head twice.
    """
    if not weight.loaded:
        return 0
    kept = weight
    if weight.component in {"language", "experts"} and _LAYERS.search(weight.run.name):
        run = weight.run.restricted(rank.stage)
        if run is None:
            return 0
        kept = WeightRun(
            run=run,
            component=weight.component,
            logical=weight.logical,
            packed=weight.packed,
            loaded=True,
        )
    elif weight.component == "embedding":
        if not (rank.first or (rank.last and rank.tied)):
            return 0
    elif weight.component in {"head", "language"} and not rank.last:
        return 0
    size = loaded_bytes(kept, dtype=dtype, model_type=model_type)
    return _divided(kept, size, rank, dtype=dtype, model_type=model_type)


def _divided(
    weight: WeightRun, size: int, rank: Rank, *, dtype: str, model_type: str | None
) -> int:
    run, name = weight.run, template(weight.run.name)
    if _MXFP4.search(name):
        size = _widened(weight, size, rank.experts_widened)
    match weight.component:
        case "experts":
            return -(-size // max(rank.experts, rank.tp))
        case "embedding" | "head" if len(run.shape) == 2 and not weight.packed:
            if _WHOLE.search(name):
                return size
            rows = -(-run.shape[0] // VOCAB_PADDING) * VOCAB_PADDING
            target = loaded_dtype(weight, dtype=dtype, model_type=model_type)
            return -(-rows // rank.tp) * run.shape[1] * width(target) * run.count
        case "vision" | "audio" | "projector" | "encoder":
            whole = not rank.towers_divided or len(run.shape) < 2
            return size if whole else -(-size // rank.tp)
        case _:
            if (len(run.shape) < 2 and not weight.packed) or _WHOLE.search(name):
                return size
            return _of_layer(name, size, rank)


def _of_layer(name: str, size: int, rank: Rank) -> int:
    if rank.kv_heads and rank.kv_heads < rank.tp:
        if _KV.search(name):
            return -(-size // rank.kv_heads)
        if rank.heads and _FUSED.search(name):
            unit = -(-size // (rank.heads + 2 * rank.kv_heads))
            return unit * (rank.heads // rank.tp + 2)
    return -(-size // rank.tp)


def _widened(weight: WeightRun, size: int, multiples: tuple[int, int]) -> int:
    """Experts in MXFP4 [experts, out, in / 32, …] padded to the kernels' tiles."""
    if len(weight.run.shape) < 3:
        return size
    _, out, groups, *_ = weight.run.shape
    into = groups * 32
    wide = -(-into // multiples[0]) * multiples[0]
    tall = -(-out // multiples[1]) * multiples[1]
    return size * wide * tall // (into * out)


@lru_cache(maxsize=256)
def rank_weights(
    runs: tuple[WeightRun, ...],
    rank: Rank,
    *,
    dtype: str,
    model_type: str | None,
    read: bool = True,
) -> Term:
    """All weights on one rank, by component; derived, not exact, where no file was ``read``."""
    sizes: dict[str, int] = {}
    for weight in runs:
        size = rank_bytes(weight, rank, dtype=dtype, model_type=model_type)
        if size:
            sizes[weight.component] = sizes.get(weight.component, 0) + size
    layers = f"layers {rank.stage.start} to {rank.stage.stop - 1}"
    parts = tuple(
        Term(
            name=name,
            bytes=size,
            basis="exact" if rank.tp == 1 and read else "derived",
            because=f"{layers}, divided over {rank.tp}",
        )
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])
    )
    return total("weights", parts, because=f"the tensors of {layers} on one of {rank.tp} ranks")
