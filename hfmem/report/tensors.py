"""The tensors that the weights are made of: the largest groups, and what is left of the sum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from hfmem.checkpoint.tensor import template
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun
from hfmem.report.phrases import plural, size

_MOST = 12
"""Groups that are listed one by one: a decoder's projections, embedding and head are ten."""
_NAME_LIMIT = 200


class TensorGroup(Struct, frozen=True, kw_only=True):
    """Tensors of one type and shape, whose names differ in numbers only."""

    name: str
    """Brace notation; where the numbers make no run, stars in their place."""
    dtype: str
    shape: tuple[int, ...]
    count: int
    bytes: int
    """Of all of them."""


class Stored(Struct, frozen=True, kw_only=True):
    """A checkpoint's tensors; ``bytes`` is the sum of the groups, of the rest and of what is not
    loaded.
    """

    read: bool
    """From files; otherwise they are what a configuration declares."""
    count: int
    bytes: int
    groups: tuple[TensorGroup, ...]
    """The largest that are loaded, the largest first."""
    rest_groups: int
    rest_bytes: int
    """Of the loaded ones that are in no group above."""
    left_count: int
    left_bytes: int
    """Of what no runtime loads by itself."""


def stored(model: Model, *, most: int = _MOST) -> Stored | None:
    """The tensors of a model as its files hold them; None where they are not known.

    Qwen3-8B: 399 tensors, the first group of 36 × 12,288 × 4,096 elements of 2 bytes,
    3,623,878,656 bytes.
    """
    if model.weights is None:
        return None
    found = sorted(_groups(run for run in model.weights if run.loaded), key=lambda one: -one.bytes)
    left = [weight.run for weight in model.weights if not weight.loaded]
    rest, left_bytes = found[most:], sum(run.total_bytes for run in left)
    return Stored(
        read=model.is_read,
        count=sum(weight.run.count for weight in model.weights),
        bytes=sum(weight.run.total_bytes for weight in model.weights),
        groups=tuple(found[:most]),
        rest_groups=len(rest),
        rest_bytes=sum(one.bytes for one in rest),
        left_count=sum(run.count for run in left),
        left_bytes=left_bytes,
    )


def _groups(weights: Iterable[WeightRun]) -> Iterable[TensorGroup]:
    """Runs of the same type and shape, together where their names differ in numbers only."""
    alike: dict[tuple[str, str, tuple[int, ...]], TensorGroup] = {}
    for weight in weights:
        run = weight.run
        pattern = template(run.name).replace("{}", "*")
        key = (pattern, run.dtype, run.shape)
        known = alike.get(key)
        alike[key] = TensorGroup(
            name=run.name if known is None else pattern,
            dtype=run.dtype,
            shape=run.shape,
            count=run.count + (0 if known is None else known.count),
            bytes=run.total_bytes + (0 if known is None else known.bytes),
        )
    return alike.values()


def heading(found: Stored) -> str:
    """``15.26 GiB  16,381,470,720 B in 399 tensors, as the files hold them``."""
    where = "as the files hold them" if found.read else "as the configuration declares them"
    return f"{size(found.bytes)}  {found.bytes:,} B in {plural(found.count, 'tensor')}, {where}"


def shape_words(group: TensorGroup) -> str:
    """``36 × BF16 [12288, 4096]``."""
    return f"{group.count:,} × {group.dtype} {list(group.shape)}"


def rest_words(found: Stored) -> tuple[str, ...]:
    """What the sum holds beside the groups."""
    words = []
    if found.rest_groups:
        which = plural(found.rest_groups, "smaller group")
        words.append(f"{which}  {size(found.rest_bytes)}  {found.rest_bytes:,} B")
    if found.left_count:
        which = plural(found.left_count, "tensor")
        words.append(f"not loaded: {which}  {size(found.left_bytes)}  {found.left_bytes:,} B")
    return tuple(words)


def lines(found: Stored) -> Iterator[str]:
    """A line for each group, and for what the sum holds beside them."""
    for group in found.groups:
        yield f"{group.name[:_NAME_LIMIT]}: {group.bytes:,} B, {shape_words(group)}"
    yield from rest_words(found)
