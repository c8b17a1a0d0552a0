"""What transformers' configuration classes declare, so that a published config may leave it out.

The table holds DECLARED defaults: instantiating a class runs ``__post_init__``, which derives
``head_dim`` from the default hidden size and would be wrong for any other. It is written by
tests/scripts/class_defaults.py, one line a model type, and only the lines that are asked for are
decoded.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

TABLE = "class_defaults.json.gz"


class SectionSpec(Struct, frozen=True, kw_only=True):
    """What a class says about a nested section."""

    model_type: str
    fixed: bool
    """The class reads the section as this type whatever ``model_type`` the section itself names."""
    optional: bool
    """An absent section stays absent; otherwise it is built from ``values``."""
    values: Mapping[str, object]
    """What an ABSENT section is built from; a section that is present gets its own class's defaults
    only."""


class ClassFacts(Struct, frozen=True, kw_only=True):
    """What one configuration class declares."""

    values: Mapping[str, object]
    """Field defaults that bear on sizes; fields that default to None are left out."""
    attribute_map: Mapping[str, str]
    """Standard name -> the class's own: ``{"hidden_size": "n_embd"}``."""
    sections: Mapping[str, SectionSpec]


def class_defaults(model_type: str) -> Mapping[str, object] | None:
    """The declared field defaults of a model type; None for one that transformers does not know.

    ``class_defaults("gemma3_text")["head_dim"] == 256`` (transformers 5.23.0,
    models/gemma3/configuration_gemma3.py).
    """
    facts = class_facts(model_type)
    return None if facts is None else facts.values


@cache
def class_facts(model_type: str) -> ClassFacts | None:
    """Field defaults, attribute map and sections of a model type; None for one that transformers
    does not know.

    A type that the table lacks is looked up in the installed transformers where that is another
    version than the table's. Only its own classes are read; code from a repository never is.
    """
    line = _table().types.get(model_type)
    if line is not None:
        return _decoded(json.loads(line))
    if _installed_version() in (None, table_version()):
        return None
    declared = _from_installed(model_type)
    return None if declared is None else _decoded(declared)


def model_type_of_class(class_name: str) -> str | None:
    """The model type of a generating class: ``model_type_of_class("Qwen2ForCausalLM") ==
    "qwen2"``."""
    types = _generating_classes().get(class_name)
    return types[0] if types else None


def model_types_of_stem(class_name: str) -> Sequence[str]:
    """The model types that have a generating class of the same stem, of which there may be none.

    ``model_types_of_stem("Qwen2ForSequenceClassification") == ("qwen2",)``.
    """
    known = _generating_classes().get(class_name)
    if known is not None:
        return known
    stem = _HEAD.sub("", class_name)
    return () if stem == class_name else _stems().get(stem, ())


_HEAD = re.compile(r"(?:For[A-Z]\w*|(?:With)?LMHeadModel|DoubleHeadsModel|MTModel|Model)$")


