"""Weight files of any format that is read, put together to one checkpoint, wherever they lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from hfmem.checkpoint.assemble import ReadFile, assemble
from hfmem.checkpoint.byte_source import ByteSource
from hfmem.checkpoint.layout import WeightSet
from hfmem.checkpoint.safetensors import Header
from hfmem.checkpoint.snapshot import Checkpoint, Note, RepoFile
from hfmem.checkpoint.weight_sets import WeightFormat, unread_format
from hfmem.errors import MalformedHeaderError, NoWeightsError
from hfmem.units import gb

if TYPE_CHECKING:
    from hfmem.checkpoint.gguf import GgufHeader

FileHeader: TypeAlias = "Header | GgufHeader"


class Wanted(Struct, frozen=True, kw_only=True):
    """A file whose header is to be read."""

    file: RepoFile
    format: WeightFormat
    file_bytes: int
    """Of the whole file, where ``file`` is the first of raw parts."""


class Contents(Struct, frozen=True, kw_only=True):
    """What the weight files say."""

    checkpoint: Checkpoint | None
    """None where they are of a format that is not read."""
    notes: tuple[Note, ...]
    keys: Mapping[str, object] | None = None
    """The keys of a GGUF model, which are its configuration."""


def wanted_files(weights: WeightSet) -> tuple[Wanted, ...]:
    """The files whose headers tell all; none of a format that is not read."""
    found: list[Wanted] = []
    for component in weights.components:
        if component.format not in _READ:
            return ()
        files = tuple((file, file.bytes) for file in component.files)
        if component.format == "gguf":
            from hfmem.checkpoint.gguf_set import header_files

            files = header_files(component.files)
        found.extend(
            Wanted(file=file, format=component.format, file_bytes=size or 0) for file, size in files
        )
    return tuple(found)


_READ: frozenset[WeightFormat] = frozenset({"safetensors", "torch", "gguf"})


def read_container(source: ByteSource, wanted: Wanted) -> FileHeader:
    """The header of a GGUF file or of a checkpoint of torch.

    Raises MalformedHeaderError, NoWeightsError, and what ``source`` raises.
    """
    name, size = wanted.file.name, wanted.file_bytes
    if wanted.format == "gguf":
        from hfmem.checkpoint import gguf

        return gguf.read_header(source, file=name, file_bytes=size, readable=wanted.file.bytes)
    from hfmem.checkpoint import torch_file

    return torch_file.read_header(source, file=name, file_bytes=size)


def contents(
    weights: WeightSet,
    header_of: Callable[[Wanted], FileHeader],
    *,
    model: str,
    has_config: bool,
) -> Contents:
    """The checkpoint that all files make.

    Files that are in no format that is read leave it to the configuration, with a note. Raises
    NoWeightsError where there is none, MalformedHeaderError, and what ``header_of`` raises.
    """
    if why := _slices(weights):
        return _unread(weights, why=why, model=model, has_config=has_config)
    if weights.format not in _READ:
        return _unread(weights, why="", model=model, has_config=has_config)
    try:
        headers = {wanted.file.name: header_of(wanted) for wanted in wanted_files(weights)}
    except NoWeightsError as error:
        if not has_config:
            raise
        return _unread(weights, why=error.message, model=model, has_config=True)
    read: list[ReadFile] = []
    keys: Mapping[str, object] | None = None
    for component in weights.components:
        if component.format == "gguf":
            from hfmem.checkpoint.gguf_set import joined

            files, keys = joined(_gguf_headers(component.files, headers), component=component.name)
            read.extend(files)
            continue
        for file in component.files:
            header = headers[file.name]
            assert isinstance(header, Header)
            read.append(ReadFile(name=file.name, component=component.name, header=header))
    checkpoint, notes = assemble(read)
    if keys is not None and not checkpoint.tensors:
        raise MalformedHeaderError(
            f"The weight files of {model!r:.120} hold no tensors.",
            hint="The upload is incomplete, or the files are not a model's.",
        )
    return Contents(checkpoint=checkpoint, notes=notes, keys=keys)


# Meta's own files: one for each GPU of a group, with slices of the same tensors.
_SLICE = re.compile(r"(?:^|/)consolidated\.\d{2}\.pth$", re.ASCII)


def _slices(weights: WeightSet) -> str:
    """What is to be said of slices that nobody puts together; empty where there are none."""
    for component in weights.components:
        slices = [file for file in component.files if _SLICE.search(file.name)]
        if len(slices) > 1:
            return (
                f"The weights are {len(slices)} files of slices for as many GPUs "
                f"({slices[0].name!r:.80} …, {gb(weights.total_bytes or 0)}), which hfmem does not "
                "put together."
            )
    return ""


def _gguf_headers(
    files: tuple[RepoFile, ...], headers: Mapping[str, FileHeader]
) -> tuple[tuple[str, GgufHeader], ...]:
    from hfmem.checkpoint.gguf_set import header_files

    found = []
    for file, _ in header_files(files):
        header = headers[file.name]
        assert not isinstance(header, Header)
        found.append((file.name, header))
    return tuple(found)


def _unread(weights: WeightSet, *, why: str, model: str, has_config: bool) -> Contents:
    size = gb(weights.total_bytes or 0)
    name = weights.files[0].name
    what = f"{name!r:.120}" if len(weights.files) == 1 else f"{len(weights.files)} files"
    kind = unread_format(name)
    if not has_config:
        raise NoWeightsError(
            why
            or f"The weights of {model!r:.120} are {kind} ({what}, {size}), which hfmem does not "
            "read.",
            hint="Name a copy of the same model in safetensors or GGUF.",
        )
    because = why or f"The weights are {kind} ({what}, {size}), whose shapes are not read."
    return Contents(
        checkpoint=None,
        notes=(
            Note(
                code="unread_weights",
                message=f"{because} Everything comes from the configuration.",
            ),
        ),
    )
