"""The lists of the recorded format: files and tensors, many in a line by ``{first..last}``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from hfmem.checkpoint.snapshot import RepoFile
from hfmem.checkpoint.tensor import TensorRun, brace_count, template
from hfmem.dtypes import BITS

_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}", re.ASCII)
_SHARD = re.compile(r"(.*?)(\d{5})(-of-\d{5}.*)", re.ASCII | re.DOTALL)
_NAME_CAP = 4096
_TENSOR_CAP = 1_000_000
_FILE_CAP = 100_000
_DIMENSIONS_CAP = 64
_SIZE_CAP = 2**53


class BraceError(ValueError):
    """A list that is not of the format; says what is wrong as the end of a sentence."""


def tensor_runs(entries: Sequence[object]) -> tuple[TensorRun, ...]:
    """Runs of ``[name, dtype, shape]`` or ``[name, dtype, shape, bytes of one tensor]``.

    ``["layers.{0..79}.k_proj.weight", "BF16", [1024, 8192]]`` is 80 tensors of 16,777,216 bytes.
    Raises BraceError, also where two runs name the same tensor.
    """
    runs = tuple(_run(entry) for entry in entries)
    if sum(run.count for run in runs) > _TENSOR_CAP:
        raise BraceError(f"lists more than {_TENSOR_CAP:,} tensors")
    same = Counter(template(run.name) for run in runs)
    seen: set[str] = set()
    for run in runs:
        if same[template(run.name)] == 1:
            continue
        for name in run.names():
            if name in seen:
                raise BraceError(f"lists tensor {name!r:.120} twice")
            seen.add(name)
    return runs


def file_names(entries: Sequence[object]) -> tuple[str, ...]:
    """File names, expanded: ``model-{00001..00031}-of-00031.safetensors`` is 31 of them. Raises
    BraceError.
    """
    names: list[str] = []
    for entry in entries:
        if not isinstance(entry, str) or not 0 < len(entry) <= _NAME_CAP:
            raise BraceError(f"lists {entry!r:.80} as a file's name")
        _check_braces(entry)
        if len(names) + brace_count(entry) > _FILE_CAP:
            raise BraceError(f"lists more than {_FILE_CAP:,} files")
        names.extend(_expanded(entry))
    return tuple(names)


def folded_files(files: Sequence[RepoFile]) -> Iterator[tuple[str, int | None]]:
    """Files in brace notation where shards that follow each other have the same size, or none
    known.
    """
    pending: list[tuple[str, int, str, int | None]] = []
    for file in files:
        match = _SHARD.fullmatch(file.name)
        if match is None:
            yield from _flush(pending)
            pending = []
            yield escaped(file.name), file.bytes
            continue
        shard = (match[1], int(match[2]), match[3], file.bytes)
        if pending:
            prefix, number, rest, size = pending[-1]
            if shard != (prefix, number + 1, rest, size):
                yield from _flush(pending)
                pending = []
        pending.append(shard)
    yield from _flush(pending)


def escaped(name: str) -> str:
    """A name without braces, which are the notation's own; ``hfmem.checkpoint.tensor.runs`` escapes
    alike.
    """
    return name.replace("{", "%7B").replace("}", "%7D")


def _flush(shards: Sequence[tuple[str, int, str, int | None]]) -> Iterator[tuple[str, int | None]]:
    if not shards:
        return
    prefix, first, rest, size = shards[0]
    last = shards[-1][1]
    number = f"{first:05d}" if first == last else f"{{{first:05d}..{last:05d}}}"
    yield f"{escaped(prefix)}{number}{escaped(rest)}", size


def _expanded(name: str) -> Iterator[str]:
    parts = _RANGE.split(name)
    literals, bounds = parts[0::3], list(zip(parts[1::3], parts[2::3], strict=True))
    ranges = (
        # Bounds of one width are padded to it: {00001..00031}.
        [
            f"{number:0{len(low) if len(low) == len(high) else 1}d}"
            for number in range(int(low), int(high) + 1)
        ]
        for low, high in bounds
    )
    for numbers in product(*ranges):
        yield literals[0] + "".join(
            number + literal for number, literal in zip(numbers, literals[1:], strict=True)
        )


def _check_braces(name: str) -> None:
    rest = _RANGE.sub("", name)
    if "{" in rest or "}" in rest:
        raise BraceError(f"has a brace that is no range in {name!r:.120}")
    if any(int(low) > int(high) for low, high in _RANGE.findall(name)):
        raise BraceError(f"has a range that runs backwards in {name!r:.120}")


def _run(entry: object) -> TensorRun:
    if not isinstance(entry, list) or len(entry) not in (3, 4):
        raise BraceError("has a tensor that is not [name, dtype, shape]")
    name, dtype, shape, *size = entry
    if not isinstance(name, str) or len(name) > _NAME_CAP:
        raise BraceError(f"has {name!r:.80} as a tensor's name")
    _check_braces(name)
    if any(str(int(bound)) != bound for bounds in _RANGE.findall(name) for bound in bounds):
        raise BraceError(f"has a range with a leading zero in {name!r:.120}")
    count = brace_count(name)
    if count > _TENSOR_CAP:
        raise BraceError(f"lists more than {_TENSOR_CAP:,} tensors")
    if not isinstance(dtype, str) or not 0 < len(dtype) <= 32:
        raise BraceError(f"has the dtype {dtype!r:.60} at {name!r:.120}")
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS_CAP:
        raise BraceError(f"has no shape at {name!r:.120}")
    for number in (*shape, *size):
        if type(number) is not int or not 0 <= number < _SIZE_CAP:
            raise BraceError(f"has the size {number!r:.40} at {name!r:.120}")
    return TensorRun(
        name=name,
        dtype=dtype,
        shape=tuple(shape),
        bytes=_bytes(name, dtype, shape, size),
        count=count,
    )


def _bytes(name: str, dtype: str, shape: Sequence[int], size: Sequence[int]) -> int:
    """From dtype and shape; where the dtype is unknown, the fourth element."""
    bits = BITS.get(dtype)
    if bits is None:
        if not size:
            raise BraceError(f"lacks the bytes of {name!r:.120}, whose dtype {dtype!r} is unknown")
        return size[0]
    total = prod(shape) * bits
    if total % 8 or (size and size[0] * 8 != total):
        raise BraceError(f"has other bytes than dtype and shape give at {name!r:.120}")
    return total // 8
