"""The header of a GGUF file, read in growing pieces wherever the file lies."""

from __future__ import annotations

from typing import Final

from hfmem.checkpoint.byte_source import ByteSource
from hfmem.checkpoint.gguf_parser import GgufHeader, GgufParser, KeyValue
from hfmem.errors import MalformedHeaderError

__all__ = [
    "FIRST_BYTES",
    "HEADER_CAP",
    "GgufHeader",
    "GgufParser",
    "KeyValue",
    "parse_header",
    "read_header",
]

FIRST_BYTES: Final = 2**20
HEADER_CAP: Final = 64 * 2**20
"""Tokenizers of 256,000 tokens take 15 MB; nothing published comes near this."""


def read_header(
    source: ByteSource, *, file: str, file_bytes: int, readable: int | None = None
) -> GgufHeader:
    """The header, in pieces of 1 MiB, then as much again as was read before, up to HEADER_CAP.

    ``file_bytes`` is the whole file's, of one that was cut in raw parts the sum of the parts;
    ``readable`` is then what the first of them holds.
    Raises MalformedHeaderError.
    """
    parser = GgufParser(file=file, file_bytes=file_bytes)
    cap = min(HEADER_CAP, file_bytes if readable is None else readable)
    start, stop = 0, min(FIRST_BYTES, cap)
    while True:
        if (header := parser.feed(source(start, stop) if stop > start else b"")) is not None:
            return header
        if stop >= cap:
            break
        start, stop = stop, min(2 * stop, cap)
    why = (
        f"its header does not end within {cap:,} bytes"
        if cap < file_bytes
        else f"it ends within its header, at byte {file_bytes:,}"
    )
    raise MalformedHeaderError(
        f"{file!r:.120} is not a readable GGUF file: {why}.",
        hint="The file is damaged, incomplete or in another format.",
    )


def parse_header(raw: bytes, *, file: str, file_bytes: int) -> GgufHeader:
    """The header of a file that begins with ``raw``. Raises MalformedHeaderError."""
    header = GgufParser(file=file, file_bytes=file_bytes).feed(raw)
    if header is None:
        raise MalformedHeaderError(
            f"{file!r:.120} is not a readable GGUF file: its header is longer than what was read.",
            hint="The file is damaged, incomplete or in another format.",
        )
    return header
