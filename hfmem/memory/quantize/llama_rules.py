"""The type that llama-quantize wants for one tensor, before it looks whether blocks divide a row.

llama.cpp src/llama-quant.cpp (commit 007dbbf): llama_tensor_get_type_impl, rewritten as one
function a role.
"""

from __future__ import annotations

from msgspec import Struct

from hfmem.checkpoint.ggml import BY_NAME
from hfmem.memory.quantize.llama_names import Role

_BELOW_3 = frozenset({"IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ1_S", "IQ1_M"})
_IQ2_LARGE = frozenset({"IQ2_S", "IQ2_M"})
_SMALL_EMBEDDING = {
    **dict.fromkeys(("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"), "Q2_K"),
    **dict.fromkeys(("IQ2_S", "IQ2_M", "IQ3_XXS"), "IQ3_S"),
    **dict.fromkeys(("TQ1_0", "TQ2_0", "Q2_0"), "Q4_K"),
}
_EIGHT_EXPERTS_OUTPUT = frozenset(
    {
        *("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M"),
        *("IQ3_S", "IQ3_M", "IQ4_XS"),
    }
)
_ATTENTION_OUTPUT = {
    "Q2_K": "Q3_K",
    "IQ3_XXS": "IQ3_S",
    "Q3_K_M": "Q4_K",
    "Q3_K_L": "Q5_K",
    "IQ3_M": "Q4_K",
}


class Mix(Struct, frozen=True, kw_only=True):
    """A file type on a model."""

    file_type: str
    default: str
    imatrix: bool
    heads_per_kv: int
    experts: int
    layers: int
    values: int
    """How many tensors count as attention's values."""
    is_70b: bool
    is_falcon: bool
    tied: bool


def wanted_type(
    mix: Mix, role: Role, *, number: int, layer: int, columns: int, stacked: bool
) -> str:
    """The type of a tensor; ``number`` counts those of its role before it in the file.

    Of Llama-3.1-8B in Q4_K_M the values of layer 0 are Q6_K and those of layer 4 are Q4_K.
    """
    if role == "output" or (mix.tied and role == "token_embd"):
        return _output(mix, columns)
    if mix.file_type == "MXFP4_MOE":
        return "MXFP4" if stacked else "Q8_0"
    # The layer of an expert is read from its name, that of a dense one is how many came before.
    place = layer if mix.experts > 1 else number
    match role:
        case "token_embd":
            return _SMALL_EMBEDDING.get(mix.file_type, mix.default)
        case "attn_v":
            return _values(mix, number)
        case "attn_k":
            return _keys(mix)
        case "attn_q":
            return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mix.file_type, mix.default)
        case "ffn_down":
            if mix.file_type in _BELOW_3:
                return _down_below_3(mix, number)
            return _down(mix, place)
        case "attn_output":
            return _attention_output(mix)
        case "ffn_gate" | "ffn_up":
            middle = mix.layers // 8 <= place < 7 * mix.layers // 8
            return "IQ3_XXS" if mix.file_type == "IQ3_XS" and middle else mix.default
        case _:
            return mix.default


# tensor_type_fallback, for rows that blocks do not divide.
_FALLBACK = {
    **dict.fromkeys(
        ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"
    ),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}


def fitting(type_name: str, columns: int) -> str:
    """The type that a tensor with rows of ``columns`` elements gets when ``type_name`` is wanted.

    ``fitting("Q4_K", 2880) == "Q5_0"``: 2,880 is no multiple of 256, but one of 32.
    """
    if columns % BY_NAME[type_name].block_elements == 0:
        return type_name
    found = _FALLBACK.get(type_name, "F16")
    return found if columns % BY_NAME[found].block_elements == 0 else "F16"


def more_bits(number: int, count: int) -> bool:
    """The layers that get more: the first and last eighth, and every third between them."""
    return number < count // 8 or number >= 7 * count // 8 or (number - count // 8) % 3 == 2


