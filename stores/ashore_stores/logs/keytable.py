"""The key table of a frame: what other processes learn without decoding the body. Pure.

    ====================  ==========================================================
    size                  field
    ====================  ==========================================================
    4                     size of the marks in bytes
    4                     number of entries
    4                     number of topics
    ...                   the marks
    2 + 2 + 4 + ... each  entry: space, size of the key, size of the value, key, value
    2 + ... each          topic: size, bytes
    ====================  ==========================================================

Numbers are little-endian. An empty table has no bytes at all.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from ashore_stores.keys import Buffer
from ashore_stores.logs.base import Entry

_SIZES = struct.Struct("<III")
_ENTRY = struct.Struct("<HHI")
_TOPIC = struct.Struct("<H")


def encode_keys(entries: Iterable[Entry], marks: bytes = b"", topics: Iterable[bytes] = ()) -> bytes:
    """Raises `ValueError` for a space or a size that does not fit."""
    parts = [b"", marks]
    try:
        for entry in entries:
            parts += (_ENTRY.pack(entry.space, len(entry.key), len(entry.value)), entry.key, entry.value)
        number = (len(parts) - 2) // 3
        for topic in topics:
            parts += (_TOPIC.pack(len(topic)), topic)
    except struct.error as error:
        raise ValueError(f"does not fit into a key table (spaces, keys and topics up to 65535): {error}") from error
    parts[0] = _SIZES.pack(len(marks), number, (len(parts) - 2 - 3 * number) // 2)
    return b"".join(parts)


def decode_keys(table: Buffer) -> tuple[tuple[Entry, ...], bytes, tuple[bytes, ...]]:
    """Entries, marks, topics. Raises `ValueError` if the table is none."""
    if not len(table):
        return (), b"", ()
    view = memoryview(table)
    try:
        marks_size, entries_number, topics_number = _SIZES.unpack_from(view)
        at = _SIZES.size + marks_size
        marks = bytes(view[_SIZES.size : at])
        entries, at = _decode_entries(view, at, entries_number)
        topics: list[bytes] = []
        for _ in range(topics_number):
            start = at + _TOPIC.size
            at = start + _TOPIC.unpack_from(view, at)[0]
            topics.append(bytes(view[start:at]))
    except struct.error as error:
        raise ValueError("not a key table") from error
    if at != len(view):
        raise ValueError("not a key table")
    return tuple(entries), marks, tuple(topics)


def _decode_entries(view: memoryview, at: int, number: int) -> tuple[list[Entry], int]:
    entries: list[Entry] = []
    for _ in range(number):
        space, key_size, value_size = _ENTRY.unpack_from(view, at)
        middle = at + _ENTRY.size + key_size
        end = middle + value_size
        entries.append(Entry(space, bytes(view[at + _ENTRY.size : middle]), bytes(view[middle:end])))
        at = end
    return entries, at
