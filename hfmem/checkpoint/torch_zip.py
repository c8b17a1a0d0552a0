"""The directory of a zip archive that torch.save wrote, as strictly as torch writes it.

Stored members alone, one directory at the very end, one ``data.pkl``: what a zip may hold beyond
that lets two readers see two different files, and is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct

TAIL_BYTES: Final = 256 * 1024
"""Read first: the directory of some 2,500 tensors fits."""
DIRECTORY_CAP: Final = 64 * 2**20
ENTRIES_CAP: Final = 1_000_000

# APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.14 to 4.3.16.
_END: Final = struct.Struct("<4s4H2IH")
_LOCATOR: Final = struct.Struct("<4sIQI")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_ENTRY: Final = struct.Struct("<4s6H3I5H2I")
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_ZIP64: Final = 1
_FULL16: Final = 0xFFFF
_FULL32: Final = 0xFFFFFFFF
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_EXTRA_SLACK: Final = 1024
_NAME_CAP: Final = 4096


class ZipRefusedError(Exception):
    """The archive is damaged, or not as torch writes it."""


class NoArchiveError(Exception):
    """The file does not end with the directory of a zip archive."""


class Place(NamedTuple):
    """Where the directory lies."""

    start: int
    stop: int
    entries: int
    end: int
    """Where its end record begins, of which there is one."""


class Member(NamedTuple):
    """A file in the archive."""

    name: str
    offset: int
    """Of its local header."""
    bytes: int


class Archive(Struct, frozen=True, kw_only=True):
    """What the directory tells of a checkpoint."""

    pickle: Member
    storages: Mapping[str, int]
    """Bytes by key: ``{"0": 4096}`` for a member ``archive/data/0``."""
    payload: int
    """Bytes of all members."""


def directory_place(tail: bytes, *, file_bytes: int) -> Place:
    """Where the directory lies, from the file's last bytes.

    Raises NoArchiveError where the file does not end with an end record, and ZipRefusedError where
    that disagrees with the file.
    """
    at = len(tail) - _END.size
    if at < 0 or tail[at : at + 4] != b"PK\x05\x06":
        raise NoArchiveError("it does not end with a zip directory")
    _, disk, first_disk, here, entries, size, start, _ = _END.unpack_from(tail, at)
    end = file_bytes - _END.size
    if (disk, first_disk) != (0, 0) or here != entries:
        raise ZipRefusedError("it is an archive in several parts")
    is_full = entries == _FULL16 or _FULL32 in (size, start)
    # torch's writer adds the records of a large archive to a small one as well.
    if is_full or tail[max(0, at - _LOCATOR.size) : at].startswith(b"PK\x06\x07"):
        told = (entries, size, start)
        start, size, entries, end = _zip64(tail, at, file_bytes=file_bytes)
        fits = (min(entries, _FULL16), min(size, _FULL32), min(start, _FULL32))
        if told != fits:
            raise ZipRefusedError("its two end records disagree")
    if entries > ENTRIES_CAP or size > DIRECTORY_CAP:
        raise ZipRefusedError(f"its directory claims {entries:,} entries in {size:,} bytes")
    if start + size != end or size < entries * _ENTRY.size:
        raise ZipRefusedError("its directory does not end where the end record begins")
    return Place(start, start + size, entries, end)


def _zip64(tail: bytes, at: int, *, file_bytes: int) -> tuple[int, int, int, int]:
    locator = at - _LOCATOR.size
    record = locator - _END64.size
    if record < 0 or tail[locator : locator + 4] != b"PK\x06\x07":
        raise ZipRefusedError("it lacks the locator of a large archive")
    _, _, offset, disks = _LOCATOR.unpack_from(tail, locator)
    where = file_bytes - len(tail) + record
    if offset != where or disks > 1 or tail[record : record + 4] != b"PK\x06\x06":
        raise ZipRefusedError("the end record of a large archive is not where it should be")
    _, _, _, _, _, _, here, entries, size, start = _END64.unpack_from(tail, record)
    if here != entries:
        raise ZipRefusedError("it is an archive in several parts")
    return start, size, entries, where


def archive(directory: bytes, place: Place) -> Archive:
    """The members of a checkpoint's archive. Raises ZipRefusedError."""
    members: dict[str, Member] = {}
    at = 0
    for _ in range(place.entries):
        member, at = _member(directory, at)
        if members.setdefault(member.name, member) is not member:
            raise ZipRefusedError(f"it holds {member.name!r:.80} twice")
    if at != len(directory):
        raise ZipRefusedError("its directory holds more than its entries")
    _check_places(list(members.values()), directory_start=place.start)
    return _checkpoint(members)


