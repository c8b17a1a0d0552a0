"""A model in a scheme: bytes by component, and what was converted and what was left."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import torch_name, width
from hfmem.errors import UsageError
from hfmem.memory.quantize.matrices import Kind, Matrix, matrices
from hfmem.memory.quantize.schemes import Scheme
from hfmem.memory.term import Term, total
from hfmem.memory.weights import loaded_bytes
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun

if TYPE_CHECKING:
    from hfmem.memory.quantize.llama_cpp import Shape

_WORDS: dict[Kind, str] = {
    "linear": "linear layers",
    "experts": "routed experts",
    "tower": "encoders of pictures and sound",
    "embedding": "the embedding",
    "head": "the output head",
    "rest": "norms, routers and other small tensors",
}
# llama.cpp src/llama-model.cpp: LLM_TYPE_70B.
_LLAMAS = frozenset(
    {"llama", "mistral", "qwen2", "qwen2_vl", "qwen2_5_vl", "llava", "nemotron-nas"}
)


class Converted(Struct, frozen=True, kw_only=True):
    """A model's weights in a scheme."""

    scheme: Scheme
    weights: Term
    """By component, or by tensor type for a file of llama.cpp."""
    converted: int
    """Parameters that the scheme holds."""
    left: int
    """Parameters that stay in the loaded type."""
    note: Note
    """What was converted, what was left, and which cards it needs."""
    largest_converted_bytes: int
    """Of the largest matrix that is converted, before; it is on the device while it is."""


def convert(model: Model, scheme: Scheme, *, dtype: str, imatrix: bool = False) -> Converted:
    """The weights in a scheme, ``dtype`` for what it leaves.

    Llama-3.1-8B in NF4: 6,979,321,856 linear parameters at 4.5 bits and 1,050,939,392 others in 16
    bits are 6,027,761,664 bytes with 64 bytes of table for each of 224 weights. Raises UsageError
    for a checkpoint whose 16-bit shapes are not known.
    """
    found = matrices(model)
    if found is None:
        raise packed_already(model)
    if scheme.file_type is not None:
        return _as_llama_file(model, scheme, found, imatrix=imatrix)
    if model.pipeline is not None and not scheme.pipelines:
        found = tuple((weight, matrix._replace(kind="rest")) for weight, matrix in found)
    sizes: Counter[str] = Counter()
    done: Counter[Kind] = Counter()
    left: Counter[Kind] = Counter()
    largest = 0
    for weight, matrix in found:
        part = weight.module or weight.component
        if _takes(scheme, matrix, model):
            sizes[part] += matrix.copies * scheme.bytes(matrix.out_features, matrix.in_features)
            done[matrix.kind] += matrix.total_elements
            largest = max(largest, matrix.elements * width(dtype))
        else:
            sizes[part] += loaded_bytes(weight, dtype=dtype, model_type=model.model_type)
            left[matrix.kind] += matrix.total_elements
    parts = tuple(
        Term(
            name=name,
            bytes=size,
            basis="derived",
            because=f"{scheme.name} where its loader converts, the rest in {torch_name(dtype)}",
        )
        for name, size in sizes.most_common()
    )
    because = (
        f"{scheme.name}: {done.total():,} parameters converted, {left.total():,} left in "
        f"{torch_name(dtype)} ({scheme.source})"
    )
    return Converted(
        scheme=scheme,
        weights=total("weights", parts, because=because),
        converted=done.total(),
        left=left.total(),
        note=_note(scheme, done, left, dtype=dtype),
        largest_converted_bytes=0 if scheme.made else largest,
    )


def packed_already(model: Model) -> UsageError:
    """The refusal to quantize what is packed, with what to ask for instead."""
    listing = model.gguf_listing
    if model.gguf_architecture is None:
        return UsageError(
            f"The weights of {model.name!r:.120} are packed already, and their 16-bit shapes are "
            "not known.",
            hint="Ask with the 16-bit model that it was made from.",
        )
    # llama-quantize refuses too, unless it is told --allow-requantize (tools/quantize/README.md).
    names = [one.name for one in listing.models] if listing else []
    others = f"one of its files, {', '.join(names[:12])}, or " if len(names) > 1 else ""
    return UsageError(
        f"{model.name!r:.120} is quantized already; what is packed is not packed again.",
        hint=f"Name {others}the 16-bit model that it was made from.",
    )


def as_converted(model: Model, scheme: Scheme, *, dtype: str) -> Model:
    """The model with its matrices in a scheme, for an engine that divides them over ranks.

    Every converted run keeps its name and shape and takes the scheme's bytes. Raises UsageError for
    a file type of llama.cpp and for a checkpoint whose 16-bit shapes are not known.
    """
    if scheme.file_type is not None:
        raise UsageError(
            f"{scheme.file_type} is a file type of llama.cpp, for one device.",
            hint="Give --runtime llama.cpp or ollama, which run such files.",
        )
    note = convert(model, scheme, dtype=dtype).note
    runs = []
    for weight, matrix in matrices(model) or ():
        if not _takes(scheme, matrix, model):
            runs.append(weight)
            continue
        size = scheme.bytes(matrix.out_features, matrix.in_features)
        each = size * matrix.copies // weight.run.count
        run = replace(weight.run, dtype="U8", bytes=each)
        runs.append(replace(weight, run=run, packed=True, role="weight", format=scheme.name))
    return replace(model, weights=tuple(runs), notes=(*model.notes, note))


