"""From stored tensors to parameters: what a quantized checkpoint's bytes stand for.

Works on runs; nothing is expanded. A scale counts as none only where the weight that it scales is
there, and a packed tensor that no format explains has an unknown number of parameters, never one an
element.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from hfmem.checkpoint.packed_format import Family, Format, Role
from hfmem.checkpoint.packed_formats import FORMATS, GPTQ
from hfmem.checkpoint.quantization import Quantization, quantization
from hfmem.checkpoint.snapshot import Note
from hfmem.checkpoint.tensor import Box, TensorRun, bounds, template

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}", re.ASCII)
_SCAN_CAP = 1000
_PACKED_TYPES = frozenset({"I8", "U8", "I16", "U16", "I32", "U32"})
_LEAST_WEIGHT = 4096
# Masks, positions and tables of indices are integers by nature.
_BUFFER = re.compile(
    r"(?:mask|masked_bias|attn\.bias|attention\.bias|ids|idx|index|indices|positions?|table)$"
)
_KV_SCALE = re.compile(r"\.(?:[kvq]|kv|prob)_(?:scale|zero_point)$")
_KV_SCALE_CAP = 4096


class Stored(Struct, frozen=True, kw_only=True):
    """What the tensors of a run are."""

    role: Role
    logical: int | None
    """Parameters of one tensor; 0 for what serves a weight, None where unknown."""
    format: str | None
    """The name of a packed format; None for a plain tensor."""


class Packing:
    """The roles of a checkpoint's tensors; answers for any part of a run that it was made from."""

    def __init__(
        self,
        stored: Iterable[tuple[TensorRun, Stored]],
        *,
        notes: tuple[Note, ...],
        method: str | None = None,
    ) -> None:
        self.notes = notes
        self.method = method
        self._by_name: dict[tuple[str, str, tuple[int, ...]], list[tuple[Box, Stored]]]
        self._by_name = defaultdict(list)
        for run, what in stored:
            self._by_name[_key(run)].append((bounds(run.name), what))

    def stored(self, run: TensorRun) -> Stored:
        """What a run, or a part of one, is. A tensor that was not there is a plain one."""
        known = self._by_name.get(_key(run), ())
        own = bounds(run.name)
        for box, what in known:
            if box == own or _holds(box, _corner(own)):
                return what
        return _plain(run)

    def logical(self, run: TensorRun) -> int | None:
        """Parameters of one tensor: 0 for what serves a weight, None where it is unknown."""
        return self.stored(run).logical

    def is_packed(self, run: TensorRun) -> bool:
        """Whether it is part of a quantized weight, or may be one: no loader casts it."""
        return self.stored(run).role != "plain"

    def bits_per_weight(self, run: TensorRun) -> float | None:
        """Stored bits of one parameter, without its scales: 4.0 for NVFP4; None where there are
        none.
        """
        count = self.logical(run)
        return run.bytes * 8 / count if count else None

    @property
    def formats(self) -> tuple[str, ...]:
        """The packed formats that occur."""
        found = {what.format for known in self._by_name.values() for _, what in known}
        return tuple(sorted(name for name in found if name is not None))


def packing(
    tensors: Sequence[TensorRun],
    *,
    config: Mapping[str, object] | None,
    documents: Mapping[str, Mapping[str, object]],
) -> Packing:
    """The roles of all tensors of a checkpoint.

    gpt-oss-20b: 13,761,264,768 bytes stand for 20,914,757,184 parameters. What is unknown, and
    where the configuration is contradicted, is in ``notes``.
    """
    settings = quantization(config, documents)
    names = _Names(tensors)
    stored: dict[int, Stored] = {}
    for form in FORMATS:
        for run in tensors:
            if id(run) not in stored and run.dtype in form.dtypes:
                _claim(run, form, names, settings, stored)
    has_packed = bool(stored)
    for run in tensors:
        if id(run) not in stored:
            stored[id(run)] = _left(run, has_packed=has_packed)
    pairs = [(run, stored[id(run)]) for run in tensors]
    return Packing(
        pairs,
        notes=tuple(_notes(pairs, settings, has_packed=has_packed)),
        method=settings.method,
    )


