"""A parser of GGUF headers: keys and tensor table, believed only where all of it agrees.

The rules are those of the reference reader (llama.cpp, ggml/src/gguf.cpp: gguf_init_from_reader,
2026-11): counts and lengths fit what is left of the file, no key and no tensor name comes twice, a
type is a known one, a row is whole blocks, and each tensor begins where the one before it, padded,
ends. The tokenizer's arrays lie before the tensor table; they are counted and passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Mapping
from math import isfinite, prod
from typing import Final

from msgspec import Struct

from hfmem.checkpoint.ggml import BY_ID, REMOVED
from hfmem.checkpoint.snapshot import Note
from hfmem.checkpoint.tensor import Tensor
from hfmem.errors import MalformedHeaderError

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_KEYS_CAP: Final = 65_536
_TENSORS_CAP: Final = 100_000
_LENGTH_CAP: Final = 2**30
_KEY_CAP: Final = 1024
_NAME_CAP: Final = 64
_DIMENSIONS_CAP: Final = 4
_ELEMENTS_CAP: Final = 2**63
_KEPT_TEXT: Final = 4096
_KEPT_ITEMS: Final = 10_000
_ALIGNMENT: Final = "general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
_ALIGNMENT_CAP: Final = 2**20
_LEAST_KEY: Final = 8 + 1 + 4 + 1
_LEAST_TENSOR: Final = 8 + 4 + 4 + 8

_STRING: Final = 8
_ARRAY: Final = 9
_BOOL: Final = 7
_UINT32: Final = 4
# gguf.h: enum gguf_type; the formats are struct's.
_SCALARS: Final[Mapping[int, str]] = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "B",
    10: "Q",
    11: "q",
    12: "d",
}

KeyValue = int | float | bool | str | list[int | float | bool]


class GgufHeader(Struct, frozen=True, kw_only=True):
    """What one file says of itself."""

    keys: Mapping[str, KeyValue]
    """Without what is not kept: long texts, arrays of texts, arrays of more than 10,000 items."""
    lengths: Mapping[str, int]
    """Items of every array: ``tokenizer.ggml.tokens`` is the vocabulary's size."""
    tensors: tuple[Tensor, ...]
    """In file order, shapes as torch writes them: the row length last."""
    header_bytes: int
    """Up to where the tensors' data begins."""
    notes: tuple[Note, ...]


