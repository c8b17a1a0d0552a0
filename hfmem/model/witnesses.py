"""The headers as witnesses: what the projections' shapes say of the cache, against the
configuration.

Keys and values are what ``k_proj`` and ``v_proj`` put out, so their rows are the cache's width.
Where they contradict the configuration the headers win, and the answer says so.

The Hub's own count of parameters is a third witness, heard in ``hfmem/checkpoint/hub_count.py``: it
comes with the list of files, so it costs no request, and none is made for it alone. A revision that
is not main, a folder, a pipeline and packed weights go without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

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

_Projection = Literal["key", "value", "latent", "joint"]

_PREFIX = (
    r"^(?:model\.|language_model\.|text_model\.|llm\.|transformer\.|gpt_neox\.|backbone\."
    r"|transformer\.encoder\.|decoder\.)*"
)
_LAYER = _PREFIX + r"(?:layers|h|blocks|block)\.\{\}\."
_ATTENTION = r"(?:self_attn|attention|attn|self_attention|norm_attn_norm\.attn|mixer)\."
_PROJECTIONS: tuple[tuple[_Projection, re.Pattern[str]], ...] = (
    ("key", re.compile(_LAYER + _ATTENTION + r"k_proj\.weight$")),
    ("value", re.compile(_LAYER + _ATTENTION + r"v_proj\.weight$")),
    ("key", re.compile(_LAYER + r"layer\.\{\}\.SelfAttention\.k\.weight$")),
    ("value", re.compile(_LAYER + r"layer\.\{\}\.SelfAttention\.v\.weight$")),
    ("latent", re.compile(_LAYER + r"self_attn\.kv_a_proj_with_mqa\.weight$")),
    (
        "joint",
        re.compile(
            _LAYER
            + _ATTENTION
            + r"(?:qkv_proj|query_key_value|c_attn|Wqkv|wqkv|W_pack|qkv)\.weight$"
        ),
    ),
)
"""Of the decoder alone: an encoder's tensors have another prefix. Query, keys and values in one
matrix are Phi-3's, Falcon's, GPT-NeoX's, BLOOM's and ChatGLM's, GPT-2's and Qwen's, DBRX's and
MPT's, InternLM2's, Baichuan's; however their rows are interleaved, they are those of all three."""
_EXPERT = re.compile(_LAYER + r"(?:\w+\.)*experts\.\{\}\.\w+\.weight$")

_Rows = dict[_Projection, dict[int, int]]


def confirmed(decoder: Decoder, weights: Iterable[WeightRun]) -> tuple[Decoder, tuple[Note, ...]]:
    """The decoder as the headers have it, with a note for every contradiction.

    A configuration of 8 KV heads of 128 expects ``k_proj`` with 1,024 rows; 2,048 rows make it 16
    heads. Of a joint matrix the query's rows, 32 heads of 128 = 4,096, are taken off first. Packed
    projections say nothing of their width, but how many layers there are.
    """
    kept = tuple(weights)
    rows, highest = _read(kept, decoder)
    layers = list(decoder.layers)
    wrong: list[str] = []
    for index, layer in enumerate(layers):
        found = tuple(_by_headers(kind, index, rows, decoder.attention_heads) for kind in layer)
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
    notes.extend(_layer_count(decoder, highest))
    notes.extend(_expert_count(decoder, kept))
    return (replace(decoder, layers=tuple(layers)) if wrong else decoder), tuple(notes)


def _read(weights: Iterable[WeightRun], decoder: Decoder) -> tuple[_Rows, int]:
    """Rows of every projection by layer, and the highest layer that has one; -1 without any."""
    rows: _Rows = {"key": {}, "value": {}, "latent": {}, "joint": {}}
    highest = -1
    for weight in weights:
        run = weight.run
        indices = run.indices()
        if indices is None or len(run.shape) != 2:
            continue
        name = template(run.name)
        for projection, pattern in _PROJECTIONS:
            if pattern.match(name):
                highest = max(highest, indices[-1])
                put_out = _put_out(run.shape, projection, decoder)
                plain = weight.loaded and not weight.packed and run.dtype in FLOATS
                if put_out is not None and plain:
                    rows[projection].update(dict.fromkeys(indices, put_out))
    return rows, highest


