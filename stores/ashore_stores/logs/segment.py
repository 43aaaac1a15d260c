"""The embedded event log: segment files that any number of processes of one machine write. The async face of `core.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import anyio

from ashore_stores.errors import Closed, Missing, StoreError, Unavailable
from ashore_stores.keys import START, Cursor, Position
from ashore_stores.logs.base import Batch, Claim, Frame, Judged, LogStatistics, Ticket
from ashore_stores.logs.core import Core, Reply, Wait
from ashore_stores.logs.reading import Reader
from ashore_stores.logs.segments import LogSettings
from ashore_stores.logs.writer import QueuedBatch, QueuedClaims
from ashore_stores.ports import Disk, Ports

DEFAULTS: Final = LogSettings()

_open_cores: dict[tuple[Disk, int, str], Core] = {}
"""The logs open in this process, by disk, process and real path: kernel locks are the process's, so there is one of each."""


async def open_segment_log(folder: str, ports: Ports, settings: LogSettings = DEFAULTS) -> SegmentEventLog:
    """The log in `folder`, which is made if there is none. All who open it in a process share it; each closes its own.

    Reads the last segment's checkpoint and what follows it, not the history. Raises `Corrupt` if what was durable is not there,
    `NewerFormat`, `Unavailable`. Where the folder cannot be written, reading works and writing raises `ReadOnly`.
    """
    key = (ports.disk, ports.disk.process(), ports.disk.real_path(folder))
    while True:
        core = _open_cores.get(key) or _open_cores.setdefault(key, Core(key[2], ports, settings, partial(_forget, key)))
        log = SegmentEventLog(core)
        try:
            await core.call(core.open)
        except Closed:
            continue  # its last opener left at this moment
        except BaseException:
            with anyio.CancelScope(shield=True):
                await log.aclose()
            raise
        return log


def _forget(key: tuple[Disk, int, str], core: Core) -> None:
    if _open_cores.get(key) is core:
        del _open_cores[key]


