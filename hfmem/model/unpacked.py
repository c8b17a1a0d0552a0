"""The tensors as they were before they were packed, for what a quantizer would start from."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from msgspec.structs import replace

from hfmem.checkpoint.tensor import TensorRun
from hfmem.dtypes import FLOATS, width
from hfmem.errors import InvalidValueError
from hfmem.model.components import split
from hfmem.model.config import Config
from hfmem.model.declared import logical_tensors
from hfmem.model.weights import WeightRun


def unpacked(
    config: Config, weights: Iterable[WeightRun], *, layers: int | None, dtype: str
) -> tuple[WeightRun, ...] | None:
    """The runs in 16-bit shapes: ``weights`` themselves where nothing is packed.

    FP8 and int8 store one element a weight, so their own shapes serve; of other formats those that
    the configuration declares, where they hold as many parameters as the files do. None where
    neither tells: gpt-oss-20b's 20,914,757,184 parameters are known, a GPTQ file of an unknown
    family's are not.
    """
    kept = tuple(weights)
    if not any(weight.packed for weight in kept):
        return kept
    if all(_is_plain(weight) for weight in kept):
        return tuple(
            replace(weight, run=_in_float(weight.run, dtype), packed=False, format=None)
            if weight.packed
            else weight
            for weight in kept
            if weight.role in ("weight", "plain")
        )
    try:
        declared = logical_tensors(config)
    except InvalidValueError:
        declared = None
    if declared is None:
        return None
    runs = tuple(
        WeightRun(
            run=_in_float(item.run, dtype),
            component=item.component,
            logical=item.run.elements,
            packed=False,
            loaded=item.component != "draft",
        )
        for item in split(declared, decoder_layers=layers)
    )
    return runs if _parameters(runs) == _parameters(kept) else None


def _is_plain(weight: WeightRun) -> bool:
    return weight.role != "weight" or weight.logical == weight.run.elements


def _parameters(runs: Iterable[WeightRun]) -> int | None:
    total = 0
    for weight in runs:
        if weight.logical is None:
            return None
        if weight.loaded:
            total += weight.logical * weight.run.count
    return total


def _in_float(run: TensorRun, dtype: str) -> TensorRun:
    """The run in the type that it would be loaded in, unless it is a float already."""
    if run.dtype in FLOATS:
        return run
    return replace(run, dtype=dtype, bytes=prod(run.shape) * width(dtype))
