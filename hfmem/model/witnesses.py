"""The headers as witnesses: what the projections' shapes say of the cache, against the
configuration.

Keys and values are what ``k_proj`` and ``v_proj`` put out, so their rows are the cache's width.
Where
they contradict the configuration the headers win, and the answer says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from hfmem.checkpoint.snapshot import Note
from hfmem.checkpoint.tensor import template
from hfmem.dtypes import FLOATS
from hfmem.model.architectures import Decoder
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    FullAttention,
    LatentAttention,
    Layer,
    SlidingWindow,
)
from hfmem.model.weights import WeightRun

_Projection = Literal["key", "value", "latent"]

_DECODER = r"^(?:model\.|language_model\.|text_model\.|llm\.|transformer\.)*layers\.\{\}\."
_PROJECTIONS: tuple[tuple[_Projection, re.Pattern[str]], ...] = (
    ("key", re.compile(_DECODER + r"(?:self_attn|attention|attn)\.k_proj\.weight$")),
    ("value", re.compile(_DECODER + r"(?:self_attn|attention|attn)\.v_proj\.weight$")),
    ("latent", re.compile(_DECODER + r"self_attn\.kv_a_proj_with_mqa\.weight$")),
)


def confirmed(decoder: Decoder, weights: Iterable[WeightRun]) -> tuple[Decoder, tuple[Note, ...]]:
    """The decoder as the headers have it, with a note for every contradiction.

    A configuration of 8 KV heads of 128 expects ``k_proj`` with 1,024 rows; 2,048 rows make it 16
    heads. Packed projections and runtime layouts that fuse q, k and v say nothing.
    """
    rows: dict[_Projection, dict[int, int]] = {"key": {}, "value": {}, "latent": {}}
    highest = -1
    for weight in weights:
        run = weight.run
        indices = run.indices()
        if not weight.loaded or indices is None or len(run.shape) != 2:
            continue
        name = template(run.name)
        for projection, pattern in _PROJECTIONS:
            if pattern.match(name):
                highest = max(highest, indices[-1])
                if not weight.packed and run.dtype in FLOATS:
                    rows[projection].update(dict.fromkeys(indices, run.shape[0]))
    layers = list(decoder.layers)
    wrong: list[str] = []
    for index, layer in enumerate(layers):
        found = tuple(_by_headers(kind, index, rows) for kind in layer)
        if found != layer:
            wrong.append(_contradiction(index, layer, found))
            layers[index] = found
    notes: list[Note] = []
    if wrong:
        more = f", and {len(wrong) - 1} more layers" if len(wrong) > 1 else ""
        notes.append(
            Note(
                code="headers_contradict_config",
                message=f"The projections' shapes contradict config.json: {wrong[0]}{more}. "
                "The estimate follows the headers.",
            )
        )
    if highest >= 0 and highest + 1 < len(decoder.layers) and not _sparse(decoder):
        notes.append(
            Note(
                code="fewer_layers_stored",
                message=f"config.json says {len(decoder.layers)} layers, the checkpoint holds "
                f"attention of {highest + 1}.",
            )
        )
    return (replace(decoder, layers=tuple(layers)) if wrong else decoder), tuple(notes)


def _sparse(decoder: Decoder) -> bool:
    """Whether some layers have no attention of their own, so that counting projections is no
    count."""
    attention = FullAttention | SlidingWindow | ChunkedAttention | LatentAttention
    return not all(any(isinstance(kind, attention) for kind in layer) for layer in decoder.layers)


def _by_headers(kind: CacheKind, index: int, rows: dict[_Projection, dict[int, int]]) -> CacheKind:
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention():
            key = rows["key"].get(index, kind.kv_heads * kind.head_dim)
            # Without a v_proj the values are the keys (Gemma 4), as wide as the configuration says.
            value = rows["value"].get(index, kind.kv_heads * kind.v_head_dim)
            if (key, value) == (kind.kv_heads * kind.head_dim, kind.kv_heads * kind.v_head_dim):
                return kind
            if key % kind.head_dim == 0 and value * kind.head_dim == key * kind.v_head_dim:
                return replace(kind, kv_heads=key // kind.head_dim)
            return replace(kind, kv_heads=1, head_dim=key, v_head_dim=value)
        case LatentAttention():
            width = rows["latent"].get(index)
            if width is None or width == kind.rank + kind.rope_dim or width <= kind.rope_dim:
                return kind
            return replace(kind, rank=width - kind.rope_dim)
        case _:
            return kind


def _contradiction(index: int, before: Layer, after: Layer) -> str:
    widths = [
        f"{_width(old):,} elements a token by the configuration, {_width(new):,} by the headers"
        for old, new in zip(before, after, strict=True)
        if old != new
    ]
    return f"layer {index} keeps {widths[0]}"


def _width(kind: CacheKind) -> int:
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention():
            return kind.kv_heads * (kind.head_dim + kind.v_head_dim)
        case LatentAttention():
            return kind.rank + kind.rope_dim
        case _:
            return 0
