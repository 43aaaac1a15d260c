"""Reading frames back, checked, in bounded memory. Synchronous; on any thread, with open files of its own."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from ashore_stores.errors import Missing
from ashore_stores.keys import Cursor, Position
from ashore_stores.logs.base import Frame
from ashore_stores.logs.framing import EVENTS, HEADER_SIZE, Header, frame_of, is_whole, parse_header
from ashore_stores.logs.segments import (
    NOWHERE,
    Layout,
    Place,
    Stored,
    Window,
    check_order,
    check_version,
    damage,
    end_of_before,
    open_segment,
    walk,
)
from ashore_stores.ports import Disk, DiskFile

READ_AT_ONCE = 1 << 20
"""Bytes after which a reader gives what it has."""

KEPT_INDEXES = 8


class FrameIndex:
    """Where the frames of a segment start. Grows while others look."""

    def __init__(self, base: Place) -> None:
        self.base = base
        self._firsts: list[int] = []
        self._starts: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, first: int, start: int) -> None:
        self._firsts.append(first)
        self._starts.append(start)

    def start_of(self, position: int) -> int | None:
        """Where the frame starts that holds `position`, if that lies in this segment and not behind its last frame's first."""
        found = bisect_right(self._firsts, position, hi=len(self._starts)) - 1
        return self._starts[found] if found >= 0 else None


@dataclass(frozen=True, slots=True)
class Chapter:
    """A segment as its checkpoint tells: `base` is the end of the checkpoint, `before` where the segment before ends."""

    base: Place
    before: Place

    @property
    def number(self) -> int:
        return self.base.segment


class Library:
    """All segments of a log, for reading."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self.disk = disk
        self.layout = layout
        self._chapters: list[Chapter] = []
        self._indexes: dict[int, FrameIndex] = {}

    def chapters(self, upto: int) -> list[Chapter]:
        """The segments 1 to `upto`. Raises `Corrupt` if one is missing."""
        known = self._chapters
        if len(known) < upto:
            self._chapters = known = known + [self.chapter(number) for number in range(len(known) + 1, upto + 1)]
        return known[:upto]

    def chapter(self, number: int) -> Chapter:
        """What one segment's checkpoint tells. Raises `Corrupt` if it is missing."""
        try:
            file, stored, seal = open_segment(self.disk, self.layout, number)
        except Missing as error:
            raise damage(self.layout.segment(number), 0, "this segment is missing") from error
        file.close()
        return Chapter(stored.place, end_of_before(seal))

    def index(self, number: int, end: int) -> FrameIndex:
        """Where the frames of a finished segment start; from their headers, the contents unread."""
        found = self._indexes.get(number)
        if found is None:
            base = self.chapters(number)[-1].base
            found = FrameIndex(base)
            file = self.disk.open(self.layout.segment(number))
            try:
                for header, start in _headers(file, base, end):
                    if header.kind == EVENTS:
                        found.add(header.first, start)
            finally:
                file.close()
            if len(self._indexes) >= KEPT_INDEXES:
                self._indexes.pop(next(iter(self._indexes)), None)
            self._indexes[number] = found
        return found

    def find(self, position: int, live: FrameIndex) -> tuple[int, int]:
        """Segment and offset of the frame that holds `position`. `live` is the index of the last segment. Raises `Missing`."""
        if position > live.base.position:
            number, start = live.base.segment, live.start_of(position)
        else:
            chapters = self.chapters(live.base.segment)
            at = bisect_left(chapters, position, key=lambda chapter: chapter.base.position) - 1
            if at < 0 or at + 1 >= len(chapters):
                raise Missing(f"no event has position {position}")
            number = chapters[at].number
            start = self.index(number, chapters[at + 1].before.offset).start_of(position)
        if start is None:
            raise Missing(f"no event has position {position}")
        return number, start

    def frame_at(self, position: int, live: FrameIndex) -> Frame:
        """The frame that holds `position`, checked. Raises `Missing`, `Corrupt`."""
        number, start = self.find(position, live)
        file = self.disk.open(self.layout.segment(number))
        try:
            stored = read_frame(file, number, start)
        finally:
            file.close()
        if not stored.header.first <= position <= stored.header.last:
            raise Missing(f"no event has position {position}")
        return as_frame(stored, file.path)