class SegmentEventLog:
    """One opener's hold on the log of a home. See `EventLog` for what it promises."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._is_closed = False
        core.openers.add(self)

    def __repr__(self) -> str:
        core = self._core
        state = "closed" if self._is_closed or core.is_closed else "broken" if core.error else "open"
        tail = core.tail
        return f"<SegmentEventLog {core.layout.folder} {state} at {tail.place.position}, durable {tail.durable.position}>"

    @property
    def owner(self) -> bytes | None:
        return self._core.home.owners.own_id

    async def own(self) -> bytes:
        self._check()
        return await self._core.call(self._core.home.own)

    async def is_alive(self, owner: bytes) -> bool:
        self._check()
        return await self._core.call(partial(self._core.home.owners.is_alive, owner))

    async def wait_gone(self, owner: bytes) -> None:
        self._check()
        await self._core.ports.workers.run(self._core.home.owners.wait_gone, owner)

    def queue(self, batch: Batch) -> Ticket:
        if batch.count < 1:
            raise ValueError("a batch has at least one event")
        if self._is_closed:
            ticket = QueuedBatch(batch)
            ticket.error = self._closed()
            return ticket
        return self._core.queue(batch)

    async def room(self) -> None:
        self._check()
        while self._core.is_crowded():
            await self._core.call(_nothing)

    async def append(self, claims: Sequence[Claim]) -> list[Judged]:
        self._check()
        reply: Reply[list[Judged]] = Reply(self._core.ports.workers.poster())
        self._core.claim(QueuedClaims(claims, reply.give))
        return await reply.get()

    async def durable(self, upto: Ticket | Position) -> Position:
        self._check()
        core = self._core
        if not isinstance(upto, int | QueuedBatch):
            raise TypeError(f"not a ticket of this log: {upto!r}")
        while True:
            durable = self.durable_position
            position = upto.position if isinstance(upto, QueuedBatch) else upto
            if position is not None and position <= durable:
                return durable
            if position is not None and position > core.tail.place.position:
                await self._wait_beyond(Position(position - 1))
                continue
            reply: Reply[Position] = Reply(core.ports.workers.poster())
            core.wait(Wait(upto if isinstance(upto, QueuedBatch) else Position(upto), reply))
            await reply.get()

    @property
    def durable_position(self) -> Position:
        return Position(self._core.tail.durable.position)

    async def refresh(self) -> Position:
        self._check()
        durable = await self._core.call(self._core.refresh)
        await self._core.call(self._core.older)
        return durable

    def register(self, space: int, key: bytes) -> bytes | None:
        return self._core.tail.registers.get(space, key)

    def registers(self, space: int) -> Mapping[bytes, bytes]:
        return self._core.tail.registers.all(space)

    def marked(self, mark: bytes) -> Sequence[Position]:
        return self._core.tail.registers.marked(mark)

    async def frame_at(self, position: Position) -> Frame:
        self._check()
        return await self._core.ports.workers.run(self._core.library.frame_at, position, self._core.tail.index)

    async def read(self, after: Cursor | Position = START, upto: Position | None = None) -> AsyncIterator[Frame]:
        reader = Reader(self._core.library, after, upto)
        try:
            while frames := await self._more(reader):
                for frame in frames:
                    yield frame
        finally:
            reader.close()

    async def follow(self, after: Cursor | Position = START) -> AsyncIterator[Frame]:
        reader = Reader(self._core.library, after)
        try:
            while True:
                durable = self.durable_position
                while frames := await self._more(reader):
                    for frame in frames:
                        yield frame
                await self._wait_beyond(durable)
        finally:
            reader.close()

    async def _more(self, reader: Reader) -> list[Frame]:
        self._check()
        tail = self._core.tail
        return await self._core.ports.workers.run(reader.more, tail.durable, tail.index)

    async def about(self, topic: bytes) -> list[Frame]:
        self._check()
        self._core.mend(topic)
        return await self._core.ports.workers.run(self._about, topic)

    def _about(self, topic: bytes) -> list[Frame]:
        tail, library = self._core.tail, self._core.library
        return [library.frame_at(first, tail.index) for first in tail.registers.about(topic)]

    async def _wait_beyond(self, position: Position) -> None:
        """Until more than this is durable. This process's own news come by callback, others' by a hint, or the next look."""
        core, post, token = self._core, self._core.ports.workers.poster(), object()
        try:
            while self._is_waiting(position):
                news = anyio.Event()
                core.listeners[token] = partial(post, news.set)
                if self._is_waiting(position):  # else it came just before the listener
                    await self._wait_for(news, position)
        finally:
            core.listeners.pop(token, None)
        self._check()
        if (failure := core.failure()) is not None:
            raise failure.with_traceback(None)

    def _is_waiting(self, position: Position) -> bool:
        return self.durable_position <= position and self._core.failure() is None

    async def _wait_for(self, news: anyio.Event, position: Position) -> None:
        """Of all that wait in this process one looks out for other processes; when it goes, another takes its place."""
        core = self._core
        if core.has_lookout:
            await news.wait()
            return
        core.has_lookout = True
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._look_out, position)
                await news.wait()
                group.cancel_scope.cancel()
        finally:
            core.has_lookout = False
            core.tell()

    async def _look_out(self, position: Position) -> None:
        """Look whenever there may be news; what is found is told to all who listen."""
        core = self._core
        with suppress(Missing, Unavailable):  # nothing to watch, or no watch left: the slow look does it
            async with core.ports.watcher.watch(core.layout.watermark) as watch:
                while await self._look() <= position and core.failure() is None:
                    with anyio.move_on_after(core.settings.look_every):
                        await watch.changes()
                core.tell()
                return
        while await self._look() <= position and core.failure() is None:
            await core.ports.clock.sleep(core.settings.look_every)
        core.tell()

    async def _look(self) -> Position:
        with suppress(StoreError):
            return await self._core.call(self._core.refresh)
        return self.durable_position

    def statistics(self) -> LogStatistics:
        core = self._core
        tail, writer, flusher = core.tail, core.writer, core.flusher
        return LogStatistics(
            written=Position(tail.place.position),
            durable=Position(tail.durable.position),
            queued=core.queued_events(),
            frames=writer.frames,
            bytes=writer.bytes,
            writes=writer.writes,
            flushes=flusher.flushes,
            segments=tail.place.segment,
            rotations=flusher.rotations,
            notes=core.notes(),
        )

    async def aclose(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        core = self._core
        core.openers.discard(self)
        if core.openers or core.is_closed or core.process != core.ports.disk.process():
            return
        with anyio.CancelScope(shield=True), suppress(Closed):
            await core.call(core.close)
            await core.ports.workers.run(core.end)

    def _check(self) -> None:
        if self._is_closed:
            raise self._closed()
        self._core.check()

    def _closed(self) -> Closed:
        return Closed(f"the log {self._core.layout.folder} was closed by this opener")


def _nothing() -> None:
    pass
