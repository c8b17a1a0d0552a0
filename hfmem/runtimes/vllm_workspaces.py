"""Buffers that vLLM's layers keep for prefill, and the largest that they ask for in passing.

The workspace manager keeps one buffer for its largest request (v1/worker/workspace.py), so what
a layer asks for once is held as long as the engine runs.
"""

from __future__ import annotations

from hfmem.dtypes import width
from hfmem.memory.term import Term
from hfmem.model.layers import CompressedAttention, LatentAttention
from hfmem.model.model import Model
from hfmem.runtimes.vllm_settings import Settings

LATENT_ROWS = 64 * 1024
"""Most rows of MLA's prefill workspace (mla_attention.py:
determine_chunked_prefill_workspace_size)."""
SPARSE_LONG = 256 * 1024
"""Tokens beyond which the sparse prefill workspace shrinks (config/attention.py:
sparse_mla_prefill_workspace_factor)."""
INDEX_BYTES = 132
"""A key of the indexer: 128 in fp8 and an fp32 scale."""
PREFILL_CHUNK = 4
"""Sequences whose keys DeepSeek-V4 gathers together (models/deepseek_v4/attention.py)."""


def expert_workspaces(
    settings: Settings, *, hidden: int, expert: int, chosen: int
) -> tuple[Term, ...]:
    """The gathered tokens of all replicas, and both buffers of the routed rows.

    vLLM 0.33 fused_moe/modular_kernel.py, experts/triton_moe.py: workspace_shapes. Replicas gather
    all their tokens before the experts (config/parallel.py: all2all_backend,
    prepare_finalize/naive_dp_ep.py), so each holds the rows of all of them.
    """
    element, layout = width(settings.dtype), settings.layout
    tokens = settings.step * layout.dp
    part = expert if layout.dealt else -(-expert // layout.experts)
    rows = tokens * chosen
    space = rows * (max(2 * part, hidden) + max(part, hidden)) * element
    found = plain(
        "expert workspaces",
        space,
        f"{rows:,} routed rows × (max(2 × {part:,}, {hidden:,}) + max({part:,}, {hidden:,})) × "
        f"{element} bytes (0.33 fused_moe/modular_kernel.py)",
    )
    if layout.dp == 1:
        return (found,)
    because = f"{settings.step:,} tokens of each of {layout.dp} replicas × {hidden:,}"
    return (plain("gathered tokens", tokens * hidden * element, because), found)


def attention_workspace(model: Model, settings: Settings) -> Term | None:
    """What latent and compressed attention hold for prefill; None for other attention."""
    kind = _first(model)
    match kind:
        case LatentAttention() if kind.indexer_dim:
            return _sparse(kind, settings)
        case LatentAttention():
            rows = latent_rows(settings)
            size = rows * (kind.rank + kind.rope_dim) * width(settings.dtype)
            return plain("latent workspace", size, f"{rows:,} rows of the latent")
        case CompressedAttention():
            return _compressed(kind, settings)
        case None:
            return None


def latent_rows(settings: Settings) -> int:
    """Eight whole requests or four blocks for each sequence, at most 65,536 tokens."""
    return min(LATENT_ROWS, max(8 * settings.ctx, 4 * settings.sequences * settings.block))


def expanded_latent(model: Model, settings: Settings) -> int:
    """Bytes of the keys and values that a workspace of latents expands to, in passing; 0 without.

    mla_attention.py: forward_impl makes the profile allocate it. DeepSeek-V3 on one rank: 65,536 ×
    128 heads × (128 + 128) × 2 bytes are 4 GiB.
    """
    kind = latent_of(model)
    if kind is None:
        return 0
    text = model.decoder.text
    wide = (text.integer_or_none("qk_nope_head_dim") or 0) + (
        text.integer_or_none("v_head_dim") or 0
    )
    heads = -(-kind.heads // settings.layout.tp)
    return latent_rows(settings) * heads * wide * width(settings.dtype)


def _sparse(kind: LatentAttention, settings: Settings) -> Term:
    """Of sparse attention: the indexer's keys of a step's contexts, or their unpacked latents.

    v1/attention/backends/mla/indexer.py: get_max_prefill_buffer_size, flashmla_sparse.py:
    get_prefill_workspace_size. DeepSeek-V3.2 at 163,840 tokens: 40 × 163,840 × 132 bytes.
    """
    reach, latent = _reach(settings), 2 * (kind.rank + kind.rope_dim)
    rows = latent // INDEX_BYTES * reach
    size, because = rows * INDEX_BYTES, f"{rows:,} keys of the indexer, {INDEX_BYTES} bytes each"
    if settings.kv_dtype.endswith("_ds_mla"):
        size = max(size, reach * latent)
        because = f"{reach:,} unpacked latents of {latent:,} bytes"
    return plain("sparse workspace", size, because)


def _compressed(kind: CompressedAttention, settings: Settings) -> Term:
    """DeepSeek-V4: keys of four sequences in bf16, pooled, windowed and new
    (models/deepseek_v4/nvidia/flashmla.py)."""
    pooled = -(-settings.ctx // (kind.ratio or 1)) if kind.ratio else 0
    rows = pooled + kind.window + settings.step
    keys = PREFILL_CHUNK * rows * kind.head_dim * 2
    indexed = 8 * _reach(settings) // (kind.ratio or 1) * INDEX_BYTES
    return plain(
        "prefill workspace",
        max(keys, indexed if kind.indexer_dim else 0),
        f"{PREFILL_CHUNK} × {rows:,} keys of {kind.head_dim} in bf16",
    )


def _reach(settings: Settings) -> int:
    """Tokens that the sparse workspaces hold: five contexts, two of long ones. Between them it is
    kept level, so that a longer context never needs less."""
    return max(2 * settings.ctx, 5 * min(settings.ctx, SPARSE_LONG))


def _first(model: Model) -> LatentAttention | CompressedAttention | None:
    """The layer that asks for most; all of a model are alike but for DeepSeek-V4's ratios."""
    kinds = [kind for kinds in model.decoder.layers for kind in kinds]
    compressed = [kind for kind in kinds if isinstance(kind, CompressedAttention) and kind.ratio]
    if compressed:
        return min(compressed, key=lambda kind: kind.ratio)
    return latent_of(model)


def latent_of(model: Model) -> LatentAttention | None:
    """A model's latent attention; None for other attention."""
    kinds = (kind for kinds in model.decoder.layers for kind in kinds)
    return next((kind for kind in kinds if isinstance(kind, LatentAttention)), None)


def plain(name: str, size: int, because: str) -> Term:
    """A term that is arithmetic on the engine's source."""
    return Term(name=name, bytes=size, basis="derived", because=because)
