"""The headers of a repository's safetensors files, with as few questions as they can be had."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from threading import Event
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from hfmem.checkpoint.safetensors import (
    HEADER_CAP,
    PREFIX_BYTES,
    Header,
    header_length,
    headers_from_metadata,
    parse_header,
)
from hfmem.checkpoint.snapshot import RepoFile
from hfmem.errors import MalformedHeaderError
from hfmem.source.containers import FileHeader, Wanted, read_container
from hfmem.source.crew import Crew
from hfmem.source.listing import Listing
from hfmem.source.opening import ALONE, WEIGHTS, Opening, answer
from hfmem.source.patience import Deadline
from hfmem.source.retry import FaultError, retry
from hfmem.source.transport import Answer, Question, exchange
from hfmem.source.wire import Wire

INDEX: Final = "model.safetensors.index.json"
_SUMMARY_CAP: Final = 64_000_000
_COMMIT_HEADER: Final = "x-repo-commit"
_STEP: Final = 4096
_PADDING: Final = 64
_WITH_OTHERS: Final = 64 * 1024
_ROUND_TRIP: Final = 5 * 2**19
"""Bytes in the 0.2 s that a round trip to the endpoint and its CDN takes, at 100 Mbit/s."""
_LONGEST_GUESS: Final = 2 * 2**20


class Reading(Struct, frozen=True, kw_only=True):
    """One repository while its files are read."""

    wire: Wire
    listing: Listing
    on_main: bool
    """The listing is of the branch main, which is the only one that the Hub summarises."""
    crew: Crew
    deadline: Deadline
    opening: Opening | None = None
    direct: bool = False
    """Small files are asked for where the Hub's redirects lead, which saves the redirect."""
    folder: str = ""
    """Where the listing's files lie, with a slash at its end; empty for the root."""

    def direct_url(self, name: str) -> str:
        """Where ``url`` of a small file redirects to."""
        model, commit, path = quote(self.listing.model), self.listing.commit, self.folder + name
        return f"{self.wire.endpoint}/api/resolve-cache/models/{model}/{commit}/{quote(path)}"

    def url(self, name: str) -> str:
        """Where a file is at the listing's commit."""
        model, commit, path = quote(self.listing.model), self.listing.commit, self.folder + name
        return f"{self.wire.endpoint}/{model}/resolve/{commit}/{quote(path)}"


def read(reading: Reading, files: Sequence[RepoFile]) -> dict[str, Header]:
    """The header of every file, by name.

    The Hub's summary of a sharded checkpoint is one question for all of them. Where there is none,
    it contradicts the listing or has not begun after a moment, each file is read. Raises
    MalformedHeaderError, TimeoutError and what ``transport.retry`` raises.
    """
    waiting: list[Future[dict[str, Header]]] = []
    if _is_summarised(reading, files):
        begun = Event()
        summary = reading.crew.submit(partial(_summary, reading, files, begun))
        summary.add_done_callback(lambda _: begun.set())
        if begun.wait(reading.wire.patience.hedge):
            if headers := summary.result(reading.deadline.margin()):
                return headers
        else:
            waiting.append(summary)
    expected = len(files) * _WITH_OTHERS / reading.wire.patience.bytes_per_second
    reading.deadline.extend(expected)
    first = first_bytes(files, index_bytes=_index_bytes(reading.listing))
    waiting += [reading.crew.submit(partial(_read_header, reading, file, first)) for file in files]
    found: dict[str, Header] = {}
    for future in as_completed(waiting, timeout=reading.deadline.margin()):
        found |= future.result()
        if len(found) == len(files):
            break
    return found


