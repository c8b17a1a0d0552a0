"""What the tensors of a layer are made of: named builders that a family is composed of.

A builder returns ``Parts`` with names relative to where it is used; ``under`` and ``layers`` put
them there. Shapes are as PyTorch stores them: a linear weight is [out, in].
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from msgspec import Struct

from hfmem.checkpoint.tensor import brace
from hfmem.model.config import MAX_LAYERS, Config

Role = Literal["plain", "linear", "fused_experts"]


class Part(NamedTuple):
    """A declared tensor, or a run of them."""

    name: str
    """In brace notation."""
    shape: tuple[int, ...]
    role: Role = "plain"
    """linear: a weight [out, in] that a quantization scheme converts; fused_experts: [experts, in,
    out].
    """
    dtype: str | None = None
    """None is the model's own."""


Parts = tuple[Part, ...]


class NotDeclaredError(Exception):
    """A configuration whose tensors a family's row does not know."""


def weight(name: str, *shape: int) -> Parts:
    """One ``name.weight`` that no scheme converts: an embedding, a norm, a router, a head."""
    return (Part(f"{name}.weight", shape),)


def linear(name: str, out_size: int, in_size: int, *, bias: bool = False) -> Parts:
    """A projection: ``name.weight`` [out, in] and, where asked, ``name.bias`` [out]."""
    parts: Parts = (Part(f"{name}.weight", (out_size, in_size), "linear"),)
    return (*parts, Part(f"{name}.bias", (out_size,))) if bias else parts


def norm(name: str, size: int, *, bias: bool = False) -> Parts:
    """A normalization's gain, and its shift where it is a LayerNorm."""
    return (*weight(name, size), Part(f"{name}.bias", (size,))) if bias else weight(name, size)


def norms(*names: str, size: int, bias: bool = False) -> Parts:
    """Several normalizations of one size."""
    return tuple(part for name in names for part in norm(name, size, bias=bias))


def under(prefix: str, *groups: Parts) -> Parts:
    """The groups below a module."""
    return tuple(part._replace(name=f"{prefix}.{part.name}") for group in groups for part in group)


def layers(prefix: str, numbers: Iterable[int], *groups: Parts) -> Parts:
    """The groups once a layer: ``model.layers.{0..79}.…``; one run for each unbroken stretch of
    numbers.
    """
    joined = tuple(part for group in groups for part in group)
    return tuple(
        part
        for first, last in _stretches(numbers)
        for part in under(f"{prefix}.{brace(first, last)}", joined)
    )


def _stretches(numbers: Iterable[int]) -> list[tuple[int, int]]:
    stretches: list[tuple[int, int]] = []
    for number in numbers:
        if stretches and number == stretches[-1][1] + 1:
            stretches[-1] = (stretches[-1][0], number)
        else:
            stretches.append((number, number))
    return stretches


class Heads(Struct, frozen=True, kw_only=True):
    """The sizes of grouped-query attention."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def query_size(self) -> int:
        """Rows of q_proj."""
        return self.heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Rows of k_proj and of v_proj."""
        return self.kv_heads * self.head_dim


def heads(config: Config) -> Heads:
    """The attention sizes of a configuration; key heads and head_dim follow from the others where
    null.
    """
    hidden = config.integer("hidden_size", low=1)
    count = config.integer("num_attention_heads", low=1)
    return Heads(
        hidden=hidden,
        heads=count,
        kv_heads=config.integer_or_none("num_key_value_heads", low=1) or count,
        head_dim=config.integer_or_none("head_dim", low=1) or hidden // count,
    )


def layer_count(config: Config) -> int:
    """Decoder layers that the class builds."""
    return config.integer("num_hidden_layers", high=MAX_LAYERS)


def attention(
    size: Heads, *, bias: bool = False, output_bias: bool = False, output: str = "o_proj"
) -> Parts:
    """Separate q, k and v projections and the output's; ``output_bias`` is the output projection's
    own.
    """
    return under(
        "self_attn",
        linear("q_proj", size.query_size, size.hidden, bias=bias),
        linear("k_proj", size.kv_size, size.hidden, bias=bias),
        linear("v_proj", size.kv_size, size.hidden, bias=bias),
        linear(output, size.hidden, size.query_size, bias=output_bias),
    )


def head_norms(size: int) -> Parts:
    """q_norm and k_norm over ``size`` elements each."""
    return under("self_attn", norms("q_norm", "k_norm", size=size))


W1_W3_W2 = ("w1", "w3", "w2")
"""Gate, up and down as Mixtral's files and Meta's name them."""


def gated_mlp(
    hidden: int,
    intermediate: int,
    *,
    bias: bool = False,
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> Parts:
    """gate, up and down: 3 · hidden · intermediate parameters."""
    gate, up, down = names
    return (
        *linear(gate, intermediate, hidden, bias=bias),
        *linear(up, intermediate, hidden, bias=bias),
        *linear(down, hidden, intermediate, bias=bias),
    )


def experts(count: int, *groups: Parts) -> Parts:
    """The groups once an expert, unfused, as checkpoints name them:
    ``experts.{0..127}.gate_proj.weight``.
    """
    return layers("experts", range(count), *groups)


def embedding(config: Config, name: str = "model.embed_tokens") -> Parts:
    """The token embedding [vocabulary, hidden]."""
    return weight(name, config.integer("vocab_size", low=1), config.integer("hidden_size", low=1))


def head(config: Config, name: str = "lm_head") -> Parts:
    """The output projection; nothing when it is tied to the embedding, since it is held once."""
    return () if config.flag("tie_word_embeddings") else embedding(config, name)
