"""What a repository holds: its files, their sizes and the commit, from one answer of the Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeGuard
from urllib.parse import quote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint import strict_json
from hfmem.errors import HubUnavailableError
from hfmem.source.patience import Deadline
from hfmem.source.ref import is_repo_id
from hfmem.source.retry import FaultError, retry
from hfmem.source.transport import Answer, Question, exchange
from hfmem.source.wire import Wire

_ANSWER_CAP = 32_000_000
_FILES_CAP = 200_000
_NAME_CAP = 4096
_SIZE_CAP = 2**53
# huggingface_hub 2.4.0, constants.py: VERY_LARGE_REPO_THRESHOLD; longer lists of siblings are cut.
_SIBLINGS_COMPLETE = 50_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NEXT_PAGE = re.compile(r'<([^<>]+)>\s*;\s*rel="?next"?')


class ListedFile(Struct, frozen=True, kw_only=True):
    """A file as the Hub lists it."""

    name: str
    bytes: int | None
    object_id: str | None
    """The name of its blob in the local Hub cache: a large file's SHA-256, else git's SHA-1."""


class Listing(Struct, frozen=True, kw_only=True):
    """A repository at one commit."""

    model: str
    """As the Hub spells it."""
    commit: str
    restricted: bool
    """Gated or private: whether its files may be read is the Hub's to say, each time."""
    disabled: bool
    files: tuple[ListedFile, ...]
    parameters: int | None = None
    """What the Hub counted in the safetensors files of the branch main; None where it did not."""


def is_commit(revision: str | None) -> TypeGuard[str]:
    """Whether a revision is a full commit, which never changes what it names."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def is_object_id(found: str) -> bool:
    """Whether it may name a blob in the local Hub cache."""
    return _OBJECT_ID.fullmatch(found) is not None


def fetch(wire: Wire, model: str, revision: str | None, *, deadline: Deadline) -> Listing:
    """The listing of a model at a revision (None: ``main``), as a rule in one question.

    ``/api/models/{model}/revision/{revision}?blobs=true`` tells commit and sizes together; the tree
    comes in pages of 1,000 and is asked where sizes are missing. Raises what ``transport.retry``
    raises.
    """
    at = quote(revision or "main", safe="")
    question = Question(
        url=f"{wire.endpoint}/api/models/{quote(model)}/revision/{at}?blobs=true",
        cap=_ANSWER_CAP,
        api=True,
    )
    listing = retry(
        wire,
        lambda: _listing(_document(exchange(wire, question, deadline=deadline))),
        what=f"the list of files of {model}",
        deadline=deadline,
    )
    sized = all(file.bytes is not None for file in listing.files)
    if sized and 0 < len(listing.files) < _SIBLINGS_COMPLETE:
        return listing
    return replace(listing, files=_tree(wire, listing, deadline=deadline))


def _tree(wire: Wire, listing: Listing, *, deadline: Deadline) -> tuple[ListedFile, ...]:
    """All pages of the tree at the listing's commit."""
    root = f"{wire.endpoint}/api/models/{quote(listing.model)}/tree/{listing.commit}"
    query: str | None = "recursive=true"
    files: list[ListedFile] = []
    asked: set[str] = set()
    while query is not None:
        if query in asked or len(files) > _FILES_CAP:
            raise HubUnavailableError(
                f"The tree of {listing.model} does not end.", hint="Report it to the Hub."
            )
        asked.add(query)
        page, query = _page(wire, f"{root}?{query}", model=listing.model, deadline=deadline)
        files.extend(page)
    return tuple(files)


def _page(
    wire: Wire, url: str, *, model: str, deadline: Deadline
) -> tuple[list[ListedFile], str | None]:
    """One page of a tree, and the query of the next."""
    question = Question(url=url, cap=_ANSWER_CAP, api=True)

    def attempt() -> tuple[list[ListedFile], str | None]:
        answer = exchange(wire, question, deadline=deadline)
        entries = _document(answer)
        if not isinstance(entries, list):
            raise FaultError("a tree that is no list")
        files = [
            _file(entry.get("path"), entry, object_id=entry.get("oid"))
            for entry in map(_object, entries)
            if entry.get("type") == "file"
        ]
        link = _NEXT_PAGE.search(answer.headers.get("link", ""))
        # The query alone: the next page is asked of the same endpoint, whatever the link says.
        return files, urlsplit(link[1]).query if link else None

    return retry(wire, attempt, what=f"the tree of {model}", deadline=deadline)


def _document(answer: Answer) -> object:
    try:
        return strict_json.loads(answer.body, what="The answer", error=HubUnavailableError)
    except HubUnavailableError as error:
        raise FaultError(f"no JSON ({error.message})") from None


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise FaultError("an answer that is no object")
    return value


def _listing(document: object) -> Listing:
    content = _object(document)
    model, commit = content.get("id"), content.get("sha")
    if not isinstance(model, str) or not is_repo_id(model):
        raise FaultError("a listing without the model's name")
    if not isinstance(commit, str) or not is_commit(commit):
        raise FaultError("a listing without the commit")
    siblings = content.get("siblings")
    if not isinstance(siblings, list) or len(siblings) > _FILES_CAP:
        raise FaultError("a listing without its files")
    return Listing(
        model=model,
        commit=commit,
        restricted=content.get("gated", False) is not False or content.get("private") is True,
        disabled=content.get("disabled") is True,
        files=tuple(
            _file(entry.get("rfilename"), entry, object_id=entry.get("blobId"))
            for entry in map(_object, siblings)
        ),
        parameters=_counted(content.get("safetensors")),
    )


def _counted(summary: object) -> int | None:
    total = summary.get("total") if isinstance(summary, dict) else None
    return total if type(total) is int and 0 < total < _SIZE_CAP else None


def _file(name: object, entry: Mapping[str, object], *, object_id: object) -> ListedFile:
    if not isinstance(name, str) or not 0 < len(name) <= _NAME_CAP:
        raise FaultError("a listing with a file that has no name")
    size = entry.get("size")
    if size is not None and (type(size) is not int or not 0 <= size < _SIZE_CAP):
        raise FaultError("a listing with a file that has no size")
    large = entry.get("lfs")
    if isinstance(large, dict):
        # The info names it sha256, the tree oid.
        object_id = large.get("sha256", large.get("oid"))
    if not isinstance(object_id, str) or not is_object_id(object_id):
        object_id = None
    return ListedFile(name=name, bytes=size, object_id=object_id)
