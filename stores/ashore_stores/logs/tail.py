"""What one process knows of the log: it has read up to `place`, knows what is durable, and keeps the registers.

Synchronous; everything that changes it runs in the log's one writer thread. Reading needs no lock: what is not a whole frame is
taken as "not yet". Only whoever holds the append lock may judge it (`writer.py`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from ashore_stores.errors import NotDurable, ReadOnly, StoreError
from ashore_stores.logs.base import Entry
from ashore_stores.logs.framing import CHECKPOINT, FOOTER, Draft, Seal, find_frames
from ashore_stores.logs.keytable import decode_keys
from ashore_stores.logs.reading import FrameIndex
from ashore_stores.logs.registers import Keys, Registers
from ashore_stores.logs.segments import NOWHERE, Layout, Place, Stored, damage, end_of_before, open_segment, stands, walk
from ashore_stores.logs.watermark import State
from ashore_stores.ports import Disk, DiskFile


class Traces:
    """What frames are known by, wherever they are written again: their last positions, the checksums of their parts."""

    def __init__(self) -> None:
        self._lasts: list[int] = []
        self._checks: list[int] = []

    def add(self, last: int, keys_check: int, body_check: int) -> None:
        self._lasts.append(last)
        self._checks.append(keys_check << 32 | body_check)

    def drop(self, upto: int) -> None:
        """Forget the frames up to this position."""
        number = bisect_right(self._lasts, upto)
        del self._lasts[:number], self._checks[:number]

    def has(self, last: int, keys_check: int, body_check: int) -> bool:
        at = bisect_left(self._lasts, last)
        return at < len(self._lasts) and self._lasts[at] == last and self._checks[at] == keys_check << 32 | body_check


class Tail:
    """The end of the log, as far as it was read."""

    def __init__(self, disk: Disk, layout: Layout, history: Callable[[], Keys]) -> None:
        self._disk = disk
        self._layout = layout
        self.registers = Registers(history)
        self.place = NOWHERE
        self.base = NOWHERE  # the end of this segment's checkpoint: durable before anything could follow it
        self.durable = NOWHERE
        self.file: DiskFile | None = None
        self.inode = 0
        self.is_sealed = False
        self.index = FrameIndex(NOWHERE)
        self.first_segment = 0  # the one that was last when this process began; the registers begin there
        self.is_foreign = False  # whether the last frame was read, not written
        self.frames_read = 0
        self._undurable = Traces()
        self._expected = Traces()  # frames read already, which a new segment must repeat
        self._known = 0

    # Reading.

    def load(self, state: State) -> None:
        """Begin at the last segment. `state` is what the watermark said before this call."""
        numbers = self._layout.numbers(self._disk)
        last = numbers[-1] if numbers else 0
        if state.place.segment > last:
            path = self._layout.segment(state.place.segment)
            raise damage(path, 0, f"the log is durable up to position {state.place.position} in this segment, which is gone")
        if not numbers:
            return
        file, stored, seal = self._open(last)
        before = end_of_before(seal)
        self._enter(file, stored)
        for entry in _keys_of(stored, file.path)[0]:
            self.registers.put(entry)
        if state.place.segment == before.segment and before.offset < state.place.offset:
            raise damage(file.path, 0, f"the segment before ends at {before.offset}, but was durable up to {state.place.offset}")
        self.first_segment = last
        self.durable = self.base  # what a segment follows was flushed before the segment was made
        self.catch_up()
        self.check(state)

    def catch_up(self) -> None:
        """Take in everything that others wrote up to now. Raises `Corrupt`, `NotDurable`."""
        if self.file is None:
            if self._layout.exists(self._disk, 1) or self._layout.numbers(self._disk):
                self.load(State(NOWHERE, 0, is_marked=False))
            return
        self._read_on(self.file.size())
        while self._move_on():
            self._read_on(self.file.size())
            if self.place.position < self._known:
                raise self._withdrawn()

    def missing(self) -> int:
        """How many bytes there are to catch up with in this segment."""
        return 0 if self.file is None else self.file.size() - self.place.offset

    def check(self, state: State) -> None:
        """Everything up to the watermark must have been readable. `state` was read before catching up."""
        place = state.place
        if place.key > self.place.key:
            what = f"unreadable from here, but durable up to offset {place.offset}, position {place.position}"
            size = 0 if self.file is None else self.file.size()
            if size < place.offset:
                what = f"the log ends at {size}, but was durable up to offset {place.offset}, position {place.position}"
            raise damage(self._layout.segment(self.place.segment), self.place.offset, what, self.place.position + 1)
        if self.file is not None and place.segment == self.place.segment and not stands(self.file, place):
            raise damage(self.file.path, place.start, "not the frame that was durable here", place.position)
        self.see(place)

    def see(self, durable: Place) -> None:
        """Take the word of the watermark, as far as this process has read."""
        if durable.segment == self.place.segment:
            durable = min(durable, self.place, key=lambda place: place.key)
        if self.durable.key < durable.key <= self.place.key:
            self.durable = durable
            self._undurable.drop(durable.position)

    def confirm(self) -> None:
        """Under the append lock: what was read last is still there, in the file that still has its name."""
        assert self.file is not None
        stat = self._disk.stat(self.file.path)
        if stat is None or stat.inode != self.inode:
            raise damage(self.file.path, 0, "the segment was removed or replaced while this process used it; start again")
        if self.is_foreign and not stands(self.file, self.place):
            raise self._withdrawn()

    def _read_on(self, size: int) -> None:
        assert self.file is not None
        if size < self.place.offset:
            raise self._withdrawn()
        if size > self.place.offset and not self.is_sealed:
            for stored in walk(self.file, self.place, size):
                self._take(stored, self.file.path)
                if stored.header.kind == FOOTER:
                    break

    def _take(self, stored: Stored, path: str) -> None:
        header = stored.header
        self.is_foreign = True
        if header.kind == FOOTER:
            self.is_sealed = True
            self.place = stored.place
            return
        if header.kind == CHECKPOINT or not header.events:
            raise damage(path, stored.place.start, "a frame that has no business here", header.first)
        if header.first > self._known:
            self.registers.add(header.first, header.events, *_keys_of(stored, path))
            self.frames_read += 1
        elif not self._expected.has(header.last, header.keys_check, header.body_check):
            raise self._withdrawn()  # written again after a failed flush, but not what this process acted on
        self._note(header.first, stored.place, header.keys_check, header.body_check)

    def _move_on(self) -> bool:
        """Go over to the next segment, if there is one; what this one holds beyond the end stated there is void."""
        number = self.place.segment + 1
        if not self._layout.exists(self._disk, number):
            return False
        file, stored, seal = self._open(number)
        before = end_of_before(seal)
        assert self.file is not None
        if before.offset > self.place.offset:
            self._read_on(before.offset)
        if before.segment != self.place.segment or before.offset > self.place.offset:
            file.close()
            raise damage(self.file.path, self.place.offset, f"unreadable from here, but the segment goes on to {before.offset}")
        if before.offset == self.place.offset and (before.position, before.checksum) != self.place[3:]:
            file.close()
            raise damage(file.path, 0, f"this segment does not continue segment {before.segment}")
        known = self.place.position
        self._enter(file, stored)
        self._expected, self._undurable, self._known = self._undurable, Traces(), known
        return True

    def _enter(self, file: DiskFile, stored: Stored) -> None:
        if self.file is not None:
            self.file.close()
        stat = self._disk.stat(file.path)
        self.file, self.inode = file, 0 if stat is None else stat.inode
        self.place = self.base = stored.place
        self.is_sealed, self.is_foreign = False, True
        self.index = FrameIndex(stored.place)

    def _open(self, number: int) -> tuple[DiskFile, Stored, Seal]:
        try:
            return open_segment(self._disk, self._layout, number, write=True)
        except ReadOnly:
            return open_segment(self._disk, self._layout, number)

    def _withdrawn(self) -> NotDurable:
        return NotDurable(
            f"frames up to position {self.place.position} that this process had read, but that were not durable, are gone; "
            "nothing was acknowledged on them; start this process again"
        )

    # Writing.

    def write(self, data: bytes, drafts: Sequence[Draft], places: Sequence[Place]) -> None:
        """Put frames of this process at the end, which the caller has locked. After an error nothing of them is there.

        Their key tables are taken in by the caller.
        """
        assert self.file is not None
        try:
            self.file.write(data, self.place.offset)
        except StoreError as error:
            self._take_back(error)
            raise
        for draft, place in zip(drafts, places, strict=True):
            if draft.kind == FOOTER:
                self.is_sealed, self.place = True, place
            else:
                self._note(place.position - draft.count + 1, place, draft.keys_check, draft.body_check)
        self.is_foreign = False

    def _take_back(self, reason: StoreError) -> None:
        assert self.file is not None
        try:
            self.file.truncate(self.place.offset)
        except StoreError as error:
            raise NotDurable(
                f"{self.file.path} at offset {self.place.offset}: a write failed half-way ({reason}) and could not be taken back "
                f"({error}); what was queued may or may not be in the log; mend the disk, then start again"
            ) from error

    def torn(self) -> bytes:
        """Under the append lock, caught up: what lies behind the last frame and is none, without zeros at the very end.

        That is a torn write, if it lies beyond the watermark and no frame behind it vouches that this place was durable when that
        frame was written. (Frames behind it that do not vouch are of the same lost write: sectors reach the disk in any order.)
        Anything else is damage: raises `Corrupt`.
        """
        assert self.file is not None
        size = self.file.size()
        rest = self.file.read(size - self.place.offset, self.place.offset) if size > self.place.offset else b""
        vouching = any(header.vouched > self.place.offset for header in find_frames(rest))  # a frame may end in zeros: it counts
        rest = rest.rstrip(b"\0")
        if rest and (self.is_sealed or vouching):
            raise damage(self.file.path, self.place.offset, "not a frame, though later ones are whole", self.place.position + 1)
        return rest

    def cut(self) -> None:
        """Make the file end where the last frame ends."""
        assert self.file is not None
        self.file.truncate(self.place.offset)

    def _note(self, first: int, place: Place, keys_check: int, body_check: int) -> None:
        self.index.add(first, place.start)
        self._undurable.add(place.position, keys_check, body_check)
        self.place = place

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


def _keys_of(stored: Stored, path: str) -> tuple[tuple[Entry, ...], bytes, tuple[bytes, ...]]:
    try:
        return decode_keys(stored.content[: stored.header.keys_size])
    except ValueError as error:
        raise damage(path, stored.place.start, "a key table that is none", stored.header.first) from error
