"""The facts of a listed model: kept ones where they may be used, else from the files themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache as once
from functools import partial

from msgspec.structs import replace

from hfmem import collector
from hfmem.checkpoint.hub_count import disagreement
from hfmem.checkpoint.index import INDEX_CAP, shard_names
from hfmem.checkpoint.layout import WeightSet, weight_files
from hfmem.checkpoint.safetensors import Header
from hfmem.checkpoint.snapshot import GGUF_DOCUMENT, Checkpoint, Note, RepoFile, Snapshot
from hfmem.errors import NoWeightsError
from hfmem.source import cache, documents, headers, kept, refusal
from hfmem.source.containers import Contents, FileHeader, Wanted, contents, wanted_files
from hfmem.source.crew import Crew
from hfmem.source.documents import PIPELINE, Document
from hfmem.source.downloaded import repo_files
from hfmem.source.headers import Reading
from hfmem.source.listing import Listing
from hfmem.source.opening import CONFIG, Opening
from hfmem.source.patience import Deadline
from hfmem.source.ref import ModelRef
from hfmem.source.retry import retry
from hfmem.source.transport import Question, exchange
from hfmem.source.wire import Wire

_BRANCH = "main"


def find(
    wire: Wire,
    ref: ModelRef,
    listed: Listing,
    *,
    crew: Crew,
    deadline: Deadline,
    opening: Opening | None = None,
    direct: bool = False,
) -> Snapshot:
    """What is known of a listed model; ``direct`` as in Reading.

    Raises SourceError, CheckpointError, ConfigError, TimeoutError and HfHubHTTPError.
    """
    if listed.disabled:
        raise refusal.disabled(listed.model)
    cache.remember(ref.name, ref.revision, listed)
    folder = f"{ref.pick.subfolder}/" if ref.pick.subfolder else ""
    reading = Reading(
        wire=wire,
        listing=_within(listed, folder) if folder else listed,
        on_main=ref.revision in (None, _BRANCH),
        crew=crew,
        deadline=deadline,
        opening=opening,
        direct=direct,
        folder=folder,
    )
    known = _known(reading, ref)
    if known is not None:
        return known
    with collector.paused():
        return _fetched(reading, ref)


def _within(listed: Listing, folder: str) -> Listing:
    """The files of a folder, as if it were the repository. Raises NoWeightsError."""
    cut = len(folder)
    files = [
        replace(file, name=file.name[cut:])
        for file in listed.files
        if file.name.startswith(folder) and len(file.name) > cut
    ]
    if not files:
        known = sorted({file.name.partition("/")[0] for file in listed.files if "/" in file.name})
        raise NoWeightsError(
            f"{listed.model} has no folder {folder.rstrip('/')!r:.120}.",
            hint=f"It has: {', '.join(name[:40] for name in known[:12])}."
            if known
            else "All its files lie in the root.",
        )
    return replace(listed, files=tuple(files))


def _known(reading: Reading, ref: ModelRef) -> Snapshot | None:
    """The facts that were kept of the listed commit, if they may be used."""
    listed = reading.listing
    entry = kept.of_commit(ref, model=listed.model, commit=listed.commit)
    if entry is None:
        return None
    if reading.listing.restricted:
        _confirm_access(reading)
    return entry.snapshot


def _confirm_access(reading: Reading) -> None:
    """Read a byte of a restricted model: whoever may not gets an HfHubHTTPError.

    The README of a gated model is open to all, its configuration and its weights are not.
    """
    files = [file for file in reading.listing.files if file.bytes]
    file = max(files, key=lambda file: (file.name == CONFIG, file.bytes), default=None)
    if file is None:
        return
    span = range(file.bytes or 0)[:1]
    question = Question(url=reading.url(file.name), cap=1, span=span, file_bytes=file.bytes)
    future = reading.crew.submit(
        lambda: retry(
            reading.wire,
            lambda: exchange(reading.wire, question, deadline=reading.deadline),
            what=file.name,
            deadline=reading.deadline,
        )
    )
    future.result(reading.deadline.margin())


def _fetched(reading: Reading, ref: ModelRef) -> Snapshot:
    """The facts from the files themselves, which are then kept."""
    found = reading.listing
    files = repo_files(found.files, model=found.model, commit=found.commit)
    pending = documents.submit(reading)
    read = _first_headers(reading, files, ref)
    small = documents.collect(reading, pending)
    config = small.pop(CONFIG, None)
    told: tuple[Note, ...] = ()
    if config is None and "params.json" in small:
        from hfmem.checkpoint.native_params import native_config

        config, told = native_config(small)
    weights = _weights(reading, files, ref, config=config, small=small)
    notes = told
    checkpoint: Checkpoint | None = None
    if weights is not None:
        notes += weights.notes
        found_weights = _checkpoint(reading, weights, read, config=config)
        checkpoint = found_weights.checkpoint
        notes += found_weights.notes
        notes += _witnessed(reading, weights, checkpoint)
        if found_weights.keys is not None:
            small[GGUF_DOCUMENT] = found_weights.keys
    elif config is None:
        raise NoWeightsError(
            f"{found.model} holds neither config.json nor weights.",
            hint="Name a repository with a model in it.",
        )
    result = Snapshot(
        model=found.model,
        revision=found.commit,
        source="hub",
        config=config,
        documents=small,
        files=files,
        checkpoint=checkpoint,
        notes=notes,
    )
    kept.store(result, found, ref)
    return result


def _witnessed(
    reading: Reading, weights: WeightSet, checkpoint: Checkpoint | None
) -> tuple[Note, ...]:
    """What the Hub's own count says of the tensors; it is of the branch main and of the root."""
    told = reading.listing.parameters
    plain = weights.format == "safetensors" and not weights.is_adapter
    whole = len(weights.components) == 1 and not reading.folder and reading.on_main
    if told is None or checkpoint is None or not plain or not whole:
        return ()
    note = disagreement(checkpoint.tensors, told)
    return () if note is None else (note,)


