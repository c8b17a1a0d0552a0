"""Bytes of one weight [out, in] in each scheme, with the scales and tables that belong to it."""

from __future__ import annotations

from collections.abc import Callable

Size = Callable[[int, int], int]
"""Bytes of a weight from its output and input features."""


def blocks(size: int, block: int) -> int:
    """How many blocks cover a size: ``blocks(130, 128) == 2``."""
    return -(-size // block)


def fp8_block(out_features: int, in_features: int) -> int:
    """One byte an element and an fp32 scale for every block of 128 × 128.

    ``fp8_block(4096, 4096) == 16_777_216 + 4 * 32 * 32``.
    """
    return out_features * in_features + 4 * blocks(out_features, 128) * blocks(in_features, 128)


def fp8_channel(out_features: int, in_features: int) -> int:
    """One byte an element and an fp32 scale a row."""
    return out_features * in_features + 4 * out_features


def fp8_tensor(out_features: int, in_features: int) -> int:
    """One byte an element and one fp32 scale."""
    return out_features * in_features + 4


def int8(out_features: int, in_features: int) -> int:
    """LLM.int8: one byte an element and an fp32 scale a row."""
    return out_features * in_features + 4 * out_features


def nf4(out_features: int, in_features: int) -> int:
    """NF4: half a byte an element, an fp32 absmax for every 64, a table of 16 fp32 a weight.

    ``nf4(4096, 4096) == 8_388_608 + 4 * 262_144 + 64``.
    """
    elements = out_features * in_features
    return blocks(elements, 2) + 4 * blocks(elements, 64) + 64


def nf4_double(out_features: int, in_features: int) -> int:
    """NF4 with its absmax in 8 bits in blocks of 256, with a table of 256 fp32 and an offset."""
    elements = out_features * in_features
    absmax = blocks(elements, 64)
    return blocks(elements, 2) + absmax + 4 * blocks(absmax, 256) + 64 + 1024 + 4


def gptq(bits: int, group: int | None) -> Size:
    """GPTQ: packed weights and zeros in int32, fp16 scales, an int32 group index an input.

    ``gptq(4, 128)(4096, 4096) == 8_388_608 + 262_144 + 65_536 + 16_384``. Without a group size a
    row has one scale.
    """

    def size(out_features: int, in_features: int) -> int:
        groups = blocks(in_features, group or in_features)
        return (
            4 * blocks(in_features * bits, 32) * out_features
            + 2 * groups * out_features
            + 4 * groups * blocks(out_features * bits, 32)
            + 4 * in_features
        )

    return size


def awq(bits: int, group: int | None) -> Size:
    """AWQ: packed weights and zeros in int32, fp16 scales."""

    def size(out_features: int, in_features: int) -> int:
        groups = blocks(in_features, group or in_features)
        packed = 4 * blocks(out_features * bits, 32)
        return (in_features + groups) * packed + 2 * groups * out_features

    return size


def microscaled(group: int, *, extra: int = 0) -> Size:
    """Half a byte an element, a byte of scale a group, ``extra`` bytes a weight.

    MXFP4 has groups of 32; NVFP4 groups of 16 and two fp32 scales a weight.
    """

    def size(out_features: int, in_features: int) -> int:
        return (
            out_features * blocks(in_features, 2)
            + out_features * blocks(in_features, group)
            + (extra)
        )

    return size


def nvfp4_twice(out_features: int, in_features: int) -> int:
    """NVFP4 with its block scales in rows and again swizzled, rows padded to 128 and groups to 4.

    transformers 5.23 integrations/nvfp4.py: NVFP4Linear keeps both, 5.0 bits a weight.
    """
    groups = blocks(in_features, 16)
    swizzled = 128 * blocks(out_features, 128) * 4 * blocks(groups, 4)
    return out_features * blocks(in_features, 2) + out_features * groups + swizzled + 4


def affine(bits: int, group: int) -> Size:
    """``bits`` an element and a scale and an offset of 16 bits a group, without gaps in a row.

    MLX in 4 bits and groups of 64: ``affine(4, 64)(4096, 4096) == 8_388_608 + 1_048_576``.
    """

    def size(out_features: int, in_features: int) -> int:
        return out_features * (4 * blocks(in_features * bits, 32) + 4 * blocks(in_features, group))

    return size


def hqq(bits: int, group: int) -> Size:
    """HQQ: 8 bits take a byte, 4 half of one, 3 a tenth of an int32, 2 and 1 their share of a byte;
    a scale and a zero point of 16 bits a group."""
    values, width = {8: (1, 1), 4: (2, 1), 3: (10, 4), 2: (4, 1), 1: (8, 1)}[bits]

    def size(out_features: int, in_features: int) -> int:
        elements = out_features * in_features
        groups = blocks(elements, group)
        # A matrix [groups, group] is packed along its rows (core/bitpack.py: pack_3bit_32).
        return width * blocks(groups, values) * group + 4 * groups

    return size
