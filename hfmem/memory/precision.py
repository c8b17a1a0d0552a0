"""The precision ladder: what the weights would take in each of the schemes that loaders offer.

A scheme converts linear layers and leaves embeddings, the output head, norms, routers and
convolutions
in the loaded type; what exactly it converts, and the scales that it adds, are the loader's rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

LinearKind = Literal["linear", "experts", "tower"]
"""``experts``: routed experts; ``tower``: linear layers of a vision or audio encoder."""


class LinearWeight(NamedTuple):
    """Linear weights of one shape."""

    kind: LinearKind
    out_features: int
    in_features: int
    copies: int

    @property
    def elements(self) -> int:
        """Of one weight."""
        return self.out_features * self.in_features


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A way to store linear weights."""

    name: str
    kinds: frozenset[LinearKind]
    """What its loader converts."""
    bytes: Callable[[int, int], int]
    """Bytes of a weight [out, in], scales included."""
    applies: Callable[[int, int], bool]
    """Whether a weight [out, in] can be converted; the others stay as they are."""
    source: str
    note: str = ""
    vendors: frozenset[str] = frozenset({"nvidia", "amd"})
    """Whose cards its kernels run on."""
    capability: tuple[int, int] = (0, 0)
    """Least CUDA compute capability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """The weights in one scheme, by the loader's rules from the tensors' shapes."""

    scheme: str
    """``as published``, ``bf16``, or a scheme's name."""
    weights_bytes: int
    total_bytes: int
    """With the rest of the workload's peak."""
    bits_per_weight: float
    smallest_gpu: str | None = None
    """Id of the smallest common card that holds it; None when none does."""
    smallest_count: int | None = None
    """How many of ``smallest_gpu``; 1 when a single card holds it."""
    note: str = ""
    """What the scheme leaves alone, or on what it depends."""


def _blocks(size: int, block: int) -> int:
    return -(-size // block)


def fp8_block_bytes(out_features: int, in_features: int) -> int:
    """One byte an element and an fp32 scale for every block of 128 × 128.

    ``fp8_block_bytes(4096, 4096) == 16_777_216 + 4 * 32 * 32``.
    """
    scales = _blocks(out_features, 128) * _blocks(in_features, 128)
    return out_features * in_features + 4 * scales


def int8_bytes(out_features: int, in_features: int) -> int:
    """LLM.int8: one byte an element and an fp32 scale a row."""
    return out_features * in_features + 4 * out_features


def nf4_bytes(out_features: int, in_features: int) -> int:
    """NF4: half a byte an element, an fp32 absmax for every 64, a table of 16 fp32 a weight."""
    elements = out_features * in_features
    return _blocks(elements, 2) + 4 * _blocks(elements, 64) + 64


def nf4_double_bytes(out_features: int, in_features: int) -> int:
    """NF4 with its absmax quantized to 8 bits in blocks of 256, with a table of 256 fp32 of its
    own."""
    elements = out_features * in_features
    absmax = _blocks(elements, 64)
    return _blocks(elements, 2) + absmax + 4 * _blocks(absmax, 256) + 64 + 1024 + 4


def gptq_bytes(out_features: int, in_features: int) -> int:
    """GPTQ in 4 bits, groups of 128: packed weights and zeros in int32, fp16 scales, a group
    index."""
    groups = _blocks(in_features, 128)
    return (
        4 * _blocks(in_features * 4, 32) * out_features
        + 2 * groups * out_features
        + 4 * groups * _blocks(out_features * 4, 32)
        + 4 * in_features
    )


def awq_bytes(out_features: int, in_features: int) -> int:
    """AWQ in 4 bits, groups of 128: packed weights and zeros in int32, fp16 scales."""
    groups = _blocks(in_features, 128)
    packed = 4 * _blocks(out_features * 4, 32)
    return in_features * packed + groups * packed + 2 * groups * out_features


def _always(_out: int, _in: int) -> bool:
    return True


_DENSE: frozenset[LinearKind] = frozenset({"linear", "tower"})
_LANGUAGE: frozenset[LinearKind] = frozenset({"linear", "experts"})
_ALL: frozenset[LinearKind] = frozenset({"linear", "experts", "tower"})
_BITSANDBYTES = "bitsandbytes 0.50 functional.py; transformers 5.23 integrations/bitsandbytes.py"

SCHEMES: tuple[Scheme, ...] = (
    Scheme(
        name="fp8",
        kinds=_ALL,
        bytes=fp8_block_bytes,
        applies=lambda out, in_: out % 128 == 0 and in_ % 128 == 0,
        note="blocks of 128 × 128; needs compute capability 8.9",
        source="transformers 5.23 integrations/finegrained_fp8.py, quantizers/quantizer_"
        "finegrained_fp8.py: validate_environment",
        vendors=frozenset({"nvidia"}),
        capability=(8, 9),
    ),
    Scheme(
        name="int8",
        kinds=_DENSE,
        bytes=int8_bytes,
        applies=_always,
        source=_BITSANDBYTES,
    ),
    Scheme(
        name="nf4",
        kinds=_DENSE,
        bytes=nf4_bytes,
        applies=_always,
        source=_BITSANDBYTES,
    ),
    Scheme(
        name="nf4-dq",
        kinds=_DENSE,
        bytes=nf4_double_bytes,
        applies=_always,
        source=_BITSANDBYTES,
    ),
    Scheme(
        name="gptq-4bit",
        kinds=_LANGUAGE,
        bytes=gptq_bytes,
        applies=lambda out, in_: out % 8 == 0 and in_ % 128 == 0,
        note="groups of 128; needs a checkpoint made so",
        source="GPTQModel nn_modules/qlinear/__init__.py",
    ),
    Scheme(
        name="awq-4bit",
        kinds=_LANGUAGE,
        bytes=awq_bytes,
        applies=lambda out, in_: out % 8 == 0 and in_ % 128 == 0,
        note="groups of 128; needs a checkpoint made so",
        source="AutoAWQ modules/linear/gemm.py",
    ),
)


def converted(
    scheme: Scheme, *, linears: Iterable[LinearWeight], total_elements: int, width: int = 2
) -> int:
    """Bytes of all weights when ``scheme`` converts what it can and the rest takes ``width`` bytes.

    Llama-3.1-8B in NF4: 6,979,321,856 linear elements at 4.5 bits and 1,050,939,392 others in
    16 bits are 6.03 GB, not 4.02.
    """
    size = left = 0
    for weight in linears:
        if weight.kind in scheme.kinds and scheme.applies(weight.out_features, weight.in_features):
            size += weight.copies * scheme.bytes(weight.out_features, weight.in_features)
            left += weight.copies * weight.elements
    return size + (total_elements - left) * width
