"""The files of one GGUF model put together: a single file, a split, or a file cut in raw parts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hfmem.checkpoint.assemble import ReadFile
from hfmem.checkpoint.gguf import GgufHeader, KeyValue
from hfmem.checkpoint.safetensors import Header
from hfmem.checkpoint.snapshot import RepoFile
from hfmem.errors import MalformedHeaderError

_RAW_PART = re.compile(r"\.gguf\.(?:split-[a-z]+|part\d{1,3}of\d{1,3})$", re.ASCII)
_LEFT_OUT = ("split.", "tokenizer.")
_VOCABULARY = "tokenizer.ggml.tokens"


def header_files(files: Sequence[RepoFile]) -> tuple[tuple[RepoFile, int | None], ...]:
    """The files with a header of their own, and how long each is in all.

    Raw parts make one file, whose header is at the start of the first.
    """
    if len(files) > 1 and all(_RAW_PART.search(file.name) for file in files):
        sizes = [file.bytes for file in files]
        total = sum(size for size in sizes if size is not None)
        return ((files[0], None if None in sizes else total),)
    return tuple((file, file.bytes) for file in files)


def joined(
    files: Sequence[tuple[str, GgufHeader]], *, component: str
) -> tuple[tuple[ReadFile, ...], Mapping[str, KeyValue]]:
    """The files as ``assemble`` takes them, and the model's keys, which the first file holds.

    Of the tokenizer, only the number of its tokens is kept. Raises MalformedHeaderError where the
    files of a split do not belong together.
    """
    first = files[0][1]
    if len(files) > 1 or "split.count" in first.keys:
        _check_split(files)
    keys = {key: value for key, value in first.keys.items() if not key.startswith(_LEFT_OUT)}
    if _VOCABULARY in first.lengths:
        keys[_VOCABULARY] = first.lengths[_VOCABULARY]
    return tuple(
        ReadFile(
            name=name,
            component=component,
            header=Header(tensors=header.tensors, metadata={}, notes=header.notes),
        )
        for name, header in files
    ), keys


def _check_split(files: Sequence[tuple[str, GgufHeader]]) -> None:
    for number, (name, header) in enumerate(files):
        told = header.keys.get("split.no"), header.keys.get("split.count")
        if told not in ((number, len(files)), (0, 0), (0, 1)) or (told[1] != len(files) > 1):
            raise MalformedHeaderError(
                f"{name!r:.120} says that it is file {told[0]!r:.20} of {told[1]!r:.20} of a split "
                f"model, but is number {number} of {len(files)}.",
                hint="The other files of the split are missing, or belong to another model.",
            )
    wanted = files[0][1].keys.get("split.tensors.count")
    found = sum(len(header.tensors) for _, header in files)
    if type(wanted) is int and wanted not in (0, found):
        raise MalformedHeaderError(
            f"{files[0][0]!r:.120} speaks of {wanted:,} tensors in all its parts, which hold "
            f"{found:,}.",
            hint="The files of the split do not belong together.",
        )
