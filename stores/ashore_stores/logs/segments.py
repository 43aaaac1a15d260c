"""Where the files of a log are, and how a segment is walked frame by frame. Synchronous, over the Disk port.

======================  ====================================================================================
``lock``                empty; record locks on byte 0 (append) and byte 1 (flush); opened once per process
``watermark``           how far the log is durable (`watermark.py`)
``segments/00000001``   frames (`framing.py`); the highest number is the one that grows
``owners/<hex id>``     empty; locked on byte 0 for as long as that owner's process lives (`owners.py`)
``cut/``                what was cut off as torn, kept for people
``keys/``               derived: what the key tables of sealed segments say (`history.py`)
======================  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ashore_stores.errors import Corrupt, NewerFormat
from ashore_stores.keys import Position
from ashore_stores.logs.framing import (
    CHECKPOINT,
    HEADER_SIZE,
    VERSION,
    Header,
    Seal,
    is_whole,
    parse_header,
    read_seal,
)
from ashore_stores.ports import Disk, DiskFile

AHEAD = 1 << 20
"""Bytes that are read at a time."""

_DIGITS = 8


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How a segment log behaves; part of no format."""

    segment_bytes: int = 64 << 20
    """A segment that has grown past this is sealed."""
    catch_up_bytes: int = 1 << 20
    """The append lock is taken only when no more than this is left to read."""
    queue_events: int = 64 << 10
    queue_bytes: int = 64 << 20
    """Past either, `room` waits."""
    look_every: float = 5.0
    """Seconds after which a follower looks by itself, should a hint have been lost."""
    allow_network: bool = False
    """Write on a file system that may not keep locks over machines. Only if one machine alone uses the home."""


class Place(NamedTuple):
    """The end of a frame: in which segment, where that frame starts and ends, its last position, its checksum."""

    segment: int
    start: int
    offset: int
    position: int
    checksum: int

    @property
    def key(self) -> tuple[int, int]:
        """What orders places."""
        return self.segment, self.offset

    def after(self, header: Header) -> Place:
        """The place after the frame that stands here."""
        return Place(self.segment, self.offset, self.offset + header.size, header.last, header.checksum)


NOWHERE = Place(0, 0, 0, 0, 0)


class Stored(NamedTuple):
    """A frame found whole and in its place: its header, the place after it, its key table and body."""

    header: Header
    place: Place
    content: memoryview


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a log."""

    folder: str

    @property
    def lock(self) -> str:
        return f"{self.folder}/lock"

    @property
    def watermark(self) -> str:
        return f"{self.folder}/watermark"

    @property
    def segments(self) -> str:
        return f"{self.folder}/segments"

    @property
    def owners(self) -> str:
        return f"{self.folder}/owners"

    @property
    def cut(self) -> str:
        return f"{self.folder}/cut"

    @property
    def keys(self) -> str:
        return f"{self.folder}/keys"

    def segment(self, number: int) -> str:
        return f"{self.segments}/{number:0{_DIGITS}}"

    def numbers(self, disk: Disk) -> list[int]:
        """The numbers of all segments there are, in order. An empty last file is none: its making was interrupted."""
        found = [int(name) for name in disk.names(self.segments) if len(name) == _DIGITS and name.isdecimal()]
        while found and not self.exists(disk, found[-1]):
            found.pop()
        return found

    def exists(self, disk: Disk, number: int) -> bool:
        stat = disk.stat(self.segment(number))
        return stat is not None and stat.size > 0


class Window:
    """A file, read ahead in large pieces."""

    def __init__(self, file: DiskFile, end: int) -> None:
        self._file = file
        self._end = end
        self._base = 0
        self._data = memoryview(b"")

    def get(self, offset: int, size: int) -> memoryview:
        """Up to `size` bytes; fewer only at the end."""
        at = offset - self._base
        if at < 0 or at + size > len(self._data):
            wanted = min(max(size, AHEAD), self._end - offset)
            self._data = memoryview(self._file.read(wanted, offset) if wanted > 0 else b"")
            self._base, at = offset, 0
        return self._data[at : at + size]


def walk(file: DiskFile, place: Place, end: int) -> Iterator[Stored]:
    """The frames from `place` up to the offset `end`. Stops before the first thing that is not a whole frame which belongs there.

    A whole frame in the wrong place is what a power cut may leave of a write that had been taken back: as good as none.
    Raises `NewerFormat` for a frame of a later version.
    """
    window = Window(file, end)
    while place.offset < end:
        header = parse_header(window.get(place.offset, HEADER_SIZE))
        if header is None:
            return
        check_version(header, file.path, place.offset)
        content = window.get(place.offset + HEADER_SIZE, header.size - HEADER_SIZE)
        if not is_whole(header, content) or not _follows(header, place):
            return
        place = place.after(header)
        yield Stored(header, place, content)


def _follows(header: Header, place: Place) -> bool:
    return header.link == place.checksum and header.first == place.position + 1


def check_version(header: Header, path: str, offset: int) -> None:
    if header.version > VERSION:
        raise NewerFormat(f"{path} at offset {offset}: format {header.version}, this ashore knows {VERSION}; update ashore")


def check_order(header: Header, place: Place, path: str) -> None:
    check_version(header, path, place.offset)
    if not _follows(header, place):
        raise damage(path, place.offset, f"a frame that does not follow position {place.position}", place.position + 1)


def damage(path: str, offset: int, what: str, position: int | None = None) -> Corrupt:
    """The error for damage, with the mend."""
    return Corrupt(
        f"{path} at offset {offset}: {what}; nothing was changed: see `ashore log verify`, restore the file from a copy",
        path=path,
        offset=offset,
        position=None if position is None else Position(position),
    )


def stands(file: DiskFile, place: Place) -> bool:
    """Whether the frame that ends at `place` is there (its header; not its content)."""
    header = parse_header(file.read(HEADER_SIZE, place.start))
    return header is not None and header.checksum == place.checksum and place.start + header.size == place.offset


def open_segment(disk: Disk, layout: Layout, number: int, *, write: bool = False) -> tuple[DiskFile, Stored, Seal]:
    """An existing segment, its checkpoint frame and what that says. Raises `Missing`, `Corrupt`, `NewerFormat`."""
    file = disk.open(layout.segment(number), write=write)
    try:
        stored, seal = read_checkpoint(file, number)
    except BaseException:
        file.close()
        raise
    return file, stored, seal


def read_checkpoint(file: DiskFile, number: int) -> tuple[Stored, Seal]:
    header = parse_header(file.read(HEADER_SIZE, 0))
    if header is None or (header.kind != CHECKPOINT and header.version <= VERSION):
        raise damage(file.path, 0, "no checkpoint at the start of the segment")
    content = memoryview(file.read(header.size - HEADER_SIZE, HEADER_SIZE))
    check_version(header, file.path, 0)
    try:
        seal = read_seal(content[header.keys_size :])
    except ValueError:
        seal = Seal(0, 0, 0, 0, 0)
    if not is_whole(header, content):
        raise damage(file.path, 0, "a damaged checkpoint")
    if seal.number != number or (seal.before_position, seal.before_checksum) != (header.first - 1, header.link):
        raise damage(file.path, 0, f"this is segment {seal.number}, not {number}")
    return Stored(header, Place(number, 0, header.size, header.last, header.checksum), content), seal


def end_of_before(seal: Seal) -> Place:
    """Where the segment before ends, by the checkpoint after it (its start of the last frame is not known)."""
    return Place(seal.before, -1, seal.before_end, seal.before_position, seal.before_checksum)
