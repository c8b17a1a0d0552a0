"""Families of multi-head latent attention."""

from __future__ import annotations

from collections.abc import Sequence

from hfmem.model.architectures.attention import (
    latent,
    latent_indexed,
    latent_or_full,
    latent_sliding,
)
from hfmem.model.architectures.entry import Architecture
from hfmem.model.architectures.patterns import (
    FULL,
    INDEXED,
    SLIDING,
    every,
    layer_count,
    listed,
)
from hfmem.model.architectures.sparse import shared_indexers
from hfmem.model.architectures.stacks import stack
from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.layers import LatentAttention, Layer, SharedCache


def longcat(config: Config) -> tuple[Layer, ...]:
    """LongCat counts layers of two attentions each: ``num_layers`` 28 keep 56 latents."""
    count = config.integer("num_layers", low=1, high=MAX_LAYERS)
    layer = latent(config)
    return (layer + layer,) * count


def dots3_note(config: Config, types: Sequence[str]) -> Sequence[str]:
    """``use_dsa`` turns the full layers into indexed ones or back (models/dots3_note)."""
    if "use_dsa" not in config.values and "per_layer_config" in config.values:
        return types
    old, new = (FULL, INDEXED) if config.flag("use_dsa", default=True) else (INDEXED, FULL)
    return [new if kind == old else kind for kind in types]


def _dots3_pattern(config: Config, count: int) -> Sequence[str]:
    if not config.flag("use_sliding_window", default=True):
        return [FULL] * count
    return [FULL if i < 2 or i % 4 == 1 else SLIDING for i in range(count)]


def dots3_window(config: Config) -> Layer:
    """dots3-note: a window of 512 over latents of their own size, ``swa_kv_lora_rank`` and the
    rest."""
    window = config.integer_or_none("sliding_window") or config.integer_or_none(
        "sliding_window_size"
    )
    head = config.integer_or_none("swa_head_dim") or 256
    nope = config.integer_or_none("swa_qk_nope_head_dim") or 192
    rope = config.integer_or_none("swa_qk_rope_head_dim")
    own = {
        "sliding_window": window or 512,
        "kv_lora_rank": config.integer_or_none("swa_kv_lora_rank") or 1024,
        "num_attention_heads": config.integer_or_none("swa_num_attention_heads") or 64,
        "qk_rope_head_dim": head - nope if rope is None else rope,
    }
    # A file that states its layers one by one has the sizes in them already.
    return latent_sliding(
        config if "per_layer_config" in config.values else config.with_values(own)
    )


def mistral_large4(config: Config) -> tuple[Layer, ...]:
    """``kv_source_layers[i]`` names the layer whose latent layer i reads; layers without rotary
    positions have no rope part.

    Unsaid, every layer keeps its own latent and every fourth is without rotary positions.
    """
    count = layer_count(config)
    indexed = [
        kind == INDEXED for kind in shared_indexers(config, listed(config) or [INDEXED] * count)
    ]
    sources = config.integer_list("kv_source_layers", high=MAX_LAYERS) or tuple(range(count))
    period = config.integer_or_none("no_rope_layer_interval", low=1) or 4
    ropes = config.integer_list("no_rope_layers", high=1) or tuple(
        int((i + 1) % period != 0) for i in range(count)
    )
    if min(len(sources), len(ropes)) < count:
        raise config.invalid("kv_source_layers", list(sources), f"a list of {count:,} layers")
    heads, rank = config.integer("num_attention_heads"), config.integer("kv_lora_rank", low=1)
    rope_dim, key = config.integer("qk_rope_head_dim"), config.integer("index_head_dim", low=1)
    layers: list[Layer] = []
    for i in range(count):
        own = sources[i] == i
        if not own and not indexed[i]:
            layers.append((SharedCache(of_layer=sources[i]),))
            continue
        latent_part = LatentAttention(
            rank=rank if own else 0,
            rope_dim=rope_dim if own and ropes[i] else 0,
            heads=heads,
            indexer_dim=key if indexed[i] else 0,
        )
        layers.append((latent_part,))
    return tuple(layers)


LATENT = (
    Architecture(
        model_types=(
            "axk1",
            "deepseek_v2",
            "deepseek_v3",
            "glm4_moe_lite",
            "minicpm3",
            "mistral4",
            "youtu",
            "deepseek_vl_v2",
            "kimi_k2",
        ),
        cache=stack(every(FULL), full=latent_or_full, keys=()),
        source="transformers/models/deepseek_v3/modeling_deepseek_v3.py: past_key_values.update",
    ),
    Architecture(
        model_types=("longcat_flash",),
        cache=longcat,
        source="transformers/models/longcat_flash/modeling_longcat_flash.py: two attentions",
    ),
    Architecture(
        model_types=("mistral_large4_text",),
        cache=mistral_large4,
        source="transformers/models/mistral_large4/modeling_mistral_large4.py: use_rope",
    ),
    Architecture(
        model_types=("dots3_note", "dots3_note_text"),
        cache=stack(
            _dots3_pattern,
            full=latent,
            indexed=latent_indexed,
            sliding=dots3_window,
            retype=dots3_note,
        ),
        source="transformers/models/dots3_note/configuration_dots3_note.py: __post_init__",
    ),
)
