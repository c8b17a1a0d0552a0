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

Rotary = Literal["none", "model", "fp32_tables", "fp32"]
"""How query and keys are rotated: in the model's dtype; in fp32 because cosine and sine are (OLMo
2); in fp32 from copies of query and keys (Cohere)."""

EagerScores = Literal[
    "fp32", "fp32_product", "fp32_two", "fp32_three", "twice", "sinks", "returned"
]
"""What eager attention holds of its scores.

fp32: once in the model's dtype, their fp32 copy and the fp32 softmax; fp32_two and fp32_three: two
and three in the model's dtype beside both (MPT, BLOOM); fp32_product: query and keys are copied to
fp32 too (GPT-J, GPT-Neo). twice: two copies in the
model's dtype (GPT-2). sinks: three, with one more score a query (gpt-oss). returned: three, and the
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
    qk_norm: bool = False
    """An RMSNorm over each head of the query, in fp32."""
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


class Mlp(Struct, frozen=True, kw_only=True):
    """A dense feed-forward network."""

    width: int
    form: Literal["gated", "fused", "plain"]
    """gated: ``down(act(gate(x)) * up(x))``. fused: the same from one projection, whose halves are
    views. plain: ``down(act(up(x)))``."""
    activation_copies: int
    """Tensors of the activation's size alive inside of it, its input included."""


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


class Stored(Struct, frozen=True, kw_only=True):
    """What a layer leaves in the cache."""

    key: int
    value: int
    window: int | None = None
    """Tokens that later steps keep, of the whole prompt that prefill stores; None keeps all."""
    conv_elements: int = 0
    """A sequence's convolution state, in the model's dtype."""
    state_elements: int = 0
    """A sequence's recurrent state, in fp32."""


class LayerShape(Struct, frozen=True, kw_only=True):
    """Everything that makes two layers hold the same."""

    mixer: Attention | GatedDelta | Mamba2 | None
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
    default_attention: AttentionImplementation
    source: str
    """The modeling file that all of this was read from."""