class _Names:
    """Runs by name: the one that has a given tensor among its own."""

    def __init__(self, tensors: Iterable[TensorRun]) -> None:
        self._exact: dict[tuple[str, Box], TensorRun] = {}
        self._by_template: dict[str, list[tuple[Box, TensorRun]]] = defaultdict(list)
        for run in tensors:
            box = bounds(run.name)
            self._exact[template(run.name), box] = run
            self._by_template[template(run.name)].append((box, run))

    def find(self, name: str) -> TensorRun | None:
        """The run of the first tensor of ``name``, preferably with the same numbers."""
        box = bounds(name)
        exact = self._exact.get((template(name), box))
        if exact is not None:
            return exact
        corner = _corner(box)
        for other, run in self._by_template.get(template(name), ())[:_SCAN_CAP]:
            if _holds(other, corner):
                return run
        return None

    def overlapping(self, name: str) -> list[TensorRun]:
        """All runs that share tensors with ``name``."""
        box = bounds(name)
        return [
            run
            for other, run in self._by_template.get(template(name), ())[:_SCAN_CAP]
            if _overlap(box, other)
        ]


def _claim(
    run: TensorRun,
    form: Format,
    names: _Names,
    settings: Quantization,
    stored: dict[int, Stored],
) -> None:
    """Give a run and its parts their roles, if they are of the format."""
    if not run.name.endswith(form.weight):
        return
    prefix = run.name.removesuffix(form.weight)
    if not any(names.find(prefix + part) for part in form.needs):
        return
    parts = {part: found for part in form.parts if (found := names.find(prefix + part)) is not None}
    family = Family(
        weight=run,
        parts=parts,
        module=_RANGE.sub(lambda match: match[1], prefix),
        settings=settings,
    )
    stored[id(run)] = Stored(role="weight", logical=form.logical(family), format=form.name)
    for part, role in form.parts.items():
        for found in names.overlapping(prefix + part):
            if id(found) not in stored:
                stored[id(found)] = Stored(role=role, logical=0, format=form.name)


def _left(run: TensorRun, *, has_packed: bool) -> Stored:
    """A run that no format explains."""
    if run.dtype == "F8_E8M0":
        # An exponent alone is no weight; torch has no arithmetic for it.
        return Stored(role="scale", logical=0, format=None)
    if has_packed and _KV_SCALE.search(run.name) and run.elements <= _KV_SCALE_CAP:
        return Stored(role="scale", logical=0, format=None)
    if (
        run.dtype in _PACKED_TYPES
        and len(run.shape) > 1
        and run.elements >= _LEAST_WEIGHT
        and not _BUFFER.search(run.name)
    ):
        return Stored(role="weight", logical=None, format=None)
    return _plain(run)


def _plain(run: TensorRun) -> Stored:
    return Stored(role="plain", logical=run.elements, format=None)


def _notes(
    pairs: Sequence[tuple[TensorRun, Stored]], settings: Quantization, *, has_packed: bool
) -> Iterable[Note]:
    unknown = [run for run, what in pairs if what.logical is None]
    if unknown:
        count, first = sum(run.count for run in unknown), unknown[0]
        yield Note(
            code="unknown_packing",
            message=f"{count} packed tensors such as {first.name} ({first.dtype}) do not tell how "
            "many parameters they hold: their bytes are exact, the parameters unknown.",
        )
    # GPTQ and AWQ are the formats whose shapes tell the bits without the configuration.
    found = {
        run.bytes * 8 // what.logical
        for run, what in pairs
        if what.format == GPTQ and what.role == "weight" and what.logical
    }
    declared = {grouping.bits for grouping in settings.groupings}
    if declared and found and not found & declared:
        yield Note(
            code="contradicted_quantization",
            message=f"The configuration says {_listed(declared)} bits a weight, the tensors hold "
            f"{_listed(found)}; the tensors are believed.",
        )
    if settings.method is not None and not has_packed and not unknown:
        yield Note(
            code="quantized_at_load",
            message=f"The configuration names the quantization {settings.method!r:.40}, but the "
            "stored weights are not packed: a loader that honours it packs them itself.",
        )


def _listed(numbers: Iterable[int]) -> str:
    return " and ".join(str(number) for number in sorted(numbers))


def _key(run: TensorRun) -> tuple[str, str, tuple[int, ...]]:
    return template(run.name), run.dtype, run.shape


def _corner(box: Box) -> tuple[int, ...]:
    return tuple(low for low, _ in box)


def _holds(box: Box, point: tuple[int, ...]) -> bool:
    return len(box) == len(point) and all(
        low <= number <= high for (low, high), number in zip(box, point, strict=True)
    )


def _overlap(one: Box, other: Box) -> bool:
    return len(one) == len(other) and all(
        low <= last and first <= high for (low, high), (first, last) in zip(one, other, strict=True)
    )