def _first_headers(reading: Reading, files: Sequence[RepoFile], ref: ModelRef) -> dict[str, Header]:
    """The headers of what the names alone say is loaded, read while the documents are on their way.

    Nothing where the names leave a doubt; the documents may still choose other files.
    """
    if any(file.name == PIPELINE for file in files):
        return {}
    try:
        weights = weight_files(files, pick=ref.pick, quantization=ref.quantization)
    except NoWeightsError:
        return {}
    if weights is None or weights.index or weights.is_adapter or weights.format != "safetensors":
        return {}
    return headers.read(reading, weights.files)


def _weights(
    reading: Reading,
    files: Sequence[RepoFile],
    ref: ModelRef,
    *,
    config: Document | None,
    small: Mapping[str, Document],
) -> WeightSet | None:
    """What a runtime loads; reads an index where the names leave a doubt."""
    sizes = {file.name: file.bytes for file in files}
    named: dict[str, tuple[str, ...]] = {}
    while True:
        found = weight_files(
            files,
            config=config,
            documents=small,
            index_names=named,
            pick=ref.pick,
            quantization=ref.quantization,
        )
        if found is not None and found.index is None:
            return found
        # An index without a single shard is an upload that stopped, or a lie: it is read, and
        # refused.
        index = found.index if found is not None else headers.INDEX
        if index not in sizes:
            return found
        if index in named:
            raise NoWeightsError(
                f"{index!r:.120} names files that are not in the repository.",
                hint="The upload is incomplete; its weights cannot be counted.",
            )
        raw = reading.crew.submit(
            partial(documents.read_bytes, reading, index, sizes[index], cap=INDEX_CAP)
        )
        named[index] = shard_names(raw.result(reading.deadline.margin()), file=index)


def _checkpoint(
    reading: Reading,
    weights: WeightSet,
    read: Mapping[str, Header],
    *,
    config: Document | None,
) -> Contents:
    model = reading.listing.model
    missing = [wanted for wanted in wanted_files(weights) if wanted.file.name not in read]
    plain = [wanted.file for wanted in missing if wanted.format == "safetensors"]
    known: dict[str, FileHeader] = {**read, **(headers.read(reading, plain) if plain else {})}

    @once
    def others() -> Mapping[str, FileHeader]:
        wanted = [one for one in missing if one.format != "safetensors"]
        return headers.containers(reading, wanted)

    def header_of(wanted: Wanted) -> FileHeader:
        name = wanted.file.name
        return known[name] if name in known else others()[name]

    return contents(weights, header_of, model=model, has_config=config is not None)
