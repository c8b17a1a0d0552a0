"""A decoder told by how it departs from Llama's: what most families are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from msgspec import Struct

from hfmem.model.architectures import layers as cache_layers
from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    Part,
    Parts,
    attention,
    embedding,
    experts,
    gated_mlp,
    head,
    heads,
    layer_count,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.layers import Layer

Rule = Callable[[Config], Parts]
Switch = bool | str
"""Whether a tensor is there: always, never, or as the flag of that name says."""
CacheRule = Callable[[Config, Layer], Parts]
"""From what a layer keeps in the cache to its attention, or to what stands in its place."""
LayerRule = Callable[[Config], Iterable[int]]
"""The numbers of the layers that something stands in."""
HeadNorms = Literal["none", "head", "all"]
"""No norm over queries and keys; one of head_dim; one over all heads at once."""

PRE_NORMS = ("input_layernorm", "post_attention_layernorm")
SANDWICH = (*PRE_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")
GATED = ("gate_proj", "up_proj", "down_proj")


def said(config: Config, switch: Switch) -> bool:
    """Whether a switch is on."""
    return config.flag(switch) if isinstance(switch, str) else switch


def hidden(config: Config) -> int:
    """``hidden_size``."""
    return config.integer("hidden_size", low=1)


def gated(
    *,
    bias: Switch = False,
    size: str = "intermediate_size",
    name: str = "mlp",
    names: tuple[str, str, str] = GATED,
) -> Rule:
    """gate, up and down of ``size``."""

    def parts(config: Config) -> Parts:
        inner, outer = config.integer(size, low=1), hidden(config)
        return under(name, gated_mlp(outer, inner, bias=said(config, bias), names=names))

    return parts


def plain(
    up: str = "up_proj",
    down: str = "down_proj",
    *,
    bias: Switch = False,
    name: str = "mlp",
    fourfold: bool = False,
) -> Rule:
    """An MLP without a gate: up and down. ``fourfold`` where no size means four times the hidden
    one."""

    def parts(config: Config) -> Parts:
        outer, biased = hidden(config), said(config, bias)
        inner = config.integer_or_none("intermediate_size", low=1) if fourfold else None
        if inner is None:
            inner = 4 * outer if fourfold else config.integer("intermediate_size", low=1)
        both = (*linear(up, inner, outer, bias=biased), *linear(down, outer, inner, bias=biased))
        return under(name, both) if name else both

    return parts


def fused_gate(*, bias: Switch = False) -> Rule:
    """gate and up in one matrix, and down."""

    def parts(config: Config) -> Parts:
        inner, outer = config.integer("intermediate_size", low=1), hidden(config)
        return under(
            "mlp",
            linear("gate_up_proj", 2 * inner, outer, bias=said(config, bias)),
            linear("down_proj", outer, inner, bias=said(config, bias)),
        )

    return parts


def none(config: Config) -> Parts:  # noqa: ARG001 a rule like the others
    """Nothing."""
    return ()


def routed(
    *,
    name: str = "mlp",
    gate: str = "gate",
    size: str = "moe_intermediate_size",
    correction: str | None = None,
    shared: Rule = none,
    names: tuple[str, str, str] = GATED,
) -> Rule:
    """A router and its experts, unfused as published; ``correction`` is the router's bias, a buffer
    in F32; ``shared`` stands beside the experts."""

    def parts(config: Config) -> Parts:
        count = expert_count(config)
        bias = () if correction is None else (Part(correction, (count,), dtype="F32"),)
        return under(
            name,
            weight(gate, count, hidden(config)),
            bias,
            experts(count, gated_mlp(hidden(config), config.integer(size, low=1), names=names)),
            shared(config),
        )

    return parts


def expert_count(config: Config) -> int:
    """Routed experts of a layer."""
    return config.integer("num_experts", low=1, high=MAX_LAYERS)


def shared_experts(
    count: str | None = "n_shared_experts",
    *,
    size: str = "moe_intermediate_size",
    name: str = "shared_experts",
    gate: str | None = None,
    bias: Switch = False,
) -> Rule:
    """What every token goes through: ``count`` experts in one MLP (nothing at 0), or one; ``gate``
    weighs it."""

    def parts(config: Config) -> Parts:
        number = 1 if count is None else (config.integer_or_none(count) or 0)
        inner = number * config.integer(size) if number else 0
        weighed = () if gate is None else weight(gate, 1, hidden(config))
        if not inner:
            return weighed
        mlp = gated_mlp(hidden(config), inner, bias=said(config, bias))
        return (*under(name, mlp), *weighed)

    return parts


def all_layers(config: Config) -> Iterable[int]:
    """Every layer of the decoder."""
    return range(layer_count(config))


def types_or(key: str, kind: str, otherwise: LayerRule) -> LayerRule:
    """The layers that a list under ``key`` calls ``kind``; ``otherwise`` without the list."""

    def numbers(config: Config) -> Iterable[int]:
        types = config.text_list(key)
        if types is None:
            return otherwise(config)
        return [number for number, one in enumerate(types[: layer_count(config)]) if one == kind]

    return numbers


def after(key: str, default: int = 0) -> LayerRule:
    """The layers behind the first ``key``; ``mlp_layer_types`` has the last word where it is
    given."""

    def numbers(config: Config) -> Iterable[int]:
        count = layer_count(config)
        first = config.integer_or_none(key, high=MAX_LAYERS)
        return range(min(default if first is None else first, count), count)

    return types_or("mlp_layer_types", "sparse", numbers)


def prediction_layer(config: Config) -> Parts:
    """What a layer for multi-token prediction has beside a decoder layer's tensors: an embedding
    and a head that repeat the main model's (DeepSeek-V3 README_WEIGHTS.md)."""
    return (
        *embedding(config, "embed_tokens"),
        *lean_prediction_layer(config),
        *embedding(config, "shared_head.head"),
    )


