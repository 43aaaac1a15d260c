"""The event log: one total order of frames for all writers of a home.

The log knows frames, positions, owners and registers; what an event means it does not know. A *frame* carries a run of events
(`body`, opaque) and a *key table*, from which other processes learn what they need without decoding the body.

Three levels of safety: *queued* (in memory), *written* (survives the process), *durable* (survives a power cut). Durability is
a prefix: when a position is durable, every earlier one is, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from ashore_stores.keys import START, Cursor, Position


class Space(IntEnum):
    """The spaces of registers that the log itself reads; the runtime defines more from 16 up. Part of the format."""

    OWNERS = 1
    """owner id -> b"live" or b"fenced"; a checkpoint carries it."""


LASTING = 128
"""Spaces from here up only ever grow (keyed starts): looked up through sealed segments, not carried by checkpoints."""

MARK_SIZE = 16
NO_MARK = bytes(MARK_SIZE)


@dataclass(frozen=True, slots=True)
class Entry:
    """Register `(space, key)` gets `value`; an empty value clears it. The last one in the order wins."""

    space: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Events to append as one frame.

    `body` holds `count` encoded events, one after the other. `marks` is empty or has MARK_SIZE bytes for each event, in order:
    a key by which it can be found again (a cache key), or NO_MARK; further marks all belong to the last event. `topics` says what
    the frame is about (run ids).
    """

    body: bytes
    count: int
    marks: bytes = b""
    entries: tuple[Entry, ...] = ()
    topics: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Append `batch` only if register `(space, key)` still holds `expected` (None: is absent). Judged under the append lock."""

    space: int
    key: bytes
    expected: bytes | None
    batch: Batch


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a claim: its last position if it won, else what the register holds instead."""

    position: Position | None
    current: bytes | None = None

    @property
    def won(self) -> bool:
        return self.position is not None


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as read back, checked. Its events have positions `first` to `last`."""

    first: Position
    count: int
    owner: bytes
    batch: Batch
    checksum: int

    @property
    def last(self) -> Position:
        return Position(self.first + self.count - 1)

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.last, self.checksum)


class Ticket(Protocol):
    """A queued batch on its way. Its `position` (of its last event) is known once written."""

    @property
    def position(self) -> Position | None: ...

    @property
    def error(self) -> Exception | None:
        """Why it will never be written or acknowledged (`Fenced`, `Full`, `NotDurable`, `Closed` ...)."""
        ...


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """Where the log stands; counts are of this process since it opened the log."""

    written: Position
    durable: Position
    queued: int
    frames: int
    bytes: int
    writes: int
    flushes: int
    segments: int
    rotations: int
    notes: tuple[str, ...] = field(default=())
    """What was repaired or put aside when the log was opened (a torn tail cut, an interrupted flush redone)."""


class EventLog(Protocol):
    """One log per home. All methods are safe from any loop and thread of the process."""

    @property
    def owner(self) -> bytes | None:
        """This process's owner id, once `own` was called."""
        ...

    async def own(self) -> bytes:
        """Become an owner: take a fresh owner's lock, which the kernel keeps until this process ends. Idempotent."""
        ...

    async def is_alive(self, owner: bytes) -> bool:
        """Whether that owner's process lives (a stopped one does). False only once the kernel released its lock."""
        ...

    async def wait_gone(self, owner: bytes) -> None:
        """Wait until that owner's process is gone, however it ended, without polling. At once for one that is gone already.

        Somebody else may have noticed first: look again at whatever it had. Cancelling waits for nothing.
        """
        ...

    def queue(self, batch: Batch) -> Ticket:
        """State facts: queued in order, written soon, in one order with everything else. Never waits, never raises for the disk."""
        ...

    async def room(self) -> None:
        """Wait until the queue is below its bound (64k events or 64 MB)."""
        ...

    async def append(self, claims: Sequence[Claim]) -> list[Judged]:
        """Judge the claims one by one under the append lock, after what was queued before, and write those that hold.

        Returns when what won is *written*. A lost claim is taken out alone. Use `durable` before acting on a won one.
        Raises `Fenced`, `Full`, `ReadOnly`, `Unavailable`.
        """
        ...

    async def durable(self, upto: Ticket | Position) -> Position:
        """Wait until this is durable; returns the durable position. Raises the ticket's error, `NotDurable`, `Fenced`, `Closed`."""
        ...

    @property
    def durable_position(self) -> Position:
        """How far the log is durable, as far as this process has seen."""
        ...

    async def refresh(self) -> Position:
        """Learn what other processes wrote: registers, marks and the durable position are then as of now. Returns the latter."""
        ...

    def register(self, space: int, key: bytes) -> bytes | None:
        """What the register holds, as far as this process has caught up."""
        ...

    def registers(self, space: int) -> Mapping[bytes, bytes]:
        """A copy of all registers of a space below LASTING."""
        ...

    def marked(self, mark: bytes) -> Sequence[Position]:
        """Positions of the events with this mark, oldest first, as far as this process has caught up."""
        ...

    async def frame_at(self, position: Position) -> Frame:
        """The frame that holds this event. Raises `Missing`, `Corrupt`."""
        ...

    def read(self, after: Cursor | Position = START, upto: Position | None = None) -> AsyncIterator[Frame]:
        """Durable frames after `after`, in order, then end. Raises `Corrupt`; a cursor that is not in the log is `Missing`."""
        ...

    def follow(self, after: Cursor | Position = START) -> AsyncIterator[Frame]:
        """As `read`, then wait for more, of any process, without polling. Cancelling loses nothing."""
        ...

    async def about(self, topic: bytes) -> list[Frame]:
        """All written frames about a topic, in order (a run's history, for resuming it)."""
        ...

    def statistics(self) -> LogStatistics: ...

    async def aclose(self) -> None:
        """Write and flush what is queued, then let go. Idempotent; closes with the last of its openers in the process."""
        ...
