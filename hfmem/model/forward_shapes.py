"""What one forward pass of a decoder computes, in the sizes that decide what is held live.

Sizes are in elements of one token unless they say otherwise. Layers that compute the same are one
``LayerKind``, so a reader's work does not grow with the number of layers.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

AttentionImplementation = Literal["sdpa", "eager"]
NormKind = Literal["rms", "mean_variance", "fused"]
"""rms: RMSNorm in Python, an fp32 copy and an fp32 product. mean_variance: Cohere's LayerNorm in
Python, three fp32 tensors. fused: torch's layer_norm, which holds its result only."""

Rotary = Literal["none", "model", "fp32_tables", "fp32", "complex"]
"""How query and keys are rotated: in the model's dtype; in fp32 because cosine and sine are (OLMo
2); in fp32 from copies of query and keys (Cohere); as complex numbers of two fp32 (Llama 4)."""

EagerScores = Literal[
    "fp32", "fp32_product", "fp32_two", "fp32_three", "twice", "sinks", "joined_sinks", "returned"
]
"""What eager attention holds of its scores.

fp32: once in the model's dtype, their fp32 copy and the fp32 softmax; fp32_two and fp32_three: two
and three in the model's dtype beside both (MPT, BLOOM); fp32_product: query and keys are copied to
fp32 too (GPT-J, GPT-Neo). twice: two copies in the
model's dtype (GPT-2). sinks: three, with one more score a query (gpt-oss); joined_sinks: two of
them (MiMo-V2, whose scores and mask are gone by then). returned: three, and the
previous layer's, which the model's loop still holds (Falcon).
"""


class LatentProjection(Struct, frozen=True, kw_only=True):
    """Multi-head latent attention: keys and values are expanded from the latent at every pass."""

    rank: int
    rope_dim: int
    nope_dim: int
    query_rank: int = 0
    """Of the query's own latent, which a layer with an indexer keeps; 0 where none is kept."""
    indexer_heads: int = 0
    """Of the sparse-attention indexer; 0 where the layer has none."""
    indexer_dim: int = 0
    selected: int = 0
    """Tokens that a sparse layer attends to, held as int32 indices; 0 for dense attention."""


class Attention(Struct, frozen=True, kw_only=True):
    """One layer's attention: heads and what its code keeps beside query, keys and values."""

    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    window: int | None = None
    latent: LatentProjection | None = None
    rotary: Rotary = "model"
    rotated_dim: int = 0
    """Of each head, where the rest is joined to it again afterwards; 0 where all is rotated.

    What is joined is laid out by heads, and so is the attention's output, which is copied."""
    qk_norm: bool = False
    """An RMSNorm over each head of the query, in fp32."""
    norms_late: bool = False
    """Keys and values are projected before the query is normed."""
    output_gate: bool = False
    """The query projection is twice as wide; its second half is held until the output."""
    kept_rotation: int = 0
    """Elements of the unrotated query and keys and of their rotated parts that live through
    attention, where only a part of each head is rotated and the layer's own code joins it."""
    fused_qkv: bool = False
    """Query, keys and values are views of one projection, which lives through attention."""
    broadcast_kv: bool = False
    """K and V go to sdpa with fewer heads than Q and no ``enable_gqa``: only the math kernel."""
    eager_scores: EagerScores = "fp32"
    block_mask: bool = False
    """An indexer chooses blocks of keys, and a mask of all heads and pairs is built of them."""
    position_bias: bool = False
    """A bias a head and a pair of tokens instead of positions (T5)."""


class GatedDelta(Struct, frozen=True, kw_only=True):
    """A gated delta net (Qwen3-Next, Qwen3.5) on PyTorch's own chunked path."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    fused_projection: bool
    """Q, K, V and the gate are one projection, which lives through the layer (Qwen3-Next)."""
    chunk: int = 64


class Mamba2(Struct, frozen=True, kw_only=True):
    """A Mamba-2 mixer on PyTorch's own chunked scan."""

    heads: int
    head_dim: int
    groups: int
    state: int
    chunk: int


class Live(Struct, frozen=True, kw_only=True):
    """Tensors of one kind that are alive at a listed instant."""

    name: str
    elements: int
    """Of one row, pair or sequence; all tensors of the kind together."""
    what: str
    bytes: int | None = None
    """Of an element; None is the model's dtype."""
    per: Literal["row", "pair", "square", "sequence"] = "row"
    """A row is a new token; a pair is a query and a key; a square has one pair for all sequences; a
    sequence has one whatever its length."""
    pooled: int = 0
    """Tokens that share one more key beside those of the pairs (DeepSeek-V4); 0 without."""


