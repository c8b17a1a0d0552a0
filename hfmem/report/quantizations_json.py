"""The quantizations of a GGUF repository as data."""

from __future__ import annotations

from hfmem.answer import Estimate
from hfmem.text import clean

_NAME_LIMIT = 120


def quantizations_json(estimate: Estimate) -> list[dict[str, object]] | None:
    """Every quantization with its files, its need and where it fits; None for a model that is no
    GGUF file of a listing.
    """
    model = estimate.model
    listing = model.gguf_listing
    if listing is None:
        return None
    loaded = set(model.loaded_files)
    offers = {offer.quantization: offer for offer in estimate.offers}
    rows: list[dict[str, object]] = []
    for role, found in (("model", listing.models), ("projector", listing.projectors)):
        for one in found:
            offer = offers.get(one)
            fits = zip(estimate.fit, offer.verdicts, strict=True) if offer else ()
            rows.append(
                {
                    "name": clean(one.name, limit=_NAME_LIMIT),
                    "role": role,
                    "files": [clean(name, limit=_NAME_LIMIT) for name in one.files],
                    "bytes": one.bytes,
                    "chosen": bool(set(one.files) & loaded),
                    "total_bytes": offer.total_bytes if offer else None,
                    "fit": [
                        {"gpu": fit.group.gpu.id, "count": fit.group.count, "verdict": verdict}
                        for fit, verdict in fits
                    ],
                    "smallest_gpu": offer.smallest_gpu if offer else None,
                    "smallest_count": offer.smallest_count if offer else None,
                }
            )
    return rows
