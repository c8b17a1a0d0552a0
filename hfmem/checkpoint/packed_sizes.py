"""How many parameters a packed tensor holds: one function a way of packing.

Shapes first; what bits and groups cannot be told from shapes comes from the configuration, and has
to fit them.
"""

from __future__ import annotations

from hfmem.checkpoint.packed_format import Family
from hfmem.checkpoint.quantization import Grouping
from hfmem.checkpoint.tensor import TensorRun


def as_stored(family: Family) -> int:
    """One parameter an element."""
    return family.weight.elements


def two_a_byte(family: Family) -> int:
    """4-bit values in a container of any type: [11008, 2048] of U8 are 45,088,768."""
    return family.weight.bytes * 2


def four_a_byte(family: Family) -> int:
    """BitNet: four ternary values in a byte."""
    return family.weight.bytes * 4


def by_settings(family: Family) -> int | None:
    """The container's bits over the configuration's bits a weight."""
    return _unpacked(family.weight, family.settings.bits)


def gptq(family: Family) -> int | None:
    """GPTQ and AWQ: I32 words without gaps, in rows or in columns.

    ``qzeros`` [K/g, N*b/32] beside ``scales`` [K/g, N] tells b, else ``g_idx`` [K]: [512, 4096]
    words with zeros [32, 512] and scales [32, 4096] are 4 bits, 16,777,216 weights.
    """
    zeros, scales = family.parts.get(".qzeros"), family.parts[".scales"]
    order = family.parts.get(".g_idx")
    words = family.weight.elements
    if zeros is not None and scales.elements and zeros.elements * 32 % scales.elements == 0:
        return _unpacked(family.weight, zeros.elements * 32 // scales.elements)
    if order is not None and scales.shape and order.elements:
        weights = order.elements * scales.shape[-1]
        if words * 32 % weights == 0 and 0 < words * 32 // weights <= 16:
            return weights
    return by_settings(family)


def grouped_words(family: Family) -> int | None:
    """compressed-tensors and MLX: rows of K*b/32 words, with K/g scales a row.

    Of the groupings that the configuration names, the one that fits: [4096, 512] words with scales
    [4096, 32] are 4 bits in groups of 128, 16,777,216 weights. A row with a single scale takes the
    configuration's bits.
    """
    weight = family.weight
    scales = family.parts.get(".weight_scale") or family.parts[".scales"]
    if not weight.shape or not scales.shape:
        return None
    rows = weight.elements // weight.shape[-1] if weight.shape[-1] else 0
    own = family.settings.by_module.get(family.module)
    if own is not None and (columns := _columns(weight, scales, own)) is not None:
        return rows * columns
    found = {
        columns
        for grouping in family.settings.groupings
        if (columns := _columns(weight, scales, grouping)) is not None
    }
    if len(found) > 1 and family.settings.by_module:
        # MLX names every exception, so that a module without its own has the first.
        general = _columns(weight, scales, family.settings.groupings[0])
        return rows * general if general is not None else None
    return rows * found.pop() if len(found) == 1 else None


def _columns(weight: TensorRun, scales: TensorRun, grouping: Grouping) -> int | None:
    """Weights in a row, if the grouping fits the shapes."""
    words, groups = weight.shape[-1], scales.shape[-1]
    if grouping.group_size is None or groups == 1:
        return words * 32 // grouping.bits if groups == 1 else None
    columns = groups * grouping.group_size
    return columns if words == -(-columns * grouping.bits // 32) else None


def byte_blocks(family: Family) -> int | None:
    """U8 beside ``weight_scale``: NVFP4 and MXFP4 hold two values, BitNet four, others what they
    say.

    [4096, 2048] with F8_E4M3 scales [4096, 256] is NVFP4 in groups of 16; with [4096, 128] of U8 it
    is MXFP4 in groups of 32: 16,777,216 weights both.
    """
    scales = next(
        (family.parts[part] for part in (".weight_scale", "_weight_scale") if part in family.parts),
        None,
    )
    if family.settings.method == "bitnet":
        return four_a_byte(family)
    if scales is not None:
        bytes_a_scale = {"F8_E4M3": 8, "U8": 16, "F8_E8M0": 16}.get(scales.dtype)
        if bytes_a_scale and scales.elements * bytes_a_scale == family.weight.elements:
            return two_a_byte(family)
    return by_settings(family)


def int8_or_fp4(family: Family) -> int | None:
    """I8 beside a scale: a value each, or DeepSeek-V4's experts of two FP4 values with a scale for
    32.

    [3072, 3584] with F8_E8M0 scales [3072, 224] is 22,020,096 weights.
    """
    for scales in family.parts.values():
        if scales.dtype == "F8_E8M0":
            packed = scales.elements * 16 == family.weight.elements
            return two_a_byte(family) if packed else None
    return as_stored(family)


def hqq(family: Family) -> int | None:
    """HQQ: 8, 6 and 5 bits take a byte, 4 bits half of one, 3 bits a tenth of an I32."""
    match family.settings.bits:
        case 8 | 6 | 5:
            return family.weight.bytes
        case 4:
            return family.weight.bytes * 2
        case 2:
            return family.weight.bytes * 4
        case 1:
            return family.weight.bytes * 8
    # 3 bits pad the last word, so that only the scales tell: one for a group.
    scales = family.parts.get(".scale")
    group = family.settings.groupings[0].group_size if family.settings.groupings else None
    return scales.elements * group if scales is not None and group is not None else None


def aqlm(family: Family) -> int | None:
    """Codes [N/og, K/ig, books] with codebooks [books, 2^b, og, ig]: N*K."""
    codes, books = family.weight.shape, family.parts[".codebooks"].shape
    if len(codes) != 3 or len(books) != 4:
        return None
    return codes[0] * books[2] * codes[1] * books[3]


def exl2(family: Family) -> int | None:
    """``q_weight`` [rows, N] with the order of its K inputs."""
    order = family.parts.get(".q_invperm")
    if order is None or len(family.weight.shape) != 2:
        return None
    return order.elements * family.weight.shape[1]


def exl3(family: Family) -> int | None:
    """``trellis`` [K/16, N/16, 16*b]: tiles of 256 weights."""
    shape = family.weight.shape
    return 256 * shape[0] * shape[1] if len(shape) == 3 else None


def unknown(_: Family) -> None:
    """Only the bytes are known from shapes."""


def _unpacked(weight: TensorRun, bits: int | None) -> int | None:
    if bits is None or not 0 < bits <= 16:
        return None
    return weight.bytes * 8 // bits