class GgufParser:
    """Reads a header from pieces of the file, each fed once and in order."""

    def __init__(self, *, file: str, file_bytes: int) -> None:
        self._file = file
        self._size = file_bytes
        self._buffer = b""
        self._at = 0
        self._dropped = 0
        self._steps = self._header()
        next(self._steps)

    def feed(self, piece: bytes) -> GgufHeader | None:
        """The header, or None while it needs more. Raises MalformedHeaderError."""
        self._dropped += self._at
        self._buffer = self._buffer[self._at :] + piece
        self._at = 0
        try:
            next(self._steps)
        except StopIteration as done:
            header: GgufHeader = done.value
            return header
        return None

    @property
    def _position(self) -> int:
        return self._dropped + self._at

    @property
    def _left(self) -> int:
        """Bytes of the file that are still to come."""
        return self._size - self._position

    def _fault(self, why: str) -> MalformedHeaderError:
        return MalformedHeaderError(
            f"{self._file!r:.120} is not a readable GGUF file: {why}.",
            hint="The file is damaged, incomplete or in another format.",
        )

    def _bytes(self, count: int) -> Generator[None, None, bytes]:
        if count > self._left:
            raise self._fault(f"it ends within its header, at byte {self._size:,}")
        while len(self._buffer) - self._at < count:
            yield
        start, self._at = self._at, self._at + count
        return self._buffer[start : self._at]

    def _skip(self, count: int) -> Generator[None, None, None]:
        if count > self._left:
            raise self._fault(f"it ends within its header, at byte {self._size:,}")
        while count:
            step = min(count, len(self._buffer) - self._at)
            self._at += step
            count -= step
            if count:
                yield

    def _number(self, form: str) -> Generator[None, None, int]:
        raw = yield from self._bytes(struct.calcsize("<" + form))
        found: int = struct.unpack("<" + form, raw)[0]
        return found

    def _length(self, what: str) -> Generator[None, None, int]:
        length = yield from self._number("Q")
        if length > min(_LENGTH_CAP, self._left):
            raise self._fault(f"{what} claims {length:,} bytes, {self._left:,} are left")
        return length

    def _text(self, what: str, *, cap: int) -> Generator[None, None, str]:
        length = yield from self._length(what)
        if length > cap:
            raise self._fault(f"{what} has {length:,} bytes, at most {cap:,} are allowed")
        raw = yield from self._bytes(length)
        return raw.decode("utf-8", errors="replace")

    def _header(self) -> Generator[None, None, GgufHeader]:
        yield
        magic = yield from self._bytes(len(_MAGIC))
        if magic != _MAGIC:
            raise self._fault(f"it begins with {magic!r:.40}, not with {_MAGIC!r}")
        version = yield from self._number("I")
        if version not in _VERSIONS:
            endian = " in the other byte order" if version & 0xFFFF == 0 and version else ""
            raise self._fault(f"its version is {version:,}{endian}; 2 and 3 are read")
        tensors = yield from self._number("q")
        keys = yield from self._number("q")
        if not 0 <= keys <= min(_KEYS_CAP, self._left // _LEAST_KEY):
            raise self._fault(f"it claims {keys:,} keys")
        if not 0 <= tensors <= min(_TENSORS_CAP, self._left // _LEAST_TENSOR):
            raise self._fault(f"it claims {tensors:,} tensors")
        values, lengths, alignment = yield from self._keys(keys)
        table = yield from self._table(tensors)
        return self._laid_out(table, values, lengths, alignment)

    def _keys(
        self, count: int
    ) -> Generator[None, None, tuple[dict[str, KeyValue], dict[str, int], int]]:
        values: dict[str, KeyValue] = {}
        lengths: dict[str, int] = {}
        seen: set[str] = set()
        alignment = _DEFAULT_ALIGNMENT
        for number in range(count):
            key = yield from self._text(f"key {number:,}", cap=_KEY_CAP)
            if not key or key in seen:
                raise self._fault(f"key {number:,}, {key!r:.80}, is empty or comes twice")
            seen.add(key)
            kind = yield from self._number("i")
            if kind == _ARRAY:
                found = yield from self._array(key, lengths)
            else:
                found = yield from self._scalar(key, kind)
            if key == _ALIGNMENT:
                if kind != _UINT32 or type(found) is not int or not _is_alignment(found):
                    raise self._fault(f"its alignment is {found!r:.40}, no power of two")
                alignment = found
            if found is not None:
                values[key] = found
        return values, lengths, alignment

    def _scalar(self, key: str, kind: int) -> Generator[None, None, KeyValue | None]:
        if kind == _STRING:
            length = yield from self._length(f"the value of {key!r:.80}")
            if length > _KEPT_TEXT:
                yield from self._skip(length)
                return None
            raw = yield from self._bytes(length)
            return raw.decode("utf-8", errors="replace")
        form = _SCALARS.get(kind)
        if form is None:
            raise self._fault(f"key {key!r:.80} has the type {kind:,}, which GGUF does not have")
        found: int | float = yield from self._number(form)
        if kind == _BOOL:
            return bool(found)
        return found if isfinite(found) else None

    def _array(self, key: str, lengths: dict[str, int]) -> Generator[None, None, KeyValue | None]:
        kind = yield from self._number("i")
        count = yield from self._number("Q")
        form = _SCALARS.get(kind)
        if form is None and kind != _STRING:
            raise self._fault(f"the array {key!r:.80} is of the type {kind:,}")
        size = struct.calcsize("<" + form) if form else 8
        if count > _LENGTH_CAP or count * size > self._left:
            raise self._fault(f"the array {key!r:.80} claims {count:,} items")
        lengths[key] = count
        if form is None:
            yield from self._skip_texts(key, count)
            return None
        if count > _KEPT_ITEMS:
            yield from self._skip(count * size)
            return None
        raw = yield from self._bytes(count * size)
        items: tuple[int | float, ...] = struct.unpack(f"<{count}{form}", raw)
        if kind == _BOOL:
            return [bool(item) for item in items]
        return list(items) if all(map(isfinite, items)) else None

    def _skip_texts(self, key: str, count: int) -> Generator[None, None, None]:
        """Pass over texts: the whole ones of a piece without a call for each."""
        unpack = struct.Struct("<Q").unpack_from
        while count:
            buffer, at, end = self._buffer, self._at, len(self._buffer)
            while count and at + 8 <= end:
                length = unpack(buffer, at)[0]
                if at + 8 + length > end:
                    break
                at += 8 + length
                count -= 1
            self._at = at
            if count:
                length = yield from self._length(f"an item of the array {key!r:.80}")
                yield from self._skip(length)
                count -= 1

    def _table(
        self, count: int
    ) -> Generator[None, None, list[tuple[str, tuple[int, ...], int, int]]]:
        """Name, shape, type and offset of every tensor."""
        entries = []
        names: set[str] = set()
        for number in range(count):
            name = yield from self._text(f"the name of tensor {number:,}", cap=_NAME_CAP - 1)
            if name in names:
                raise self._fault(f"tensor {name!r:.80} comes twice")
            names.add(name)
            dimensions = yield from self._number("I")
            if dimensions > _DIMENSIONS_CAP:
                raise self._fault(f"tensor {name!r:.80} has {dimensions:,} dimensions")
            raw = yield from self._bytes(8 * dimensions)
            shape: tuple[int, ...] = struct.unpack(f"<{dimensions}q", raw)
            if any(size < 0 for size in shape) or prod(max(1, size) for size in shape) >= (
                _ELEMENTS_CAP
            ):
                raise self._fault(f"tensor {name!r:.80} has the impossible shape {shape!r:.80}")
            kind = yield from self._number("i")
            offset = yield from self._number("Q")
            entries.append((name, shape[::-1], kind, offset))
        return entries

    def _laid_out(
        self,
        table: list[tuple[str, tuple[int, ...], int, int]],
        values: dict[str, KeyValue],
        lengths: dict[str, int],
        alignment: int,
    ) -> GgufHeader:
        start = _padded(self._position, alignment)
        if not table and start > self._size:
            start = self._position
        end = last = 0
        tensors = []
        for name, shape, kind, offset in table:
            found = BY_ID.get(kind)
            if found is None:
                known = f" ({REMOVED[kind]}, which was given up)" if kind in REMOVED else ""
                raise self._fault(
                    f"tensor {name!r:.80} is of the unknown ggml type {kind:,}{known}"
                )
            if shape and shape[-1] % found.block_elements:
                raise self._fault(
                    f"tensor {name!r:.80} has rows of {shape[-1]:,}, no multiple of "
                    f"{found.block_elements} as {found.name} needs"
                )
            if not shape and found.block_elements > 1:
                raise self._fault(f"tensor {name!r:.80} is a single element of {found.name}")
            if offset != end:
                raise self._fault(f"tensor {name!r:.80} lies at {offset:,} instead of {end:,}")
            size = found.tensor_bytes(shape)
            last = end + size
            end = _padded(last, alignment)
            tensors.append(Tensor(name, found.name, shape, size))
        if start + last > self._size:
            raise self._fault(
                f"its tensors end at byte {start + last:,}, but the file has {self._size:,}"
            )
        notes: tuple[Note, ...] = ()
        if self._size > start + end:
            more = self._size - start - end
            message = f"{self._file} has {more:,} bytes after its last tensor, which nothing reads."
            notes = (Note(code="trailing_bytes", message=message),)
        return GgufHeader(
            keys=values,
            lengths=lengths,
            tensors=tuple(tensors),
            header_bytes=start,
            notes=notes,
        )


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _is_alignment(value: int) -> bool:
    return 0 < value <= _ALIGNMENT_CAP and value & (value - 1) == 0
