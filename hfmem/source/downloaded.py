"""What of a repository lies in the local Hub cache already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants

from hfmem.checkpoint.snapshot import RepoFile
from hfmem.checkpoint.weight_sets import is_safe_name
from hfmem.source.listing import ListedFile


def repo_files(files: Sequence[ListedFile], *, model: str, commit: str) -> tuple[RepoFile, ...]:
    """The listing with the bytes that need no download.

    A file is there in the snapshot of its commit, or as a blob of another commit with the same
    content, which huggingface_hub links instead of fetching it again (2.4.0, file_download.py:
    _hf_hub_download_to_cache_dir).
    """
    root = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
    present = root.is_dir()
    return tuple(
        RepoFile(
            name=file.name,
            bytes=file.bytes,
            cached_bytes=_bytes_of(root, commit, file) if present else 0,
        )
        for file in files
    )


def _bytes_of(root: Path, commit: str, file: ListedFile) -> int:
    if not is_safe_name(file.name):
        return 0
    places = [root / "snapshots" / commit / file.name]
    if file.object_id is not None:
        places.append(root / "blobs" / file.object_id)
    for place in places:
        try:
            return min(place.stat().st_size, file.bytes or 0)
        except OSError:
            continue
    return 0
