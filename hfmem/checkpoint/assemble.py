"""From the headers of some files to the one checkpoint that they make."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from hfmem.checkpoint.safetensors import Header
from hfmem.checkpoint.snapshot import Checkpoint, Note
from hfmem.checkpoint.tensor import Tensor, runs
from hfmem.errors import MalformedHeaderError

_TENSOR_CAP = 1_000_000


class ReadFile(Struct, frozen=True, kw_only=True):
    """A file whose header was read."""

    name: str
    component: str
    """Empty for a plain model; see ``WeightSet.components``."""
    header: Header


def assemble(files: Sequence[ReadFile]) -> tuple[Checkpoint, tuple[Note, ...]]:
    """All tensors of all files, each name once; a component's are named ``text_encoder_2/…``.

    A tensor that lies in two files of one component is counted once and noted, as a loader keeps
    one of them. Raises MalformedHeaderError when it differs between them, or when there are more
    than a million.
    """
    found: dict[str, Tensor] = {}
    repeated = 0
    for file in files:
        prefix = f"{file.component}/" if file.component else ""
        for tensor in file.header.tensors:
            named = tensor._replace(name=prefix + tensor.name) if prefix else tensor
            other = found.setdefault(named.name, named)
            if other is named:
                continue
            if other != named:
                raise MalformedHeaderError(
                    f"{file.name!r:.120} holds tensor {tensor.name!r:.120} with another shape or "
                    "dtype than a file before it.",
                    hint="The shards do not belong together; the upload mixes two checkpoints.",
                )
            repeated += 1
        if len(found) > _TENSOR_CAP:
            raise MalformedHeaderError(
                f"The files hold more than {_TENSOR_CAP:,} tensors.",
                hint="hfmem reads checkpoints of up to a million tensors.",
            )
    notes = tuple(note for file in files for note in file.header.notes)
    if repeated:
        message = f"{repeated} tensors lie in more than one file and are counted once."
        notes += (Note(code="repeated_tensors", message=message),)
    checkpoint = Checkpoint(
        files=tuple(file.name for file in files),
        tensors=runs(found.values()),
        metadata=files[0].header.metadata if files else {},
    )
    return checkpoint, notes
