"""The quantizations of a GGUF repository, told apart by their files' names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note, RepoFile
from hfmem.checkpoint.weight_sets import FileSet, weight_sets
from hfmem.errors import NoWeightsError

DEFAULT_QUANTIZATIONS = ("Q4_K_M", "Q8_0")
"""What llama.cpp takes of a repository when none is asked for, in this order, and then the first
file (llama.cpp 2026-11, common/download.cpp: find_best_model, for ``-hf org/name[:quant]``).
"""

# Names as llama.cpp's llama-quantize spells its file types, with the prefix of Unsloth's mixes.
_LABEL = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:(?:IQ|TQ|Q)\d(?:_\w+?)*|BF16|F16|FP16|F32|FP32|MXFP4(?:_MOE)?|NVFP4))(?=$|[-./])",
    re.IGNORECASE | re.ASCII,
)
# Files that are loaded beside a model, never as it (the same file: gguf_filename_is_model).
_DIGITS = re.compile(r"\d+", re.ASCII)
_PROJECTOR = re.compile(r"mmproj", re.IGNORECASE)
_BESIDE = re.compile(
    r"mmproj|imatrix|(?:^|[-._])(?:mtp|eagle3|dflash|dspark|draft)(?=$|[-._])", re.IGNORECASE
)


class Quantization(Struct, frozen=True, kw_only=True):
    """One of the models of a GGUF repository."""

    name: str
    """``Q4_K_M``; the file's name where that tells no quantization."""
    files: tuple[str, ...]
    bytes: int | None
    """Of the files; None where the source does not know them all."""


class GgufListing(Struct, frozen=True, kw_only=True):
    """What a repository offers in GGUF, by names and sizes alone."""

    models: tuple[Quantization, ...]
    """From the smallest."""
    projectors: tuple[Quantization, ...]
    """For pictures and sound, loaded beside a model."""


def label(found: FileSet) -> str | None:
    """The quantization in a file's name: ``Q4_K_M`` for ``Llama-3.2-1B-Instruct-Q4_K_M.gguf``."""
    path = f"{found.folder}/{found.stem}"
    labels = _LABEL.findall(path)
    return str(labels[-1]).upper() if labels else None


def quantizations(sets: Sequence[FileSet]) -> dict[str, FileSet]:
    """The models of a GGUF repository by label, in listing order; one without a label, or with one
    that another has, by its file name.
    """
    result: dict[str, FileSet] = {}
    for found in sets:
        if found.complete and not _BESIDE.search(found.stem):
            name = label(found)
            result[found.name if name is None or name in result else name] = found
    return result


def gguf_listing(files: Sequence[RepoFile]) -> GgufListing:
    """All quantizations of a repository, and the projectors beside them."""
    sets = [found for found in weight_sets(files) if found.format == "gguf"]
    models = [_quantization(name, found) for name, found in quantizations(sets).items()]
    return GgufListing(
        models=tuple(sorted(models, key=lambda one: (one.bytes or 0, one.name))),
        projectors=tuple(
            _quantization(found.name, found)
            for found in sets
            if found.complete and _PROJECTOR.search(found.stem)
        ),
    )


def _quantization(name: str, found: FileSet) -> Quantization:
    return Quantization(
        name=name, files=tuple(file.name for file in found.files), bytes=found.bytes
    )


def projector_of(listing: GgufListing, model: str) -> Quantization | None:
    """The projector that llama.cpp loads beside a model's file: of those in its folder, or the
    deepest above it, the one whose bits are nearest.

    llama.cpp 2026-11, common/download.cpp: find_best_sibling. Beside ``m-Q8_0.gguf`` it takes
    ``mmproj-Q8_0.gguf`` before ``mmproj-F16.gguf``.
    """
    folder, bits = _folder(model), _bits(model)
    near = [
        one
        for one in listing.projectors
        if not _folder(one.files[0]) or f"{folder}/".startswith(f"{_folder(one.files[0])}/")
    ]
    return min(
        near,
        key=lambda one: (-len(_folder(one.files[0])), abs(_bits(one.files[0]) - bits)),
        default=None,
    )


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _bits(name: str) -> int:
    """The first number of the quantization in a name: 4 for Q4_K_M, 16 for BF16; 0 without one."""
    labels = _LABEL.findall(name.removesuffix(".gguf"))
    digits = _DIGITS.search(labels[-1]) if labels else None
    return int(digits[0]) if digits else 0


def choose_gguf(
    sets: Sequence[FileSet], quantization: str | None
) -> tuple[FileSet, tuple[Note, ...]] | None:
    """The set of one quantization, or of the one that llama.cpp takes unasked; None without GGUF
    files.

    ``quantization`` is a label in any case, or a file's name. Raises NoWeightsError for one that is
    not there.
    """
    known = quantizations(sets)
    if quantization is not None:
        return _asked(sets, known, quantization), ()
    models = list(known.values())
    if not models:
        return None
    if len(models) == 1:
        return models[0], ()
    chosen = next(
        (found for name in DEFAULT_QUANTIZATIONS if (found := _named(models, name))), models[0]
    )
    name = next(name for name, found in known.items() if found is chosen)
    message = (
        f"{name} of {len(known)} quantizations, as llama.cpp takes it; ask for another with "
        "MODEL:QUANT or by its file."
    )
    return chosen, (Note(code="default_quantization", message=message),)


def _asked(sets: Sequence[FileSet], known: dict[str, FileSet], quantization: str) -> FileSet:
    for found in sets:
        if quantization in {file.name for file in found.files}:
            if found.complete:
                return found
            raise NoWeightsError(
                f"{quantization!r:.120} is one file of a split model, and the others are missing.",
                hint="The upload is unfinished, or the folder is a partial download.",
            )
    by_label = {name.upper(): found for name, found in known.items()}
    found_set = by_label.get(quantization.upper()) or _named(list(known.values()), quantization)
    if found_set is None:
        raise NoWeightsError(
            f"There is no quantization {quantization!r:.80} in the repository.",
            hint=f"It has: {', '.join(list(known)[:24])}." if known else "It has no GGUF files.",
        )
    return found_set


def _named(models: Sequence[FileSet], quantization: str) -> FileSet | None:
    """The first file with the name in it before a dot or a dash, as llama.cpp looks for it."""
    pattern = re.compile(re.escape(quantization) + "[.-]", re.IGNORECASE)
    return next((found for found in models if pattern.search(found.name)), None)
