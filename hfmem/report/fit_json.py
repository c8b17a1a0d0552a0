"""The keys of the JSON that say where a model fits: cards, runtimes, precisions, advice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hfmem.hardware.fit import Fit
from hfmem.memory.estimate import PARTS
from hfmem.memory.precision import Rung
from hfmem.text import clean

if TYPE_CHECKING:
    from hfmem.comparison import Compared
    from hfmem.hardware.advice import Advice
    from hfmem.memory.offload import DeviceMap

Object = dict[str, object]

PROSE_LIMIT: Final = 4096
"""Characters of a sentence of the document."""


def fit_object(fit: Fit) -> Object:
    """One element of ``fit`` and of ``cards``."""
    return {
        "gpu": clean(fit.group.gpu.id),
        "count": fit.group.count,
        "verdict": fit.verdict,
        "fits": None if fit.verdict is None else fit.fits,
        "decided_by": fit.decided_by,
        "usable_bytes": fit.usable_bytes,
        "headroom_bytes": fit.headroom_bytes,
        "max_ctx": fit.max_ctx,
        "max_batch": fit.max_batch,
        "per_gpu_bytes": fit.per_gpu_bytes,
        "note": clean(fit.group.note, limit=PROSE_LIMIT),
        "offload": _offload(fit.offload),
        "kv_pool_bytes": None if fit.pool is None else fit.pool.bytes,
        "kv_pool_tokens": None if fit.pool is None else fit.pool.tokens,
        "smallest_count": fit.smallest_count,
        "max_concurrency": None if fit.pool is None else round(float(fit.pool.concurrency), 2),
        "refusal": None if fit.refusal is None else clean(fit.refusal, limit=PROSE_LIMIT),
        "advice": [_advice(one) for one in fit.advice],
    }


def _offload(found: DeviceMap | None) -> Object | None:
    if found is None:
        return None
    return {
        "layers": found.layers,
        "gpu_layers": found.gpu_layers,
        "gpu_bytes": found.gpu_bytes,
        "host_bytes": found.host_bytes,
        "max_memory_bytes": found.max_memory_bytes,
    }


def compared_object(one: Compared) -> Object:
    """One element of ``runtimes``."""
    memory = one.memory
    parts = {} if memory is None else {name: memory.peak.part(name).bytes for name in PARTS}
    unknown = PARTS if memory is None else memory.unknown
    sizes: Object = {
        f"{name}_bytes": None if name in unknown else parts.get(name) for name in PARTS
    }
    total = None if memory is None or memory.unknown else memory.peak.memory.bytes
    return {
        "runtime": one.runtime,
        "memory": {"total_bytes": total, **sizes},
        "fit": [fit_object(fit) for fit in one.fit],
        "refusal": clean(one.refusal, limit=PROSE_LIMIT) if one.refusal else None,
    }


def _advice(one: Advice) -> Object:
    return {
        "change": one.change,
        "label": clean(one.label),
        "gpu": clean(one.gpu),
        "count": one.count,
        "total_bytes": one.total_bytes,
        "per_gpu_bytes": one.per_gpu_bytes,
        "command": None
        if one.command is None
        else "\n".join(clean(line, limit=PROSE_LIMIT) for line in one.command.split("\n")),
    }


def rung_object(rung: Rung) -> Object:
    """One element of ``precision``."""
    return {
        "scheme": rung.scheme,
        "weights_bytes": rung.weights_bytes,
        "total_bytes": rung.total_bytes,
        "bits_per_weight": rung.bits_per_weight,
        "smallest_gpu": rung.smallest_gpu,
        "smallest_count": rung.smallest_count,
        "note": clean(rung.note, limit=PROSE_LIMIT),
    }
