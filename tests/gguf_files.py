"""GGUF files for tests, written as the format's description says (ggml docs/gguf.md)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from hfmem.checkpoint.ggml import BY_NAME
from tests.loopback import Sparse

Value = int | float | bool | str | Sequence[int] | Sequence[bool] | Sequence[str]


def text(value: str) -> bytes:
    """A string: its length and its bytes."""
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(value: object) -> tuple[int, bytes]:
    """The type's id and the bytes of a value that is no array."""
    match value:
        case bool():
            return 7, struct.pack("<B", value)
        case int():
            return (4, struct.pack("<I", value)) if value >= 0 else (5, struct.pack("<i", value))
        case float():
            return 6, struct.pack("<f", value)
        case str():
            return 8, text(value)
    raise TypeError(value)


def key(name: str, value: Value) -> bytes:
    """A key with its value."""
    if isinstance(value, str | int | float):
        kind, raw = scalar(value)
        return text(name) + struct.pack("<i", kind) + raw
    items = [scalar(item) for item in value]
    kind = items[0][0] if items else 4
    head = struct.pack("<iiQ", 9, kind, len(items))
    return text(name) + head + b"".join(raw for _, raw in items)


def tensor(name: str, kind: int, shape: Sequence[int], offset: int) -> bytes:
    """An entry of the tensor table; ``shape`` as torch writes it."""
    sizes = struct.pack(f"<I{len(shape)}q", len(shape), *reversed(shape))
    return text(name) + sizes + struct.pack("<iQ", kind, offset)


def prefix(*, version: int = 3, tensors: int, keys: int) -> bytes:
    """What a file begins with."""
    return b"GGUF" + struct.pack("<Iqq", version, tensors, keys)


def gguf(
    keys: Mapping[str, Value],
    tensors: Mapping[str, tuple[str, Sequence[int]]],
    *,
    alignment: int = 32,
    version: int = 3,
) -> Sparse:
    """A whole file: tensors by name, of a type of ggml and a shape as torch writes it."""
    if alignment != 32:
        keys = {**keys, "general.alignment": alignment}
    table, offset = b"", 0
    for name, (dtype, shape) in tensors.items():
        table += tensor(name, BY_NAME[dtype].id, shape, offset)
        size = BY_NAME[dtype].tensor_bytes(tuple(shape))
        offset += -(-size // alignment) * alignment
    head = prefix(version=version, tensors=len(tensors), keys=len(keys))
    head += b"".join(key(name, value) for name, value in keys.items()) + table
    head += bytes(-len(head) % alignment)
    return Sparse(head=head, size=len(head) + offset)


def llama(architecture: str = "llama", **keys: Value) -> dict[str, Value]:
    """The keys of a Llama-3.1-8B, and others; dots are written as two underscores."""
    own: dict[str, Value] = {
        "block_count": 32,
        "context_length": 131072,
        "embedding_length": 4096,
        "feed_forward_length": 14336,
        "attention.head_count": 32,
        "attention.head_count_kv": 8,
        **{name.replace("__", "."): value for name, value in keys.items()},
    }
    prefixed = {f"{architecture}.{name}": value for name, value in own.items()}
    return {"general.architecture": architecture, **prefixed}
