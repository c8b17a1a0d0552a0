"""The quantizations of a GGUF repository as data."""

from __future__ import annotations

from hfmem.model.model import Model
from hfmem.text import clean

_NAME_LIMIT = 120


def quantizations_json(model: Model) -> list[dict[str, object]] | None:
    """Every quantization with its files; None for a model that is no GGUF file of a listing."""
    listing = model.gguf_listing
    if listing is None:
        return None
    loaded = set(model.loaded_files)
    return [
        {
            "name": clean(one.name, limit=_NAME_LIMIT),
            "role": role,
            "files": [clean(name, limit=_NAME_LIMIT) for name in one.files],
            "bytes": one.bytes,
            "chosen": bool(set(one.files) & loaded),
        }
        for role, found in (("model", listing.models), ("projector", listing.projectors))
        for one in found
    ]