@cache
def _stems() -> Mapping[str, Sequence[str]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, types in _generating_classes().items():
        stem = _HEAD.sub("", name)
        found[stem] = (*found.get(stem, ()), *types)
    return found


def generates(model_type: str) -> bool | None:
    """Whether a model type has a class that generates; None for one that the table lacks."""
    if model_type in _generating_types():
        return True
    return False if model_type in _table().types else None


@cache
def _generating_classes() -> Mapping[str, Sequence[str]]:
    found: Mapping[str, Sequence[str]] = json.loads(_table().classes)
    return found


@cache
def _generating_types() -> frozenset[str]:
    return frozenset(kind for types in _generating_classes().values() for kind in types)


def table_version() -> str:
    """The transformers version that the table was written from."""
    return _table().version


def model_types() -> tuple[str, ...]:
    """Every model type of the table."""
    return tuple(_table().types)


class _Table(NamedTuple):
    version: str
    classes: str
    """JSON of the generating classes, decoded when one is asked for."""
    types: Mapping[str, str]
    """Model type to the JSON of its line."""


@cache
def _table() -> _Table:
    packed = Path(__file__).with_name(TABLE).read_bytes()
    header, classes, *lines = gzip.decompress(packed).decode().splitlines()
    return _Table(
        version=str(json.loads(header)["transformers"]),
        classes=classes,
        types=dict(line.split("\t", 1) for line in lines),
    )


def _decoded(line: Any) -> ClassFacts:
    values, attribute_map, sections = line
    return ClassFacts(
        values=values,
        attribute_map=attribute_map,
        sections={
            key: SectionSpec(model_type=kind, fixed=fixed, optional=optional, values=given)
            for key, (kind, fixed, optional, given) in sections.items()
        },
    )


@cache
def _installed_version() -> str | None:
    # Imported late: it costs more than everything else here, and only unknown types need it.
    from importlib import metadata

    try:
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return None


def _from_installed(model_type: str) -> Any | None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        transformers = importlib.import_module("transformers")
        mapping = transformers.CONFIG_MAPPING
        found = mapping[model_type]
        # An older class without dataclass fields declares nothing that could be read.
        return declared(found, mapping) if dataclasses.is_dataclass(found) else None
    except (ImportError, KeyError, AttributeError, RuntimeError, OSError):
        return None


# Names that no size depends on: training, sampling, labels, special tokens, numerics.
_IRRELEVANT = re.compile(
    r"dropout|drop_path|layerdrop|drop_rate|eps(ilon)?$|initializer|_coef|_std$|token_id|token_index"
    r"|loss|label|problem_type|return_dict|use_cache|^output_(?!dim|proj)|chunk_size_feed_forward"
    r"|transformers_version|^architectures$|^dtype$|_prob$|temperature|noise|_path$|aux_|^summary_"
)
_SIZE_RATIO = re.compile(r"ratio|factor|expand|mult|fraction|scale")


def declared(config_class: Any, mapping: Any) -> list[object]:
    """``[field defaults, attribute map, sections]`` of a configuration class, as the table stores
    them.

    ``mapping`` is transformers' CONFIG_MAPPING: a section's class is named by its model type where
    that leads back to the same class, and by its class name otherwise.
    """
    values = {}
    for item in dataclasses.fields(config_class):
        value = item.default
        if value is dataclasses.MISSING and item.default_factory is not dataclasses.MISSING:
            value = item.default_factory()
        if item.name not in config_class.sub_configs_defaults and _bears_on_size(item.name, value):
            values[item.name] = value
    sections = {}
    for key, spec in config_class.sub_configs_defaults.items():
        fixed = hasattr(spec.config_class, "sub_configs_defaults")
        given = {
            name: value
            for name, value in spec.init_kwargs.items()
            if _bears_on_size(name, value) or (value is None and not _IRRELEVANT.search(name))
        }
        kind = section_name(spec.config_class, mapping) if fixed else spec.model_type
        sections[key] = [kind, fixed, spec.optional, given]
    aliases = {
        key: name for key, name in config_class.attribute_map.items() if not _IRRELEVANT.search(key)
    }
    # A round trip through JSON: a live class and the table compare equal (tuples become lists).
    plain: list[object] = json.loads(json.dumps([values, aliases, sections]))
    return plain


def section_name(config_class: Any, mapping: Any) -> str:
    """The model type of a section's class, or its class name where the type does not lead back to
    it."""
    model_type = str(config_class.model_type)
    if model_type in mapping and mapping[model_type] is config_class:
        return model_type
    return str(config_class.__name__)


def _bears_on_size(name: str, value: object) -> bool:
    if _IRRELEVANT.search(name):
        return False
    match value:
        case bool() | int():
            return True
        case float():
            return _SIZE_RATIO.search(name) is not None
        case str():
            return len(value) <= 120
        case list() | tuple():
            return len(value) <= 200 and all(isinstance(item, bool | int | str) for item in value)
        case dict():
            return len(json.dumps(value, default=str)) <= 2000
        case _:
            return False
