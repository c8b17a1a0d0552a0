"""From declared shapes to stored tensors: the model's dtype, and two packed formats known to the
tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from hfmem.checkpoint.tensor import TensorRun, brace_count
from hfmem.dtypes import BITS
from hfmem.model.declared.blocks import Part, Parts
from hfmem.model.declared.family import Scheme

_MXFP4_BLOCK = 32
_QUANTIZED_KEYS = ("quantization_config", "compression_config", "quantization")


def runs(parts: Parts, dtype: str) -> tuple[TensorRun, ...]:
    """The parts as tensors of ``dtype``, where a part has none of its own."""
    return tuple(_run(part, part.dtype or dtype) for part in parts)


def _run(part: Part, dtype: str) -> TensorRun:
    return TensorRun(
        name=part.name,
        dtype=dtype,
        shape=part.shape,
        bytes=prod(part.shape) * BITS[dtype] // 8,
        count=brace_count(part.name),
    )


def quantization(values: Mapping[str, object]) -> Mapping[str, object] | None:
    """What config.json says of the checkpoint's quantization, under any of the names in use; None
    without one.

    ``quantization`` is MLX's name. A value that is no object is returned as an empty one: a scheme
    that is not known.
    """
    for key in _QUANTIZED_KEYS:
        found = values.get(key)
        if found is not None:
            return found if isinstance(found, Mapping) else {}
    return None


def packed(parts: Parts, scheme: Scheme, settings: Mapping[str, object]) -> Parts | None:
    """The parts as the scheme stores them; None where its settings are not the ones known to the
    tensor.
    """
    if settings.get("quant_method") != scheme:
        return None
    match scheme:
        case "fp8":
            return _fp8(parts, settings)
        case "mxfp4":
            return _mxfp4(parts, settings)


def _fp8(parts: Parts, settings: Mapping[str, object]) -> Parts | None:
    """DeepSeek-V3's blocks of 128 × 128 with an F32 scale each: [7168, 2048] has scales of [56,
    16].

    DeepSeek-V3 README_FP8.md (weight_scale_inv, float32). A later ``scale_fmt``, a list of
    exceptions or other blocks are stored otherwise.
    """
    if (
        settings.get("weight_block_size") != [128, 128]
        or settings.get("fmt") != "e4m3"
        or settings.get("scale_fmt") not in (None, "float")
        or settings.get("modules_to_not_convert")
    ):
        return None
    return tuple(stored for part in parts for stored in _fp8_part(part))


def _fp8_part(part: Part) -> Iterator[Part]:
    if part.role != "linear":
        yield part
        return
    rows, columns = part.shape
    yield part._replace(dtype="F8_E4M3")
    yield Part(f"{part.name}_scale_inv", (-(-rows // 128), -(-columns // 128)), dtype="F32")


def _mxfp4(parts: Parts, settings: Mapping[str, object]) -> Parts | None:
    """gpt-oss's experts: 4-bit values in 16-byte blocks of 32 with a byte of scale each, transposed
    to [out, in].

    [32, 2880, 5760] is blocks [32, 5760, 90, 16] and scales [32, 5760, 90] (transformers 5.23.0,
    integrations/mxfp4.py).
    """
    kept = settings.get("modules_to_not_convert")
    inputs = {part.shape[1] for part in parts if part.role == "fused_experts"}
    if not isinstance(kept, list) or any("experts" in str(name) for name in kept):
        return None
    if any(size % _MXFP4_BLOCK for size in inputs):
        return None
    return tuple(stored for part in parts for stored in _mxfp4_part(part))


def _mxfp4_part(part: Part) -> Iterator[Part]:
    if part.role != "fused_experts":
        yield part
        return
    count, in_size, out_size = part.shape
    scales = (count, out_size, in_size // _MXFP4_BLOCK)
    yield Part(f"{part.name}_blocks", (*scales, _MXFP4_BLOCK // 2), dtype="U8")
    yield Part(f"{part.name}_scales", scales, dtype="U8")
