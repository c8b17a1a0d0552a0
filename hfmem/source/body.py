"""The body of an answer: bounded in bytes, in time and in what it unpacks to."""

from __future__ import annotations

import zlib
from typing import Final

from huggingface_hub.utils import httpx

from hfmem.source.patience import Deadline
from hfmem.source.retry import FaultError
from hfmem.source.wire import Wire
from hfmem.text import clean

_GZIP: Final = 16 + zlib.MAX_WBITS


def read_body(
    wire: Wire, response: httpx.Response, *, cap: int, gzip: bool, deadline: Deadline
) -> bytes:
    """The body of an answer, never more than ``cap`` bytes of it, decompressed or not.

    Raises FaultError for another encoding than was asked for, for too many bytes, and for too few
    of them a second.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity" and not (gzip and encoding == "gzip"):
        raise FaultError(f"an answer encoded as {clean(encoding, limit=40)}")
    inflate = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    parts: list[bytes] = []
    size = received = 0
    started = wire.clock.now()
    for chunk in response.iter_raw():
        received += len(chunk)
        part = _inflated(inflate, chunk, limit=cap - size + 1)
        size += len(part)
        parts.append(part)
        if size > cap:
            raise FaultError(f"more than {cap:,} bytes")
        elapsed = wire.clock.now() - started
        enough = wire.patience.slowest_bytes_per_second * elapsed
        if deadline.left() <= 0 or (elapsed > wire.patience.grace and received < enough):
            raise FaultError(f"{received:,} bytes in {elapsed:.0f} s")
    if inflate is not None and not inflate.eof and received:
        raise FaultError("a compressed answer that ends early")
    return b"".join(parts)


def _inflated(inflate: zlib._Decompress | None, chunk: bytes, *, limit: int) -> bytes:
    if inflate is None:
        return chunk
    try:
        return inflate.decompress(chunk, limit)
    except zlib.error:
        raise FaultError("a compressed answer that cannot be read") from None
