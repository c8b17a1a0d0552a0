"""Reads what one forward pass of a model computes from its configuration and its cache layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from hfmem.model.config import Config
from hfmem.model.forward_families import BY_MODEL_TYPE, Family
from hfmem.model.forward_layers import UnknownLayerError, layer_shape, rotary_share
from hfmem.model.forward_shapes import (
    Attention,
    AttentionImplementation,
    ForwardPass,
    LayerKind,
    LayerShape,
)
from hfmem.model.layers import Layer

__all__ = ["ForwardPass", "default_attention", "forward_pass"]

SUPPORT_TABLE = "attention_support.json"


@cache
def _eager_types() -> frozenset[str]:
    text = files("hfmem.model").joinpath(SUPPORT_TABLE).read_text(encoding="utf-8")
    return frozenset(json.loads(text)["eager"])


def default_attention(model_type: str | None) -> AttentionImplementation:
    """What transformers takes when nothing is asked: sdpa, or eager where the class lacks it.

    ``default_attention("gemma2") == "eager"`` (transformers 5.23 modeling_utils.py:
    get_correct_attn_implementation; the exceptions are listed in attention_support.json).
    """
    return "eager" if model_type in _eager_types() else "sdpa"


def forward_pass(config: Config, layers: Sequence[Layer]) -> ForwardPass | None:
    """What a decoder's forward pass computes; None for a family whose code is not described.

    ``layers`` are the cache layers of the same decoder, in order. Raises MissingKeyError and
    InvalidValueError where the configuration lacks a size or gives nonsense.
    """
    family = BY_MODEL_TYPE.get(config.model_type or "")
    if family is None or not layers:
        return None
    try:
        shapes = [layer_shape(config, family, layer, index) for index, layer in enumerate(layers)]
    except UnknownLayerError:
        return None
    attentions = [shape.mixer for shape in shapes if isinstance(shape.mixer, Attention)]
    windows = tuple(sorted({a.window for a in attentions if a.window is not None}))
    full = any(a.window is None for a in attentions)
    return ForwardPass(
        hidden=config.integer("hidden_size", low=1),
        vocab=config.integer("vocab_size", low=1),
        kinds=_kinds(shapes),
        norm=family.norm,
        mixer_residents=family.mixer_residents,
        mlp_residents=_mlp_residents(config, family),
        rope_elements=_rope_elements(config, family, attentions),
        rope_fp32=family.rotary == "fp32_tables",
        position_embeddings=family.position_embeddings,
        masked=family.always_masked,
        masks=int(family.always_masked) + family.idle_masks,
        window_masks=windows,
        eager_masks=len(windows) + int(full) + family.idle_masks,
        logits_copies=family.logits_copies,
        per_layer_inputs=_per_layer_inputs(config, family, len(layers)),
        default_attention=default_attention(config.model_type),
        source=f"transformers 5.23 {family.source}",
    )


def _kinds(shapes: Sequence[LayerShape]) -> tuple[LayerKind, ...]:
    order = tuple(dict.fromkeys(shapes))
    seen = dict.fromkeys(order, 0)
    before: dict[LayerShape, tuple[int, ...]] = {}
    filled: dict[LayerShape, tuple[int, ...]] = {}
    last: dict[LayerShape, int] = {}
    for index, shape in enumerate(shapes):
        before.setdefault(shape, tuple(seen.values()))
        seen[shape] += 1
        filled[shape] = tuple(seen.values())
        last[shape] = index
    return tuple(
        LayerKind(
            shape=shape,
            count=seen[shape],
            last=last[shape],
            before=before[shape],
            filled=filled[shape],
        )
        for shape in order
    )


def _mlp_residents(config: Config, family: Family) -> int:
    if "falcon" in family.flags:
        # Two norms of one input, or one norm, beside the attention output.
        return (
            5
            if (config.integer_or_none("num_ln_in_parallel_attn") or 2) == 2
            and config.flag("new_decoder_architecture")
            else 4
        )
    if "stablelm" in family.flags and config.flag("use_parallel_residual"):
        return 4
    return family.mlp_residents


def _rope_elements(config: Config, family: Family, attentions: Sequence[Attention]) -> int:
    """Cosine and sine of one position, of every table that the model computes."""
    if all(a.rotary == "none" for a in attentions):
        return 0
    if attentions[0].latent is not None:
        return 2 * attentions[0].latent.rope_dim
    share = 0.5 if family.half_rope else rotary_share(config)
    if family.rope_tables == 1:
        return 2 * int(attentions[0].head_dim * share)
    dims = {a.window is None: a.head_dim for a in attentions}
    return sum(2 * dim for dim in dims.values())


def _per_layer_inputs(config: Config, family: Family, layers: int) -> int:
    if "gemma4" not in family.flags:
        return 0
    return layers * (config.integer_or_none("hidden_size_per_layer_input") or 0)
