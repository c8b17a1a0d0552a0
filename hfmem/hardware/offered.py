"""What each quantization of a GGUF repository would need, and where it fits."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.gguf_files import Quantization
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import current
from hfmem.hardware.fit import Verdict, verdict_on
from hfmem.hardware.smallest import Asked, smallest
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes import Runtime


class Offer(Struct, frozen=True, kw_only=True):
    """A quantization with what it takes, by the size of its files."""

    quantization: Quantization
    total_bytes: int
    """The workload's peak."""
    verdicts: tuple[Verdict | None, ...]
    """One a named group."""
    smallest_gpu: str | None
    """Id of the smallest card of today that holds it; None where none does."""
    smallest_count: int | None


def offered(
    model: Model,
    estimate: MemoryEstimate,
    groups: tuple[GpuGroup, ...],
    *,
    workload: Workload,
    runtime: Runtime,
) -> tuple[Offer, ...]:
    """The models of the repository whose sizes are known; nothing where there is no choice.

    ``estimate`` is the workload's, without a card. Only one file's header is read: the others hold
    the same tensors, in as many bytes as their files are long without the same metadata. Of a
    repository with Llama-3.1-8B in Q4_K_M (4,920,739,232 bytes, of which 4,912,898,304 are
    tensors) and in Q8_0 (8,540,771,328) the latter's tensors take 8,532,930,400 bytes.
    """
    listing, stored = model.gguf_listing, model.checkpoint_bytes
    if listing is None or len(listing.models) < 2 or not stored or model.weights is None:
        return ()
    loaded = set(model.loaded_files)
    own = next((one for one in listing.models if set(one.files) & loaded), None)
    if own is None or own.bytes is None or own.bytes < stored:
        return ()
    metadata = own.bytes - stored
    asked = Asked(model, workload, runtime)
    cards = current(runtime.vendors)
    weights = estimate.peak.part("weights").bytes
    found = []
    for one in listing.models:
        if one.bytes is None or one.bytes <= metadata:
            continue
        other = _with_bytes(model, one.bytes - metadata, of=stored)
        peak = runtime.estimate(other, workload, None).peak
        held = peak.part("weights").bytes
        card = smallest(cards, asked, weights=held, more=held - weights)
        found.append(
            Offer(
                quantization=one,
                total_bytes=peak.memory.bytes,
                verdicts=tuple(
                    verdict_on(group, model=other, workload=workload, runtime=runtime)
                    for group in groups
                ),
                smallest_gpu=card[0] if card else None,
                smallest_count=card[1] if card else None,
            )
        )
    return tuple(found)


def _with_bytes(model: Model, stored: int, *, of: int) -> Model:
    """The model with tensors that take ``stored`` bytes in all instead of ``of``."""
    if stored == of:
        return model
    runs = tuple(
        replace(weight, run=replace(weight.run, bytes=weight.run.bytes * stored // of))
        for weight in model.weights or ()
    )
    return replace(model, weights=runs, checkpoint_bytes=stored)
