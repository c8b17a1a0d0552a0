"""What is kept of a model, as far as it is of the copy of the weights that is asked for."""

from __future__ import annotations

from urllib.parse import quote

from msgspec.structs import replace

from hfmem.checkpoint.layout import weight_files
from hfmem.checkpoint.loaders import DEFAULT, TRANSFORMERS, Pick
from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import NoWeightsError
from hfmem.source import cache
from hfmem.source.cache import Entry
from hfmem.source.listing import Listing
from hfmem.source.ref import ModelRef


def of_commit(ref: ModelRef, *, model: str, commit: str) -> Entry | None:
    """What is kept of a commit."""
    entry = cache.find(model, commit)
    if entry is not None and answers(entry.snapshot, ref):
        return entry
    tag = _tag(ref)
    return cache.find(model, commit, tag=tag) if tag else None


def last(ref: ModelRef) -> Snapshot | None:
    """What is kept of the commit that a revision was last, without asking the Hub."""
    found = cache.load(ref)
    if found is not None and answers(found, ref):
        return found
    tag = _tag(ref)
    return cache.load(ref, tag=tag) if tag else None


def store(snapshot: Snapshot, listing: Listing, ref: ModelRef) -> None:
    """Keep facts, for all questions alike where the same files answer them."""
    plain = replace(ref, quantization=None, pick=DEFAULT)
    tag = _tag(ref)
    if tag and not ref.pick.subfolder and _chooses(snapshot, plain):
        tag = ""
    cache.store(snapshot, listing, tag=tag)


def answers(found: Snapshot, ref: ModelRef) -> bool:
    """Whether facts that were gathered unasked are of the copy that is asked for."""
    if ref.pick.subfolder is not None:
        return False
    if found.checkpoint is None:
        return not ref.names_a_part
    return not _tag(ref) or _chooses(found, ref)


def recorded_answers(found: Snapshot, ref: ModelRef) -> bool:
    """The same of recorded facts: of what transformers loads, for every runtime."""
    pick = Pick(loader=TRANSFORMERS, variant=ref.pick.variant, subfolder=ref.pick.subfolder)
    return answers(found, replace(ref, pick=pick))


def _chooses(found: Snapshot, ref: ModelRef) -> bool:
    """Whether a question's choice among the listed files is what was read."""
    try:
        asked = weight_files(
            found.files,
            config=found.config,
            documents=found.documents,
            pick=ref.pick,
            quantization=ref.quantization,
        )
    except NoWeightsError:
        return False
    if asked is None or asked.index is not None or found.checkpoint is None:
        return False
    return {file.name for file in asked.files} == set(found.checkpoint.files)


def _tag(ref: ModelRef) -> str:
    """What a question asks beyond the model, as a part of a file's name; empty for nothing."""
    loader = ref.pick.loader
    words = [
        *loader.names,
        "gguf" if loader.gguf_first else "",
        f"variant={ref.pick.variant}" if ref.pick.variant else "",
        f"in={ref.pick.subfolder}" if ref.pick.subfolder else "",
        f"quantization={ref.quantization}" if ref.quantization else "",
    ]
    return "".join(f"+{quote(word[:80], safe='')}" for word in words if word)
