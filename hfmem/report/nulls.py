"""Why a key is null: notes for programs, which see the key that a person's table leaves out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hfmem.checkpoint.snapshot import Note

if TYPE_CHECKING:
    from hfmem.answer import Estimate

CODES = frozenset(
    {
        *("no_gpu", "per_gpu_unknown", "host_unknown"),
        *("download_unknown", "repository_unknown", "disk_unknown"),
    }
)
"""Of the notes that only programs get."""
_WITHOUT_SIZES = {
    "bundled": "the facts that ship with the package hold no sizes of files",
    "recorded": "the recorded facts hold no sizes of files",
}


def null_notes(estimate: Estimate) -> tuple[Note, ...]:
    """One note a reason, with the keys that it leaves null."""
    return (*_gpus(estimate), *_download(estimate), *_host(estimate))


def _gpus(estimate: Estimate) -> Iterator[Note]:
    if estimate.fit:
        if estimate.per_gpu is None:
            yield _because("per_gpu_unknown", ("per_gpu",), "the total is not known")
        return
    missing = [name for name in ("per_gpu", "throughput") if getattr(estimate, name) is None]
    if missing:
        yield _because("no_gpu", missing, "no GPU was named; --gpu names one")


def _download(estimate: Estimate) -> Iterator[Note]:
    facts = estimate.download
    source = estimate.model.source
    why = _WITHOUT_SIZES.get(source, "the source gives no sizes of these files")
    if not estimate.model.loaded_files:
        why = "there are no files of weights"
    names = ("files_bytes", "cached_bytes")
    if missing := [f"download.{name}" for name in names if getattr(facts, name) is None]:
        yield _because("download_unknown", missing, why)
    if facts.repository_bytes is None:
        why = "the source does not list the whole repository with its sizes"
        yield _because("repository_unknown", ["download.repository_bytes"], why)
    if facts.disk_free_bytes is None:
        why = "the disk of the Hub's cache cannot be asked"
        yield _because("disk_unknown", ["download.disk_free_bytes"], why)


def _host(estimate: Estimate) -> Iterator[Note]:
    if estimate.memory.host is None:
        # Where the weights are known, only an engine whose device is the host leaves its part out.
        one_memory = estimate.workload.device in ("cpu", "mps")
        one_memory = one_memory or "weights" not in estimate.memory.unknown
        why = "the host's memory is the device's" if one_memory else "the weights are not known"
        yield _because("host_unknown", ["host_bytes"], why)


def _because(code: str, keys: list[str] | tuple[str, ...], why: str) -> Note:
    verb = "is" if len(keys) == 1 else "are"
    return Note(code=code, message=f"{' and '.join(keys)} {verb} null: {why}.")
