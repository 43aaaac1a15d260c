"""The one writer of a log in a process: what many loops and threads hand in, one servant writes, flushes and answers.

Everything handed in goes through deques, whose ends are safe from any thread. What the servant owns (`Tail`, `Writer`, `Flusher`)
nobody else changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, Generic, TypeVar

import anyio

from ashore_stores.errors import Closed, Corrupt, Fenced, NewerFormat, NotDurable, ReadOnly, StoreError, Unavailable
from ashore_stores.keys import Position
from ashore_stores.logs.base import Batch
from ashore_stores.logs.flusher import Flusher
from ashore_stores.logs.history import older_keys
from ashore_stores.logs.home import Home
from ashore_stores.logs.reading import Library
from ashore_stores.logs.registers import Keys
from ashore_stores.logs.segments import Layout, LogSettings
from ashore_stores.logs.tail import Tail
from ashore_stores.logs.writer import Queued, QueuedBatch, QueuedClaims, Writer
from ashore_stores.ports import Ports, Servant

T = TypeVar("T")
Post = Callable[[Callable[[], None]], None]

_FOR_GOOD = (Fenced, NotDurable, Corrupt, NewerFormat)
"""After these this process writes no more."""


class Reply(Generic[T]):
    """An answer on its way from the servant to a task."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._event = anyio.Event()
        self._outcome: tuple[T | None, Exception | None] = (None, None)

    def give(self, value: T | None, error: Exception | None = None) -> None:
        self._outcome = (value, error)
        self._post(self._event.set)

    async def get(self) -> T:
        await self._event.wait()
        value, error = self._outcome
        if error is not None:
            raise error.with_traceback(None)
        return value  # type: ignore[return-value]  # given together with no error


class Wait:
    """Somebody waits for a place to be durable."""

    __slots__ = ("reply", "upto")

    def __init__(self, upto: QueuedBatch | Position, reply: Reply[Position]) -> None:
        self.upto = upto
        self.reply = reply


