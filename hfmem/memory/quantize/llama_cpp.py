"""Which type llama-quantize gives every tensor of a file, and the bytes of the whole.

The rules are those of llama.cpp src/llama-quant.cpp (commit 007dbbf):
llama_tensor_get_type_impl. They look at a tensor's role, at its layer, at how many heads share a
key, at the number of experts, and whether an importance matrix is given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from hfmem.checkpoint.ggml import BY_NAME
from hfmem.memory.quantize.llama_file_types import FILE_TYPES
from hfmem.memory.quantize.llama_names import Role, role
from hfmem.memory.quantize.llama_rules import Mix, fitting, wanted_type
from hfmem.memory.quantize.matrices import Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
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


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor of the file."""

    layer: int
    role: Role
    rows: int
    columns: int
    stacked: bool
    elements: int


def file_bytes(
    matrices: Iterable[Matrix], *, file_type: str, shape: Shape, imatrix: bool
) -> Mapping[str, int]:
    """Bytes by tensor type of the file that llama-quantize writes, without its metadata.

    Llama-3.1-8B in Q4_K_M: 4,912,898,304 bytes with its 256 bytes of rotary factors (``rest`` of
    64 elements).
    """
    return dict(_file_bytes(tuple(matrices), file_type.lower(), shape, imatrix))


@lru_cache(maxsize=64)
def _file_bytes(
    matrices: tuple[Matrix, ...], file_type: str, shape: Shape, imatrix: bool
) -> tuple[tuple[str, int], ...]:
    kind = FILE_TYPES[file_type]
    tensors = sorted(
        (stored for matrix in matrices for stored in _stored(matrix, shape)),
        key=lambda tensor: tensor.layer,
    )
    mix = Mix(
        file_type=kind.name,
        default=kind.default,
        imatrix=imatrix or kind.needs_imatrix,
        heads_per_kv=shape.heads_per_kv,
        experts=shape.experts,
        layers=shape.layers,
        values=sum(tensor.role == "attn_v" for tensor in tensors),
        is_70b=shape.is_70b,
        is_falcon=shape.is_falcon,
        tied=not any(tensor.role == "output" for tensor in tensors),
    )
    counters: Counter[Role] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.role == "plain":
            sizes["F32"] += 4 * tensor.elements
            continue
        chosen = kind.default
        if chosen not in _UNQUANTIZED:
            wanted = wanted_type(
                mix,
                tensor.role,
                number=counters[tensor.role],
                layer=tensor.layer,
                columns=tensor.columns,
                stacked=tensor.stacked,
            )
            chosen = fitting(wanted, tensor.columns)
        counters[tensor.role] += 1
        sizes[chosen] += BY_NAME[chosen].tensor_bytes((tensor.rows, tensor.columns))
    return tuple(sizes.items())


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
