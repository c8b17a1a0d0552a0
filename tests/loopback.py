"""A small Hub on the loopback interface: two hosts, repositories in memory, faults on demand.

It answers what hfmem asks, in the form that huggingface_hub 2.4.0 reads: model info with sizes,
the tree in pages, the summary of all headers, files through redirects (to the same host for small
ones, to another for weights), ranges, quotas and the Hub's own error codes. It keeps what it was
asked.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

from msgspec import Struct, field

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_loopback"
PAGE = 3


class Sparse(Struct, frozen=True, kw_only=True):
    """A file of ``size`` bytes that begins with ``head``; the rest is zeros."""

    head: bytes
    size: int


def safetensors(tensors: Mapping[str, tuple[str, list[int], int]], *, pad: int = 0) -> Sparse:
    """A weight file of (dtype, shape, bytes) by name, its header padded by ``pad`` spaces."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode() + b" " * pad
    return Sparse(head=struct.pack("<Q", len(raw)) + raw, size=8 + len(raw) + end)


class Repository(Struct, kw_only=True):
    """What the Hub holds under one name."""

    files: dict[str, bytes | Sparse] = field(default_factory=dict)
    commit: str = COMMIT
    gated: bool = False
    private: bool = False
    disabled: bool = False
    renamed_to: str | None = None


class Reply(Struct, frozen=True, kw_only=True):
    """An answer, or with ``abort`` what is left of one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    """Content-Length where it is not the body's."""
    abort: bool = False


class Request(Struct, frozen=True, kw_only=True):
    """A request as it came."""

    host: str
    path: str
    headers: Mapping[str, str]


Fault = Callable[[Request, Reply], Reply | None]


class LoopbackHub(Struct):
    """The running server; change ``repositories`` and ``faults`` as a test needs."""

    endpoint: str = ""
    cdn: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    sizes: bool = True
    """Whether the model info tells sizes."""
    summary: bool = True
    """Whether the summary of all headers exists."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every answer of the Hub."""
    faults: list[tuple[re.Pattern[str], Fault, list[int]]] = field(default_factory=list)

    def fault(self, where: str, reply: Reply | Fault, *, times: int = 1_000_000) -> None:
        """Answer ``reply`` to the next ``times`` requests whose ``host path`` matches."""
        fault = reply if callable(reply) else lambda *_: reply
        self.faults.append((re.compile(where), cast("Fault", fault), [times]))

    def paths(self) -> list[str]:
        """What was asked for, without queries: ``hub /api/models/…``, ``cdn /…``."""
        return [f"{request.host} {urlsplit(request.path).path}" for request in self.requests]

    def answer(self, request: Request) -> Reply | None:
        """The answer to a request, honest or not; None closes the connection without one."""
        self.requests.append(request)
        honest = self._cdn(request) if request.host == "cdn" else self._hub(request)
        if request.host == "hub":
            honest = Reply(
                status=honest.status, body=honest.body, headers={**honest.headers, **self.headers}
            )
        for pattern, fault, left in self.faults:
            if left[0] and pattern.search(f"{request.host} {request.path}"):
                left[0] -= 1
                return fault(request, honest)
        return honest

    def _hub(self, request: Request) -> Reply:
        path, _, query = request.path.partition("?")
        if match := re.fullmatch(r"/api/resolve-cache/models/([^/]+/[^/]+)/([^/]+)/(.+)", path):
            return self._kept(request, match[1], match[2], unquote(match[3]))
        if match := re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)/(revision|tree)/([^/]+)", path):
            return self._about(request, match, parse_qs(query))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/safetensors-metadata/.+", path):
            return self._summary(request, match[1])
        if match := re.fullmatch(r"/([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)", path):
            return self._resolve(request, match[1], unquote(match[2]), match[3])
        return Reply(status=404)

    def _refusal(self, request: Request, name: str, *, content: bool) -> Reply | None:
        authorization = request.headers.get("authorization")
        if authorization not in (None, f"Bearer {TOKEN}"):
            return refuse(401, message="Invalid credentials in Authorization header")
        repository = self.repositories.get(name)
        if repository is None or (repository.private and not authorization):
            return refuse(404 if authorization else 401, code="RepoNotFound")
        if repository.renamed_to is not None:
            return Reply(
                status=307, headers={"Location": request.path.replace(name, repository.renamed_to)}
            )
        if content and repository.disabled:
            return refuse(403, message="Access to this resource is disabled.")
        if content and repository.gated and not authorization:
            return refuse(401, code="GatedRepo")
        return None

    def _about(
        self, request: Request, match: re.Match[str], query: Mapping[str, list[str]]
    ) -> Reply:
        name, kind, revision = match[1], match[2], unquote(match[3])
        if refusal := self._refusal(request, name, content=False):
            return refusal
        repository = self.repositories[name]
        if revision not in ("main", repository.commit):
            return refuse(404, code="RevisionNotFound")
        if kind == "tree":
            return self._tree(request, repository, int(query.get("cursor", ["0"])[0]))
        siblings = []
        for file, content in repository.files.items():
            entry: dict[str, object] = {"rfilename": file}
            if self.sizes:
                entry |= {"size": size_of(content), "blobId": "b" * 40}
            siblings.append(entry)
        return reply_json(
            {
                "id": name,
                "sha": repository.commit,
                "gated": "auto" if repository.gated else False,
                "private": repository.private,
                "disabled": repository.disabled,
                "siblings": siblings,
            },
            request,
        )

    def _tree(self, request: Request, repository: Repository, start: int) -> Reply:
        entries = [
            {"type": "file", "path": name, "size": size_of(content), "oid": "b" * 40}
            for name, content in repository.files.items()
        ]
        reply = reply_json(entries[start : start + PAGE], request)
        if start + PAGE >= len(entries):
            return reply
        root = request.path.partition("?")[0]
        link = f'<https://elsewhere.invalid{root}?recursive=true&cursor={start + PAGE}>; rel="next"'
        return Reply(body=reply.body, headers={**reply.headers, "Link": link})

    def _summary(self, request: Request, name: str) -> Reply:
        refusal = self._refusal(request, name, content=True)
        if refusal or not self.summary:
            return refusal or Reply(status=404)
        shards = {
            file: json.loads(content.head[8:])
            for file, content in self.repositories[name].files.items()
            if isinstance(content, Sparse)
        }
        return reply_json({"index": {"metadata": {}}, "headers": shards}, request)

    def _resolve(self, request: Request, name: str, revision: str, file: str) -> Reply:
        if refusal := self._refusal(request, name, content=True):
            return refusal
        repository = self.repositories[name]
        if revision not in ("main", repository.commit):
            return refuse(404, code="RevisionNotFound")
        content = repository.files.get(unquote(file))
        if content is None:
            return refuse(404, code="EntryNotFound")
        place = f"/api/resolve-cache/models/{quote(name)}/{repository.commit}/{file}"
        if isinstance(content, Sparse):
            place = f"{self.cdn}/{quote(name)}/{file}"
        headers = {
            "Location": place,
            "X-Repo-Commit": repository.commit,
            "X-Linked-Size": str(size_of(content)),
            "X-Linked-ETag": f'"{"b" * 64}"',
        }
        return Reply(status=302, body=b"Found", headers=headers)

    def _kept(self, request: Request, name: str, commit: str, file: str) -> Reply:
        if refusal := self._refusal(request, name, content=True):
            return refusal
        repository = self.repositories[name]
        if commit != repository.commit or isinstance(repository.files.get(file), Sparse | None):
            return refuse(404, code="EntryNotFound")
        return self._content(request, name, file)

    def _cdn(self, request: Request) -> Reply:
        owner, name, file = urlsplit(request.path).path[1:].split("/", 2)
        return self._content(request, f"{owner}/{name}", unquote(file))

    def _content(self, request: Request, name: str, file: str) -> Reply:
        content = self.repositories[name].files[file]
        size = size_of(content)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if match is None:
            return Reply(body=part(content, 0, size))
        start, stop = int(match[1]), min(int(match[2]) + 1, size)
        if start >= stop:
            return Reply(status=416)
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        return Reply(status=206, body=part(content, start, stop), headers=headers)


