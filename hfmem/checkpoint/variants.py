"""Variants: other copies of a model's weights, told apart by a word before the suffix."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hfmem.checkpoint.weight_sets import FileSet, WeightSet
from hfmem.errors import NoWeightsError


def is_variant(chosen: WeightSet | None, variant: str) -> bool:
    """Whether a file, or the index that is to be read, has the variant in its name.

    diffusers takes the plain files of those components that have none of the variant; transformers
    refuses.
    """
    marked = re.compile(rf"\.{re.escape(variant)}[.-]")
    if chosen is None:
        return False
    named = [file.name for file in chosen.files] + [chosen.index or ""]
    return any(marked.search(name) for name in named)


def no_variant(sets: Sequence[FileSet], variant: str, *, stems: Sequence[str]) -> NoWeightsError:
    """The error for a variant that is not there, with those that are."""
    split = (found.stem.partition(".") for found in sets if not found.folder.count("/"))
    known = sorted({mark for stem, _, mark in split if mark and stem in stems})
    listed = ", ".join(name[:40] for name in known[:8])
    return NoWeightsError(
        f"The repository has no weights of the variant {variant!r:.60}.",
        hint=f"It has: {listed}." if known else "Leave out --variant: there is one set of weights.",
    )
