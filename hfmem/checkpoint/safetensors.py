"""The header of a safetensors file: read whole, believed only where all of it agrees.

The rules are those of the reference reader (safetensors 0.8.0, safetensors/src/tensor.rs:
``read_metadata`` and ``Metadata::validate``): tensors lie one after the other from 0 to the end of
the file, and each is as long as its dtype and shape say. Beyond it, hfmem refuses a tensor name
that comes twice, where the reference lets the last one win, and more than it could hold in memory.
A file whose header breaks a rule has no size that could be told.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, prod
from pathlib import Path

from msgspec import Struct

from hfmem import collector
from hfmem.checkpoint import strict_json
from hfmem.checkpoint.regular import open_regular
from hfmem.checkpoint.snapshot import Note
from hfmem.checkpoint.tensor import Tensor
from hfmem.dtypes import BITS
from hfmem.errors import MalformedHeaderError

PREFIX_BYTES = 8
"""The header's length, a little-endian u64, before the header."""

HEADER_CAP = 25_000_000
"""huggingface_hub's SAFETENSORS_MAX_HEADER_LENGTH; the reference reads up to 100,000,000."""

_TENSOR_CAP = 1_000_000
_NAME_CAP = 4096
_DIMENSIONS_CAP = 64
_DIMENSION_CAP = 2**53
_PRODUCT_CAP = 2**64
_METADATA = "__metadata__"
_FIELDS = ("dtype", "shape", "data_offsets")
_LEAST_ENTRY = len('"":{"dtype":"","shape":[],"data_offsets":[0,0]},')
_LFS_POINTER = b"version "


class Header(Struct, frozen=True, kw_only=True):
    """What one file holds."""

    tensors: tuple[Tensor, ...]
    """In the order in which they lie in the file."""
    metadata: Mapping[str, str]
    notes: tuple[Note, ...]


def header_length(prefix: bytes, *, file: str, file_bytes: int) -> int:
    """The header's length in bytes, from the file's first eight.

    ``header_length(bytes([16, 0, 0, 0, 0, 0, 0, 0]), file="model.safetensors", file_bytes=24) ==
    16``. Raises MalformedHeaderError when it is above HEADER_CAP or does not fit the file.
    """
    if len(prefix) < PREFIX_BYTES:
        raise _malformed(file, f"it holds {len(prefix)} bytes, fewer than the length of a header")
    if prefix.startswith(_LFS_POINTER):
        raise MalformedHeaderError(
            f"{file!r:.120} is a Git LFS pointer, not the file itself.",
            hint="Fetch the file with `git lfs pull` or `hf download`.",
        )
    length = int.from_bytes(prefix[:PREFIX_BYTES], "little")
    if length > HEADER_CAP:
        raise _malformed(
            file, f"its header claims {length:,} bytes; hfmem reads at most {HEADER_CAP:,}"
        )
    if PREFIX_BYTES + length > file_bytes:
        raise _malformed(
            file, f"its header claims {length:,} bytes, but the whole file has {file_bytes:,}"
        )
    return length


def parse_header(raw: bytes, *, file: str, file_bytes: int) -> Header:
    """The header from its JSON bytes, without the prefix, for a file of ``file_bytes`` in all.

    A dtype that the format does not list is sized by its offsets and noted. Raises
    MalformedHeaderError.
    """
    if len(raw) > HEADER_CAP:
        raise _malformed(file, f"its header has {len(raw):,} bytes; hfmem reads {HEADER_CAP:,}")
    content = strict_json.pairs(
        raw, what=f"The header of {file!r:.120}", error=MalformedHeaderError
    )
    header, end = _read(content, file=file)
    data = file_bytes - PREFIX_BYTES - len(raw)
    if end != data:
        raise _malformed(
            file, f"its tensors end at byte {end:,} of the data, which has {data:,} bytes"
        )
    return header


