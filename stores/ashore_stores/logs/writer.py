"""The append: under the append lock catch up, judge claims, fill in positions and links, write once.

Synchronous; runs in the log's one writer thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ashore_stores.errors import Fenced
from ashore_stores.keys import Position
from ashore_stores.logs.base import Batch, Claim, Entry, Judged, Space
from ashore_stores.logs.flusher import Flusher
from ashore_stores.logs.framing import Draft, draft
from ashore_stores.logs.home import APPEND, Home
from ashore_stores.logs.segments import Place
from ashore_stores.logs.tail import Tail

LIVE, FENCED = b"live", b"fenced"


class QueuedBatch:
    """A batch on its way: the ticket."""

    __slots__ = ("batch", "error", "position")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.position: Position | None = None
        self.error: Exception | None = None

    def __repr__(self) -> str:
        state = self.error or ("queued" if self.position is None else f"at {self.position}")
        return f"<QueuedBatch of {self.batch.count}: {state}>"


@dataclass(slots=True, eq=False)
class QueuedClaims:
    """Claims on their way."""

    claims: Sequence[Claim]
    done: Callable[[list[Judged] | None, Exception | None], None]
    judged: list[Judged] = field(default_factory=list)


Queued: TypeAlias = QueuedBatch | QueuedClaims


class _Round:
    """What goes into one write."""

    def __init__(self, tail: Tail, owner: bytes) -> None:
        place = tail.place
        self._owner = owner
        self._segment = place.segment
        self._vouched = tail.durable.offset if tail.durable.segment == place.segment else tail.base.offset
        self._link = place.checksum
        self.position = place.position
        self.offset = place.offset
        self.parts: list[bytes] = []
        self.drafts: list[Draft] = []
        self.places: list[Place] = []
        self.batches: list[Batch] = []
        self.tickets: list[tuple[QueuedBatch, int]] = []

    def add(self, batch: Batch, frame: Draft) -> None:
        frame.owner, frame.vouched = self._owner, self._vouched
        start = self.offset
        header, self._link = frame.header(self.position + 1, self._link)
        self.position += frame.count
        self.offset += frame.size
        self.parts += (header, frame.keys, frame.body)
        self.drafts.append(frame)
        self.places.append(Place(self._segment, start, self.offset, self.position, self._link))
        self.batches.append(batch)


class Writer:
    """Appends for one process."""

    def __init__(self, home: Home, tail: Tail, flusher: Flusher) -> None:
        self._home = home
        self._tail = tail
        self._flusher = flusher
        self._is_introduced = False
        self.writes = 0
        self.frames = 0
        self.bytes = 0
        self.notes: list[str] = []

    def append(self, queued: Sequence[Queued]) -> None:
        """Write all of these, in order, in one go; a lost claim is taken out alone. After an error nothing of it was written."""
        tail, settings = self._tail, self._home.settings
        drafts = [draft(item.batch) if type(item) is QueuedBatch else None for item in queued]
        owner = self._home.own()
        tail.catch_up()
        while tail.missing() > settings.catch_up_bytes:
            before = tail.place
            tail.catch_up()
            if tail.place == before:
                break  # a torn end: for under the lock
        with self._home.held(APPEND):
            self._make_ready()
            if tail.registers.get(Space.OWNERS, owner) == FENCED:
                raise Fenced(f"owner {owner.hex()} was taken over by another process: nothing of it is written any more")
            self._write(self._judge(queued, drafts, _Round(tail, owner)))

    def _make_ready(self) -> None:
        """Under the lock: everything read, the end clean, a segment with room."""
        tail = self._tail
        tail.catch_up()
        if tail.file is None:
            self._flusher.begin()
        tail.confirm()
        assert tail.file is not None
        if tail.file.size() > tail.place.offset:
            self._cut()
        if tail.is_sealed or tail.place.offset >= self._home.settings.segment_bytes:
            self._flusher.rotate()

    def _cut(self) -> None:
        """Cut off a torn end, kept aside."""
        tail, home = self._tail, self._home
        tail.check(home.state())
        rest = tail.torn()
        if rest:
            number = len(home.disk.names(home.layout.cut)) + 1
            path = f"{home.layout.cut}/{number:04}-segment-{tail.place.segment}-offset-{tail.place.offset}"
            home.disk.make_folder(home.layout.cut)
            file = home.disk.open(path, write=True, create=True)
            try:
                file.write(rest, 0)
                file.flush()
            finally:
                file.close()
            self.notes.append(
                f"segment {tail.place.segment}: {len(rest)} bytes after position {tail.place.position} were a torn write, "
                f"never acknowledged; cut off, kept in {path}"
            )
        tail.cut()

    def _judge(self, queued: Sequence[Queued], drafts: Sequence[Draft | None], batch: _Round) -> _Round:
        ahead: dict[tuple[int, bytes], bytes] = {}  # registers that this round will have set
        has_claims = None in drafts
        for item, frame in zip(queued, drafts, strict=True):
            if isinstance(item, QueuedBatch):
                assert frame is not None
                self._add(batch, item.batch, frame)
                batch.tickets.append((item, batch.position))
                if has_claims:
                    ahead.update(((entry.space, entry.key), entry.value) for entry in item.batch.entries)
            else:
                item.judged = [self._judge_one(claim, batch, ahead) for claim in item.claims]
        return batch

    def _judge_one(self, claim: Claim, batch: _Round, ahead: dict[tuple[int, bytes], bytes]) -> Judged:
        at = claim.space, claim.key
        current = (ahead[at] or None) if at in ahead else self._tail.registers.get(*at)
        if current != claim.expected:
            return Judged(None, current)
        self._add(batch, claim.batch, draft(claim.batch))
        ahead.update(((entry.space, entry.key), entry.value) for entry in claim.batch.entries)
        return Judged(Position(batch.position))

    def _add(self, batch: _Round, content: Batch, frame: Draft) -> None:
        if not self._is_introduced and not batch.drafts:
            entries = (*content.entries, *self._introduction())
            content = Batch(content.body, content.count, content.marks, entries, content.topics)
            frame = draft(content)
        batch.add(content, frame)

    def _introduction(self) -> list[Entry]:
        """The first frame of an owner names it, and forgets the dead ones that were taken over: they can write no more."""
        owners = self._home.owners
        gone = [
            owner
            for owner, state in self._tail.registers.all(Space.OWNERS).items()
            if state == FENCED and not owners.is_alive(owner)
        ]
        return [Entry(Space.OWNERS, owners.own(), LIVE), *(Entry(Space.OWNERS, owner, b"") for owner in gone)]

    def _write(self, batch: _Round) -> None:
        if not batch.drafts:
            return
        tail = self._tail
        data = b"".join(batch.parts)
        tail.write(data, batch.drafts, batch.places)
        self._is_introduced = True
        registers = tail.registers
        for place, content in zip(batch.places, batch.batches, strict=True):
            if content.entries or content.marks or content.topics:
                registers.add(place.position - content.count + 1, content.count, content.entries, content.marks, content.topics)
        for ticket, position in batch.tickets:
            ticket.position = Position(position)
        self.writes += 1
        self.frames += len(batch.drafts)
        self.bytes += len(data)