class Core:
    """The log of one home in one process, shared by all who opened it."""

    def __init__(self, folder: str, ports: Ports, settings: LogSettings, forget: Callable[[Core], None]) -> None:
        self.ports = ports
        self.settings = settings
        self.layout = Layout(folder)
        self.library = Library(ports.disk, self.layout)
        self.home = Home(ports, self.layout, settings)
        self.tail = Tail(ports.disk, self.layout, self.older)
        self.flusher = Flusher(self.home, self.tail)
        self.writer = Writer(self.home, self.tail, self.flusher)
        self.process = ports.disk.process()
        self.openers: set[object] = set()
        self.listeners: dict[object, Callable[[], None]] = {}  # called from the servant when more is durable
        self.has_lookout = False  # whether a follower of this process watches for what others write
        self.error: Exception | None = None  # why nothing is written any more
        self.is_closed = False
        self._forget = forget
        self._is_open = False
        self._older: Keys | None = None
        self._incoming: deque[Queued] = deque()
        self._calls: deque[tuple[Callable[[], Any], Reply[Any]]] = deque()
        self._waits: deque[Wait] = deque()
        self._holes: dict[bytes, Exception] = {}  # topics of which a frame was refused: later ones would stand on nothing
        self._noted = 0
        self._events = 0  # handed in since the last round, about: threads may lose one another's counts
        self._bytes = 0
        self._is_rung = False
        self._starters = deque([self._start])
        self._servant: Servant | None = None

    def _start(self) -> None:
        self._servant = self.ports.workers.servant(self.drain, "log")

    # Handing in, from any thread.

    def ring(self) -> None:
        if not self._is_rung:
            self._is_rung = True
            servant = self._servant
            if servant is not None:
                servant.ring()

    def queue(self, batch: Batch) -> QueuedBatch:
        ticket = QueuedBatch(batch)
        error = self.error
        if error is not None or self.process != self.ports.disk.process():
            ticket.error = error or _forked(self.layout.folder)
            return ticket
        self._events += batch.count
        self._bytes += len(batch.body) + len(batch.marks)
        self._incoming.append(ticket)
        if not self._is_rung:
            self.ring()
        if self.is_closed:
            self._refuse_all()
        return ticket

    def claim(self, claims: QueuedClaims) -> None:
        self._incoming.append(claims)
        self._handed_in()

    def wait(self, wait: Wait) -> None:
        self._waits.append(wait)
        self._handed_in()

    async def call(self, work: Callable[[], T]) -> T:
        """Have the servant do this, after all that was handed in before."""
        reply: Reply[T] = Reply(self.ports.workers.poster())
        self._calls.append((work, reply))
        self._handed_in()
        return await reply.get()

    def _handed_in(self) -> None:
        if self._starters:
            with suppress(IndexError):  # another thread may be faster, and rings when it has started
                self._starters.pop()()
                self._is_rung = False
        self.ring()
        if self.is_closed:
            self._refuse_all()

    def is_crowded(self) -> bool:
        """Whether the queue is past its bound."""
        settings = self.settings
        if self._events < settings.queue_events and self._bytes < settings.queue_bytes:
            return False
        batches = [item.batch for item in tuple(self._incoming) if isinstance(item, QueuedBatch)]
        self._events = sum(batch.count for batch in batches)
        self._bytes = sum(len(batch.body) + len(batch.marks) for batch in batches)
        return self._events >= settings.queue_events or self._bytes >= settings.queue_bytes

    def queued_events(self) -> int:
        return sum(item.batch.count for item in tuple(self._incoming) if isinstance(item, QueuedBatch))

    def check(self) -> None:
        """Raises `Closed`."""
        if self.is_closed:
            raise Closed(f"the log {self.layout.folder} was closed")
        if self.process != self.ports.disk.process():
            raise _forked(self.layout.folder)

    def failure(self) -> Exception | None:
        """Why nothing that others write will be seen any more."""
        return None if isinstance(self.error, Fenced) else self.error

    def older(self) -> Keys:
        """What sealed segments from before this process say; read at the first look-up."""
        if self._older is None:
            self._older = older_keys(self.library, self.tail.first_segment)
        return self._older

    def mend(self, topic: bytes) -> None:
        """Whoever reads a topic's history again may write on from there."""
        self._holes.pop(topic, None)

    # The servant's side.

    def drain(self) -> None:
        """One round: take what gathered, write it in one go, flush, answer."""
        self._is_rung = False
        try:
            self._round()
        except BaseException as error:
            self._give_up(Closed(f"the log {self.layout.folder} stopped: {error!r}"))
            raise

    def _round(self) -> None:
        queued = self._take()
        if queued:
            self._append(queued)
        for _ in range(len(self._calls)):
            self._serve(*self._calls.popleft())
        if self._is_open and not self.is_closed:
            before = self.tail.durable
            failure = self._flush() if queued or self._is_awaited() else None
            self._answer(failure)
            if self.tail.durable != before:
                self.tell()
            self._report()

    def _take(self) -> list[Queued]:
        incoming = self._incoming
        queued: list[Queued] = []
        with suppress(IndexError):  # another thread may be refusing what comes too late
            for _ in range(len(incoming)):
                queued.append(incoming.popleft())
        self._events = self._bytes = 0
        return queued

    def _append(self, queued: list[Queued]) -> None:
        if self.error is not None:
            self._refuse(queued, self.error)
            return
        if self._holes:
            queued = self._without_holes(queued)
        try:
            self.writer.append(queued)
        except (StoreError, ValueError) as error:
            queued += self._take()
            if isinstance(error, _FOR_GOOD):
                self.error = error
            self._refuse(queued, error)
        else:
            for item in queued:
                if isinstance(item, QueuedClaims):
                    item.done(item.judged, None)

    def _without_holes(self, queued: list[Queued]) -> list[Queued]:
        """Leave out what builds on something that was refused."""
        kept: list[Queued] = []
        for item in queued:
            topics = item.batch.topics if isinstance(item, QueuedBatch) else ()
            error = next((self._holes[topic] for topic in topics if topic in self._holes), None)
            if error is None:
                kept.append(item)
            else:
                self._refuse([item], error)
        return kept

    def _refuse(self, queued: list[Queued], error: Exception) -> None:
        for item in queued:
            if isinstance(item, QueuedBatch):
                item.error = error
                self._holes.update(dict.fromkeys(item.batch.topics, error))
            else:
                item.done(None, error)

    def _serve(self, work: Callable[[], Any], reply: Reply[Any]) -> None:
        try:
            reply.give(work())
        except (StoreError, ValueError) as error:
            if self._is_open and isinstance(error, _FOR_GOOD):
                self.error = self.error or error
            reply.give(None, error)

    def _flush(self) -> Exception | None:
        """None, or why it failed."""
        if self.failure() is not None:
            return self.failure()
        try:
            self.flusher.flush()
        except StoreError as error:
            if isinstance(error, _FOR_GOOD):
                self.error = error
            return error
        return None

    def _is_awaited(self) -> bool:
        durable = self.tail.durable.position
        return any((_position_of(wait) or 0) > durable for wait in tuple(self._waits))

    def _answer(self, failure: Exception | None) -> None:
        durable = Position(self.tail.durable.position)
        for _ in range(len(self._waits)):
            wait = self._waits.popleft()
            position, error = _position_of(wait), _error_of(wait) or failure
            if position is not None and position <= durable:
                wait.reply.give(durable)
            elif error is not None:
                wait.reply.give(None, error)
            elif position is None:
                self._waits.append(wait)  # handed in after this round began: the next one has it
            else:
                wait.reply.give(durable)  # not written yet, by anybody: who asked looks again

    def tell(self) -> None:
        for listener in tuple(self.listeners.values()):
            listener()

    def notes(self) -> tuple[str, ...]:
        return (*self.writer.notes, *self.flusher.notes)

    def _report(self) -> None:
        notes = self.notes()
        for note in notes[self._noted :]:
            structlog = import_module("structlog")  # heavy, and hardly ever needed
            structlog.get_logger("ashore_stores.logs").warning("log repaired", folder=self.layout.folder, note=note)
        self._noted = len(notes)

    # Opening, catching up, closing: calls to the servant.

    def open(self) -> None:
        """The first opener opens. Raises what makes that impossible."""
        if not self._is_open:
            self.home.open()
            state = self.home.state()
            self.tail.load(state)
            self._is_open = True
            self.refresh()

    def refresh(self) -> Position:
        """Catch up; flush and publish what a writer left behind, if nobody is at it. Raises why that is impossible."""
        failure = self.failure()
        if failure is not None:
            raise failure.with_traceback(None)
        state = self.home.state()
        before = self.tail.durable
        self.tail.catch_up()
        self.tail.check(state)
        if self.home.why_not is None and self.tail.place.position > self.tail.durable.position:
            with suppress(Unavailable, ReadOnly):  # that is left to a writer
                self.flusher.flush_if_idle()
        if self.tail.durable != before:
            self.tell()
        return Position(self.tail.durable.position)

    def close(self) -> None:
        """Let go, unless somebody else has opened it."""
        if self.openers or self.is_closed:
            return
        if self._incoming:
            self._append(self._take())
        failure = self._flush() if self._is_open and self.tail.place.key > self.tail.durable.key else None
        self._answer(failure)
        self._give_up(Closed(f"the log {self.layout.folder} was closed"))
        self.tail.close()
        self.home.close()

    def _give_up(self, error: Exception) -> None:
        self.error = self.error or error
        self.is_closed = True
        self._forget(self)
        self._refuse_all()
        self.tell()

    def _refuse_all(self) -> None:
        """Answer everything that came too late."""
        error = self.error or Closed(f"the log {self.layout.folder} was closed")
        self._refuse(self._take(), error)
        with suppress(IndexError):
            while self._waits:
                self._waits.popleft().reply.give(None, error)
        with suppress(IndexError):
            while self._calls:
                self._calls.popleft()[1].give(None, error)

    def end(self) -> None:
        """End the servant, if this is closed; not from itself."""
        if self._servant is not None and self.is_closed:
            self._servant.close()


def _position_of(wait: Wait) -> int | None:
    return wait.upto.position if isinstance(wait.upto, QueuedBatch) else wait.upto


def _error_of(wait: Wait) -> Exception | None:
    return wait.upto.error if isinstance(wait.upto, QueuedBatch) else None


def _forked(folder: str) -> Closed:
    return Closed(f"the log {folder} belongs to the process that opened it, not to this forked child: open it again")