def size_of(content: bytes | Sparse) -> int:
    """Bytes of a file."""
    return content.size if isinstance(content, Sparse) else len(content)


def part(content: bytes | Sparse, start: int, stop: int) -> bytes:
    """Some of a file's bytes."""
    head = content.head if isinstance(content, Sparse) else content
    return head[start:stop].ljust(stop - start, b"\0")


def refuse(status: int, *, code: str = "", message: str = "") -> Reply:
    """An error as the Hub writes it."""
    headers = {"X-Error-Code": code, "X-Error-Message": message or code}
    return Reply(
        status=status,
        body=json.dumps({"error": message or code}).encode(),
        headers={name: value for name, value in headers.items() if value},
    )


def reply_json(content: object, request: Request) -> Reply:
    """A JSON answer, compressed where the client takes that."""
    body = json.dumps(content).encode()
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Reply(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    return Reply(body=body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: LoopbackHub, host: str) -> None:
        self.hub = hub
        self.host = host
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: Any) -> None:
        """A client that closes its connection is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        server = cast("_Server", self.server)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(host=server.host, path=self.path, headers=headers)
        reply = server.hub.answer(request)
        if reply is None:
            self.close_connection = True
            return
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        length = len(reply.body) if reply.length is None else reply.length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(reply.body)
        if reply.abort:
            reset = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            self.connection.close()
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """The requests are kept instead."""


class Running:
    """Both hosts, for the length of a ``with`` block."""

    def __init__(self) -> None:
        self.hub = LoopbackHub()
        self._servers = [_Server(self.hub, "hub"), _Server(self.hub, "cdn")]

    def __enter__(self) -> LoopbackHub:
        hub, cdn = (server.server_address[1] for server in self._servers)
        self.hub.endpoint = f"http://127.0.0.1:{hub}"
        # Another name of the same machine: another host to a client.
        self.hub.cdn = f"http://localhost:{cdn}"
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self.hub

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
