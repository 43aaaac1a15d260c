"""Looking through a whole log for damage. Changes nothing, takes no lock, may run beside writers."""

from __future__ import annotations

from dataclasses import dataclass

from ashore_stores.errors import Corrupt, Missing, NewerFormat, StoreError
from ashore_stores.keys import Position
from ashore_stores.logs.framing import CHECKPOINT, EVENTS, FOOTER, Footing, find_frames, read_footing
from ashore_stores.logs.history import has_damaged_keys
from ashore_stores.logs.reading import Chapter, Library, as_frame
from ashore_stores.logs.segments import NOWHERE, Layout, Place, Stored, stands, walk
from ashore_stores.logs.watermark import State, damages_in, read_watermark
from ashore_stores.ports import DiskFile, Ports


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not as it was written."""

    path: str
    offset: int
    position: Position | None
    """The first event that is concerned, where that is known."""
    what: str

    def __str__(self) -> str:
        where = "" if self.position is None else f", position {self.position}"
        return f"{self.path} at offset {self.offset}{where}: {self.what}"


def verify_log(folder: str, ports: Ports) -> list[Damage]:
    """All damage that can be found: every frame, link, position, footer and seal, the watermark, the key files.

    Blocks: run it on a worker. What lies beyond the watermark and is no frame may be a write under way, or a torn one that the
    next writer cuts off: that is no damage.
    """
    return _Verification(ports.disk.real_path(folder), ports).run()


class _Verification:
    def __init__(self, folder: str, ports: Ports) -> None:
        self._disk = ports.disk
        self._layout = Layout(folder)
        self._library = Library(ports.disk, self._layout)
        self._found: list[Damage] = []

    def run(self) -> list[Damage]:
        state = self._watermark()
        last = max(self._layout.numbers(self._disk), default=0)
        if state.place.segment > last:
            what = f"durable up to position {state.place.position} in this segment, which is gone"
            self._add(self._layout.segment(state.place.segment), 0, None, what)
        end: Place | None = NOWHERE
        chapter = self._chapter(1) if last else None
        for number in range(1, last + 1):
            after = self._chapter(number + 1) if number < last else None
            if chapter is not None:
                self._check_seal(chapter, end)
                is_open = number == last
                end = self._segment(chapter, after, state if is_open else None) if is_open or after is not None else None
            else:
                end = None
            chapter = after
        return self._found

    def _watermark(self) -> State:
        path = self._layout.watermark
        try:
            file = self._disk.open(path)
        except Missing:
            return State(NOWHERE, 0, is_marked=False)
        try:
            for offset, what in damages_in(file):
                self._add(path, offset, None, what)
            return read_watermark(file)
        finally:
            file.close()

    def _chapter(self, number: int) -> Chapter | None:
        try:
            return self._library.chapter(number)
        except (Corrupt, NewerFormat) as error:
            self._report(error, self._layout.segment(number))
            return None

    def _check_seal(self, chapter: Chapter, end: Place | None) -> None:
        """What the checkpoint says of the segment before must be what was found there (None: not known)."""
        if end is not None and chapter.before.segment != end.segment:
            self._add(self._layout.segment(chapter.number), 0, end.position + 1, f"does not follow segment {end.segment}")

    def _segment(self, chapter: Chapter, after: Chapter | None, state: State | None) -> Place | None:
        """Check one segment; where it ends, or None if that is not known."""
        try:
            file = self._disk.open(self._layout.segment(chapter.number))
        except StoreError as error:
            self._report(error, self._layout.segment(chapter.number))
            return None
        try:
            return self._check_file(file, chapter, after, state)
        except (Corrupt, NewerFormat) as error:
            self._report(error, file.path)
            return None
        finally:
            file.close()

    def _check_file(self, file: DiskFile, chapter: Chapter, after: Chapter | None, state: State | None) -> Place:
        size = file.size()
        place, is_sealed = self._frames(file, chapter.base, size if after is None else min(size, after.before.offset))
        if after is None:
            self._check_open_end(file, place, state or State(NOWHERE, 0, is_marked=False), is_sealed=is_sealed)
        else:
            self._check_end(file, place, after)
        return place

    def _frames(self, file: DiskFile, place: Place, end: int) -> tuple[Place, bool]:
        base, frames, is_sealed = place, 1, False
        for stored in walk(file, place, end):
            if is_sealed or stored.header.kind == CHECKPOINT:
                self._add(file.path, stored.place.start, stored.header.first, "a frame that has no business here")
            if stored.header.kind == EVENTS:
                as_frame(stored, file.path)
            elif stored.header.kind == FOOTER:
                is_sealed = True
                self._check_footer(file.path, stored, Footing(base.position + 1, place.position, frames))
            place, frames = stored.place, frames + 1
        return place, is_sealed

    def _check_footer(self, path: str, stored: Stored, expected: Footing) -> None:
        try:
            found = read_footing(stored.content[stored.header.keys_size :])
        except ValueError:
            found = None
        if found != expected:
            self._add(path, stored.place.start, stored.header.first, f"the footer says {found}, there are {expected}")

    def _check_end(self, file: DiskFile, place: Place, after: Chapter) -> None:
        before = after.before
        if place.offset < before.offset:
            self._add(file.path, place.offset, place.position + 1, f"not a frame, but the segment goes on to {before.offset}")
        elif before[2:] != place[2:]:
            self._add(self._layout.segment(after.number), 0, place.position + 1, f"does not continue segment {before.segment}")
        elif has_damaged_keys(self._library, before):
            self._add(f"{self._layout.keys}/{before.segment:08}", 0, None, "not the keys of its segment; derived: it is made anew")

    def _check_open_end(self, file: DiskFile, place: Place, state: State, *, is_sealed: bool) -> None:
        durable = state.place
        if durable.key > place.key:
            what = f"unreadable from here, but durable up to offset {durable.offset}, position {durable.position}"
            self._add(file.path, place.offset, place.position + 1, what)
            return
        if durable.segment == place.segment and not stands(file, durable):
            self._add(file.path, durable.start, durable.position, "not the frame that was durable here")
        rest = file.read(max(0, file.size() - place.offset), place.offset)
        if any(rest) and (is_sealed or any(header.vouched > place.offset for header in find_frames(rest))):
            self._add(file.path, place.offset, place.position + 1, "not a frame, though later ones are whole")

    def _report(self, error: StoreError, path: str) -> None:
        if isinstance(error, Corrupt):
            self._add(error.path or path, error.offset, error.position, str(error))
        else:
            self._add(path, 0, None, str(error))

    def _add(self, path: str, offset: int, position: int | None, what: str) -> None:
        self._found.append(Damage(path, offset, None if position is None else Position(position), what))
