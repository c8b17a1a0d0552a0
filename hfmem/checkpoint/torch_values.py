"""What torch.save writes of tensors: storages, views of them, and the few calls that make them.

Everything is inert: a global is a pair of names, and nothing is looked up, imported or called.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Final, NamedTuple

from msgspec import Struct, field

from hfmem.dtypes import BITS

_DIMENSIONS_CAP: Final = 64
_NUMBER_CAP: Final = 2**53


class PickleRefusedError(Exception):
    """The pickle is damaged, or holds what a plain checkpoint does not."""


class Storage(NamedTuple):
    """A block of memory that tensors are views of."""

    key: str
    """Its file in the archive: ``data/{key}``."""
    dtype: str | None
    """None for bytes, whose views tell the type."""
    elements: int
    """Bytes where ``dtype`` is None."""


class View(NamedTuple):
    """A tensor: a part of a storage."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Of its own elements."""
        return prod(self.shape) * BITS[self.dtype] // 8


class Global(NamedTuple):
    """The name of a class or function, which stays a name."""

    module: str
    name: str


class Table(Struct, eq=False):
    """A dict as it was written: nothing is hashed."""

    items: list[tuple[object, object]] = field(default_factory=list)


# torch 2.13, torch/storage.py: _dtype_to_storage_type_map.
_STORAGES: Final[Mapping[str, str | None]] = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "UntypedStorage": None,
}
_DTYPES: Final[Mapping[str, str]] = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}
# Scalars of nothing that is sized: plain values that torch.save writes beside tensors.
_INERT: Final = frozenset({Global("torch", "Size"), Global("torch", "device")})


def storage(value: object, *, fields: int) -> Storage:
    """The storage that a persistent id of so many ``fields`` names: 5 in a zip archive, 6 before.

    Raises PickleRefusedError for anything else, and for a view of another storage.
    """
    match value:
        case ("storage", Global(module, name), str(key), str() | None, int(elements), *rest) if (
            module in ("torch", "torch.storage", "torch.cuda")
            and name in _STORAGES
            and len(rest) == fields - 5
        ):
            if type(elements) is not int or not 0 <= elements < _NUMBER_CAP:
                raise PickleRefusedError("a storage has an impossible size")
            if rest and rest[0] is not None:
                raise PickleRefusedError("a storage is a view of another, as torch 0.4 wrote it")
            return Storage(key, _STORAGES[name], elements)
    raise PickleRefusedError("it refers to what is no storage")


def called(function: Global, arguments: tuple[object, ...], *, depth: int) -> object:
    """What a call in the pickle makes; ``depth`` counts the calls around it.

    Raises PickleRefusedError for a function that makes no tensor and nothing that lies beside one.
    """
    match function:
        case Global("collections", "OrderedDict"):
            return _ordered(arguments)
        case Global("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"):
            return _view(arguments, dtype=None)
        case Global("torch._utils", "_rebuild_tensor_v3"):
            named = arguments[6] if len(arguments) > 6 else None
            dtype = _DTYPES.get(named.name) if isinstance(named, Global) else None
            if dtype is None:
                raise PickleRefusedError("a tensor is of an unknown type")
            return _view(arguments, dtype=dtype)
        case Global("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state"):
            if arguments and isinstance(arguments[0], View):
                return arguments[0]
            raise PickleRefusedError("a parameter holds no tensor")
        case Global("torch._tensor", "_rebuild_from_type_v2") if depth == 0:
            match arguments:
                case (Global() as inner, Global() | View(), tuple() as rest, *_):
                    return called(inner, rest, depth=1)
            raise PickleRefusedError("a tensor of a subclass cannot be told")
        case _ if function in _INERT:
            return None
    raise PickleRefusedError(f"it calls {function.module[:60]!a}.{function.name[:60]!a}")


def _ordered(arguments: tuple[object, ...]) -> Table:
    match arguments:
        case ():
            return Table()
        case (list() as pairs,):
            items = [pair for pair in pairs if isinstance(pair, tuple | list) and len(pair) == 2]
            if len(items) == len(pairs):
                return Table(items=[(pair[0], pair[1]) for pair in items])
    raise PickleRefusedError("an OrderedDict is made of what is no list of pairs")


def _view(arguments: tuple[object, ...], *, dtype: str | None) -> View:
    match arguments:
        case (Storage() as held, int(offset), tuple() as shape, tuple() as stride, *_):
            pass
        case _:
            raise PickleRefusedError("a tensor is made of what is no storage")
    sizes, steps = _numbers(shape), _numbers(stride)
    dtype = dtype or held.dtype
    if dtype is None or len(sizes) != len(steps) or not 0 <= offset < _NUMBER_CAP:
        raise PickleRefusedError("a tensor has an impossible shape")
    width = BITS[dtype] // 8
    elements = held.elements if held.dtype else held.elements // width
    if held.dtype not in (None, dtype):
        raise PickleRefusedError("a tensor is of another type than its storage")
    if 0 not in sizes:
        last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
        if last >= elements:
            raise PickleRefusedError("a tensor reaches beyond its storage")
    if prod(sizes) > max(1, elements):
        # A view with steps of 0 takes no room in the file, and as much as it likes when loaded.
        raise PickleRefusedError("a tensor has more elements than its storage")
    if prod(sizes) >= _NUMBER_CAP:
        raise PickleRefusedError("a tensor has an impossible shape")
    return View(held, dtype, offset, sizes, steps)


def _numbers(values: tuple[object, ...]) -> tuple[int, ...]:
    if len(values) > _DIMENSIONS_CAP:
        raise PickleRefusedError("a tensor has too many dimensions")
    found = [value for value in values if type(value) is int and 0 <= value < _NUMBER_CAP]
    if len(found) != len(values):
        raise PickleRefusedError("a tensor has an impossible shape")
    return tuple(found)