def headers_from_metadata(raw: bytes, *, file_bytes: Mapping[str, int]) -> dict[str, Header]:
    """The headers of all shards, from the Hub's answer to
    ``/api/models/{repo}/safetensors-metadata/{index}``.

    ``raw`` is ``{"headers": {shard: header}, …}`` and ``file_bytes`` the size of every file of the
    listing. The answer does not tell how long a header is in its file; what the tensors leave of
    the file must be a possible one. Raises MalformedHeaderError, also for a shard that the listing
    lacks.
    """
    answer = "The Hub's safetensors metadata"
    with collector.paused():
        content = strict_json.pairs(raw, what=answer, error=MalformedHeaderError)
        shards = dict(_object(content, file=answer)).get("headers")
        return {
            shard: _shard(shard, entries, file_bytes=file_bytes)
            for shard, entries in _object(shards, file=answer)
        }


def _shard(shard: str, entries: object, *, file_bytes: Mapping[str, int]) -> Header:
    if shard not in file_bytes:
        raise _malformed(shard, "the Hub describes it, but the listing lacks it")
    header, end = _read(entries, file=shard)
    # An entry at its shortest, less the comma that the last one lacks, between two braces.
    least = 1 + sum(_LEAST_ENTRY + len(name) + len(dtype) for name, dtype, _, _ in header.tensors)
    left = file_bytes[shard] - PREFIX_BYTES - end
    if not max(least, len("{}")) <= left <= HEADER_CAP:
        raise _malformed(
            shard, f"its tensors end at byte {end:,}, which leaves {left:,} bytes for a header"
        )
    return header


def read_file(path: Path) -> Header:
    """The header of a local file. Raises MalformedHeaderError, and ModelNotFoundError for no
    regular file.
    """
    with open_regular(path) as stream:
        stream.seek(0, 2)
        size = stream.tell()
        stream.seek(0)
        prefix = stream.read(PREFIX_BYTES)
        length = header_length(prefix, file=path.name, file_bytes=size)
        return parse_header(stream.read(length), file=path.name, file_bytes=size)


def _malformed(file: str, why: str) -> MalformedHeaderError:
    return MalformedHeaderError(
        f"{file!r:.120} is not a readable safetensors file: {why}.",
        hint="The file is damaged, incomplete or in another format.",
    )


def _object(value: object, *, file: str) -> strict_json.Pairs:
    """The pairs of a JSON object. Objects come as tuples and arrays as lists, see
    ``strict_json.pairs``.
    """
    if not isinstance(value, tuple):
        raise _malformed(file, "a value of its header is no JSON object")
    if len({key for key, _ in value}) != len(value):
        duplicate = strict_json.first_duplicate(value)
        raise _malformed(file, f"its header holds the key {duplicate} twice")
    return value


def _read(content: object, *, file: str) -> tuple[Header, int]:
    """The header, and where its last tensor ends."""
    entries = _object(content, file=file)
    if len(entries) > _TENSOR_CAP:
        raise _malformed(file, f"it lists {len(entries):,} tensors; hfmem reads {_TENSOR_CAP:,}")
    metadata: dict[str, str] = {}
    places: list[tuple[int, int, str, str, tuple[int, ...]]] = []
    for name, entry in entries:
        if name == _METADATA:
            metadata = _metadata(entry, file=file)
            continue
        dtype, shape, offsets = _fields(entry, file=file, name=name)
        if type(dtype) is not str or type(shape) is not list or type(offsets) is not list:
            raise _malformed(file, f"tensor {name!r:.120} has a field of the wrong type")
        for number in (*shape, *offsets):
            if type(number) is not int or not 0 <= number < _DIMENSION_CAP:
                raise _malformed(file, f"tensor {name!r:.120} holds {number!r:.40} as a size")
        if len(offsets) != 2 or len(shape) > _DIMENSIONS_CAP:
            raise _malformed(file, f"tensor {name!r:.120} has too many dimensions or offsets")
        places.append((offsets[0], offsets[1], name, dtype, tuple(shape)))
    _check_names([place[2] for place in places], file=file)
    places.sort()
    return _lay_out(places, metadata, file=file)


