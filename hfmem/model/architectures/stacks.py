"""From types to layers: the one builder that every family is composed with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hfmem.errors import UnsupportedArchitectureError
from hfmem.model.architectures.attention import (
    LayerRule,
    both,
    chunked,
    full,
    full_indexed,
    heads,
    nothing,
    sliding,
)
from hfmem.model.architectures.entry import CacheRule
from hfmem.model.architectures.patterns import (
    CHUNKED,
    CONV,
    FULL,
    HYBRID,
    HYBRID_SLIDING,
    INDEXED,
    LINEAR,
    NOTHING,
    SLIDING,
    Pattern,
    bare_window,
    layer_count,
    listed,
)
from hfmem.model.config import Config
from hfmem.model.layers import CrossAttention, Layer

Retype = Callable[[Config, Sequence[str]], Sequence[str]]
"""From a section and the types of its layers to the types that hold."""


def stack(
    pattern: Pattern = bare_window,
    *,
    full: LayerRule = full,
    sliding: LayerRule = sliding,
    indexed: LayerRule = full_indexed,
    linear: LayerRule | None = None,
    keys: Sequence[str] = ("layer_types",),
    others: Mapping[str, LayerRule] | None = None,
    retype: Retype | None = None,
) -> CacheRule:
    """The layers that the file lists under one of ``keys``, or that ``pattern`` gives.

    ``linear`` is what a recurrent or convolution layer keeps, ``others`` what types of the family's
    own do. ``retype`` has the last word on the types. ``per_layer_config`` overrides keys for
    single layers, as in transformers (integrations/heterogeneity).
    """
    rules: dict[str, LayerRule] = {
        FULL: full,
        SLIDING: sliding,
        CHUNKED: chunked,
        INDEXED: indexed,
        NOTHING: nothing,
    }
    if linear is not None:
        rules |= {LINEAR: linear, CONV: linear}
        rules |= {HYBRID: both(full, linear), HYBRID_SLIDING: both(sliding, linear)}
    rules |= others or {}

    def cache(config: Config) -> tuple[Layer, ...]:
        types = next((types for key in keys if (types := listed(config, key))), None)
        if types is None:
            types = tuple(pattern(config, layer_count(config)))
        if retype is not None:
            types = tuple(retype(config, types))
        return built(config, types, rules)

    return cache


def built(
    config: Config, types: Sequence[str], rules: Mapping[str, LayerRule]
) -> tuple[Layer, ...]:
    """One layer a type; a type is built once, and again only where a layer has overrides of its
    own."""
    made: dict[str, Layer] = {}
    overrides = config.value("per_layer_config")
    layers = []
    for index, kind in enumerate(types):
        rule = rules.get(kind)
        if rule is None:
            raise UnsupportedArchitectureError(
                f"{config.where}: layer {index} is of the type {kind[:60]!a}, and it is not known "
                f"what such a layer of {config.type_shown()} keeps.",
                hint="A newer hfmem may know it; the weights can still be sized.",
            )
        own = overrides.get(str(index)) if isinstance(overrides, Mapping) else None
        if isinstance(own, Mapping) and own:
            layers.append(rule(config.with_values(own)))
            continue
        if kind not in made:
            made[kind] = rule(config)
        layers.append(made[kind])
    return tuple(layers)


def with_cross(self_attention: CacheRule) -> CacheRule:
    """Cross-attention with the same heads beside every layer of a decoder."""

    def cache(config: Config) -> tuple[Layer, ...]:
        size = heads(config)
        cross = CrossAttention(
            kv_heads=size.kv, head_dim=size.head_dim, v_head_dim=size.head_dim, source_tokens=None
        )
        return tuple((*layer, cross) for layer in self_attention(config))

    return cache


def with_cross_if_said(self_attention: CacheRule) -> CacheRule:
    """A decoder that attends to an encoder only with ``add_cross_attention``."""
    crossing = with_cross(self_attention)
    return lambda config: (
        crossing(config) if config.flag("add_cross_attention") else self_attention(config)
    )
