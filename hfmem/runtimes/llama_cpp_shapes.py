"""The shapes of a model's layers as llama.cpp's graph needs them."""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from hfmem.model.forward_shapes import (
    Attention,
    Experts,
    GatedDelta,
    LatentProjection,
    LayerShape,
    Listed,
    Mamba2,
    Mlp,
    Stored,
)
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    FullAttention,
    LatentAttention,
    SlidingWindow,
)
from hfmem.model.model import Model
from hfmem.model.parameters import routing


class GraphFacts(Struct, frozen=True, kw_only=True):
    """What the compute buffer depends on."""

    hidden: int
    vocabulary: int
    shapes: tuple[LayerShape, ...]
    """Two layers of every kind in turn and the last one; more of the same change nothing."""
    window: int | None
    """Of the layers that slide."""
    described: bool
    """Whether the family's forward pass is described; else a gated decoder's is assumed."""

    @property
    def recurrent(self) -> bool:
        """Whether some layer keeps a state; in what order ggml visits these is less certain."""
        return any(isinstance(shape.mixer, GatedDelta | Mamba2) for shape in self.shapes)


@lru_cache(maxsize=64)
def graph_facts(model: Model) -> GraphFacts | None:
    """From the model's forward pass, or from its sizes; None where neither is told."""
    decoder = model.decoder
    window = _window(model)
    if model.forward is not None and not any(
        isinstance(kind.shape.mixer, Listed) for kind in model.forward.kinds
    ):
        kinds = model.forward.kinds
        last = max(kinds, key=lambda kind: kind.last).shape
        rank = decoder.text.integer_or_none("q_lora_rank") or 0
        shapes = tuple(_with_query_rank(kind.shape, rank) for kind in kinds)
        last = _with_query_rank(last, rank)
        return GraphFacts(
            hidden=model.forward.hidden,
            vocabulary=model.forward.vocab,
            shapes=(*shapes, *shapes, last),
            window=window,
            described=True,
        )
    vocabulary = decoder.vocab_size or decoder.text.integer_or_none("vocab_size")
    if decoder.hidden_size is None or vocabulary is None:
        return None
    feed_forward = _feed_forward(model, decoder.hidden_size)
    mixers = {_mixer(kind, model) for kinds in decoder.layers for kind in kinds}
    known = sorted((one for one in mixers if one is not None), key=repr)
    layers = tuple(
        LayerShape(
            mixer=mixer,
            feed_forward=feed_forward,
            parallel_mlp=None,
            stored=Stored(key=0, value=0),
        )
        for mixer in known
    )
    return GraphFacts(
        hidden=decoder.hidden_size,
        vocabulary=vocabulary,
        shapes=(*layers, *layers),
        window=window,
        described=False,
    )


def _with_query_rank(shape: LayerShape, rank: int) -> LayerShape:
    """With the rank of the query's own latent, which llama.cpp computes for itself."""
    mixer = shape.mixer
    if not rank or not isinstance(mixer, Attention) or mixer.latent is None:
        return shape
    return replace(shape, mixer=replace(mixer, latent=replace(mixer.latent, query_rank=rank)))


def _feed_forward(model: Model, hidden: int) -> Mlp | Experts:
    text = model.decoder.text
    wide = text.integer_or_none("intermediate_size") or 4 * hidden
    chosen = routing(text)
    if chosen is None:
        return Mlp(width=wide, form="gated", activation_copies=0)
    return Experts(
        experts=chosen.experts,
        top_k=chosen.chosen,
        width=text.integer_or_none("moe_intermediate_size") or wide,
        input_width=hidden,
        gated=True,
        gate_copies=0,
        router_bytes=None,
        bias=False,
        shared_width=0,
        shared_form="gated",
        shared_copies=0,
        shared_first=False,
    )


def _mixer(kind: CacheKind, model: Model) -> Attention | None:
    heads = model.decoder.attention_heads or 1
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention():
            return Attention(
                heads=heads,
                kv_heads=kind.kv_heads,
                head_dim=kind.head_dim,
                v_head_dim=kind.v_head_dim,
                window=None if isinstance(kind, FullAttention) else 1,
            )
        case LatentAttention():
            return Attention(
                heads=kind.heads,
                kv_heads=1,
                head_dim=kind.rank + kind.rope_dim,
                v_head_dim=kind.rank,
                latent=LatentProjection(
                    rank=kind.rank, rope_dim=kind.rope_dim, nope_dim=kind.rope_dim * 2
                ),
            )
        case _:
            return None


def _window(model: Model) -> int | None:
    for kinds in model.decoder.layers:
        for kind in kinds:
            match kind:
                case SlidingWindow():
                    return kind.window
                case ChunkedAttention():
                    return kind.chunk
                case _:
                    pass
    return None
