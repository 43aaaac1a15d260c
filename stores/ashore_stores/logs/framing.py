"""The format of a segment file: frames <-> bytes. Pure.

A segment is a row of frames without gaps. Numbers are little-endian. A frame is a header of 64 bytes, a key table, a body:

    ======  ====  ===================================================================================================
    offset  size  field
    ======  ====  ===================================================================================================
    0       4     magic ``ASHF``
    4       1     version of the format: 1
    5       1     kind: 1 events, 2 checkpoint, 3 footer
    6       2     zero
    8       4     size of the key table
    12      4     size of the body
    16      8     position of the first event (for frames without events: of the next one)
    24      4     number of events
    28      4     link: checksum of the frame before, over segment borders
    32      8     vouched: up to this offset of this segment all was durable, as far as the writer knew when it wrote the frame
    40      8     owner that wrote it
    48      4     CRC-32 of the key table
    52      4     CRC-32 of the body
    56      4     zero
    60      4     checksum: CRC-32 of the 60 bytes above, and so of the frame, and by the link of all frames before it
    ======  ====  ===================================================================================================

Each frame can be checked alone (`parse_header`, `is_whole`), its place by link and position. A later version keeps these 64 bytes
as they are, but for the version: so that older code can tell a newer frame from damage.

* A segment begins with a *checkpoint*. Its key table holds all registers of spaces below LASTING; its body is a `Seal`: its own
  number, and where the segment before it ends. What that segment holds beyond is void (a flush failed; the rest was rewritten).
* A sealed segment ends with a *footer*, whose body is a `Footing`. Nothing follows.
* Zero bytes where a header should be are the end: a power cut may have made the file longer than what was written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from ashore_stores.keys import Buffer, Position
from ashore_stores.logs.base import Batch, Frame
from ashore_stores.logs.keytable import decode_keys, encode_keys

MAGIC = b"ASHF"
VERSION = 1
EVENTS, CHECKPOINT, FOOTER = 1, 2, 3
NO_OWNER = bytes(8)
MAX_PART = 1 << 30
"""Bytes that a key table or a body may have."""

_FIELDS = struct.Struct("<4sBBHIIQIIQ8sIII")
_HEADER = struct.Struct("<4sBBHIIQIIQ8sIIII")
_CHECK = struct.Struct("<I")
_SEAL = struct.Struct("<IIQQI")
_FOOTING = struct.Struct("<QQI")
HEADER_SIZE = _HEADER.size
_CHECKED = _FIELDS.size

_pack, _pack_check, _unpack = _FIELDS.pack, _CHECK.pack, _HEADER.unpack_from


class Header(NamedTuple):
    """A checked header: the fields of the table above, in its order."""

    magic: bytes
    version: int
    kind: int
    zero: int
    keys_size: int
    body_size: int
    first: int
    events: int
    link: int
    vouched: int
    owner: bytes
    keys_check: int
    body_check: int
    nothing: int
    checksum: int

    @property
    def size(self) -> int:
        return HEADER_SIZE + self.keys_size + self.body_size

    @property
    def last(self) -> int:
        """The position of the last event up to here."""
        return self.first + self.events - 1


class Seal(NamedTuple):
    """What a checkpoint says: which segment it begins, and where the one before ends (0 and zeros for the first)."""

    number: int
    before: int
    before_end: int
    before_position: int
    before_checksum: int


class Footing(NamedTuple):
    """What a footer says: the first and the last position in the segment, and the number of its frames before the footer."""

    first: int
    last: int
    frames: int


class Draft:
    """A frame before its place is known: what can be computed outside the lock."""

    __slots__ = ("body", "body_check", "count", "keys", "keys_check", "kind", "owner", "size", "vouched")

    def __init__(self, kind: int, count: int, keys: bytes, body: bytes) -> None:
        self.kind = kind
        self.count = count
        self.keys = keys
        self.body = body
        self.keys_check = crc32(keys) if keys else 0
        self.body_check = crc32(body)
        self.size = HEADER_SIZE + len(keys) + len(body)
        self.owner = NO_OWNER
        self.vouched = 0

    def header(self, first: int, link: int) -> tuple[bytes, int]:
        """The header bytes for this place, and the frame's checksum."""
        keys, body = self.keys, self.body
        fields = _pack(
            MAGIC, VERSION, self.kind, 0, len(keys), len(body), first, self.count, link, self.vouched, self.owner,
            self.keys_check, self.body_check, 0,
        )  # fmt: skip
        checksum = crc32(fields)
        return fields + _pack_check(checksum), checksum


def draft(batch: Batch) -> Draft:
    """A batch as a frame to be placed."""
    keys = encode_keys(batch.entries, batch.marks, batch.topics) if batch.marks or batch.entries or batch.topics else b""
    return Draft(EVENTS, batch.count, keys, batch.body)


def checkpoint(seal: Seal, keys: bytes) -> Draft:
    return Draft(CHECKPOINT, 0, keys, _SEAL.pack(*seal))


def footer(footing: Footing) -> Draft:
    return Draft(FOOTER, 0, b"", _FOOTING.pack(*footing))


def read_seal(body: Buffer) -> Seal:
    """Raises `ValueError` if this is none."""
    if len(body) != _SEAL.size:
        raise ValueError("not a seal")
    return Seal(*_SEAL.unpack(body))


def read_footing(body: Buffer) -> Footing:
    """Raises `ValueError` if this is none."""
    if len(body) != _FOOTING.size:
        raise ValueError("not a footing")
    return Footing(*_FOOTING.unpack(body))


def parse_header(data: bytes | memoryview, offset: int = 0) -> Header | None:
    """The header at `offset`, or None if what stands there is none (cut off, zero, damaged)."""
    if len(data) - offset < HEADER_SIZE:
        return None
    header = Header._make(_unpack(data, offset))
    if header.magic != MAGIC or crc32(data[offset : offset + _CHECKED]) != header.checksum:
        return None
    return header


def is_whole(header: Header, content: bytes | memoryview) -> bool:
    """Whether `content` (key table and body) is what the header was made for."""
    keys = header.keys_size
    if len(content) != keys + header.body_size:
        return False
    if not keys:
        return header.keys_check == 0 and crc32(content) == header.body_check
    return crc32(content[:keys]) == header.keys_check and crc32(content[keys:]) == header.body_check


def find_frames(data: bytes) -> Iterator[Header]:
    """All whole frames anywhere in `data`: what tells damage in the middle from a torn end."""
    offset = data.find(MAGIC)
    while offset >= 0:
        header = parse_header(data, offset)
        if header is not None and is_whole(header, memoryview(data)[offset + HEADER_SIZE : offset + header.size]):
            yield header
        offset = data.find(MAGIC, offset + 1)


def frame_of(header: Header, content: Buffer) -> Frame:
    """A checked frame as its readers see it. Raises `ValueError` if the key table is none."""
    view = memoryview(content)
    entries, marks, topics = decode_keys(view[: header.keys_size])
    batch = Batch(bytes(view[header.keys_size :]), header.events, marks, entries, topics)
    return Frame(Position(header.first), header.events, header.owner, batch, header.checksum)
