"""The weight files of a listing, put together to sets that are one copy of some weights each.

``model-00001-of-00002.safetensors`` and its second half are one set, ``pytorch_model.bin`` is
another, and so is each quantization of a GGUF repository. What a set is follows from names alone;
no file is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note, RepoFile

WeightFormat = Literal["safetensors", "torch", "gguf", "onnx", "other"]

_FORMATS: dict[str, WeightFormat] = {
    ".safetensors": "safetensors",
    ".bin": "torch",
    ".pt": "torch",
    ".pth": "torch",
    ".ckpt": "torch",
    ".gguf": "gguf",
    ".onnx": "onnx",
}
_UNREAD: dict[str, str] = {
    ".h5": "HDF5 of Keras and TensorFlow",
    ".keras": "Keras",
    ".msgpack": "msgpack of Flax",
    ".ot": "of rust-bert and tch",
    ".nemo": "a NeMo archive",
    ".tflite": "TensorFlow Lite",
    ".task": "MediaPipe's",
    ".litertlm": "LiteRT's",
    ".mlmodel": "Core ML",
    ".dduf": "a DDUF archive of diffusers",
    ".engine": "an engine of TensorRT, built for one card",
    ".plan": "an engine of TensorRT, built for one card",
    ".pte": "ExecuTorch's",
    ".pdparams": "of PaddlePaddle",
    ".npz": "an archive of NumPy",
    ".joblib": "a pickle of joblib",
    ".pkl": "a pickle",
}
"""Formats that are named, with the size of their files, and not read."""

# vLLM, model_loader/weight_utils.py: the .bin and .pt files of a trainer, which are no weights.
_NO_WEIGHTS = re.compile(
    r"training_args\.bin|optimizer\.(?:bin|pt)|scheduler\.pt|scaler\.pt|rng_state.*\.pth|"
    r"(?:tokenizer|spiece|vocab).*\.bin|imatrix.*\.gguf"
)
_SHARD = re.compile(
    r"(?P<stem>.*?)[-_.]?(?P<number>\d{1,6})-of-(?P<total>\d{1,6})(?P<variant>\.\w+)?", re.ASCII
)
_ORIGINAL_SHARD = re.compile(r"(?P<stem>consolidated)\.(?P<number>\d{2})", re.ASCII)
_GGUF_PART = re.compile(r"(?P<name>.+\.gguf)\.(?:split-[a-z]+|part\d{1,3}of\d{1,3})", re.ASCII)
_ONNX_PART = re.compile(r"(?P<name>.+\.onnx)[_.]data(?:_\d+)?", re.ASCII)
_OPENVINO = re.compile(r"openvino_.*\.bin")
_TENSORFLOW_PART = re.compile(r"(?P<name>.+)\.data-\d{5}-of-\d{5}", re.ASCII)
_CORE_ML = re.compile(r"(?:^|/)[^/]+\.(?:mlpackage|mlmodelc)(?:/|$)")


class FileSet(Struct, frozen=True, kw_only=True):
    """One copy of some weights: a file, or all shards of it."""

    folder: str
    """Empty for the root; otherwise ``unet`` or ``onnx/int8``."""
    stem: str
    """The name without its shard number and suffix: ``model``, ``model.fp16``."""
    format: WeightFormat
    files: tuple[RepoFile, ...]
    sharded: bool
    complete: bool
    """Whether every shard that the names speak of is in the listing."""

    @property
    def bytes(self) -> int | None:
        """Sum of the files; None where the source does not know all of them."""
        return _sum(self.files)

    @property
    def name(self) -> str:
        """The file's name; for shards, the first one's."""
        return self.files[0].name


class Component(Struct, frozen=True, kw_only=True):
    """A part of a pipeline with weights of its own; a plain model is one without a name."""

    name: str
    """The folder: ``text_encoder_2``, ``2_Dense``; empty for the root."""
    format: WeightFormat
    files: tuple[RepoFile, ...]


class Alternative(Struct, frozen=True, kw_only=True):
    """Weights in the repository that are not loaded."""

    name: str
    format: WeightFormat
    file_count: int
    bytes: int | None


class WeightSet(Struct, frozen=True, kw_only=True):
    """What a runtime loads of a repository, and what it leaves."""

    components: tuple[Component, ...]
    is_adapter: bool = False
    """The repository holds a PEFT adapter only: these are its files, the model is its base."""
    alternatives: tuple[Alternative, ...] = ()
    index: str | None = None
    """An index to read where the names leave a doubt; ask again with it in ``index_names``."""
    notes: tuple[Note, ...] = ()

    @property
    def format(self) -> WeightFormat:
        """The files' format; of several, the one that is not safetensors."""
        formats = {component.format for component in self.components} - {"safetensors"}
        return min(formats) if formats else "safetensors"

    @property
    def files(self) -> tuple[RepoFile, ...]:
        """All files, each once."""
        return tuple(file for component in self.components for file in component.files)

    @property
    def total_bytes(self) -> int | None:
        """Bytes of the files, headers included; None where the source does not know them all."""
        return _sum(self.files)