class LiveInstant(Struct, frozen=True, kw_only=True):
    """One moment of a listed mixer."""

    name: str
    tensors: tuple[Live, ...]
    path: Literal["any", "python", "fused"] = "any"
    """python: only without the fused kernels of fla or mamba-ssm; fused: only with them."""
    steps: Literal["any", "prefill", "decode"] = "any"
    stored: bool = True
    """Whether the layer's own cache holds the new tokens by then."""


class Listed(Struct, frozen=True, kw_only=True):
    """A mixer whose code is of no other kind here: what it holds, instant by instant."""

    instants: tuple[LiveInstant, ...]


Mixer = Attention | GatedDelta | Mamba2 | Listed


class Mlp(Struct, frozen=True, kw_only=True):
    """A dense feed-forward network."""

    width: int
    form: Literal["gated", "fused", "plain"]
    """gated: ``down(act(gate(x)) * up(x))``. fused: the same from one projection, whose halves are
    views. plain: ``down(act(up(x)))``."""
    activation_copies: int
    """Tensors of the activation's size alive inside of it, its input included."""
    masked: bool = False
    """The activation holds a boolean of its input's size too (xIELU)."""
    after_residents: int = 0
    """Hidden-wide tensors while the norm after the MLP runs, where they are more than before it."""


class Experts(Struct, frozen=True, kw_only=True):
    """A mixture of experts on the grouped path (transformers 5.23 integrations/moe.py)."""

    experts: int
    top_k: int
    width: int
    input_width: int
    """What an expert reads and writes: the hidden size, or a latent (Nemotron 3)."""
    gated: bool
    gate_copies: int
    """Tensors of the expert's width that the gate or activation holds beside the projection."""
    router_bytes: int | None
    """Bytes of a router weight, which the experts' output is multiplied with; None: the model's."""
    bias: bool
    shared_width: int
    shared_form: Literal["gated", "fused", "plain"]
    shared_copies: int
    shared_first: bool
    """The shared expert runs before the routed ones and its output is held meanwhile."""
    every_token: bool = False
    """Every expert computes every token, and the router's weight is 0 for most (Llama 4)."""


class Stored(Struct, frozen=True, kw_only=True):
    """What a layer leaves in the cache."""

    key: int
    value: int
    window: int | None = None
    """Tokens that later steps keep, of the whole prompt that prefill stores; None keeps all."""
    pooled: int = 0
    """Elements of one more key every ``ratio`` tokens."""
    ratio: int = 0
    conv_elements: int = 0
    """A sequence's convolution state, in the model's dtype."""
    state_elements: int = 0
    """A sequence's recurrent state, in fp32."""


class LayerShape(Struct, frozen=True, kw_only=True):
    """Everything that makes two layers hold the same."""

    mixer: Mixer | None
    feed_forward: Mlp | Experts | None
    parallel_mlp: Mlp | None
    """A dense network that runs before the experts of the same layer (Gemma 4)."""
    stored: Stored
    logits_rows_only: bool = False
    """Prefill runs it for the rows that get logits and no others (Gemma 4's layers without a cache
    of their own)."""


class LayerKind(Struct, frozen=True, kw_only=True):
    """A shape with where it occurs."""

    shape: LayerShape
    count: int
    last: int
    """Index of the last layer of this kind: there most of the cache is filled already."""
    before: tuple[int, ...]
    """Layers of each kind before the first layer of this one."""
    filled: tuple[int, ...]
    """Layers of each kind, in the order of ``ForwardPass.kinds``, up to and with ``last``."""


class ForwardPass(Struct, frozen=True, kw_only=True):
    """One forward pass of a decoder. Built by ``hfmem.model.forward.forward_pass``."""

    hidden: int
    vocab: int
    kinds: tuple[LayerKind, ...]
    norm: NormKind
    mixer_residents: int
    """Hidden-wide tensors alive while attention runs: embeddings, layer input, normed input…"""
    mlp_residents: int
    """The same while the feed-forward network runs."""
    rope_elements: int
    """Of all cosine and sine tables, of one position."""
    rope_fp32: bool
    position_embeddings: bool
    """Learned positions, one row a position, are held through the pass (GPT-2)."""
    masked: bool
    """Every layer's kernel is given a mask."""
    masks: int
    """Masks over all pairs of tokens that sdpa gets or that are built for no layer."""
    window_masks: tuple[int, ...]
    """Windows of the masks that are built once the keys outgrow them."""
    eager_masks: int
    """Masks that eager attention builds."""
    logits_copies: int
    """2 where the logits are scaled or capped out of place, 1 otherwise."""
    per_layer_inputs: int
    """Width of all layers' own embeddings together (Gemma 3n and 4); 0 without."""
    pixels: int
    """Pixel values of a patch, where positions are patches of a picture; 0 for text."""
    default_attention: AttentionImplementation
    source: str
    """The modeling file that all of this was read from."""
    per_layer_copies: int = 1
    """2 where the class for pictures and sound looks the layers' embeddings up itself and holds
    them beside their projection."""
