"""Element types: the names of safetensors, their sizes, and what configs and engines call them."""

from __future__ import annotations

# safetensors 0.8.0, safetensors/src/tensor.rs: Dtype and Dtype::bitsize.
BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}

FLOATS = frozenset({"F64", "F32", "BF16", "F16"})
"""Types that a loader casts to the dtype it was asked for."""

_NAMES = {
    "float64": "F64",
    "double": "F64",
    "float32": "F32",
    "float": "F32",
    "fp32": "F32",
    "bfloat16": "BF16",
    "bf16": "BF16",
    "float16": "F16",
    "half": "F16",
    "fp16": "F16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int8": "I8",
    "uint8": "U8",
}
_TORCH = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def from_name(name: str) -> str | None:
    """The safetensors name of a torch or engine dtype: ``from_name("torch.bfloat16") ==
    "BF16"``."""
    return _NAMES.get(name.removeprefix("torch.").lower())


def torch_name(dtype: str) -> str:
    """What torch calls a safetensors float type: ``torch_name("BF16") == "bfloat16"``."""
    return _TORCH.get(dtype, dtype)


def width(dtype: str) -> int:
    """Bytes of one element of a type of whole bytes: ``width("BF16") == 2``."""
    return BITS[dtype] // 8
