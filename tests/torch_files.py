"""Checkpoints of torch for tests: the opcodes and the archive written by hand, without torch."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence

STOP = b"."
PROTOCOL = b"\x80\x02"
MARK = b"("
EMPTY_TUPLE = b")"
REDUCE = b"R"


def global_(module: str, name: str) -> bytes:
    """A class or function by its names."""
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    """A string."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """An integer of any size."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_(*items: bytes) -> bytes:
    """A tuple of any length."""
    return MARK + b"".join(items) + b"t"


def storage(key: str, elements: int, *, kind: str = "FloatStorage", module: str = "torch") -> bytes:
    """A reference to a storage."""
    fields = (text("storage"), global_(module, kind), text(key), text("cpu"), number(elements))
    return tuple_(*fields) + b"Q"


def view(
    of: bytes,
    shape: Sequence[int],
    *,
    offset: int = 0,
    stride: Sequence[int] | None = None,
    function: str = "_rebuild_tensor_v2",
) -> bytes:
    """A tensor; row-major unless ``stride`` says otherwise."""
    if stride is None:
        stride = [1] * len(shape)
        for index in range(len(shape) - 2, -1, -1):
            stride[index] = stride[index + 1] * shape[index + 1]
    arguments = tuple_(
        of,
        number(offset),
        tuple_(*map(number, shape)),
        tuple_(*map(number, stride)),
        b"\x89",
        global_("collections", "OrderedDict") + EMPTY_TUPLE + REDUCE,
    )
    return global_("torch._utils", function) + arguments + REDUCE


def dict_(items: Mapping[str, bytes]) -> bytes:
    """A dict."""
    return b"}" + MARK + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickled(value: bytes) -> bytes:
    """A whole pickle."""
    return PROTOCOL + value + STOP


def archive(pickle: bytes, storages: Mapping[str, int], *, root: str = "archive") -> bytes:
    """The zip that torch.save writes, its storages full of zeros."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
        file.writestr(f"{root}/data.pkl", pickle)
        for key, size in storages.items():
            file.writestr(f"{root}/data/{key}", bytes(size))
        file.writestr(f"{root}/version", b"3\n")
    return stream.getvalue()


def checkpoint(tensors: Mapping[str, Sequence[int]], *, width: int = 4) -> bytes:
    """A plain checkpoint of fp32 tensors, or of bf16 ones where ``width`` is 2."""
    items, storages = {}, {}
    kind = {4: "FloatStorage", 2: "BFloat16Storage"}[width]
    for number_, (name, shape) in enumerate(tensors.items()):
        elements = 1
        for size in shape:
            elements *= size
        items[name] = view(storage(str(number_), elements, kind=kind), shape)
        storages[str(number_)] = elements * width
    return archive(pickled(dict_(items)), storages)
