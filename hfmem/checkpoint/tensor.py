"""Tensors as the files describe them, alone and in runs.

A checkpoint names the same tensor once a layer and once an expert: DeepSeek-V3's 91,991 tensors are
some forty shapes. A ``TensorRun`` is such a family written in brace notation; it is what the
arithmetic reads, what the recorded format holds and what the cache keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

from msgspec import Struct


class Tensor(NamedTuple):
    """One tensor of a file (a NamedTuple: a checkpoint has up to a hundred thousand of them)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


class TensorRun(Struct, frozen=True, kw_only=True):
    """``count`` tensors that differ in the numbers of their names only."""

    name: str
    """Brace notation: ``model.layers.{0..79}.self_attn.k_proj.weight``; every combination
    exists."""
    dtype: str
    """As the file spells it; one that ``hfmem.dtypes.BITS`` lacks is sized by its offsets."""
    shape: tuple[int, ...]
    bytes: int
    """Of one tensor."""
    count: int

    @property
    def elements(self) -> int:
        """Stored elements of one tensor; a packed tensor stores fewer than its parameters."""
        return prod(self.shape)

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors of the run."""
        return self.bytes * self.count

    def indices(self) -> range | None:
        """The numbers of the first brace, in practice the layers; None for a single tensor."""
        match = _BRACE.search(self.name)
        return range(int(match[1]), int(match[2]) + 1) if match else None

    def restricted(self, keep: range) -> TensorRun | None:
        """The part of the run whose first number lies in ``keep``; None when nothing is left."""
        match = _BRACE.search(self.name)
        if match is None:
            return self
        low, high = int(match[1]), int(match[2])
        first, last = max(low, keep.start), min(high, keep.stop - 1)
        if first > last:
            return None
        return TensorRun(
            name=f"{self.name[: match.start()]}{brace(first, last)}{self.name[match.end() :]}",
            dtype=self.dtype,
            shape=self.shape,
            bytes=self.bytes,
            count=self.count // (high - low + 1) * (last - first + 1),
        )

    def names(self) -> Iterator[str]:
        """Every tensor's name, expanded."""
        parts = _BRACE.split(self.name)
        literals, bounds = parts[0::3], zip(parts[1::3], parts[2::3], strict=True)
        for numbers in product(*(range(int(low), int(high) + 1) for low, high in bounds)):
            yield literals[0] + "".join(
                f"{number}{literal}" for number, literal in zip(numbers, literals[1:], strict=True)
            )


_BRACE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}", re.ASCII)
# A number between dots without a leading zero: "layers.01" is another name than "layers.1".
_NUMBER = re.compile(r"(?:(?<=\.)|^)(0|[1-9]\d{0,8})(?=\.|$)", re.ASCII)


def brace(first: int, last: int) -> str:
    """``brace(0, 79) == "{0..79}"``; a run of one is written as ``{5..5}`` to stay a run of
    layers."""
    return f"{{{first}..{last}}}"


def brace_count(name: str) -> int:
    """How many tensors a name in brace notation stands for: 80 for ``layers.{0..79}.q_proj``."""
    return prod(high - low + 1 for low, high in bounds(name))


def template(name: str) -> str:
    """A name with its numbers taken out: ``model.layers.{}.self_attn.k_proj.weight``."""
    return _template(name) if len(name) <= _USUAL else _template.__wrapped__(name)


# One model asks ten times for each of its names, and models of a family share them; what is longer
# than any published name is not worth the memory.
_USUAL = 200


@lru_cache(maxsize=4096)
def _template(name: str) -> str:
    return _BRACE.sub("{}", name)


Box = tuple[tuple[int, int], ...]
"""First and last number of each brace of a name."""


def bounds(name: str) -> Box:
    """``bounds("layers.{0..79}.experts.{0..7}.up") == ((0, 79), (0, 7))``."""
    return _bounds(name) if len(name) <= _USUAL else _bounds.__wrapped__(name)


@lru_cache(maxsize=4096)
def _bounds(name: str) -> Box:
    return tuple((int(low), int(high)) for low, high in _BRACE.findall(name))


def runs(tensors: Iterable[Tensor]) -> tuple[TensorRun, ...]:
    """Fold tensors into runs, in the order in which their shapes first appear.

    Lossless: the names of the runs, expanded, are the names that came in. A brace in a stored name
    is written as ``%7B`` or ``%7D``, since braces are the notation's own.
    """
    families: dict[tuple[tuple[str, ...], str, tuple[int, ...], int], list[tuple[int, ...]]] = {}
    split = _NUMBER.split
    for name, dtype, shape, size in tensors:
        if "{" in name or "}" in name:
            name = name.replace("{", "%7B").replace("}", "%7D")
        parts = split(name)
        numbers = tuple(map(int, parts[1::2]))
        key = (tuple(parts[::2]), dtype, shape, size)
        if key in families:
            families[key].append(numbers)
        else:
            families[key] = [numbers]
    return tuple(
        TensorRun(
            name=_fill(literals, bounds),
            dtype=dtype,
            shape=shape,
            bytes=size,
            count=_volume(bounds),
        )
        for (literals, dtype, shape, size), numbers in families.items()
        for bounds in _boxes(numbers)
    )


def total_bytes(tensor_runs: Iterable[TensorRun]) -> int:
    """Bytes of all tensors of all runs."""
    return sum(run.total_bytes for run in tensor_runs)


def _volume(box: Box) -> int:
    return prod(last - first + 1 for first, last in box)


def _fill(literals: tuple[str, ...], box: Box) -> str:
    return literals[0] + "".join(
        brace(first, last) + literal
        for (first, last), literal in zip(box, literals[1:], strict=True)
    )


def _boxes(numbers: Sequence[tuple[int, ...]]) -> list[Box]:
    """Cover a set of index tuples by boxes of ranges: [(0, 0), (0, 1), (1, 0), (1, 1)] is one
    box."""
    if not numbers[0]:
        return [()] * len(numbers)
    by_first: dict[int, list[tuple[int, ...]]] = {}
    for first, *rest in numbers:
        by_first.setdefault(first, []).append(tuple(rest))
    boxes: list[Box] = []
    start = previous = -1
    tail: list[Box] = []
    for first in sorted(by_first):
        rest_boxes = _boxes(by_first[first])
        if start >= 0 and first == previous + 1 and rest_boxes == tail:
            previous = first
            continue
        boxes.extend(((start, previous), *box) for box in tail)
        start, previous, tail = first, first, rest_boxes
    boxes.extend(((start, previous), *box) for box in tail)
    return boxes
