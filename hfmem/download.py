"""What a download would fetch, what of it is there already, and whether the disk has room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note, Snapshot
from hfmem.model.model import Model
from hfmem.units import gib


class Download(Struct, frozen=True, kw_only=True):
    """What a download would fetch."""

    files_bytes: int | None
    """Of the files that the runtime loads."""
    repository_bytes: int | None
    """Of everything in the repository."""
    cached_bytes: int | None
    """Of ``files_bytes``, already in the local Hub cache."""
    disk_free_bytes: int | None
    """On the disk of the local Hub cache."""

    @property
    def note(self) -> Note | None:
        """A warning where the disk has no room for what is still to be fetched."""
        files, free = self.files_bytes, self.disk_free_bytes
        if files is None or free is None or files - (self.cached_bytes or 0) <= free:
            return None
        missing = files - (self.cached_bytes or 0)
        message = (
            f"The disk of the Hub's cache is too small: {gib(missing)} are still to be fetched, "
            f"and {gib(free)} are free."
        )
        return Note(code="disk_too_small", message=message)


def download_of(snapshot: Snapshot, model: Model) -> Download:
    """What the files of a snapshot that a model is read from would cost to fetch."""
    sizes = {file.name: file.bytes for file in snapshot.files}
    names = set(model.loaded_files)
    loaded = [file for file in snapshot.files if file.name in names]
    return Download(
        files_bytes=_sum(file.bytes for file in loaded) if loaded else None,
        repository_bytes=_sum(sizes.values()) if sizes and snapshot.listed else None,
        cached_bytes=sum(file.cached_bytes for file in loaded) if loaded else None,
        disk_free_bytes=_disk_free(),
    )


def _sum(sizes: Iterable[int | None]) -> int | None:
    """The sum; None as soon as one size is unknown."""
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _disk_free() -> int | None:
    """Free bytes where the Hub cache lies or would lie (huggingface_hub 2.4 constants.py)."""
    home = (
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    path = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None
