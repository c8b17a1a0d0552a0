"""PEFT adapters: the base model that an adapter's configuration names, with the adapter on it."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec.structs import replace

from hfmem.checkpoint.layout import weight_files
from hfmem.checkpoint.snapshot import Checkpoint, Note, Snapshot
from hfmem.checkpoint.tensor import total_bytes
from hfmem.errors import HfmemError, NoWeightsError
from hfmem.source.ref import is_repo_id

_CONFIG = "adapter_config.json"
_PREFIX = "adapter/"
_ADAPTER = re.compile(r"adapter|lora", re.IGNORECASE)


def is_adapter(snapshot: Snapshot) -> bool:
    """Whether all that a repository holds is an adapter; a folder that also holds a whole model is
    that model."""
    if snapshot.checkpoint is None or not any(_ADAPTER.search(f.name) for f in snapshot.files):
        return False
    found = weight_files(snapshot.files, config=snapshot.config, documents=snapshot.documents)
    return found is not None and found.is_adapter


def on_base(adapter: Snapshot, find: Callable[[str, str | None], Snapshot]) -> Snapshot:
    """The base with the adapter's tensors beside its own, named ``adapter/…``.

    ``find`` gives the snapshot of a repository at a revision. An adapter on an adapter is refused,
    so one look-up is all that a hostile configuration can cause. Raises NoWeightsError where no
    base is named, or none that can be looked up, and what ``find`` raises.
    """
    name, revision = _base(adapter)
    try:
        base = find(name, revision)
    except HfmemError as error:
        raise type(error)(
            f"{adapter.model} is an adapter on {name}: {error.message}", hint=error.hint
        ) from error
    if is_adapter(base):
        raise NoWeightsError(
            f"{adapter.model} is an adapter on {name}, which is an adapter itself.",
            hint="Merge the first adapter into its base, and name the result.",
        )
    if base.checkpoint is None or adapter.checkpoint is None:
        return base
    tensors = tuple(replace(run, name=_PREFIX + run.name) for run in adapter.checkpoint.tensors)
    loaded = set(adapter.checkpoint.files)
    message = (
        f"{adapter.model} is an adapter ({_kind(adapter)}) of "
        f"{total_bytes(adapter.checkpoint.tensors):,} bytes on {name}; PEFT loads it in float32 "
        "beside the base."
    )
    return replace(
        base,
        model=adapter.model,
        revision=adapter.revision,
        files=(*base.files, *(file for file in adapter.files if file.name in loaded)),
        checkpoint=Checkpoint(
            files=(*base.checkpoint.files, *adapter.checkpoint.files),
            tensors=(*base.checkpoint.tensors, *tensors),
            metadata=base.checkpoint.metadata,
        ),
        notes=(Note(code="adapter", message=message), *adapter.notes, *base.notes),
    )


def _base(adapter: Snapshot) -> tuple[str, str | None]:
    settings = adapter.documents.get(_CONFIG, {})
    name, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if not isinstance(name, str) or not name:
        raise NoWeightsError(
            f"{adapter.model} is an adapter that does not name its base model.",
            hint="Estimate its base model.",
        )
    if not is_repo_id(name):
        raise NoWeightsError(
            f"{adapter.model} is an adapter on {name!r:.120}, which is no repository of the Hub.",
            hint="Estimate its base model by its own name or folder.",
        )
    if name.casefold() == adapter.model.casefold():
        raise NoWeightsError(
            f"{adapter.model} names itself as its base model.", hint="Estimate its base model."
        )
    return name, revision if isinstance(revision, str) and revision else None


def _kind(adapter: Snapshot) -> str:
    settings = adapter.documents.get(_CONFIG, {})
    kind, rank = settings.get("peft_type"), settings.get("r")
    words = kind if isinstance(kind, str) and kind.isalnum() and len(kind) < 40 else "PEFT"
    return f"{words}, rank {rank}" if type(rank) is int and 0 < rank < 2**20 else words
