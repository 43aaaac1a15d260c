"""The event log in memory: the reference for what the protocol means, and the log of tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial

import anyio

from ashore_stores.errors import Closed, Fenced, Missing
from ashore_stores.keys import START, Cursor, Position
from ashore_stores.logs.base import Batch, Claim, Entry, Frame, Judged, LogStatistics, Space, Ticket
from ashore_stores.logs.framing import draft
from ashore_stores.logs.registers import Keys, Registers
from ashore_stores.logs.writer import FENCED, LIVE, QueuedBatch
from ashore_stores.ports import Ports


class MemoryHome:
    """What the processes of a home share: the frames, and who is alive."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.registers = Registers(Keys)
        self.alive: set[bytes] = set()
        self.listeners: dict[object, Callable[[], None]] = {}

    @property
    def last(self) -> Position:
        return self.frames[-1].last if self.frames else START

    def add(self, owner: bytes, batch: Batch) -> Position:
        frame = draft(batch)
        frame.owner = owner
        first = self.last + 1
        _, checksum = frame.header(first, self.frames[-1].checksum if self.frames else 0)
        self.frames.append(Frame(Position(first), batch.count, owner, batch, checksum))
        self.registers.add(first, batch.count, batch.entries, batch.marks, batch.topics)
        return self.last

    def tell(self) -> None:
        for listener in tuple(self.listeners.values()):
            listener()


class MemoryEventLog:
    """One process's log of a `MemoryHome`. What is queued is written and durable at once.

    Give two of them one home to play two processes; `kill` ends one. The logs of a home are used from one thread.
    """

    def __init__(self, ports: Ports, home: MemoryHome | None = None) -> None:
        self._ports = ports
        self._home = home or MemoryHome()
        self._owner: bytes | None = None
        self._is_introduced = False
        self._is_closed = False
        self._frames = self._bytes = 0

    def __repr__(self) -> str:
        return f"<MemoryEventLog {'closed' if self._is_closed else 'open'} at {self._home.last}>"

    @property
    def owner(self) -> bytes | None:
        return self._owner

    async def own(self) -> bytes:
        self._check()
        return self._own()

    def _own(self) -> bytes:
        if self._owner is None:
            self._owner = self._ports.random.token(8)
            self._home.alive.add(self._owner)
        return self._owner

    async def is_alive(self, owner: bytes) -> bool:
        self._check()
        return owner in self._home.alive

    async def wait_gone(self, owner: bytes) -> None:
        self._check()
        await self._until(lambda: owner not in self._home.alive)

    def queue(self, batch: Batch) -> Ticket:
        if batch.count < 1:
            raise ValueError("a batch has at least one event")
        ticket = QueuedBatch(batch)
        try:
            self._check_writable()
        except (Closed, Fenced) as error:
            ticket.error = error
        else:
            ticket.position = self._add(batch)
            self._home.tell()
        return ticket

    def _add(self, batch: Batch) -> Position:
        owner = self._own()
        if not self._is_introduced:
            self._is_introduced = True
            entries = (*batch.entries, Entry(Space.OWNERS, owner, LIVE))
            batch = Batch(batch.body, batch.count, batch.marks, entries, batch.topics)
        self._frames += 1
        self._bytes += len(batch.body)
        return self._home.add(owner, batch)

    async def room(self) -> None:
        self._check()

    async def append(self, claims: Sequence[Claim]) -> list[Judged]:
        self._check_writable()
        judged = [self._judge(claim) for claim in claims]
        self._home.tell()
        return judged

    def _judge(self, claim: Claim) -> Judged:
        current = self._home.registers.get(claim.space, claim.key)
        return Judged(self._add(claim.batch)) if current == claim.expected else Judged(None, current)

    async def durable(self, upto: Ticket | Position) -> Position:
        self._check()
        if not isinstance(upto, int):
            if upto.error is not None:
                raise upto.error.with_traceback(None)
            upto = upto.position or START
        while self._home.last < upto:
            await self._news(self._home.last)
        return self._home.last

    @property
    def durable_position(self) -> Position:
        return self._home.last

    async def refresh(self) -> Position:
        self._check()
        return self._home.last

    def register(self, space: int, key: bytes) -> bytes | None:
        return self._home.registers.get(space, key)

    def registers(self, space: int) -> Mapping[bytes, bytes]:
        return self._home.registers.all(space)

    def marked(self, mark: bytes) -> Sequence[Position]:
        return self._home.registers.marked(mark)

    async def frame_at(self, position: Position) -> Frame:
        self._check()
        for frame in self._home.frames:
            if frame.first <= position <= frame.last:
                return frame
        raise Missing(f"no event has position {position}")

    async def read(self, after: Cursor | Position = START, upto: Position | None = None) -> AsyncIterator[Frame]:
        at, last = self._seek(after), self._home.last
        while at < len(self._home.frames):
            frame = self._home.frames[at]
            if frame.last > last or (upto is not None and frame.first > upto):
                return
            yield frame
            self._check()
            at += 1

    async def follow(self, after: Cursor | Position = START) -> AsyncIterator[Frame]:
        at = self._seek(after)
        while True:
            while at < len(self._home.frames):
                yield self._home.frames[at]
                at += 1
            await self._news(self._home.last)

    def _seek(self, after: Cursor | Position) -> int:
        """The number of the first frame that has an event after this. Raises `Missing`."""
        self._check()
        cursor = after if isinstance(after, Cursor) else None
        start = after.position if isinstance(after, Cursor) else after
        if start > self._home.last:
            raise Missing(f"position {start} is not in the log, which ends at {self._home.last}")
        at = next((at for at, frame in enumerate(self._home.frames) if frame.last > start), len(self._home.frames))
        if cursor is not None and start and (not at or self._home.frames[at - 1].cursor != cursor):
            raise Missing(f"the log has no frame that ends at position {start} with this checksum: it is another log")
        return at

    async def _news(self, seen: Position) -> None:
        await self._until(lambda: self._home.last > seen)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so, of what the processes of the home share."""
        token, post = object(), self._ports.workers.poster()
        while not is_so() and not self._is_closed:
            news = anyio.Event()
            self._home.listeners[token] = partial(post, news.set)
            try:
                if not is_so():
                    await news.wait()
            finally:
                del self._home.listeners[token]
        self._check()

    async def about(self, topic: bytes) -> list[Frame]:
        self._check()
        return [frame for frame in self._home.frames if topic in frame.batch.topics]

    def statistics(self) -> LogStatistics:
        last = self._home.last
        return LogStatistics(last, last, 0, self._frames, self._bytes, self._frames, 0, 1, 0)

    def kill(self) -> None:
        """What kill -9 of this process does to its owner."""
        self._is_closed = True
        self._home.alive.discard(self._owner or b"")
        self._home.tell()

    async def aclose(self) -> None:
        self.kill()

    def _check(self) -> None:
        if self._is_closed:
            raise Closed("the log was closed")

    def _check_writable(self) -> None:
        self._check()
        if self._owner is not None and self._home.registers.get(Space.OWNERS, self._owner) == FENCED:
            raise Fenced(f"owner {self._owner.hex()} was taken over by another process: nothing of it is written any more")