def first_bytes(files: Sequence[RepoFile], *, index_bytes: int | None) -> int:
    """How much of each file to ask for first, so that most headers come whole.

    The index names every tensor once, in about 95 bytes; a header needs about 125 for it.
    DeepSeek-V3: an index of 8.8 MB for 163 files is 54 kB a file, and the headers have 71 kB;
    ``first_bytes(files, index_bytes=8_800_000) == 86_016``. A tower may lie in one shard with most
    of the names, as LLaVA-Video's does: of few files as much is asked as another round trip costs.
    """
    if len(files) == 1:
        return ALONE
    if index_bytes is None:
        return _WITH_OTHERS
    guess = max(index_bytes // len(files) * 3 // 2 + _STEP, _ROUND_TRIP // len(files) - _STEP)
    guess = min(guess, index_bytes * 3 // 2 + _STEP)
    return min(-(-guess // _STEP) * _STEP, _LONGEST_GUESS)


def _index_bytes(listing: Listing) -> int | None:
    return next((file.bytes for file in listing.files if file.name == INDEX), None)


def _is_summarised(reading: Reading, files: Sequence[RepoFile]) -> bool:
    return (
        reading.on_main
        and not reading.folder
        and len(files) > 1
        and _index_bytes(reading.listing) is not None
        # Mistral's own set has an index of its own, which the Hub does not summarise.
        and not any("/" in file.name or file.name.startswith("consolidated") for file in files)
    )


def _summary(reading: Reading, files: Sequence[RepoFile], begun: Event) -> dict[str, Header]:
    """All headers from one answer; empty where it is of no use."""
    model = quote(reading.listing.model)
    question = Question(
        url=f"{reading.wire.endpoint}/api/models/{model}/safetensors-metadata/{INDEX}",
        cap=_SUMMARY_CAP,
        api=True,
        begun=begun,
    )
    sizes = {file.name: file.bytes for file in files if file.bytes is not None}
    try:
        answer = exchange(reading.wire, question, deadline=reading.deadline)
        headers = headers_from_metadata(answer.body, file_bytes=sizes)
    except (FaultError, MalformedHeaderError):
        return {}
    current = answer.headers.get(_COMMIT_HEADER, reading.listing.commit) == reading.listing.commit
    if not current or headers.keys() != sizes.keys():
        return {}
    # What the tensors leave of the files is headers: about as much as the answer is long.
    tensors = sum(tensor.bytes for header in headers.values() for tensor in header.tensors)
    left = sum(sizes.values()) - tensors
    return headers if left <= len(answer.body) * 3 // 2 + _PADDING * len(files) else {}


def _read_header(reading: Reading, file: RepoFile, first: int) -> dict[str, Header]:
    size = file.bytes
    assert size is not None
    if size < PREFIX_BYTES:
        # Of an empty file no range can be asked for: this raises what a header too short does.
        header_length(bytes(size), file=file.name, file_bytes=size)
    early = _early(reading, file)

    def attempt() -> Header:
        nonlocal early
        start, early = early, None
        if start is None:
            start = _ranged(reading, reading.url(file.name), range(first), size=size)
        length = header_length(start.body, file=file.name, file_bytes=size)
        body, end = start.body, PREFIX_BYTES + length
        if end > len(body):
            # The signed address that answered is good for the rest as well.
            body += _ranged(reading, start.url, range(len(body), end), size=size).body
        return parse_header(body[PREFIX_BYTES:end], file=file.name, file_bytes=size)

    header = retry(
        reading.wire, attempt, what=f"the header of {file.name}", deadline=reading.deadline
    )
    return {file.name: header}


def containers(reading: Reading, wanted: Sequence[Wanted]) -> dict[str, FileHeader]:
    """The header of every GGUF file and checkpoint of torch, by name, as ``read`` does it."""
    futures = {
        one.file.name: reading.crew.submit(partial(_read_container, reading, one)) for one in wanted
    }
    found: dict[str, FileHeader] = {}
    for name, future in futures.items():
        while True:
            # Each piece of a file allows itself more time, so the deadline moves.
            try:
                found[name] = future.result(reading.deadline.margin())
                break
            except FutureTimeoutError:
                if future.done() or reading.deadline.left() <= 0:
                    raise
    return found


def _read_container(reading: Reading, wanted: Wanted) -> FileHeader:
    file = wanted.file
    size = file.bytes
    assert size is not None
    address: str | None = None

    def piece(start: int, stop: int) -> bytes:
        reading.deadline.extend((stop - start) / reading.wire.patience.bytes_per_second)

        def attempt() -> bytes:
            nonlocal address
            url, address = address or reading.url(file.name), None
            question = Question(url=url, cap=stop - start, span=range(start, stop), file_bytes=size)
            answer = exchange(reading.wire, question, deadline=reading.deadline)
            # The signed address that answered is good for the next piece as well.
            address = answer.url
            return answer.body

        what = f"the header of {file.name}"
        return retry(reading.wire, attempt, what=what, deadline=reading.deadline)

    return read_container(piece, wanted)


def _early(reading: Reading, file: RepoFile) -> Answer | None:
    """The file's start, if it was asked for before the listing came."""
    if reading.opening is None or file.name != WEIGHTS:
        return None
    commit, wait = reading.listing.commit, reading.deadline.margin()
    found = answer(reading.opening.weights, commit=commit, wait=wait)
    return found if found is not None and found.file_bytes == file.bytes else None


def _ranged(reading: Reading, url: str, span: range, *, size: int) -> Answer:
    question = Question(url=url, cap=PREFIX_BYTES + HEADER_CAP, span=span, file_bytes=size)
    return exchange(reading.wire, question, deadline=reading.deadline)
