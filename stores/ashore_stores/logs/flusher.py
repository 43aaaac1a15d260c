"""Making the log durable: the flush with its mark, new segments, and the rescue after a flush that failed.

A flush that failed, in whichever process, leaves its mark in the watermark file. Nothing on that segment is acknowledged again:
what lies beyond the watermark is read, checked, and written into a new segment, which is flushed instead. A process that died
between mark and publication is treated alike.
"""

from __future__ import annotations

from contextlib import suppress

from ashore_stores.errors import NotDurable, StoreError
from ashore_stores.logs.framing import EVENTS, NO_OWNER, Draft, Footing, Seal, checkpoint, footer
from ashore_stores.logs.home import APPEND, FLUSH, Home
from ashore_stores.logs.keytable import decode_keys, encode_keys
from ashore_stores.logs.registers import Keys, Registers
from ashore_stores.logs.segments import Place, read_checkpoint, walk
from ashore_stores.logs.tail import Tail
from ashore_stores.logs.watermark import State


class Flusher:
    """Flushes, seals and begins segments for one process."""

    def __init__(self, home: Home, tail: Tail) -> None:
        self._home = home
        self._tail = tail
        self.flushes = 0
        self.rotations = 0
        self.notes: list[str] = []

    def flush(self) -> None:
        """Make durable all that this process has written and read. Raises `NotDurable` if that cannot be said of it any more."""
        if not self._flush():
            with self._home.held(APPEND):
                self.rescue()

    def flush_if_idle(self) -> None:
        """The same, unless somebody is flushing already, or a rescue is needed: that is left to a writer."""
        if self._home.try_hold(FLUSH):
            try:
                state = self._home.state()
                if not self._needs_rescue(state):
                    self._flush_held(state)
            finally:
                self._home.let_go(FLUSH)

    def _flush(self) -> bool:
        """False if a rescue is needed."""
        with self._home.held(FLUSH):
            state = self._home.state()
            if state.place.segment > self._tail.place.segment:
                self._tail.catch_up()  # somebody sealed or rescued the segment meanwhile
            if self._needs_rescue(state):
                return False
            return self._flush_held(state)

    def _flush_held(self, state: State) -> bool:
        tail = self._tail
        if tail.file is not None and tail.place.key > state.place.key:
            target, watermark = tail.place, self._home.watermark
            watermark.mark(self._home.owners.own_id or NO_OWNER, target)
            try:
                tail.file.flush()
            except StoreError as error:
                self.notes.append(f"{tail.file.path}: a flush failed ({error}); what was not durable is written again elsewhere")
                return False
            self.flushes += 1
            watermark.publish(target)
            tail.see(target)
        else:
            tail.see(state.place)
        return True

    def _needs_rescue(self, state: State) -> bool:
        """A flush or the beginning of a segment was never resolved. (Without any watermark there is nothing to resolve.)"""
        return state.is_marked or (0 < state.place.segment < self._tail.place.segment)

    # New segments; the caller holds APPEND.

    def begin(self) -> None:
        """Make the first segment."""
        self._home.disk.make_folder(self._home.layout.segments)
        with self._home.held(FLUSH):
            self._succeed(Seal(1, 0, 0, 0, 0), b"", [])
        self._tail.catch_up()

    def rotate(self) -> None:
        """Seal the segment, flush it, begin the next: only then may a frame enter that one."""
        tail = self._tail
        number = tail.place.segment
        if not tail.is_sealed:
            self._write_footer()
        if not self._flush():
            self.rescue()
        if tail.place.segment == number:
            keys = encode_keys(tail.registers.entries())
            with self._home.held(FLUSH):
                place = tail.place
                self._succeed(Seal(number + 1, number, place.offset, place.position, place.checksum), keys, [])
            tail.catch_up()
        self.rotations += 1

    def _write_footer(self) -> None:
        tail = self._tail
        assert tail.file is not None
        frame = footer(Footing(tail.base.position + 1, tail.place.position, len(tail.index) + 1))
        frame.vouched = tail.durable.offset if tail.durable.segment == tail.place.segment else tail.base.offset
        header, checksum = frame.header(tail.place.position + 1, tail.place.checksum)
        place = tail.place
        end = Place(place.segment, place.offset, place.offset + frame.size, place.position, checksum)
        tail.write(header + frame.body, [frame], [end])

    def rescue(self) -> None:
        """Write what is not known to be durable into a new segment. Raises `NotDurable` if that fails: then this process stops."""
        tail = self._tail
        tail.catch_up()
        if tail.file is None:
            return  # the making of the first segment was interrupted: the first append makes it
        tail.torn()  # raises if it is damage: then nothing is written anew either
        with self._home.held(FLUSH):
            state = self._home.state()
            tail.see(state.place)
            if not self._needs_rescue(state):
                return
            before = state.place if state.place.segment == tail.place.segment else tail.base
            try:
                keys, frames = self._reread(before)
                self._home.watermark.mark(self._home.owners.own_id or NO_OWNER, tail.place)
                seal = Seal(before.segment + 1, before.segment, before.offset, before.position, before.checksum)
                self._succeed(seal, keys, frames)
            except StoreError as error:
                raise NotDurable(
                    f"{self._home.layout.segment(before.segment)}: a flush failed, and what was not durable could not be "
                    f"written again ({error}); the log is readable up to position {before.position}; mend the disk, start again"
                ) from error
        self.notes.append(f"segment {before.segment}: a flush was not completed; written again from position {before.position}")
        tail.catch_up()

    def _reread(self, before: Place) -> tuple[bytes, list[Draft]]:
        """The registers at `before`, and the frames after it, checked."""
        tail = self._tail
        assert tail.file is not None
        start, _ = read_checkpoint(tail.file, before.segment)
        registers = Registers(Keys)
        for entry in decode_keys(start.content[: start.header.keys_size])[0]:
            registers.put(entry)
        frames: list[Draft] = []
        for stored in walk(tail.file, start.place, tail.place.offset):
            header, content = stored.header, stored.content
            if stored.place.key <= before.key:
                registers.add(header.first, header.events, decode_keys(content[: header.keys_size])[0], b"", ())
            elif header.kind == EVENTS:
                frame = Draft(EVENTS, header.events, bytes(content[: header.keys_size]), bytes(content[header.keys_size :]))
                frame.owner = header.owner
                frames.append(frame)
        if before.position + sum(frame.count for frame in frames) != tail.place.position:
            raise NotDurable(f"{tail.file.path}: what was written up to position {tail.place.position} cannot be read back")
        return encode_keys(registers.entries()), frames

    def _succeed(self, seal: Seal, keys: bytes, frames: list[Draft]) -> None:
        """Make a segment that gets its name when it is whole and flushed. The mark stands until the name is durable, too."""
        home = self._home
        first = checkpoint(seal, keys)
        header, checksum = first.header(seal.before_position + 1, seal.before_checksum)
        parts = [header, first.keys, first.body]
        end = Place(seal.number, 0, first.size, seal.before_position, checksum)
        for frame in frames:
            frame.vouched = first.size
            header, checksum = frame.header(end.position + 1, end.checksum)
            parts += (header, frame.keys, frame.body)
            end = Place(seal.number, end.offset, end.offset + frame.size, end.position + frame.count, checksum)
        path, data = home.layout.segment(seal.number), b"".join(parts)
        self._prepare(f"{path}.new", data)
        home.watermark.mark(home.owners.own_id or NO_OWNER, end)
        home.disk.rename(f"{path}.new", path)
        home.flush_folders()
        home.watermark.publish(end)
        with suppress(StoreError):  # it may be behind after a power cut; that is allowed for
            home.watermark.flush()

    def _prepare(self, path: str, data: bytes) -> None:
        """A new file with these bytes, flushed. One whose flush failed is never flushed again: the next attempt makes another."""
        disk = self._home.disk
        disk.remove(path)
        file = disk.open(path, write=True, create=True, exclusive=True)
        try:
            file.write(data, 0)
            file.flush()
        except StoreError:
            disk.remove(path)
            raise
        finally:
            file.close()