def _member(directory: bytes, at: int) -> tuple[Member, int]:
    if at + _ENTRY.size > len(directory) or directory[at : at + 4] != b"PK\x01\x02":
        raise ZipRefusedError("an entry of its directory is damaged")
    fields = _ENTRY.unpack_from(directory, at)
    flags, method, packed, size = fields[3], fields[4], fields[8], fields[9]
    name_length, extra_length, comment_length = fields[10:13]
    offset = fields[16]
    start = at + _ENTRY.size
    extra = start + name_length
    stop = extra + extra_length + comment_length
    if stop > len(directory):
        raise ZipRefusedError("an entry of its directory is damaged")
    raw = directory[start:extra]
    if not raw or len(raw) > _NAME_CAP:
        raise ZipRefusedError("a member has no name, or too long a one")
    name = raw.decode("utf-8", errors="replace")
    if method or flags & _ENCRYPTED:
        raise ZipRefusedError(f"the member {name!r:.80} is compressed or encrypted")
    if _FULL32 in (packed, size, offset):
        size, packed, offset = _large(
            directory[extra : extra + extra_length], size=size, packed=packed, offset=offset
        )
    if packed != size:
        raise ZipRefusedError(f"the member {name!r:.80} has two sizes")
    return Member(name, offset, size), stop


def _large(extra: bytes, *, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The sizes of a member that do not fit 32 bits, in the order of the format."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        body = extra[at + 4 : at + 4 + length]
        if kind == _ZIP64:
            wanted = [value == _FULL32 for value in (size, packed, offset)]
            if len(body) < 8 * sum(wanted):
                break
            numbers = iter(struct.unpack_from(f"<{sum(wanted)}Q", body))
            found = [
                next(numbers) if full else value
                for full, value in zip(wanted, (size, packed, offset), strict=True)
            ]
            return found[0], found[1], found[2]
        at += 4 + length
    raise ZipRefusedError("a member lacks the sizes of a large file")


def _check_places(members: list[Member], *, directory_start: int) -> None:
    """Members lie one after the other before the directory, and share no byte."""
    end = 0
    for member in sorted(members, key=lambda one: one.offset):
        if member.offset < end:
            raise ZipRefusedError(f"the member {member.name!r:.80} lies over another")
        end = member.offset + _LOCAL.size + len(member.name) + member.bytes
    if end > directory_start:
        raise ZipRefusedError("its members do not fit before the directory")


def _checkpoint(members: Mapping[str, Member]) -> Archive:
    pickles = [one for one in members.values() if one.name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1 or pickles[0].name.count("/") != 1:
        raise ZipRefusedError("it is a zip archive, but none that torch.save writes")
    root = pickles[0].name.removesuffix("data.pkl")
    if any(name == f"{root}constants.pkl" or name.startswith(f"{root}code/") for name in members):
        raise ZipRefusedError("it is a TorchScript program, not a checkpoint")
    prefix = f"{root}data/"
    return Archive(
        pickle=pickles[0],
        storages={
            one.name.removeprefix(prefix): one.bytes
            for one in members.values()
            if one.name.startswith(prefix)
        },
        payload=sum(one.bytes for one in members.values()),
    )


def local_span(member: Member, *, stop: int) -> range:
    """The bytes to read for a member, its local header included; ``stop`` is the directory's
    start.
    """
    longest = _LOCAL.size + len(member.name.encode()) + _EXTRA_SLACK + member.bytes
    return range(member.offset, min(member.offset + longest, stop))


def member_body(raw: bytes, member: Member) -> bytes:
    """A member's content, from the bytes at its local header, which has to agree with the
    directory. Raises ZipRefusedError.
    """
    if len(raw) < _LOCAL.size or raw[:4] != b"PK\x03\x04":
        raise ZipRefusedError(f"the member {member.name!r:.80} is not where it should be")
    _, _, flags, method, _, _, _, packed, size, name_length, extra_length = _LOCAL.unpack_from(raw)
    start = _LOCAL.size + name_length + extra_length
    name = raw[_LOCAL.size : _LOCAL.size + name_length].decode("utf-8", errors="replace")
    # Bit 3: the sizes follow the content, and are zero here.
    sizes = {0, member.bytes} if flags & 0x8 else {member.bytes}
    if name != member.name or method or not {packed, size} <= sizes | {_FULL32}:
        raise ZipRefusedError(f"the member {member.name!r:.80} disagrees with the directory")
    if start + member.bytes > len(raw):
        raise ZipRefusedError(f"the member {member.name!r:.80} is longer than the file")
    return raw[start : start + member.bytes]
