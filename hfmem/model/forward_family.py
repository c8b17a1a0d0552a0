"""What an entry says of a family's modeling code: how its layers are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from hfmem.model.forward_own_scores import OwnScores
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
    "xielu": 5,
    "gelu_fast": 5,
}
"""Tensors alive at an activation's peak, input included: 2 where torch has one kernel for it, more
where it is spelled out in Python (activations.py: NewGELUActivation, FastGELUActivation…)."""


Recurrence = Literal[
    "delta",
    "fused_delta",
    "nemotron_h",
    "mamba2",
    "bamba",
    "zamba2",
    "mamba",
    "jamba",
    "short_conv",
    "kimi_delta",
]
"""Code of recurrent layers: gated delta nets (fused_delta has one projection for query, keys,
values and gate), Kimi's, Mamba 2 under several families' names, Mamba 1, short convolutions."""


class ExpertsFamily(Struct, frozen=True, kw_only=True):
    """How a family routes."""

    fp32_weights: bool = False
    """The router returns fp32 weights, so the weighted expert outputs are fp32."""
    shared_first: bool = False
    gated: bool = True
    gate_copies: int = 2
    """Activated gate and product; more where the gate is clamped out of place."""
    bias: bool = False
    every_token: bool = False
    always_shared: bool = False
    """A shared expert of the plain width stands in every layer, whatever the configuration says."""


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
    norms_late: bool = False
    rotary: Rotary = "model"
    output_gate: bool = False
    fused_qkv: bool = False
    keeps_unrotated: bool = False
    """The layer splits query and keys into a rotated and an unrotated part itself."""
    eager_scores: EagerScores = "fp32"
    position_embeddings: bool = False
    rotated_share: float = 1.0
    """Of a head, where neither the configuration nor its class's defaults say it."""
    half_rope: bool = False
    """Cosine and sine are kept once a pair of dimensions."""
    rope_tables: int = 1
    always_masked: bool = False
    idle_masks: int = 0
    """Masks that are built although no layer takes them."""
    logits_copies: int = 1
    experts: ExpertsFamily | None = None
    own_scores: OwnScores | None = None
    """Which code an encoder's attention runs that calls no attention interface."""
    recurrence: Recurrence | None = None
    """Which code a recurrent layer runs."""
    after_residents: int = 0
    """As ``Mlp.after_residents``."""
    first_dense: str | None = None
    """Key of the dense layers' own width, where the routed experts have the plain key."""
    flags: frozenset[str] = field(default_factory=frozenset)
    """What one family's code does and no other's: ``falcon``, ``gemma3n``, ``gemma4``, ``lfm2``,
    ``llama4``, ``minimax_m3``, ``nemotron_h``, ``stablelm``, ``alone`` (a mixer and no MLP),
    ``encoder`` (keeps nothing between calls), ``pictures`` (reads patches), ``seq2seq``
    (cross-attention in every layer), ``crossing`` (in layers of their own), ``parallel_state``
    (attention beside a state), ``local_rope`` (full layers do not rotate), ``twice`` (two
    attentions a layer), ``supposed`` (nobody read the code), ``position_bias``."""