def _put_out(shape: tuple[int, ...], projection: _Projection, decoder: Decoder) -> int | None:
    """What a matrix puts out: its rows, or the columns of GPT-2's transposed ``c_attn``.

    None for a joint matrix that is none of both: it does not read the hidden size.
    """
    if projection != "joint":
        return shape[0]
    if shape[1] == decoder.hidden_size:
        return shape[0]
    return shape[1] if shape[0] == decoder.hidden_size else None


def _layer_count(decoder: Decoder, highest: int) -> Iterable[Note]:
    if highest >= 0 and highest + 1 < len(decoder.layers) and not _sparse(decoder):
        yield Note(
            code="fewer_layers_stored",
            message=f"config.json says {len(decoder.layers)} layers, the checkpoint holds "
            f"attention of {highest + 1}.",
        )
    drafts = max(decoder.text.integer_or_none(key) or 0 for key in _DRAFTS)
    if highest >= len(decoder.layers) + drafts > 0:
        yield Note(
            code="more_layers_stored",
            message=f"config.json says {len(decoder.layers)} layers, the checkpoint holds "
            f"attention of {highest + 1}; a runtime loads as many as config.json says.",
        )


_DRAFTS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers")
"""Layers for multi-token prediction, stored behind the others (DeepSeek-V3: layer 61 of 61).
"""


def _expert_count(decoder: Decoder, weights: Iterable[WeightRun]) -> Iterable[Note]:
    """A note where the files hold another number of experts than the configuration routes to."""
    # ERNIE-VL lists a number a modality.
    listed = isinstance(decoder.text.value("num_experts"), list | tuple)
    expected = None if listed else decoder.text.integer_or_none("num_experts")
    stored = 0
    for weight in weights:
        if weight.loaded and _EXPERT.match(template(weight.run.name)):
            last = _LAST_NUMBER.findall(weight.run.name)
            stored = max(stored, int(last[-1]) + 1 if last else 0)
    if expected and stored and stored != expected:
        yield Note(
            code="experts_contradict_config",
            message=f"config.json says {expected} experts, the checkpoint holds {stored} a layer.",
        )


_LAST_NUMBER = re.compile(r"\{\d+\.\.(\d+)\}")


def _sparse(decoder: Decoder) -> bool:
    """Whether some layers have no attention of their own, so that counting projections is no
    count."""
    attention = FullAttention | SlidingWindow | ChunkedAttention | LatentAttention
    return not all(any(isinstance(kind, attention) for kind in layer) for layer in decoder.layers)


def _by_headers(kind: CacheKind, index: int, rows: _Rows, heads: int | None) -> CacheKind:
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention():
            expected = kind.kv_heads * kind.head_dim, kind.kv_heads * kind.v_head_dim
            key = rows["key"].get(index, expected[0])
            # Without a v_proj the values are the keys (Gemma 4), as wide as the configuration says.
            value = rows["value"].get(index, expected[1])
            if index in rows["joint"]:
                key, value = _split(kind, rows["joint"][index], heads)
            if (key, value) == expected:
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


def _split(
    kind: FullAttention | SlidingWindow | ChunkedAttention, rows: int, heads: int | None
) -> tuple[int, int]:
    """Rows of keys and of values in a joint matrix: what the query leaves, in whole heads.

    Where it leaves no whole number of heads, the matrix holds something else beside the three (a
    gate), and the configuration stands.
    """
    left = rows - (heads or 0) * kind.head_dim
    each = kind.head_dim + kind.v_head_dim
    if heads is None or left <= 0 or left % each:
        return kind.kv_heads * kind.head_dim, kind.kv_heads * kind.v_head_dim
    return left // each * kind.head_dim, left // each * kind.v_head_dim


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
