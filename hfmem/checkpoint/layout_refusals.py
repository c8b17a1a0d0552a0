"""What is said of a repository whose weights cannot be chosen."""

from __future__ import annotations

from collections.abc import Sequence

from hfmem.checkpoint.weight_sets import FileSet
from hfmem.errors import NoWeightsError


def ambiguous(sets: Sequence[FileSet]) -> NoWeightsError:
    """The error for several sets of weights that nothing chooses between."""
    names = ", ".join(repr(found.name)[:80] for found in sets[:4])
    folders = list(dict.fromkeys(found.folder for found in sets if found.folder))
    listed = ", ".join(folder[:40] for folder in folders[:8])
    return NoWeightsError(
        f"The repository holds several sets of weights and no index that chooses: {names}.",
        hint=f"Choose one with --subfolder: {listed}."
        if listed
        else "Name a revision with one set of weights.",
    )


def no_model(sets: Sequence[FileSet]) -> NoWeightsError:
    """The error for weights of which none are whole or named as a model's."""
    if parts := [found for found in sets if not found.complete]:
        first = parts[0]
        return NoWeightsError(
            f"The shards of {first.name!r:.120} are incomplete: {len(first.files)} are there.",
            hint="The upload is unfinished, or the folder is a partial download.",
        )
    return ambiguous(sets)


def no_gguf(quantization: str) -> NoWeightsError:
    """The error for a quantization, or a GGUF file, of a repository that has no GGUF files."""
    if quantization.lower().endswith(".gguf"):
        return NoWeightsError(
            f"The repository has no GGUF files, so no {quantization!r:.120}.",
            hint="Leave out the file, or name a repository that has it.",
        )
    planned = f"--quantize {quantization[:40].lower()} --runtime llama.cpp"
    return NoWeightsError(
        f"The repository has no GGUF files: there is no quantization {quantization!r:.80} to "
        "choose.",
        hint=f"Leave out :{quantization[:40]}, or ask what it would need: {planned}.",
    )
