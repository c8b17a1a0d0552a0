"""The weights as transformers holds them, while it loads and once it runs."""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.checkpoint.tensor import template
from hfmem.dtypes import torch_name, width
from hfmem.errors import UsageError
from hfmem.memory.packed_loading import GGUF_LOADED, METHODS, Place, Rule, rule_of
from hfmem.memory.pipeline import pipeline_weights
from hfmem.memory.quantize import convert, scheme
from hfmem.memory.quantize.schemes import pipeline_choices
from hfmem.memory.term import Term
from hfmem.memory.weights import Expansion, loaded_dtype, weights
from hfmem.model.model import Model
from hfmem.units import gib


class Held(Struct, frozen=True, kw_only=True):
    """Weights at two instants, and what converting them takes beside."""

    loading: Term
    """Once everything is loaded, before the first forward pass."""
    used: Term
    beside: int
    """Bytes that are held beside the weights at the largest instant of loading."""
    beside_what: str
    notes: tuple[Note, ...] = ()


@lru_cache(maxsize=32)
def held(
    model: Model,
    *,
    dtype: str,
    where: Place,
    quantize: str | None = None,
    asked: str | None = None,
) -> Held | None:
    """What transformers holds of a model; None where the weights are not known.

    ``dtype`` is what it loads in, ``asked`` the same where somebody asked for it.

    gpt-oss-20b on an H100: 13,761,264,768 bytes where MXFP4 stays packed, 41.8 GB where it does
    not, and the term says so. Raises UsageError for a scheme that the checkpoint does not allow.
    """
    if model.weights is None:
        return None
    if model.pipeline is not None:
        if quantize is not None:
            return _quantized_pipeline(model, quantize, asked=asked)
        found = pipeline_weights(model.weights, dtype=asked)
        return Held(
            loading=found.weights,
            used=found.weights,
            beside=0,
            beside_what="",
            notes=(found.note,),
        )
    if quantize is not None:
        return _quantized(model, quantize, dtype=dtype)
    read = model.is_read
    packed = weights(model.weights, dtype=dtype, model_type=model.model_type, read=read)
    beside, what = _conversion(model, dtype)
    rule = rule_of(model)
    if rule is None:
        return Held(
            loading=packed, used=packed, beside=beside, beside_what=what, notes=_unloadable(model)
        )
    expanded = weights(
        model.weights,
        dtype=dtype,
        model_type=model.model_type,
        expansion=Expansion(width=width(dtype), keeps_scales=rule.keeps_scales),
        read=read,
    )
    return _by_rule(rule, packed, expanded, model, dtype=dtype, where=where)


def _by_rule(
    rule: Rule,
    packed: Term,
    expanded: Term,
    model: Model,
    *,
    dtype: str,
    where: Place,
) -> Held:
    beside, what = _conversion(model, dtype)
    expands = rule.expands(where)
    used, alternative = (expanded, packed) if expands else (packed, expanded)
    sizes = f"{packed.bytes:,} bytes packed, {expanded.bytes:,} in {torch_name(dtype)}"
    because = f"{used.because}; {rule.note}: {sizes} ({rule.source})"
    used = replace(used, because=because)
    if rule.other(where):
        used = replace(
            used,
            basis="derived",
            low=min(used.bytes, alternative.bytes),
            high=max(used.bytes, alternative.bytes),
        )
    note = Note(code="packed_loading", message=f"{rule.note[0].upper()}{rule.note[1:]}: {sizes}.")
    return Held(
        loading=packed if rule.at_first_pass else used,
        used=used,
        beside=beside,
        beside_what=what,
        notes=(note, *_unloadable(model)),
    )


def _unloadable(model: Model) -> tuple[Note, ...]:
    """A note for a packed checkpoint of a method that transformers has no quantizer for."""
    if model.gguf_architecture is not None and model.gguf_architecture not in GGUF_LOADED:
        message = (
            f"transformers does not load GGUF files of the architecture "
            f"{model.gguf_architecture!r:.40}; the figures are as if it did."
        )
        return (Note(code="not_for_transformers", message=message),)
    packed = any(weight.packed for weight in model.weights or ())
    if not packed or model.quantization is None or model.quantization.lower() in METHODS:
        return ()
    message = (
        f"transformers has no quantizer for {model.quantization!r:.40}: the sizes are those of the "
        "stored tensors, as an engine that reads them holds them."
    )
    return (Note(code="not_for_transformers", message=message),)


def _quantized(model: Model, name: str, *, dtype: str) -> Held:
    wanted = scheme(name)
    if model.gguf_architecture is not None and wanted.file_type is None:
        raise UsageError(
            f"transformers does not convert a GGUF file to {wanted.name} as it loads.",
            hint="Name the model in safetensors that it was made from.",
        )
    found = convert(model, wanted, dtype=dtype)
    beside, what = _conversion(model, dtype)
    if found.largest_converted_bytes > beside:
        beside, what = found.largest_converted_bytes, "the largest matrix before it is converted"
    return Held(
        loading=found.weights,
        used=found.weights,
        beside=beside,
        beside_what=what,
        notes=(found.note,),
    )


def _quantized_pipeline(model: Model, name: str, *, asked: str | None) -> Held:
    """Every component in a scheme, and what has no linear layer in half precision.

    diffusers 0.42 quantizers/bitsandbytes/bnb_quantizer.py and torchao/torchao_quantizer.py:
    update_torch_dtype. Raises UsageError for a scheme that diffusers does not convert with.
    """
    wanted = scheme(name)
    if not wanted.pipelines:
        raise UsageError(
            f"diffusers does not convert a pipeline to {wanted.name} as it loads.",
            hint=f"Choose one of: {', '.join(pipeline_choices())}.",
        )
    dtype = asked or ("BF16" if wanted.name.startswith("torchao") else "F16")
    found = convert(model, wanted, dtype=dtype)
    largest = max((part.bytes for part in found.weights.parts), default=0)
    held = replace(found.weights, low=min(largest, found.weights.bytes), high=found.weights.bytes)
    one = next((part.name for part in found.weights.parts if part.bytes == largest), "")
    message = (
        f"All components together take {gib(held.bytes)}; one after another, with "
        f"enable_model_cpu_offload(), the largest is {one} with {gib(largest)}."
    )
    return Held(
        loading=held,
        used=held,
        beside=found.largest_converted_bytes,
        beside_what="the largest matrix before it is converted",
        notes=(found.note, Note(code="pipeline", message=message))
        if len(found.weights.parts) > 1
        else (found.note,),
    )


def _conversion(model: Model, dtype: str) -> tuple[int, str]:
    """What loading holds beside the weights.

    Weights go from the file to where they stay. Separate experts are stacked and their gate and up
    halves concatenated, so one layer's merged ``gate_up`` exists twice; a tensor that is cast
    exists in both types (transformers 5.23 core_model_loading.py: MergeModulelist, Concatenate).
    """
    merged = cast = 0
    for weight in model.weights or ():
        run = weight.run
        if not weight.loaded:
            continue
        if _is_stacked(run.name):
            merged += run.total_bytes // max(1, len(run.indices() or (0,)))
        if loaded_dtype(weight, dtype=dtype, model_type=model.model_type) != run.dtype:
            cast = max(cast, run.bytes)
    if merged >= cast and merged:
        return merged, "one layer's experts, merged"
    return cast, "the largest cast tensor"


_STACKED = tuple(f".experts.{{}}.{name}.weight" for name in ("gate_proj", "up_proj", "w1", "w3"))


def _is_stacked(name: str) -> bool:
    return template(name).endswith(_STACKED)
