"""The tensors of a ``.bin``, ``.pt`` or ``.pth`` file, with two or three reads and no unpickling.

An archive (torch 1.6 and later) is read from its end: the directory, then ``data.pkl`` alone. The
format before it is five pickles in a row and then the storages, and is read from its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hfmem.checkpoint.byte_source import ByteSource
from hfmem.checkpoint.safetensors import Header
from hfmem.checkpoint.snapshot import Note
from hfmem.checkpoint.tensor import Tensor
from hfmem.checkpoint.torch_pickle import PickleCutError, load
from hfmem.checkpoint.torch_state import named_views
from hfmem.checkpoint.torch_values import PickleRefusedError, Storage, View
from hfmem.checkpoint.torch_zip import (
    TAIL_BYTES,
    Archive,
    NoArchiveError,
    ZipRefusedError,
    archive,
    directory_place,
    local_span,
    member_body,
)
from hfmem.dtypes import BITS
from hfmem.errors import MalformedHeaderError, NoWeightsError

PICKLE_CAP: Final = 64 * 2**20
_LEGACY_FIRST: Final = 2**20
# torch 2.13, torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION.
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001
_LEGACY_FIELDS: Final = 6
_PICKLE: Final = b"\x80"


def read_header(source: ByteSource, *, file: str, file_bytes: int) -> Header:
    """What the file holds; views of one storage, such as tied weights, count once and are noted.

    Raises MalformedHeaderError for a file that is damaged or holds more than a plain checkpoint
    does, and NoWeightsError for one that is neither of the two formats.
    """
    tail = source(max(0, file_bytes - TAIL_BYTES), file_bytes) if file_bytes else b""
    try:
        place = directory_place(tail, file_bytes=file_bytes)
    except NoArchiveError:
        return _legacy(source, file=file, file_bytes=file_bytes)
    except ZipRefusedError as fault:
        raise _malformed(file, str(fault)) from None
    try:
        known = file_bytes - len(tail)
        if place.start >= known:
            directory = tail[place.start - known : place.stop - known]
        else:
            directory = source(place.start, known) + tail[: place.stop - known]
        found = archive(directory, place)
        if found.pickle.bytes > PICKLE_CAP:
            raise _malformed(file, f"its data.pkl has {found.pickle.bytes:,} bytes")
        span = local_span(found.pickle, stop=place.start)
        if span.start >= known:
            raw = tail[span.start - known : span.stop - known]
        else:
            raw = source(span.start, span.stop)
        root, _ = load(member_body(raw, found.pickle))
        return _header(named_views(root), file=file, sizes=found)
    except (ZipRefusedError, PickleRefusedError, PickleCutError) as fault:
        raise _malformed(file, str(fault)) from None


def parse_file(raw: bytes, *, file: str) -> Header:
    """As ``read_header``, of a whole file in memory."""
    return read_header(lambda start, stop: raw[start:stop], file=file, file_bytes=len(raw))


def _legacy(source: ByteSource, *, file: str, file_bytes: int) -> Header:
    """The format of torch before 1.6: magic number, protocol, system, object, keys, storages."""
    cap = min(PICKLE_CAP, file_bytes)
    stop = min(_LEGACY_FIRST, cap)
    raw = source(0, stop) if stop else b""
    if not raw.startswith(_PICKLE):
        raise NoWeightsError(
            f"{file!r:.120} is neither a zip archive nor a pickle of torch.save.",
            hint="The upload may be incomplete; a copy of the model in safetensors can be read.",
        )
    while True:
        try:
            return _legacy_header(raw, file=file, file_bytes=file_bytes)
        except PickleCutError as fault:
            if stop >= cap:
                raise _malformed(file, str(fault)) from None
        except PickleRefusedError as fault:
            raise _malformed(file, str(fault)) from None
        start, stop = stop, min(2 * stop, cap)
        raw += source(start, stop)


def _legacy_header(raw: bytes, *, file: str, file_bytes: int) -> Header:
    at = 0
    found: list[object] = []
    for expected in (_LEGACY_MAGIC, _LEGACY_PROTOCOL, None, None, None):
        value, length = load(raw[at:], storage_fields=_LEGACY_FIELDS)
        if expected is not None and value != expected:
            raise PickleRefusedError("it is a pickle, but none that torch.save writes")
        found.append(value)
        at += length
    views, keys = named_views(found[3]), found[4]
    sizes = {view.storage.key: _storage_bytes(view.storage) for _, view in views}
    if not isinstance(keys, list) or not sizes.keys() <= {key for key in keys if type(key) is str}:
        raise PickleRefusedError("its list of storages lacks some that its tensors are views of")
    # Each storage is its number of elements and then its bytes.
    if at + sum(8 + size for size in sizes.values()) > file_bytes:
        raise _malformed(file, f"its storages do not fit in {file_bytes:,} bytes")
    return _header(views, file=file, sizes=None)


def _storage_bytes(storage: Storage) -> int:
    return storage.elements * (BITS[storage.dtype] // 8 if storage.dtype else 1)


def _header(views: tuple[tuple[str, View], ...], *, file: str, sizes: Archive | None) -> Header:
    """Each view once, with a note of the others and of storages that are larger than their
    views.
    """
    storages: dict[str, Storage] = {}
    held: dict[View, str] = {}
    for name, view in views:
        if storages.setdefault(view.storage.key, view.storage) != view.storage:
            raise PickleRefusedError(f"the storage {view.storage.key!r:.40} is two kinds")
        held.setdefault(view, name)
    if sizes is not None:
        _check_storages(storages, sizes.storages)
    covered: dict[str, int] = {}
    for view in held:
        covered[view.storage.key] = covered.get(view.storage.key, 0) + view.bytes
    notes: list[Note] = []
    if repeated := len(views) - len(held):
        message = f"{repeated} tensors of {file} share their memory with others and count once."
        notes.append(Note(code="shared_storage", message=message))
    unused = sum(
        max(0, _storage_bytes(storage) - covered[key]) for key, storage in storages.items()
    )
    if unused:
        message = (
            f"{file} stores {unused:,} bytes that belong to no tensor: parts were cut from larger "
            "tensors and saved with them."
        )
        notes.append(Note(code="unused_storage", message=message))
    return Header(
        tensors=tuple(
            Tensor(name, view.dtype, view.shape, view.bytes) for view, name in held.items()
        ),
        metadata={},
        notes=tuple(notes),
    )


def _check_storages(storages: Mapping[str, Storage], sizes: Mapping[str, int]) -> None:
    for key, storage in storages.items():
        if key not in sizes:
            raise PickleRefusedError(f"the storage {key!r:.40} is not in the archive")
        if sizes[key] != _storage_bytes(storage):
            raise PickleRefusedError(
                f"the storage {key!r:.40} has {sizes[key]:,} bytes instead of "
                f"{_storage_bytes(storage):,}"
            )


def _malformed(file: str, why: str) -> MalformedHeaderError:
    return MalformedHeaderError(
        f"{file!r:.120} is not a readable checkpoint of torch: {why}.",
        hint="hfmem never unpickles; a copy of the model in safetensors can be read.",
    )
