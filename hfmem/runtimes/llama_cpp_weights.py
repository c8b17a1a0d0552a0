"""Where llama.cpp puts a model's tensors: by layer, by expert, on the host.

src/llama-model.cpp (load_tensors) of the llama.cpp in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from hfmem.errors import UsageError
from hfmem.memory.quantize.convert import shape_of
from hfmem.memory.quantize.llama_cpp import Shape, file_bytes
from hfmem.memory.quantize.matrices import Matrix, matrices
from hfmem.memory.quantize.schemes import scheme
from hfmem.memory.term import Basis
from hfmem.memory.weights import loaded_bytes
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun

_TOWERS = frozenset({"vision", "audio", "projector"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Bytes of a model's file, by where they can go."""

    file_type: str
    embedding: int
    """The input layer, which always stays with the host."""
    output: int
    """The head and the last norm; of a tied model the embedding once more."""
    tied: bool
    towers: int
    """The mmproj file."""
    layers: tuple[int, ...]
    """Of each decoder layer, without routed experts."""
    experts: tuple[int, ...]
    """Of the routed experts of each layer."""
    expert_tensor: int
    """The largest tensor of routed experts."""
    layer_tensor: int
    """The largest other tensor of a layer."""
    basis: Basis
    because: str

    @property
    def layer_bytes(self) -> int:
        """Of all layers, experts included."""
        return sum(self.layers) + sum(self.experts)


def stored(model: Model, quantize: str | None, dtype: str | None) -> Stored | None:
    """The tensors of the GGUF file: as they are, or as the conversion would make them.

    convert_hf_to_gguf.py keeps 16 bits (``--outtype auto``) and the MXFP4 of gpt-oss; a scheme is
    llama-quantize's. None where the weights are not known. Raises UsageError for a scheme that is
    not llama.cpp's.
    """
    if model.weights is None:
        return None
    if quantize is not None:
        return _converted(model, quantize)
    if model.gguf_architecture is not None:
        return _as_stored(model, "the file's own types", dtype=None)
    if model.quantization == "mxfp4" and model.model_type == "gpt_oss":
        return _as_stored(model, "MXFP4 experts, the rest in bf16", dtype="BF16")
    return _converted(model, "f16" if (dtype or model.dtype) == "F16" else "bf16")


def _as_stored(model: Model, what: str, *, dtype: str | None) -> Stored:
    runs = [run for run in model.weights or () if run.loaded]
    sized = [
        (
            run,
            run.run.total_bytes
            if dtype is None
            else loaded_bytes(run, dtype=dtype, model_type=model.model_type),
        )
        for run in runs
    ]
    return _dealt(model, sized, file_type=what, basis="exact", because=f"tensors in {what}")


def _converted(model: Model, name: str) -> Stored:
    chosen = scheme(name, runtime="llama.cpp")
    if chosen.file_type is None:
        raise UsageError(
            f"{name} is no file type of llama.cpp.",
            hint="Choose one such as q4_k_m, q5_k_m, q6_k, q8_0, f16 or bf16.",
        )
    found = matrices(model)
    if found is None:
        raise UsageError(
            f"The weights of {model.name!r:.120} are packed already, and their 16-bit shapes are "
            "not known.",
            hint="Ask with the 16-bit model that it was made from, or with a GGUF file.",
        )
    text = tuple(matrix for run, matrix in found if run.component not in _TOWERS)
    shape, kind = shape_of(model), chosen.file_type
    because = f"tensors of a {kind} file (convert_hf_to_gguf.py, src/llama-quant.cpp)"
    if kind in ("F32", "F16", "BF16"):
        plain = [
            (run, _bytes((matrix,), kind, shape))
            if run.component not in _TOWERS
            else (run, 2 * matrix.total_elements)
            for run, matrix in found
        ]
        return _dealt(model, plain, file_type=kind, basis="exact", because=because)
    ends = tuple(matrix for matrix in text if matrix.kind in ("embedding", "head"))
    heads = tuple(matrix for matrix in ends if matrix.kind == "head")
    rest = tuple(matrix for matrix in text if matrix.kind not in ("embedding", "head", "experts"))
    whole, edge = _bytes(text, kind, shape), _bytes(ends, kind, shape)
    head = _bytes(heads, kind, shape) if heads else 0
    routed = whole - _bytes((*ends, *rest), kind, shape)
    sizes = {"embedding": edge - head, "head": head, "experts": routed}
    raw = {"embedding": 0, "head": 0, "experts": 0, "rest": 0}
    for matrix in text:
        raw[_group(matrix)] += matrix.total_elements
    sizes["rest"] = whole - edge - routed
    sized = [
        (
            run,
            2 * matrix.total_elements
            if run.component in _TOWERS
            else sizes[_group(matrix)] * matrix.total_elements // max(1, raw[_group(matrix)]),
        )
        for run, matrix in found
    ]
    return _dealt(model, sized, file_type=kind, basis="derived", because=because)


def _group(matrix: Matrix) -> str:
    return matrix.kind if matrix.kind in ("embedding", "head", "experts") else "rest"


@lru_cache(maxsize=64)
def _bytes(kept: tuple[Matrix, ...], file_type: str, shape: Shape) -> int:
    return sum(file_bytes(kept, file_type=file_type, shape=shape, imatrix=False).values())


def _dealt(
    model: Model,
    sized: Iterable[tuple[WeightRun, int]],
    *,
    file_type: str,
    basis: Basis,
    because: str,
) -> Stored:
    count = len(model.decoder.layers)
    layers, experts = [0] * count, [0] * count
    embedding = output = towers = expert_tensor = layer_tensor = 0
    for run, size in sized:
        numbers = [number for number in run.run.indices() or () if number < count]
        if run.component in _TOWERS:
            towers += size
        elif run.component == "embedding":
            embedding += size
        elif run.component == "head" or not numbers:
            output += size
        else:
            place = experts if run.component == "experts" else layers
            each, rest = divmod(size, len(numbers))
            for number in numbers:
                place[number] += each
            place[numbers[-1]] += rest
            if run.component == "experts":
                # Two of three tensors where gate and up are one in the checkpoint.
                expert_tensor = max(expert_tensor, each // (2 if "gate_up" in run.run.name else 1))
            else:
                layer_tensor = max(layer_tensor, each)
    tied = not any(run.component == "head" and run.loaded for run in model.weights or ())
    return Stored(
        file_type=file_type,
        embedding=embedding,
        output=output + (embedding if tied else 0),
        tied=tied,
        towers=towers,
        layers=tuple(layers),
        experts=tuple(experts),
        expert_tensor=expert_tensor,
        layer_tensor=layer_tensor,
        basis=basis,
        because=because,
    )