def _headers(file: DiskFile, place: Place, end: int) -> Iterator[tuple[Header, int]]:
    window = Window(file, end)
    while place.offset < end:
        header = parse_header(window.get(place.offset, HEADER_SIZE))
        if header is None:
            raise damage(file.path, place.offset, "not a frame", place.position + 1)
        check_order(header, place, file.path)
        yield header, place.offset
        place = place.after(header)


def read_frame(file: DiskFile, number: int, start: int) -> Stored:
    """The frame that starts there. Raises `Corrupt`."""
    header = parse_header(file.read(HEADER_SIZE, start))
    if header is None:
        raise damage(file.path, start, "not a frame")
    content = memoryview(file.read(header.size - HEADER_SIZE, start + HEADER_SIZE))
    check_version(header, file.path, start)
    if not is_whole(header, content):
        raise damage(file.path, start, "a damaged frame", header.first)
    return Stored(header, Place(number, start, start + header.size, header.last, header.checksum), content)


def as_frame(stored: Stored, path: str) -> Frame:
    try:
        return frame_of(stored.header, stored.content)
    except ValueError as error:
        raise damage(path, stored.place.start, "a key table that is none", stored.header.first) from error


class Reader:
    """Reads on from a place, as far as the log is durable."""

    def __init__(self, library: Library, after: Cursor | Position, upto: Position | None = None) -> None:
        self._library = library
        self._after = after if isinstance(after, Cursor) else None
        self._start = after.position if isinstance(after, Cursor) else after
        self._upto = upto
        self._place = NOWHERE
        self._file: DiskFile | None = None

    def more(self, durable: Place, live: FrameIndex) -> list[Frame]:
        """The next frames up to `durable`; none at the end. Raises `Corrupt`, and `Missing` for a cursor that is not in the log."""
        if self._place is NOWHERE:
            if self._start > durable.position:
                raise Missing(f"position {self._start} is not in the log, which is durable up to {durable.position}")
            if not durable.segment:
                return []
            self._seek(durable, live)
        frames: list[Frame] = []
        while not frames and self._place.key < durable.key and not self._is_done():
            self._read(durable, frames)
            if self._place.segment < durable.segment and not frames:
                self._turn_page()
        return frames

    def _is_done(self) -> bool:
        return self._upto is not None and self._place.position >= self._upto

    def _seek(self, durable: Place, live: FrameIndex) -> None:
        """Go to the end of the frame that holds the start position, or before it if the start lies in its middle."""
        self._place = self._library.chapters(1)[0].base
        if self._start:
            number, start = self._library.find(self._start, live)
            file = self._library.disk.open(self._library.layout.segment(number))
            try:
                stored = read_frame(file, number, start)
            finally:
                file.close()
            header = stored.header
            is_end = header.last == self._start
            if self._after is not None and (not is_end or header.checksum != self._after.checksum):
                raise Missing(f"the log has no frame that ends at position {self._start} with this checksum: it is another log")
            self._place = stored.place if is_end else Place(number, -1, start, header.first - 1, header.link)
        if self._place.key > durable.key:
            raise Missing(f"position {self._start} is not durable yet")

    def _read(self, durable: Place, frames: list[Frame]) -> None:
        number = self._place.segment
        end = durable.offset if number == durable.segment else self._end()
        if self._file is None:
            self._file = self._library.disk.open(self._library.layout.segment(number))
        size = 0
        for stored in walk(self._file, self._place, end):
            self._place = stored.place
            if stored.header.kind == EVENTS:
                frames.append(as_frame(stored, self._file.path))
                size += stored.header.size
            if size >= READ_AT_ONCE or self._is_done():
                return
        if self._place.offset < end:
            raise damage(self._file.path, self._place.offset, "not a frame", self._place.position + 1)

    def _end(self) -> int:
        return self._library.chapters(self._place.segment + 1)[-1].before.offset

    def _turn_page(self) -> None:
        chapter = self._library.chapters(self._place.segment + 1)[-1]
        before = chapter.before
        if (before.offset, before.position, before.checksum) != self._place[2:]:
            raise damage(
                self._library.layout.segment(chapter.number), 0, f"does not continue segment {self._place.segment} where it ends"
            )
        self._place = chapter.base
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