def _sum(files: Iterable[RepoFile]) -> int | None:
    total = 0
    for file in files:
        if file.bytes is None:
            return None
        total += file.bytes
    return total


def is_safe_name(name: str) -> bool:
    """Whether a name stays inside of its repository: no ``..``, no root, no drive, no backslash."""
    return (
        0 < len(name) <= 1024
        and name.isprintable()
        and "\\" not in name
        and ":" not in name
        and all(part not in {"", ".", ".."} for part in name.split("/"))
    )


def weight_sets(files: Iterable[RepoFile]) -> tuple[FileSet, ...]:
    """All sets of a listing, in the order of their names; files that are no weights are left out.

    Two sets never share a file. A name that would leave the repository is left out.
    """
    groups: dict[tuple[str, _Place], dict[str, RepoFile]] = {}
    for file in sorted(files, key=lambda item: item.name):
        if not is_safe_name(file.name):
            continue
        folder, _, base = file.name.rpartition("/")
        if (place := _place(base, folder)) is not None:
            groups.setdefault((folder, place), {}).setdefault(file.name, file)
    return tuple(
        FileSet(
            folder=folder,
            stem=place.stem,
            format=place.format,
            files=tuple(members.values()),
            sharded=place.total > 0,
            complete=not place.total or _is_complete(tuple(members), place.total),
        )
        for (folder, place), members in groups.items()
    )


class _Place(NamedTuple):
    """What files of one set have in common in their names; ``total`` is 0 for a file on its own."""

    stem: str
    suffix: str
    format: WeightFormat
    total: int = 0


def unread_format(name: str) -> str:
    """What a file that is not read is: ``unread_format("tf_model.h5")`` is HDF5."""
    base = name.rpartition("/")[2]
    if _CORE_ML.search(name):
        return "Core ML"
    if _TENSORFLOW_PART.fullmatch(base):
        return "of TensorFlow"
    if _OPENVINO.fullmatch(base):
        return "OpenVINO"
    if ".onnx" in base:
        return "ONNX"
    suffix = base.rpartition(".")[2]
    return _UNREAD.get(f".{suffix.lower()}", f"{suffix:.20}")


def _place(base: str, folder: str) -> _Place | None:
    if _CORE_ML.search(f"{folder}/"):
        return _Place(base.partition(".")[0], "weight", "other") if base == "weight.bin" else None
    if match := _TENSORFLOW_PART.fullmatch(base):
        return _Place(match["name"], "data", "other")
    if match := _ONNX_PART.fullmatch(base):
        base = match["name"]
    if match := _GGUF_PART.fullmatch(base):
        base = match["name"]
    stem, dot, suffix = base.rpartition(".")
    extension = dot + suffix.lower()
    form = "other" if extension in _UNREAD else _FORMATS.get(extension)
    if form is None or not stem or _NO_WEIGHTS.fullmatch(base):
        return None
    if _OPENVINO.fullmatch(base):
        return _Place(stem, suffix, "other")
    if match := _SHARD.fullmatch(stem):
        # "model.safetensors-00001-of-00059.safetensors" is a shard of "model" as well.
        name = match["stem"].removesuffix(f".{suffix}") + (match["variant"] or "")
        return _Place(name, suffix, form, int(match["total"]))
    if (match := _ORIGINAL_SHARD.fullmatch(stem)) and form == "torch":
        stem = match["stem"]
    return _Place(stem, suffix, form)


def _is_complete(names: Sequence[str], total: int) -> bool:
    """Whether the shards are 1 … total, or 0 … total - 1, each once."""
    if len(names) != total:
        return False
    found = [_SHARD.fullmatch(name.rpartition("/")[2].rpartition(".")[0]) for name in names]
    numbers = {int(match["number"]) for match in found if match}
    return numbers in (set(range(1, total + 1)), set(range(total)))