def lean_prediction_layer(config: Config) -> Parts:
    """The same without the repetitions: zai-org/GLM-5 holds 753,864,139,008 parameters, 743.9 B of
    them the decoder's."""
    size = hidden(config)
    return (
        *norms("enorm", "hnorm", size=size),
        *weight("eh_proj", size, 2 * size),
        *norm("shared_head.norm", size),
    )


def head_bias(config: Config, name: str = "lm_head") -> Parts:
    """The bias of a head, which is there with a tied weight too."""
    return (Part(f"{name}.bias", (config.integer("vocab_size", low=1),)),)


def hunyuan_norms(config: Config) -> Parts:
    """Hunyuan's own names for norms over each head's queries and keys."""
    names = ("query_layernorm", "key_layernorm")
    return under("self_attn", norms(*names, size=heads(config).head_dim))


def sinks(config: Config) -> Parts:
    """A logit a head that no token is behind."""
    return (Part("self_attn.sinks", (heads(config).heads,)),)


class Style(Struct, frozen=True, kw_only=True):
    """How the decoder of a family departs from Llama's; calling it gives the tensors.

    ``Style()`` has q, k, v and o projections with ``attention_bias``, a gated MLP, two norms a
    layer, an embedding, a last norm and a head.
    """

    norms: tuple[str, ...] = PRE_NORMS
    norm_bias: Switch = False
    """The norms are LayerNorms with a shift."""
    qkv_bias: Switch = "attention_bias"
    output_bias: Switch = "attention_bias"
    output: str = "o_proj"
    head_norms: HeadNorms = "none"
    attention: Rule | None = None
    """In place of the four projections."""
    by_cache: CacheRule | None = None
    """In place of the four projections, where the layers differ: what each keeps decides."""
    mlp: Rule = gated()
    extra: Rule = none
    """Beside them, once a layer."""
    routed: Rule | None = None
    """In place of the MLP, in the ``sparse`` layers."""
    sparse: LayerRule = all_layers
    draft: Rule = none
    """What a layer for multi-token prediction has beside a decoder layer's tensors; such layers
    follow the decoder's own numbers, ``num_nextn_predict_layers`` of them where the file says so
    (the class knows nothing of them)."""
    beside: Rule = none
    """Beside the layers, once a model."""
    embedding: str = "model.embed_tokens"
    prefix: str = "model.layers"
    last_norm: str = "model.norm"
    head: str = "lm_head"
    head_bias: Switch = False

    def __call__(self, config: Config) -> Parts:
        """The tensors of the decoder, its embedding and its head."""
        size, shift = hidden(config), said(config, self.norm_bias)
        return (
            *embedding(config, self.embedding),
            *self.layers_of(config),
            *norm(self.last_norm, size, bias=shift),
            *self.beside(config),
            *head(config, self.head),
            *(head_bias(config, self.head) if said(config, self.head_bias) else ()),
        )

    def layers_of(self, config: Config) -> Parts:
        """The layers alone."""
        count = layer_count(config)
        routing = set(self.sparse(config)) if self.routed is not None else set()
        drafts = range(count, count + self._drafts(config))
        every = range(drafts.stop)
        dense = [number for number in range(count) if number not in routing]
        sparse = [number for number in every if number in routing or number >= count]
        if self.routed is None:
            dense, sparse = list(every), []
        size, shift = hidden(config), said(config, self.norm_bias)
        return (
            *self._attention(config, every),
            *layers(self.prefix, every, self.extra(config)),
            *(layers(self.prefix, dense, self.mlp(config)) if dense else ()),
            *(layers(self.prefix, sparse, self.routed(config)) if self.routed and sparse else ()),
            *layers(self.prefix, every, norms(*self.norms, size=size, bias=shift)),
            *(layers(self.prefix, drafts, self.draft(config)) if drafts else ()),
        )

    def _attention(self, config: Config, numbers: Iterable[int]) -> Parts:
        if self.by_cache is None:
            return layers(self.prefix, numbers, self.attention_of(config))
        kinds: dict[Layer, list[int]] = {}
        for number, kind in enumerate(cache_layers(config).layers):
            kinds.setdefault(kind, []).append(number)
        return tuple(
            part
            for kind, where in kinds.items()
            for part in layers(self.prefix, where, self.by_cache(config, kind))
        )

    def _drafts(self, config: Config) -> int:
        key = "num_nextn_predict_layers"
        if self.draft is none or not config.has(key):
            return 0
        return config.integer(key, high=MAX_LAYERS)

    def attention_of(self, config: Config) -> Parts:
        """The attention of one layer."""
        if self.attention is not None:
            return self.attention(config)
        size = heads(config)
        projections = attention(
            size,
            bias=said(config, self.qkv_bias),
            output_bias=said(config, self.output_bias),
            output=self.output,
        )
        match self.head_norms:
            case "none":
                return projections
            case "head":
                normed = norms("q_norm", "k_norm", size=size.head_dim)
            case "all":
                normed = (*norm("q_norm", size.query_size), *norm("k_norm", size.kv_size))
        return (*projections, *under("self_attn", normed))
