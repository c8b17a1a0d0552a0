"""The tensors that a configuration declares, for a folder that holds config.json alone and for the
bundled models.

Exact or absent: a family has a row in ``families.py`` whose shapes are compared with the reference
implementation and with published files. A tied head is left out, since it is held once, and so are
the buffers that some old files store. A quantized configuration declares its tensors only in the
two formats that ``storage.py`` knows; for GPTQ, AWQ, bitsandbytes and the others the packer decides
what is stored, so only the logical tensors are known.
"""

from __future__ import annotations

from hfmem.checkpoint.tensor import TensorRun
from hfmem.dtypes import from_name
from hfmem.errors import MissingKeyError, UnsupportedArchitectureError
from hfmem.model.class_defaults import model_type_of_class
from hfmem.model.config import Config, of_class
from hfmem.model.declared import heads, storage
from hfmem.model.declared.blocks import NotDeclaredError, Parts
from hfmem.model.declared.families import of_type
from hfmem.model.declared.family import Family

__all__ = ["declared_tensors", "logical_tensors"]


def declared_tensors(config: Config) -> tuple[TensorRun, ...] | None:
    """The tensors of the checkpoint that belongs to a configuration, named as published.

    Llama-3.1-8B: 291 tensors, 16,060,522,496 bytes. DeepSeek-V3, with its layer for multi-token
    prediction: 91,991 tensors, 688,574,839,360 bytes. None where they are not known exactly: an
    unknown family or class, a quantization whose files depend on the packer, a dtype that the file
    does not say. Raises InvalidValueError.
    """
    found = _parts(config)
    dtype = _dtype(config, found[0]) if found else None
    if found is None or dtype is None:
        return None
    family, parts = found
    settings = storage.quantization(config.values)
    if settings is None:
        return storage.runs(parts, dtype)
    stored = storage.packed(parts, family.scheme, settings) if family.scheme else None
    return storage.runs(stored, dtype) if stored is not None else None


def logical_tensors(config: Config) -> tuple[TensorRun, ...] | None:
    """The tensors as the class declares them, as if nothing were quantized: what the parameters are
    counted from.

    ``openai/gpt-oss-20b``: 20,914,757,184 elements. A dtype that the file does not say is taken as
    F32, the classes' own; only the elements are facts then. None for an unknown family or class.
    Raises InvalidValueError.
    """
    found = _parts(config)
    if found is None:
        return None
    return storage.runs(found[1], _dtype(config, found[0]) or "F32")


def _parts(config: Config) -> tuple[Family, Parts] | None:
    names = config.text_list("architectures")
    if config.model_type is None and names:
        # MiniCPM3's first files have no model_type: the class tells it.
        told = model_type_of_class(names[0])
        config = config if told is None else of_class(config.values, told, where=config.where)
    found = _family(config.model_type, names[0] if names else None)
    if found is None:
        return None
    family, variant = found
    try:
        parts = family.parts(config)
        if parts is not None and variant is not None:
            parts = heads.without(parts) if variant == "model" else heads.scored(parts, config)
    except (MissingKeyError, UnsupportedArchitectureError, NotDeclaredError):
        # Nobody says the size, neither the file nor its class, or the row does not know the case.
        return None
    return None if parts is None else (family, parts)


def _family(model_type: str | None, name: str | None) -> tuple[Family, heads.Variant | None] | None:
    """The family of a class, and how the class differs from the one that generates."""
    families = of_type(model_type)
    for family in families:
        if name is None or name in family.classes:
            return family, None
    for family in families:
        variant = heads.variant(name or "", family.classes)
        if variant is not None:
            return family, variant
    return None


def _dtype(config: Config, family: Family) -> str | None:
    name = config.text("dtype")
    text = config.section("text_config")
    if name is None and text is not None:
        name = text.text("dtype")
    return from_name(name) if name is not None else family.dtype
