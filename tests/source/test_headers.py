"""How much of a file's start is asked for before its header's length is known."""

from __future__ import annotations

import pytest

from hfmem.checkpoint.snapshot import RepoFile
from hfmem.source.headers import first_bytes


# Files, bytes of the index, the longest header (what it must hold), the most that is reasonable.
@pytest.mark.parametrize(
    ("files", "index", "longest", "most"),
    [
        (163, 8_806_333, 72_683, 100_000),  # DeepSeek-V3
        (31, 132_105, 66_795, 100_000),  # LLaVA-Video-72B: the tower lies in one shard
    ],
)
def test_most_headers_come_whole(files: int, index: int, longest: int, most: int) -> None:
    named = [RepoFile(name=f"{number}.safetensors", bytes=None) for number in range(files)]
    assert longest + 8 <= first_bytes(named, index_bytes=index) <= most
