"""The file types of llama.cpp: the type of most tensors of each, and the names that select one."""

from __future__ import annotations

from msgspec import Struct


class FileType(Struct, frozen=True, kw_only=True):
    """A mix of tensor types."""

    name: str
    """As llama-quantize spells it."""
    default: str
    """Of the tensors that no rule concerns."""
    needs_imatrix: bool = False
    """llama-quantize refuses without an importance matrix."""


# llama.cpp src/llama-quant.cpp (commit 007dbbf): llama_ftype_get_default_type,
# tensor_requires_imatrix.
_DEFAULTS = {
    "F32": "F32",
    "F16": "F16",
    "BF16": "BF16",
    "Q8_0": "Q8_0",
    "Q6_K": "Q6_K",
    "Q5_K_M": "Q5_K",
    "Q5_K_S": "Q5_K",
    "Q5_1": "Q5_1",
    "Q5_0": "Q5_0",
    "Q4_K_M": "Q4_K",
    "Q4_K_S": "Q4_K",
    "Q4_1": "Q4_1",
    "Q4_0": "Q4_0",
    "Q3_K_L": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_S": "Q3_K",
    "Q2_K": "Q2_K",
    "Q2_K_S": "Q2_K",
    "IQ4_NL": "IQ4_NL",
    "IQ4_XS": "IQ4_XS",
    "IQ3_M": "IQ3_S",
    "IQ3_S": "IQ3_S",
    "IQ3_XS": "IQ3_S",
    "IQ3_XXS": "IQ3_XXS",
    "IQ2_M": "IQ2_S",
    "IQ2_S": "IQ2_XS",
    "IQ2_XS": "IQ2_XS",
    "IQ2_XXS": "IQ2_XXS",
    "IQ1_M": "IQ1_M",
    "IQ1_S": "IQ1_S",
    "TQ2_0": "TQ2_0",
    "TQ1_0": "TQ1_0",
    "Q2_0": "Q2_0",
    "Q1_0": "Q1_0",
    "MXFP4_MOE": "MXFP4",
}
_NEED_IMATRIX = frozenset(
    {"Q2_K_S", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}
)

FILE_TYPES: dict[str, FileType] = {
    name.lower(): FileType(name=name, default=default, needs_imatrix=name in _NEED_IMATRIX)
    for name, default in _DEFAULTS.items()
}
"""By the name in lower case: ``q4_k_m``."""