def _fields(entry: object, *, file: str, name: str) -> tuple[object, object, object]:
    """A tensor's dtype, shape and data_offsets; other fields are ignored, as by the reference."""
    if isinstance(entry, tuple) and len(entry) == len(_FIELDS):
        # The order that the writer uses; anything else is looked up.
        (first, dtype), (second, shape), (third, offsets) = entry
        if (first, second, third) == _FIELDS:
            return dtype, shape, offsets
    fields = dict(_object(entry, file=file))
    if not all(field in fields for field in _FIELDS):
        raise _malformed(file, f"tensor {name!r:.120} lacks one of {', '.join(_FIELDS)}")
    for field, value in fields.items():
        if field not in _FIELDS:
            _check_ignored([field, value], file=file, depth=0)
    return fields["dtype"], fields["shape"], fields["data_offsets"]


def _check_ignored(value: object, *, file: str, depth: int) -> None:
    """A field that nobody reads must still be JSON that the reference takes."""
    if depth > 8:
        raise _malformed(file, "its header is nested too deeply")
    match value:
        case tuple():
            for key, item in _object(value, file=file):
                _check_ignored([key, item], file=file, depth=depth + 1)
        case list():
            for item in value:
                _check_ignored(item, file=file, depth=depth + 1)
        case str() if not _is_text(value):
            raise _malformed(file, "its header holds half a surrogate pair")
        case int() | float() if not (abs(value) < 1e300 and isfinite(value)):
            raise _malformed(file, "its header holds a number out of range")


def _metadata(value: object, *, file: str) -> dict[str, str]:
    if value is None:
        return {}
    result: dict[str, str] = {}
    for key, text in _object(value, file=file):
        if not isinstance(text, str) or not _is_text(key + text):
            raise _malformed(file, f"the metadata {key!r:.120} is no text")
        result[key] = text
    return result


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _check_names(names: list[str], *, file: str) -> None:
    if not _is_text("".join(names)):
        raise _malformed(file, "a tensor's name holds half a surrogate pair")
    for name in names:
        if len(name) > _NAME_CAP // 4 and len(name.encode()) > _NAME_CAP:
            raise _malformed(file, f"the name {name!r:.120} is longer than {_NAME_CAP:,} bytes")


def _lay_out(
    places: list[tuple[int, int, str, str, tuple[int, ...]]],
    metadata: dict[str, str],
    *,
    file: str,
) -> tuple[Header, int]:
    tensors: list[Tensor] = []
    unknown: dict[str, int] = {}
    end = 0
    for begin, stop, name, dtype, shape in places:
        if begin != end or stop < begin:
            raise _malformed(
                file,
                f"tensor {name!r:.120} lies at {begin:,}..{stop:,} and should start at {end:,}",
            )
        end, size = stop, stop - begin
        bits = BITS.get(dtype)
        elements = prod(shape)
        if elements == 0:
            _check_product(shape, file=file, name=name)
        if bits is None:
            _check_unknown(dtype, elements=elements, size=size, file=file, name=name)
            unknown[dtype] = unknown.get(dtype, 0) + 1
        elif elements * bits != size * 8:
            raise _malformed(
                file,
                f"tensor {name!r:.120} is {dtype} {list(shape)!s:.80}, its place {size:,} bytes",
            )
        tensors.append(Tensor(name, dtype, shape, size))
    notes = tuple(
        Note(
            code="unknown_dtype",
            message=f"{count} tensors of {file} have the dtype {dtype!r}, which safetensors does "
            "not list: their bytes are exact, their parameters unknown.",
        )
        for dtype, count in unknown.items()
    )
    return Header(tensors=tuple(tensors), metadata=metadata, notes=notes), end


def _check_product(shape: tuple[int, ...], *, file: str, name: str) -> None:
    """The reference multiplies from the left with checks: [2**63, 2**63, 0] overflows although it
    is 0.
    """
    product = 1
    for size in shape:
        product *= size
        if product >= _PRODUCT_CAP:
            raise _malformed(file, f"the shape of tensor {name!r:.120} overflows")


def _check_unknown(dtype: str, *, elements: int, size: int, file: str, name: str) -> None:
    if not (0 < len(dtype) <= 32 and dtype.isascii() and dtype.isprintable()):
        raise _malformed(file, f"tensor {name!r:.120} has the dtype {dtype!r:.60}")
    if elements > size * 8:
        raise _malformed(
            file, f"tensor {name!r:.120} claims {elements:,} elements in {size:,} bytes"
        )