def _takes(scheme: Scheme, matrix: Matrix, model: Model) -> bool:
    # Mxfp4Config concerns the experts of gpt-oss only (transformers 5.23 integrations/mxfp4.py).
    if scheme.name == "mxfp4" and model.model_type == "gpt_oss" and matrix.kind != "experts":
        return False
    # What transformers keeps in float32 no quantizer of its own converts: T5's second linear layer
    # (transformers 5.23 quantizers/base.py: get_modules_to_not_convert; models/t5).
    if not scheme.made and matrix.name.endswith(".DenseReluDense.wo.weight"):
        return False
    return matrix.kind in scheme.kinds and scheme.applies(matrix.out_features, matrix.in_features)


def _note(scheme: Scheme, done: Counter[Kind], left: Counter[Kind], *, dtype: str) -> Note:
    whole = done.total() + left.total()
    stays = [_WORDS[kind] for kind, number in left.most_common() if number]
    words = [
        f"{scheme.name}: {done.total():,} of {whole:,} parameters are converted",
        f"{_listed(stays)} stay in {torch_name(dtype)}" if stays else "",
        scheme.note,
        "needs a checkpoint made so" if scheme.made else "the loader converts as it reads",
        f"runs on {_listed(sorted(_VENDORS[vendor] for vendor in scheme.vendors))}",
    ]
    return Note(code="quantized", message="; ".join(word for word in words if word) + ".")


_VENDORS = {
    "nvidia": "NVIDIA",
    "amd": "AMD",
    "apple": "Apple",
    "intel": "Intel",
    "cpu": "a CPU",
}


def _listed(words: list[str]) -> str:
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)


def _as_llama_file(
    model: Model,
    scheme: Scheme,
    found: tuple[tuple[WeightRun, Matrix], ...],
    *,
    imatrix: bool,
) -> Converted:
    """The tensors of the GGUF file, and the encoders beside it in a file of 16 bits (mmproj)."""
    from hfmem.memory.quantize.llama_cpp import file_bytes

    text = [matrix for weight, matrix in found if weight.component not in _TOWERS]
    tower = [matrix for weight, matrix in found if weight.component in _TOWERS]
    config = model.decoder.text
    scaling = config.section("rope_scaling") or config.section("rope_parameters")
    if scaling is not None and scaling.text("rope_type") == "llama3":
        text.append(Matrix("rest", 1, (model.decoder.head_dim or 0) // 2, 1, "rope_freqs"))
    sizes = file_bytes(
        text, file_type=scheme.file_type or "", shape=shape_of(model), imatrix=imatrix
    )
    aside = 2 * sum(matrix.total_elements for matrix in tower)
    parts = [
        Term(
            name=name,
            bytes=size,
            basis="derived",
            because=f"tensors that {scheme.file_type} holds in {name}",
        )
        for name, size in sorted(sizes.items(), key=lambda item: -item[1])
    ]
    if aside:
        parts.append(
            Term(
                name="mmproj",
                bytes=aside,
                basis="derived",
                because="the encoders, in a file of their own in 16 bits",
            )
        )
    kept = ("F32", "F16", "BF16")
    plain = sum(sizes.get(name, 0) // (4 if name == "F32" else 2) for name in kept)
    whole = sum(matrix.total_elements for matrix in text)
    message = (
        f"{scheme.name}: {_listed([f'{size:,} bytes in {name}' for name, size in sizes.items()])}, "
        f"without the file's metadata; {scheme.note}"
    )
    return Converted(
        scheme=scheme,
        weights=total(
            "weights", parts, because=f"the tensors of a {scheme.file_type} file ({scheme.source})"
        ),
        converted=whole - plain,
        left=plain + aside // 2,
        note=Note(code="quantized", message=f"{message}."),
        largest_converted_bytes=0,
    )


_TOWERS = frozenset({"vision", "audio", "projector"})


def shape_of(model: Model) -> Shape:
    """What llama.cpp's rules ask of a model's configuration."""
    from hfmem.memory.quantize.llama_cpp import Shape

    decoder, text = model.decoder, model.decoder.text
    layers = max(1, len(decoder.layers))
    heads, kv_heads = decoder.attention_heads or 1, decoder.kv_heads or 1
    plain = text.integer_or_none("qk_nope_head_dim")
    value = text.integer_or_none("v_head_dim")
    kind = decoder.model_type or model.model_type
    return Shape(
        layers=layers,
        heads_per_kv=max(1, heads // kv_heads),
        experts=max(1, text.integer_or_none("num_experts") or 1),
        is_70b=layers == 80 and kind in _LLAMAS and heads != kv_heads,
        is_falcon=kind == "falcon",
        latent=(plain, value) if plain and value else None,
    )
