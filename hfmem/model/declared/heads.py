"""The classes of a decoder that do not generate: without a head, or with one that scores."""

from __future__ import annotations

from typing import Literal

from hfmem.model.config import Config
from hfmem.model.declared.blocks import NotDeclaredError, Parts, weight

Variant = Literal["model", "score"]
"""``Qwen3Model`` and ``Qwen3ForSequenceClassification`` beside ``Qwen3ForCausalLM``."""

_GENERATES = "ForCausalLM"
_SCORES = "ForSequenceClassification"


def variant(name: str, classes: tuple[str, ...]) -> Variant | None:
    """What a class is to a family's generating class; None where it is neither of the two.

    ``variant("MistralModel", ("MistralForCausalLM",)) == "model"``, as e5-mistral-7b-instruct is.
    """
    stems = {one.removesuffix(_GENERATES) for one in classes if one.endswith(_GENERATES)}
    if name.endswith("Model") and name.removesuffix("Model") in stems:
        return "model"
    return "score" if name.endswith(_SCORES) and name.removesuffix(_SCORES) in stems else None


def without(parts: Parts) -> Parts:
    """The decoder alone, named as the base class saves it: no ``model.`` before the names."""
    if not any(part.name.startswith("model.") for part in parts):
        raise NotDeclaredError
    return tuple(
        part._replace(name=part.name.removeprefix("model."))
        for part in parts
        if not part.name.startswith("lm_head.")
    )


def scored(parts: Parts, config: Config) -> Parts:
    """The decoder with a linear score of ``num_labels`` rows in place of the head.

    transformers modeling_layers.py: GenericForSequenceClassification. A reranker has one label;
    without ``id2label`` there are two.
    """
    if not any(part.name.startswith("model.") for part in parts):
        raise NotDeclaredError
    labels = config.values.get("id2label")
    said = config.integer_or_none("num_labels", low=1)
    count = len(labels) if isinstance(labels, dict) else said or 2
    kept = tuple(part for part in parts if not part.name.startswith("lm_head."))
    return (*kept, *weight("score", count, config.integer("hidden_size", low=1)))