def _output(mix: Mix, columns: int) -> str:
    if (
        mix.file_type == "MXFP4_MOE"
        or mix.is_falcon
        or columns % BY_NAME[mix.default].block_elements
    ):
        return "Q8_0"
    if mix.file_type in _BELOW_3 or mix.file_type == "IQ3_XXS":
        return "Q5_K"
    return mix.default if mix.default == "Q8_0" else "Q6_K"


def _values(mix: Mix, number: int) -> str:
    grouped = mix.heads_per_kv >= 4
    kind = mix.file_type
    if kind in _BELOW_3:
        if grouped or mix.experts >= 4:
            return "Q4_K"
        return "IQ3_S" if kind in _IQ2_LARGE else "Q2_K"
    chosen = mix.default
    match kind:
        case "Q2_K":
            chosen = "Q4_K" if grouped else "Q3_K"
        case "IQ3_XXS":
            chosen = "Q4_K" if grouped else "IQ3_XXS" if mix.imatrix else "IQ3_S"
        case "Q2_K_S" | "IQ3_XS" | "IQ3_S" if grouped:
            chosen = "Q4_K"
        case "IQ3_M":
            chosen = "Q4_K"
        case "Q3_K_M":
            chosen = "Q5_K" if number < 2 else "Q4_K"
        case "Q3_K_L":
            chosen = "Q5_K"
        case "IQ4_NL" | "IQ4_XS" if grouped:
            chosen = "Q5_K"
        case "Q4_K_M" | "Q5_K_M" if more_bits(number, mix.values):
            chosen = "Q6_K"
        case "Q4_K_S" if number < 4:
            chosen = "Q5_K"
        case _:
            pass
    if mix.is_70b and chosen in ("Q3_K", "Q4_K"):
        chosen = "Q5_K"
    return "Q8_0" if mix.experts == 8 else chosen


def _keys(mix: Mix) -> str:
    if mix.experts == 8:
        return "Q4_K" if mix.file_type in _BELOW_3 else "Q8_0"
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mix.file_type, mix.default)


def _down_below_3(mix: Mix, number: int) -> str:
    if number < mix.layers // 8:
        return "IQ3_S" if mix.file_type in _IQ2_LARGE else "Q2_K"
    return mix.default


def _down(mix: Mix, place: int) -> str:
    first_eighth = place < mix.layers // 8
    more = more_bits(place, mix.layers)
    match mix.file_type:
        case "Q2_K":
            return "Q3_K"
        case "Q2_K_S" if first_eighth:
            return "Q4_K"
        case "IQ3_XXS" if not mix.imatrix:
            return "Q4_K" if first_eighth else "Q3_K"
        case "Q3_K_M":
            if place < mix.layers // 16:
                return "Q5_K"
            return "Q4_K" if not mix.is_falcon or more else "Q3_K"
        case "IQ3_M" if first_eighth or (mix.experts == 8 and more):
            return "Q4_K"
        case "Q3_K_L":
            return "Q4_K" if mix.is_falcon else "Q5_K"
        case "Q4_K_M" if mix.is_falcon:
            if place < mix.layers // 16:
                return "Q6_K"
            return "Q5_K" if more else "Q4_K"
        case "Q4_K_M" | "Q5_K_M" if more:
            return "Q6_K"
        case "IQ4_NL" | "IQ4_XS" if first_eighth and not mix.imatrix:
            return "Q5_K"
        case "Q4_K_S" if first_eighth and not mix.is_falcon:
            return "Q5_K"
        case "Q4_0" | "Q5_0" if first_eighth and mix.imatrix:
            return "Q4_1" if mix.file_type == "Q4_0" else "Q5_1"
        case _:
            return mix.default


def _attention_output(mix: Mix) -> str:
    kind = mix.file_type
    if kind in _BELOW_3:
        if mix.experts == 8:
            return "Q5_K"
        if kind in ("IQ1_S", "IQ1_M"):
            return "IQ2_XXS"
        return "IQ3_S" if kind in _IQ2_LARGE else mix.default
    if mix.is_falcon:
        return "Q4_K" if kind == "Q3_K_L" else mix.default
    if mix.experts == 8:
        return "Q5_K" if kind in _EIGHT_EXPERTS_OUTPUT else mix.default
    return _ATTENTION_OUTPUT.get(kind, mix.default)
