"""Weights as a runtime holds them: what is cast, kept, dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from hfmem.dtypes import BITS, FLOATS, torch_name, width
from hfmem.memory.packed_loading import expanded_bytes
from hfmem.memory.term import Term, total
from hfmem.model.weights import ADAPTER, WeightRun


class KeptInFp32(Struct, frozen=True, kw_only=True):
    """Parameters that transformers casts up whatever is asked for."""

    pattern: re.Pattern[str]
    when: frozenset[str]
    """Load dtypes in which it applies."""
    model_types: frozenset[str] | None
    """None is every model that has such a parameter."""
    source: str


KEPT_IN_FP32 = (
    KeptInFp32(
        pattern=re.compile(r"e_score_correction_bias$"),
        when=frozenset({"F16", "BF16"}),
        model_types=None,
        source="transformers 5.23 models/deepseek_v3/modeling_deepseek_v3.py: "
        "_keep_in_fp32_modules_strict",
    ),
    KeptInFp32(
        pattern=re.compile(r"\.wo\.weight$"),
        when=frozenset({"F16"}),
        model_types=frozenset({"t5", "mt5", "umt5", "udop", "pop2piano"}),
        source="transformers 5.23 models/t5/modeling_t5.py: _keep_in_fp32_modules",
    ),
)


def loaded_dtype(weight: WeightRun, *, dtype: str, model_type: str | None) -> str:
    """The type in which transformers holds a run; packed and integer tensors stay as they are.

    transformers 5.23 modeling_utils.py: _get_dtype_plan, and core_model_loading.py for the cast.
    """
    run = weight.run
    if weight.packed or run.dtype not in FLOATS:
        return run.dtype
    for rule in KEPT_IN_FP32:
        if (
            dtype in rule.when
            and (rule.model_types is None or model_type in rule.model_types)
            and rule.pattern.search(run.name)
        ):
            return "F32"
    return dtype


class Expansion(Struct, frozen=True, kw_only=True):
    """Packed weights turned into a float type."""

    width: int
    """Bytes of an element then."""
    keeps_scales: bool
    """Whether scales and zero points stay beside them."""


def loaded_bytes(
    weight: WeightRun, *, dtype: str, model_type: str | None, expansion: Expansion | None = None
) -> int:
    """Bytes of a run on the device; 0 for what is not loaded."""
    if not weight.loaded:
        return 0
    if weight.module == ADAPTER:
        return weight.run.elements * weight.run.count * width("F32")
    if expansion is not None:
        size = expanded_bytes(weight, width=expansion.width, keeps_scales=expansion.keeps_scales)
        if size is not None:
            return size
    target = loaded_dtype(weight, dtype=dtype, model_type=model_type)
    if target == weight.run.dtype or target not in BITS:
        return weight.run.total_bytes
    return weight.run.elements * weight.run.count * width(target)


def weights(
    runs: Iterable[WeightRun],
    *,
    dtype: str,
    model_type: str | None,
    expansion: Expansion | None = None,
    read: bool = True,
) -> Term:
    """All weights on one device, by component; those of a pipeline by its parts.

    Without files that were ``read`` the tensors are what a configuration declares, and what is
    stored may still be another thing: the sum is derived then, not exact.

    LLaVA-Video-72B in bf16: 73,180,522,016 parameters of 2 bytes are 146,361,044,032 bytes.
    """
    sizes: dict[str, int] = {}
    stored: dict[str, int] = {}
    scales: dict[str, int] = {}
    dropped = 0
    for weight in runs:
        size = loaded_bytes(weight, dtype=dtype, model_type=model_type, expansion=expansion)
        if not weight.loaded:
            dropped += weight.run.total_bytes
            continue
        name = weight.module or weight.component
        sizes[name] = sizes.get(name, 0) + size
        stored[name] = stored.get(name, 0) + weight.run.total_bytes
        if weight.role in ("scale", "zero_point", "bookkeeping"):
            scales[name] = scales.get(name, 0) + size
    parts = tuple(
        Term(
            name=name,
            bytes=size,
            basis="exact" if read else "derived",
            because=_because(size, stored[name], dtype, expanded=expansion is not None),
            parts=_apart(size, scales.get(name, 0)),
        )
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])
    )
    why = "sum over all tensors, each by its shape and type"
    if not read:
        why += ", as config.json declares them"
    if dropped:
        why += f"; {dropped:,} bytes that are stored are not loaded"
    return total("weights", parts, because=why)


def _apart(size: int, scales: int) -> tuple[Term, ...]:
    """Packed weights and what serves them, where there is anything of the latter."""
    if not scales:
        return ()
    parts = (
        ("tensors", size - scales, "packed and plain weights"),
        ("scales", scales, "scales, zero points and bookkeeping of packed weights"),
    )
    return tuple(
        Term(name=name, bytes=part, basis="exact", because=f"{part:,} bytes of {what}")
        for name, part, what in parts
    )


def _because(size: int, stored: int, dtype: str, *, expanded: bool) -> str:
    if size == stored:
        return f"{stored:,} bytes as stored"
    how = "expanded" if expanded else "cast"
    return f"{stored:,} bytes as stored, {how} to {torch_name(dtype)}: {size:,} bytes"
