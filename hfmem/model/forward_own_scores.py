"""Attention that a family's own code spells out, with tensors that no kernel of torch's has."""

from __future__ import annotations

from typing import Literal

from hfmem.model.config import Config
from hfmem.model.forward_shapes import Listed, Live, LiveInstant
from hfmem.model.layers import CompressedAttention

OwnScores = Literal["deberta", "mpnet"]


def own_scores(config: Config, kind: OwnScores) -> Listed:
    """The attention of an encoder that calls no attention interface.

    Raises MissingKeyError and InvalidValueError where the configuration lacks a size.
    """
    heads = config.integer("num_attention_heads", low=1)
    return _deberta(config, heads) if kind == "deberta" else _mpnet(config, heads)


def _deberta(config: Config, heads: int) -> Listed:
    """models/deberta_v2/modeling_deberta_v2.py: disentangled_attention_bias.

    Scores; what is gathered from content to position and back, their sum and the scaled second; the
    fp32 mask of each sequence; and positions of all pairs in int64, relative and twice clamped.
    Without relative attention the scores and their masked copy, the mask and its complement.
    """
    hidden = config.integer("hidden_size", low=1)
    query = Live(name="query, key, value", elements=3 * hidden, what="laid out by heads")
    mask = Live(name="attention mask", elements=1, bytes=4, per="pair", what="fp32")
    if not config.flag("relative_attention"):
        scores = Live(name="attention scores", elements=2 * heads, per="pair", what="and masked")
        both = Live(name="masked pairs", elements=2, bytes=1, per="pair", what="and the others")
        return Listed(
            instants=(LiveInstant(name="attention", tensors=(query, scores, mask, both)),)
        )
    scores = Live(
        name="attention scores",
        elements=5 * heads,
        per="pair",
        what="scores, both gathered, their sum, and scaled",
    )
    positions = Live(
        name="relative positions", elements=3, bytes=8, per="square", what="int64, twice clamped"
    )
    return Listed(
        instants=(LiveInstant(name="attention", tensors=(query, scores, mask, positions)),)
    )


def _mpnet(config: Config, heads: int) -> Listed:
    """models/mpnet/modeling_mpnet.py: MPNetSelfAttention, with the position bias of every sequence
    laid out; scores and their softmax; query, keys, values and two layouts of the output."""
    hidden = config.integer("hidden_size", low=1)
    query = Live(name="query, key, value", elements=5 * hidden, what="and the output, twice")
    scores = Live(
        name="attention scores", elements=3 * heads, per="pair", what="bias, scores, softmax"
    )
    return Listed(instants=(LiveInstant(name="attention", tensors=(query, scores)),))


def compressed_attention(heads: int, kept: CompressedAttention) -> Listed:
    """models/deepseek_v4/modeling_deepseek_v4.py: eager_attention_forward, the only one there is.

    Scores with the mask, joined with the sinks, and less their largest: three of every pair, the
    pooled keys among them, beside the window's mask joined with the pooled keys'; one key for all
    heads. The rotated query lives meanwhile.
    """
    query = Live(name="query, key, value", elements=heads * kept.head_dim, what="query")
    score = Live(
        name="attention scores",
        elements=3 * heads,
        per="pair",
        pooled=kept.ratio,
        what="masked, joined with sinks, less their largest",
    )
    mask = Live(
        name="attention mask",
        elements=1,
        per="pair",
        pooled=kept.ratio,
        what="joined with the pooled keys'",
    )
    sinks = Live(name="sinks", elements=2 * heads, what="one more score a query and head")
    return Listed(instants=(LiveInstant(name="attention", tensors=(query, score, mask, sinks)),))
