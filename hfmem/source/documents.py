"""A repository's small JSON files: config.json, and those beside it that decide something."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Final

from hfmem.checkpoint import strict_json
from hfmem.checkpoint.layout import PROCESSOR_DOCUMENTS, SMALL_DOCUMENTS
from hfmem.checkpoint.weight_sets import is_safe_name
from hfmem.errors import InvalidValueError
from hfmem.source.headers import Reading
from hfmem.source.opening import CONFIG, DOCUMENT_CAP, answer
from hfmem.source.retry import FaultError, retry
from hfmem.source.transport import Question, exchange
from hfmem.source.wire import DIRECT

PIPELINE: Final = "model_index.json"

_COMPONENTS_CAP: Final = 32

Document = Mapping[str, object]


def submit(reading: Reading) -> dict[str, Future[Document]]:
    """Begin to read config.json and the documents that decide something, as far as
    they are listed."""
    files = {file.name: file for file in reading.listing.files}
    wanted = [name for name in (CONFIG, *SMALL_DOCUMENTS, *PROCESSOR_DOCUMENTS) if name in files]
    if PIPELINE in files:
        wanted += [name for name in files if _is_component(name)][:_COMPONENTS_CAP]
    return {
        name: reading.crew.submit(partial(_read, reading, name, files[name].bytes))
        for name in wanted
    }


def _is_component(name: str) -> bool:
    """Whether a file is the configuration of one part of a pipeline: ``unet/config.json``."""
    return name.count("/") == 1 and name.endswith(f"/{CONFIG}") and is_safe_name(name)


def collect(reading: Reading, futures: Mapping[str, Future[Document]]) -> dict[str, Document]:
    """The documents, by name.

    One that cannot be had is an error: left out, it would change the answer without a word. Raises
    InvalidValueError, TimeoutError and what ``transport.retry`` raises.
    """
    return {name: future.result(reading.deadline.margin()) for name, future in futures.items()}


def read_bytes(reading: Reading, name: str, size: int | None, *, cap: int) -> bytes:
    """A whole file of the listing, of at most ``cap`` bytes."""

    def ask(url: str) -> bytes:
        question = Question(url=url, cap=cap, file_bytes=size)
        return exchange(reading.wire, question, deadline=reading.deadline).body

    if reading.direct and DIRECT not in reading.wire.lacks:
        try:
            return ask(reading.direct_url(name))
        except FaultError as fault:
            if fault.error is not None:
                # Refused for good: another endpoint, or another Hub than when this was written.
                reading.wire.lacks.add(DIRECT)
    return retry(
        reading.wire,
        lambda: ask(reading.url(name)),
        what=name,
        deadline=reading.deadline,
    )


def _read(reading: Reading, name: str, size: int | None) -> Document:
    if size is not None and size > DOCUMENT_CAP:
        raise InvalidValueError(
            f"{name} has {size:,} bytes; hfmem reads at most {DOCUMENT_CAP:,}.",
            hint="A configuration is a few kilobytes long.",
        )
    raw = _early(reading, name, size) or read_bytes(reading, name, size, cap=DOCUMENT_CAP)
    document = strict_json.loads(raw, what=name, error=InvalidValueError)
    if not isinstance(document, dict):
        raise InvalidValueError(
            f"{name} holds no JSON object.", hint="The file is damaged or was written by hand."
        )
    return document


def _early(reading: Reading, name: str, size: int | None) -> bytes | None:
    """config.json, if it was asked for before the listing came."""
    if reading.opening is None or name != CONFIG:
        return None
    commit, wait = reading.listing.commit, reading.deadline.margin()
    found = answer(reading.opening.config, commit=commit, wait=wait)
    return found.body if found is not None and len(found.body) == size else None
