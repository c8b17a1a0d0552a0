"""vLLM's tables of rotary positions: a buffer beside the weights, whole on every rank."""

from __future__ import annotations

from hfmem.memory.term import Term
from hfmem.model.config import Config
from hfmem.model.layers import FullAttention, LatentAttention, SlidingWindow
from hfmem.model.model import Model


def rope_caches(model: Model, *, element: int) -> tuple[Term, ...]:
    """Cosines and sines of every position, one table for each kind of rotation.

    vLLM 0.33 model_executor/layers/rotary_embedding: get_rope shares a table among equal layers.
    Llama-3.1-8B: 131,072 positions × 128 × 2 bytes. Linear and YaRN scaling stretch the table by
    their factor (linear_scaling_rope.py, yarn_scaling_rope.py): Gemma-3-27B 8 × 131,072 positions,
    a quarter of a GiB; Llama-4-Scout has 10,485,760 positions, 2.5 GiB on each rank.
    """
    text, positions = model.decoder.text, model.decoder.max_context
    if positions is None or not _rotates(text, model):
        return ()
    dims = _dimensions(model)
    tables = {(dim, _stretched(text, positions)) for dim in dims[:1]}
    if any(
        isinstance(kind, SlidingWindow) for kinds in model.decoder.layers for kind in kinds
    ) and (text.value("rope_local_base_freq") is not None or _by_layer(text)):
        tables |= {(dim, positions) for dim in dims[-1:]}
    size = sum(dim * rows for dim, rows in tables) * element
    shown = ", ".join(f"{rows:,} positions × {dim}" for dim, rows in sorted(tables))
    return (
        Term(
            name="rotary tables",
            bytes=size,
            basis="derived",
            because=f"{shown} × {element} bytes (vLLM 0.33 layers/rotary_embedding/base.py)",
        ),
    )


def _rotates(text: Config, model: Model) -> bool:
    keys = ("rope_theta", "rope_scaling", "rope_parameters", "rotary_emb_base", "rotary_pct")
    latent = any(
        isinstance(kind, LatentAttention) for kinds in model.decoder.layers for kind in kinds
    )
    return latent or any(text.value(key) is not None for key in keys)


def _by_layer(text: Config) -> bool:
    scaling = text.value("rope_parameters")
    return isinstance(scaling, dict) and "sliding_attention" in scaling


def _dimensions(model: Model) -> tuple[int, ...]:
    """Rotated elements of a head: of the full layers first, of the sliding ones last."""
    text = model.decoder.text
    part = text.number("partial_rotary_factor") or text.number("rotary_pct") or 1.0
    full: list[int] = []
    sliding: list[int] = []
    for kinds in model.decoder.layers:
        for kind in kinds:
            match kind:
                case LatentAttention():
                    full.append(kind.rope_dim)
                case SlidingWindow():
                    sliding.append(int(kind.head_dim * part))
                case FullAttention():
                    full.append(int(kind.head_dim * part))
                case _:
                    pass
    return tuple((full or sliding)[:1] + (sliding or full)[:1]) or (0,)


def _stretched(text: Config, positions: int) -> int:
    scaling = text.value("rope_scaling") or text.value("rope_parameters")
    if isinstance(scaling, dict) and isinstance(scaling.get("full_attention"), dict):
        scaling = scaling["full_attention"]
    if not isinstance(scaling, dict):
        return positions
    kind = scaling.get("rope_type", scaling.get("type"))
    factor, original = scaling.get("factor"), scaling.get("original_max_position_embeddings")
    if not isinstance(factor, (int, float)) or not 1 <= factor <= 2**16:
        return positions
    match kind:
        case "linear":
            return int(positions * factor)
        case "yarn" | "deepseek_yarn":
            return int((original if type(original) is int else positions) * factor)
        case _:
            return positions
