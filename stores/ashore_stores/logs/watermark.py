"""The watermark: how far the log is durable, and whether a flush is under way. One small file.

Three parts of 64 bytes: slot 0, the mark, slot 1. Numbers are little-endian, each part ends (at byte 48) with the CRC-32 of the
48 bytes before, the rest is zero.

    ======  ====  =========================================================
    offset  size  field
    ======  ====  =========================================================
    0       4     magic: ``ASHW`` for a slot, ``ASHM`` for the mark
    4       8     slot: generation; mark: owner of the flusher
    12      4     segment
    16      8     offset at which the last frame starts
    24      8     offset at which it ends
    32      8     its last position
    40      4     its checksum
    44      4     zero
    ======  ====  =========================================================

The slot with the higher generation holds; a new value goes into the other one. A mark of zeros is clear. Publishing writes a slot
and a clear mark in one go. All writing happens under the flush lock; whoever holds that lock and finds a mark knows that a flush
failed or that its process died. The file is not flushed with each publication: after a power cut it may be behind.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from zlib import crc32

from ashore_stores.logs.segments import NOWHERE, Place
from ashore_stores.ports import DiskFile

PART = 64
SIZE = 3 * PART
_FIELDS = struct.Struct("<4s8sIQQQII")
_CHECK = struct.Struct("<I")
_NUMBER = struct.Struct("<Q")
_SLOT_MAGIC, _MARK_MAGIC = b"ASHW", b"ASHM"
_CLEAR = bytes(PART)
_SLOTS = (0, 2 * PART)


@dataclass(frozen=True, slots=True)
class State:
    """What the file says: `place` is NOWHERE if it says nothing; `is_marked` if a flush was begun and never resolved."""

    place: Place
    generation: int
    is_marked: bool


class Watermark:
    """The open file."""

    def __init__(self, file: DiskFile) -> None:
        self._file = file

    def read(self) -> State:
        return read_watermark(self._file)

    def mark(self, owner: bytes, target: Place) -> None:
        """Say that everything up to `target` is about to be flushed."""
        self._file.write(_part(_MARK_MAGIC, owner, target), PART)

    def publish(self, place: Place) -> None:
        """Say that everything up to `place` is durable, and clear the mark. Never lowers."""
        state = self.read()
        place = max(place, state.place, key=lambda each: each.key)
        generation = state.generation + 1
        slot = _part(_SLOT_MAGIC, _NUMBER.pack(generation), place)
        if generation % 2:
            self._file.write(_CLEAR + slot, PART)
        else:
            self._file.write(slot + _CLEAR, 0)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_watermark(file: DiskFile) -> State:
    """What the file says. A slot that is damaged counts for nothing."""
    data = _data(file)
    found = [slot for slot in (_parse(data[at : at + PART]) for at in _SLOTS) if slot is not None]
    generation, place = max(found, default=(0, NOWHERE))
    return State(place, generation, data[PART : 2 * PART] != _CLEAR)


def damages_in(file: DiskFile) -> list[tuple[int, str]]:
    """Parts that are neither what was written nor empty: offset, and what that means."""
    data = _data(file)
    found: list[tuple[int, str]] = []
    for at, magic in ((0, _SLOT_MAGIC), (PART, _MARK_MAGIC), (2 * PART, _SLOT_MAGIC)):
        part = data[at : at + PART]
        if part != _CLEAR and _parse(part, magic) is None:
            found.append((at, "a damaged part of the watermark; the next flush writes it anew"))
    return found


def _data(file: DiskFile) -> bytes:
    return file.read(SIZE, 0).ljust(SIZE, b"\0")


def _part(magic: bytes, who: bytes, place: Place) -> bytes:
    fields = _FIELDS.pack(magic, who, place.segment, place.start, place.offset, place.position, place.checksum, 0)
    return (fields + _CHECK.pack(crc32(fields))).ljust(PART, b"\0")


def _parse(part: bytes, expected: bytes = _SLOT_MAGIC) -> tuple[int, Place] | None:
    magic, number, segment, start, offset, position, checksum, _ = _FIELDS.unpack_from(part)
    if magic != expected or _CHECK.unpack_from(part, _FIELDS.size)[0] != crc32(part[: _FIELDS.size]):
        return None
    if any(part[_FIELDS.size + _CHECK.size :]):
        return None
    return _NUMBER.unpack(number)[0], Place(segment, start, offset, position, checksum)
