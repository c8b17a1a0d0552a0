"""Where llama.cpp puts a model's tensors: by layer, by expert, on the host.

src/llama-model.cpp (load_tensors) of the llama.cpp in llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.gguf_files import projector_of
from hfmem.errors import UsageError
from hfmem.memory.quantize.convert import packed_already, shape_of
from hfmem.memory.quantize.llama_cpp import typed_tensors
from hfmem.memory.quantize.matrices import matrices
from hfmem.memory.quantize.schemes import scheme
from hfmem.memory.term import Basis
from hfmem.memory.weights import loaded_bytes
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun

_TOWERS = frozenset({"vision", "audio", "projector"})


class Stored(Struct, frozen=True, kw_only=True):
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
    def device_bytes(self) -> int:
        """What devices hold when every layer is theirs."""
        return self.layer_bytes + self.output + self.towers

    @property
    def file_bytes(self) -> int:
        """Of the tensors in the files."""
        return self.device_bytes + (0 if self.tied else self.embedding)

    @property
    def layer_bytes(self) -> int:
        """Of all layers, experts included."""
        return sum(self.layers) + sum(self.experts)


@lru_cache(maxsize=64)
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
        found = _as_stored(model, "the file's own types", dtype=None)
        return replace(found, towers=found.towers + projector_bytes(model))
    if keeps_mxfp4(model):
        return _as_stored(model, "MXFP4 experts, the rest in bf16", dtype="BF16")
    return _converted(model, "f16" if (dtype or model.dtype) == "F16" else "bf16")


def keeps_mxfp4(model: Model) -> bool:
    """Whether convert_hf_to_gguf.py leaves the experts in MXFP4, whatever type is asked for
    (conversion/gpt_oss.py: repack_mxfp4)."""
    return model.quantization == "mxfp4" and model.model_type == "gpt_oss"


def requantized(model: Model, file_type: str) -> bool:
    """Whether llama-quantize takes weights to a type that are MXFP4 in the conversion."""
    return keeps_mxfp4(model) and file_type.upper() != "MXFP4_MOE"


def projector_bytes(model: Model) -> int:
    """Of the mmproj file that ``-hf`` takes from the repository of a GGUF model, and that goes to
    the first device (llama.cpp 2026-11 common/download.cpp: get_hf_plan).
    """
    if model.gguf_listing is None or not model.loaded_files:
        return 0
    chosen = projector_of(model.gguf_listing, model.loaded_files[0])
    return (chosen.bytes or 0) if chosen else 0


def _as_stored(model: Model, what: str, *, dtype: str | None) -> Stored:
    sized = []
    for run in model.weights or ():
        if run.loaded:
            size = run.run.total_bytes
            if dtype is not None:
                size = loaded_bytes(run, dtype=dtype, model_type=model.model_type)
            # Two of three tensors where gate and up are one in the checkpoint.
            parts = 2 if dtype is not None and "gate_up" in run.run.name else 1
            sized.append((run, _spread(run, size, parts=parts)))
    return _dealt(model, sized, file_type=what, basis="exact", because=f"tensors in {what}")


def _spread(run: WeightRun, size: int, *, parts: int = 1) -> list[tuple[int, int]]:
    """The same for every layer, as (layer, bytes); the last one takes what is left over."""
    numbers = sorted(run.run.indices() or (-1,))
    each, rest = divmod(size, len(numbers) * parts)
    return [(n, each) for n in numbers for _ in range(parts)] + [(numbers[-1], rest)]


def _converted(model: Model, name: str) -> Stored:
    chosen = scheme(name, runtime="llama.cpp")
    if chosen.file_type is None:
        raise UsageError(
            f"{name} is no file type of llama.cpp.",
            hint="Choose one such as q4_k_m, q5_k_m, q6_k, q8_0, f16 or bf16.",
        )
    found = matrices(model)
    if found is None:
        raise packed_already(model)
    kind = chosen.file_type
    text = [(run, matrix) for run, matrix in found if run.component not in _TOWERS]
    tensors: dict[int, list[tuple[int, int]]] = {}
    for tensor in typed_tensors(
        tuple(matrix for _, matrix in text),
        file_type=kind.lower(),
        shape=shape_of(model),
        imatrix=False,
    ):
        tensors.setdefault(tensor.matrix, []).append((tensor.layer, tensor.bytes))
    sized = [(run, tensors.get(number, [])) for number, (run, _) in enumerate(text)]
    sized += [
        (run, [(-1, 2 * matrix.total_elements)])
        for run, matrix in found
        if run.component in _TOWERS
    ]
    return _dealt(
        model,
        sized,
        file_type=kind,
        basis="exact" if kind in ("F32", "F16", "BF16") else "derived",
        because=f"tensors of a {kind} file (convert_hf_to_gguf.py, src/llama-quant.cpp)",
    )


def _dealt(
    model: Model,
    sized: Iterable[tuple[WeightRun, list[tuple[int, int]]]],
    *,
    file_type: str,
    basis: Basis,
    because: str,
) -> Stored:
    """By place; each run comes with the layer and the bytes of its tensors."""
    count = len(model.decoder.layers)
    layers, experts = [0] * count, [0] * count
    embedding = output = towers = expert_tensor = layer_tensor = 0
    for run, tensors in sized:
        size = sum(held for _, held in tensors)
        if run.component in _TOWERS:
            towers += size
        elif run.component == "embedding":
            embedding += size
        elif run.component == "head":
            output += size
        else:
            routed = run.component == "experts"
            place = experts if routed else layers
            for number, held in tensors:
                if not 0 <= number < count:
                    output += held
                    continue
                place[number] += held
                if routed:
                    expert_tensor = max(expert_tensor, held)
                else:
                    layer_tensor = max(layer_tensor, held)
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
