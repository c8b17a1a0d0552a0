"""What is known of a model at one revision: the hand-over from the sources to the arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from hfmem.checkpoint.tensor import TensorRun

SourceName = Literal["hub", "cache", "bundled", "recorded", "local"]
GGUF_DOCUMENT: Final = "gguf"
"""The name under which a snapshot's documents hold the keys of a GGUF file."""


class Note(Struct, frozen=True, kw_only=True):
    """Something that the reader of an answer must know, as data."""

    code: str
    """A stable slug such as ``renamed`` or ``fallback``; for readers, never read back."""
    message: str


class RepoFile(Struct, frozen=True, kw_only=True):
    """A file of the repository or folder."""

    name: str
    """Relative to its root, with forward slashes."""
    bytes: int | None
    """None where the source does not know it."""
    cached_bytes: int = 0
    """Bytes of it that lie in the local Hub cache already."""


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The tensors of the files that a runtime loads."""

    files: tuple[str, ...]
    """The files that were read, or that the tensors were recorded from."""
    tensors: tuple[TensorRun, ...]
    metadata: Mapping[str, str]
    """``__metadata__`` of the first file, untrusted."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """One model at one revision, from one source. Everything in it is untrusted and already
    bounded."""

    model: str
    """``org/name`` as the Hub spells it, or the path that was given."""
    revision: str | None
    """The commit, where there is one."""
    source: SourceName
    config: Mapping[str, object] | None
    """config.json, parsed; None where there is none."""
    documents: Mapping[str, Mapping[str, object]]
    """Other small JSON files that decide something, by name: quantize_config.json,
    adapter_config.json …"""
    files: tuple[RepoFile, ...]
    """The whole listing; empty where the source has none."""
    listed: bool = True
    """False where ``files`` are those that were read, and others are not known of."""
    checkpoint: Checkpoint | None
    """None where only the configuration is known."""
    reconstructed: bool = False
    """Whether the facts were put together from what is published, and not read from files."""
    notes: tuple[Note, ...] = ()
