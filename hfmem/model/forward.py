"""Reads what one forward pass of a model computes from its configuration and its cache layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from msgspec.structs import replace

from hfmem.model.config import Config
from hfmem.model.forward_families import BY_MODEL_TYPE, ExpertsFamily, Family
from hfmem.model.forward_layers import layer_shape
from hfmem.model.forward_mixers import UnknownLayerError, rotary_share
from hfmem.model.forward_shapes import (
    Attention,
    AttentionImplementation,
    ForwardPass,
    LayerKind,
    LayerShape,
)
from hfmem.model.layers import Layer, NoCache

__all__ = [
    "ForwardPass",
    "default_attention",
    "forward_pass",
    "picture_positions",
    "supposed_pass",
]

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


def forward_pass(
    config: Config, layers: Sequence[Layer], *, wrapped: bool = False
) -> ForwardPass | None:
    """What a decoder's forward pass computes; None for a family whose code is not described.

    ``layers`` are the cache layers of the same decoder, in order; ``wrapped`` says that the class
    for pictures and sound around it is what runs. Raises MissingKeyError and
    InvalidValueError where the configuration lacks a size or gives nonsense.
    """
    family = BY_MODEL_TYPE.get(config.model_type or "")
    if family is None:
        return None
    found = _pass(config, family, layers)
    if found is None or not wrapped or not found.per_layer_inputs:
        return found
    # models/gemma4/modeling_gemma4.py: Gemma4Model.forward holds the embeddings before and after
    # the places of pictures are blanked, and what it looked up for every layer.
    blanked = int("gemma4" in family.flags)
    return replace(
        found,
        per_layer_copies=2,
        mixer_residents=found.mixer_residents + blanked,
        mlp_residents=found.mlp_residents + blanked,
    )


def supposed_pass(config: Config, layers: Sequence[Layer]) -> ForwardPass | None:
    """The pass of a model whose code is not described, as if it were Llama's, Mixtral's or BERT's.

    Recurrent layers are taken for their MLP alone. None where a layer has no counterpart there.
    Raises MissingKeyError and InvalidValueError
    where the configuration lacks a size or gives nonsense.
    """
    encoder = all(isinstance(kind, NoCache) for layer in layers for kind in layer)
    return _pass(config, _LIKE_ENCODER if encoder else _LIKE_DECODER, layers)


_LIKE_DECODER = Family(
    model_types=(),
    activation_copies=2,
    experts=ExpertsFamily(),
    flags=frozenset({"supposed"}),
    source="models/llama, models/mixtral: supposed, for nobody read this family's code",
)
_LIKE_ENCODER = Family(
    model_types=(),
    mlp="plain",
    norm="fused",
    rotary="none",
    activation_copies=2,
    flags=frozenset({"encoder"}),
    source="models/bert: supposed, for nobody read this family's code",
)


def _pass(config: Config, family: Family, layers: Sequence[Layer]) -> ForwardPass | None:
    if not layers:
        return None
    try:
        shapes = [layer_shape(config, family, layer, index) for index, layer in enumerate(layers)]
    except UnknownLayerError:
        return None
    # configuration_utils.py: PreTrainedConfig.__init__ takes either key as the choice.
    stated = "eager" in (config.text("attn_implementation"), config.text("_attn_implementation"))
    attentions = [shape.mixer for shape in shapes if isinstance(shape.mixer, Attention)]
    windows = tuple(sorted({a.window for a in attentions if a.window is not None}))
    full = any(a.window is None for a in attentions)
    return ForwardPass(
        hidden=config.integer("hidden_size", low=1),
        vocab=0 if "pictures" in family.flags else config.integer("vocab_size", low=1),
        kinds=_kinds(shapes),
        norm=family.norm,
        mixer_residents=family.mixer_residents,
        mlp_residents=_mlp_residents(config, family),
        rope_elements=_rope_elements(config, family, attentions),
        rope_fp32=family.rotary in ("fp32_tables", "complex"),
        position_embeddings=family.position_embeddings,
        masked=family.always_masked,
        masks=int(family.always_masked) + family.idle_masks,
        window_masks=windows,
        eager_masks=len(windows) + int(full) + family.idle_masks,
        logits_copies=family.logits_copies,
        per_layer_inputs=_per_layer_inputs(config, family, len(layers)),
        pixels=3 * _patch(config) ** 2 if "pictures" in family.flags else 0,
        default_attention="eager" if stated else default_attention(config.model_type),
        source=f"transformers 5.23 {family.source}"
        + (f"; eager attention, as {config.where} says" if stated else ""),
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
    share = 0.5 if family.half_rope else rotary_share(config, family)
    if family.rope_tables == 1:
        return 2 * int(attentions[0].head_dim * share)
    dims = {a.window is None: a.head_dim for a in attentions}
    return sum(2 * dim for dim in dims.values())


def _patch(config: Config) -> int:
    """Side of a patch in pixels: one number, or two."""
    return sides(config, "patch_size")[0]


def sides(config: Config, key: str) -> tuple[int, int]:
    """Height and width in pixels of a picture or a patch: two numbers, or the side of a square.

    Raises MissingKeyError and InvalidValueError.
    """
    listed = isinstance(config.value(key), list)
    found = config.integer_list(key, low=1, high=MAX_SIDE) if listed else None
    return (found[0], found[-1]) if found else (config.integer(key, low=1, high=MAX_SIDE),) * 2


MAX_SIDE = 2**16
"""Pixels; above this a side is an attack or a mistake."""


def picture_positions(config: Config) -> int | None:
    """Positions of one picture in an encoder of pictures; None for every other model.

    ``google/vit-base-patch16-224``: 14 × 14 patches and the class token, 197. Raises
    MissingKeyError and InvalidValueError where the configuration lacks a size.
    """
    family = BY_MODEL_TYPE.get(config.model_type or "")
    if family is None or "pictures" not in family.flags:
        return None
    tall, wide = sides(config, "image_size")
    registers = config.integer_or_none("num_register_tokens") or 0
    patch = _patch(config)
    beside = _CLASS_TOKENS.get(config.model_type or "", 1)
    return (tall // patch) * (wide // patch) + beside + registers


_CLASS_TOKENS = {"deit": 2, "ijepa": 0, "siglip_vision_model": 0}
"""Positions before the patches where it is not the one class token: DeiT distils into another, and
I-JEPA and SigLIP have none (models/deit/modeling_deit.py: DeiTEmbeddings)."""


def _per_layer_inputs(config: Config, family: Family, layers: int) -> int:
    if not family.flags & {"gemma3n", "gemma4"}:
        return 0
    return layers * (config.integer_or_none("hidden_size_per_layer_input") or 0)
