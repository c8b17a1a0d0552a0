"""The quantizations of a GGUF repository, told apart by their files' names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hfmem.checkpoint.snapshot import Note
from hfmem.checkpoint.weight_sets import FileSet
from hfmem.errors import NoWeightsError

DEFAULT_QUANTIZATION = "Q4_K_M"
"""What llama.cpp takes of a repository when none is asked for (``-hf org/name[:quant]``)."""

# Names as llama.cpp's llama-quantize spells its file types, with the prefix of Unsloth's mixes.
_LABEL = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:(?:IQ|TQ|Q)\d(?:_\w+?)*|BF16|F16|FP16|F32|FP32|MXFP4(?:_MOE)?|NVFP4))(?=$|[-./])",
    re.IGNORECASE | re.ASCII,
)
# Projectors and drafts are loaded beside a model, never as it.
_BESIDE = re.compile(r"(?:^|/|[-._])(?:mmproj|imatrix|draft|mtp)(?=$|[-._/])", re.IGNORECASE)


def label(found: FileSet) -> str | None:
    """The quantization in a file's name: ``Q4_K_M`` for ``Llama-3.2-1B-Instruct-Q4_K_M.gguf``."""
    path = f"{found.folder}/{found.stem}"
    labels = _LABEL.findall(path)
    return str(labels[-1]).upper() if labels else None


def quantizations(sets: Sequence[FileSet]) -> dict[str, FileSet]:
    """The models of a GGUF repository by label, in listing order; one without a label by its file
    name.
    """
    result: dict[str, FileSet] = {}
    for found in sets:
        if found.complete and not _BESIDE.search(found.stem):
            result.setdefault(label(found) or found.name, found)
    return result


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
        wanted = quantization.upper()
        for name, found in known.items():
            names = {file.name for file in found.files}
            if wanted == name.upper() or quantization in names:
                return found, ()
        raise NoWeightsError(
            f"There is no quantization {quantization!r:.80} in the repository.",
            hint=f"It has: {', '.join(list(known)[:24])}." if known else "It has no GGUF files.",
        )
    if not known:
        return None
    name = DEFAULT_QUANTIZATION if DEFAULT_QUANTIZATION in known else next(iter(known))
    if len(known) == 1:
        return known[name], ()
    message = f"{name} of {len(known)} quantizations, as llama.cpp takes it; ask with MODEL:QUANT."
    return known[name], (Note(code="default_quantization", message=message),)
