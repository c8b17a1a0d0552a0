"""Which type llama-quantize gives every tensor of a file, and the bytes of the whole.

The rules are those of llama.cpp src/llama-quant.cpp (commit 007dbbf):
llama_tensor_get_type_impl. They look at a tensor's role, at its layer, at how many heads share a
key, at the number of experts, and whether an importance matrix is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from msgspec import Struct

from hfmem.checkpoint.ggml import BY_NAME
from hfmem.memory.quantize.llama_file_types import FILE_TYPES
from hfmem.memory.quantize.llama_names import Role, role
from hfmem.memory.quantize.llama_rules import Mix, fitting, wanted_type
from hfmem.memory.quantize.matrices import Matrix


class Shape(Struct, frozen=True, kw_only=True):
    """What the rules ask of a model."""

    layers: int
    heads_per_kv: int
    """Query heads that share a key and value head; 1 where there are none."""
    experts: int
    """Routed experts of a layer; 1 for a dense model."""
    is_70b: bool = False
    """llama.cpp's LLM_TYPE_70B: 80 layers of a Llama with grouped heads, or of a Qwen2."""
    is_falcon: bool = False
    latent: tuple[int, int] | None = None
    """Head sizes that ``kv_b_proj`` makes of its latent: without rotation, and of the values."""


class _Stored(Struct, frozen=True):
    """A tensor of the file."""

    layer: int
    role: Role
    rows: int
    columns: int
    stacked: bool
    elements: int


class TypedTensor(Struct, frozen=True):
    """A tensor of the file with its type."""

    matrix: int
    """Which of the matrices it was made of."""
    layer: int
    """-1 outside of layers."""
    type: str
    bytes: int


def file_bytes(
    matrices: Iterable[Matrix], *, file_type: str, shape: Shape, imatrix: bool
) -> Mapping[str, int]:
    """Bytes by tensor type of the file that llama-quantize writes, without its metadata.

    Llama-3.1-8B in Q4_K_M: 4,912,898,304 bytes with its 256 bytes of rotary factors (``rest`` of
    64 elements).
    """
    sizes: Counter[str] = Counter()
    for tensor in typed_tensors(
        tuple(matrices), file_type=file_type.lower(), shape=shape, imatrix=imatrix
    ):
        sizes[tensor.type] += tensor.bytes
    return dict(sizes)


@lru_cache(maxsize=32)
def typed_tensors(
    matrices: tuple[Matrix, ...], *, file_type: str, shape: Shape, imatrix: bool
) -> tuple[TypedTensor, ...]:
    """The tensors of the file that llama-quantize writes, in the order of their layers.

    Of Llama-3.1-8B in Q4_K_M the values of layer 0 take 3,440,640 bytes in Q6_K, those of layer 4
    2,359,296 in Q4_K.
    """
    kind = FILE_TYPES[file_type]
    tensors = _all_stored(matrices, shape)
    mix = Mix(
        file_type=kind.name,
        default=kind.default,
        imatrix=imatrix or kind.needs_imatrix,
        heads_per_kv=shape.heads_per_kv,
        experts=shape.experts,
        layers=shape.layers,
        values=sum(tensor.role == "attn_v" for _, tensor in tensors),
        is_70b=shape.is_70b,
        is_falcon=shape.is_falcon,
        tied=not any(tensor.role == "output" for _, tensor in tensors),
    )
    counters: Counter[Role] = Counter()
    same: dict[tuple[Role, int, bool], str] = {}
    found = []
    for number, tensor in tensors:
        if tensor.role == "plain":
            found.append(TypedTensor(number, tensor.layer, "F32", 4 * tensor.elements))
            continue
        key = (tensor.role, tensor.columns, tensor.stacked)
        chosen = kind.default if kind.default in _UNQUANTIZED else same.get(key)
        if chosen is None:
            wanted = wanted_type(
                mix,
                tensor.role,
                number=counters[tensor.role],
                layer=tensor.layer,
                columns=tensor.columns,
                stacked=tensor.stacked,
            )
            chosen = fitting(wanted, tensor.columns)
            if tensor.role not in _BY_LAYER:
                same[key] = chosen
        counters[tensor.role] += 1
        size = BY_NAME[chosen].tensor_bytes((tensor.rows, tensor.columns))
        found.append(TypedTensor(number, tensor.layer, chosen, size))
    return tuple(found)


_BY_LAYER = frozenset({"attn_v", "ffn_down", "ffn_gate", "ffn_up"})
"""Roles whose type depends on the layer."""


@lru_cache(maxsize=4)
def _all_stored(matrices: tuple[Matrix, ...], shape: Shape) -> tuple[tuple[int, _Stored], ...]:
    tensors = [
        (number, stored)
        for number, matrix in enumerate(matrices)
        for stored in _stored(matrix, shape)
    ]
    return tuple(sorted(tensors, key=lambda pair: pair[1].layer))


_UNQUANTIZED = frozenset({"F32", "F16", "BF16"})


def _stored(matrix: Matrix, shape: Shape) -> Iterator[_Stored]:
    """The tensors that the converter makes of a matrix, one a layer; experts are stacked."""
    what: Role = role(matrix.name) if matrix.kind != "rest" else "plain"
    if matrix.kind == "embedding" and what == "other":
        what = "token_embd"
    layers = matrix.layers or range(-1, 0)
    copies = matrix.copies // len(layers)
    rows, columns = matrix.out_features * copies, matrix.in_features
    parts: list[tuple[Role, int, int]] = [(what, rows, columns)]
    if what == "ffn_gate_up":
        parts = [("ffn_gate", rows // 2, columns), ("ffn_up", rows // 2, columns)]
    elif what == "kv_b":
        parts = [("other", rows, columns)]
        if shape.latent is not None:
            plain, value = shape.latent
            heads = rows // (plain + value)
            parts = [("other", heads * columns, plain), ("other", heads * value, columns)]
    for layer in layers:
        for name, height, width in parts:
            yield _Stored(
                layer=layer,
                role=name,
                rows=height,
                columns=width,
                stacked=matrix.kind == "experts" and copies > 1,
                elements=height * width,
            )
