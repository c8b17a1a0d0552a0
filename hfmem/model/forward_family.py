"""What an entry says of a family's modeling code: how its layers are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from hfmem.model.forward_shapes import EagerScores, NormKind, Rotary

ACTIVATION_COPIES: Mapping[str, int] = {
    "linear": 1,
    "gelu": 2,
    "gelu_pytorch_tanh": 2,
    "hardswish": 2,
    "leaky_relu": 2,
    "mish": 2,
    "relu": 2,
    "relu6": 2,
    "sigmoid": 2,
    "silu": 2,
    "swish": 2,
    "tanh": 2,
    "gelu_10": 3,
    "quick_gelu": 3,
    "relu2": 3,
    "sqrtsoftplus": 3,
    "gelu_accurate": 4,
    "gelu_new": 4,
    "gelu_python": 4,
    "gelu_python_tanh": 4,
    "laplace": 4,
    "gelu_fast": 5,
}
"""Tensors alive at an activation's peak, input included: 2 where torch has one kernel for it, more
where it is spelled out in Python (activations.py: NewGELUActivation, FastGELUActivation…)."""


class ExpertsFamily(Struct, frozen=True, kw_only=True):
    """How a family routes."""

    fp32_weights: bool = False
    """The router returns fp32 weights, so the weighted expert outputs are fp32."""
    shared_first: bool = False
    gated: bool = True
    gate_copies: int = 2
    """Activated gate and product; more where the gate is clamped out of place."""
    bias: bool = False


class Family(Struct, frozen=True, kw_only=True):
    """Layer code that several model types share."""

    model_types: tuple[str, ...]
    source: str
    mixer_residents: int = 3
    """Embeddings, layer input and normed input."""
    mlp_residents: int = 4
    """Embeddings, layer input, sum after attention, normed sum."""
    mlp: Literal["gated", "fused", "plain"] = "gated"
    width_multiple: int | None = None
    """Of the hidden size, where the configuration leaves the width out."""
    activation: str = "hidden_act"
    """Key of the activation's name."""
    activation_copies: int | None = None
    """As ``ACTIVATION_COPIES``, where the code calls no named activation."""
    norm: NormKind = "rms"
    qk_norm: bool = False
    rotary: Rotary = "model"
    output_gate: bool = False
    fused_qkv: bool = False
    keeps_unrotated: bool = False
    """The layer splits query and keys into a rotated and an unrotated part itself."""
    eager_scores: EagerScores = "fp32"
    position_embeddings: bool = False
    half_rope: bool = False
    """Cosine and sine are kept once a pair of dimensions."""
    rope_tables: int = 1
    always_masked: bool = False
    idle_masks: int = 0
    """Masks that are built although no layer takes them."""
    logits_copies: int = 1
    experts: ExpertsFamily | None = None
    flags: frozenset[str] = field(default_factory=frozenset)
    """What one family's code does and no other's: ``falcon``, ``gemma4``, ``stablelm``,
    ``nemotron_h``, ``encoder`` (keeps nothing between calls), ``seq2seq`` (cross-attention in every
    layer), ``crossing`` (in layers of their own), ``position_bias``, ``fused_delta`` (one
    projection for query, keys, values and gate)."""
