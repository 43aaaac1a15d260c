"""Keeping the index up with the log: in slices, by whoever needs it and finds the projector's seat free.

The log is the truth. An index that is gone, damaged, of another version, or that stands at a place that is not in the log, is
made anew; that is said, once, as a warning and as a note on the answer. The index never decides what runs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from ashore.events import Event, decode
from ashore.ids import RunId
from ashore.notices import log as _warnings
from ashore.projection import Projection, Unknown
from ashore_stores.errors import Conflict, Corrupt, Full, Missing, ReadOnly, StoreError
from ashore_stores.index.base import MetadataIndex
from ashore_stores.index.changes import REUSE, RUN, STEP
from ashore_stores.keys import START, Cursor, Position
from ashore_stores.logs.base import EventLog, Frame
from ashore_stores.ports import Clock

SLICE_EVENTS: Final = 5_000
SLICE_SECONDS: Final = 0.2
PATIENCE: Final = 2.0
"""Seconds that a question waits for another process to catch up."""
_LOOK_SECONDS: Final = 0.02


Progress = Callable[[Position, Position], None]
"""Called after each slice with how far the index is, and how far it is to go."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How far an answer sees."""

    position: Position
    """Of the last event in it."""
    behind: int = 0
    """How many events that were asked for it does not see."""
    notes: tuple[str, ...] = ()
    """What was found wrong, and what was done about it."""

    def __str__(self) -> str:
        return f"index is {self.behind} events behind" if self.behind else f"index is at position {self.position}"


class _Slice(NamedTuple):
    """Frames that are folded together, decoded."""

    parts: list[tuple[int, list[Event]]]
    events: list[Event]
    upto: Cursor


class _Astray(Exception):
    """The index does not belong to this log, or cannot be read: the message says why."""


class Projector:
    """Applies the log to the index. One for each index of a process."""

    def __init__(self, log: EventLog, index: MetadataIndex, clock: Clock) -> None:
        self._log = log
        self._index = index
        self._clock = clock
        self._projection: Projection | None = None
        self._stands = Cursor()
        self._checked: Cursor | None = None
        self.obstacle: StoreError | None = None
        """Why the index could not be written when it was caught up last: there is no room, or it may not be."""

    def __repr__(self) -> str:
        return f"<Projector at position {self._stands.position}>"

    async def catch_up(self, upto: Position | None = None) -> Freshness:
        """See to it that the index holds everything up to `upto` (default: what is durable now).

        Waits for another projector for at most PATIENCE seconds; then says how far behind it is.
        """
        notes: list[str] = []
        self.obstacle = None
        durable = await self._durable(notes)
        target = durable if upto is None else upto
        deadline = self._clock.monotonic() + PATIENCE
        while True:
            position = await self._standing(durable)
            if position is not None and position >= target:
                return Freshness(position, 0, tuple(notes))
            if self._index.take_seat():
                try:
                    return await self._caught_up(target, notes, None)
                finally:
                    self._index.leave_seat()
            if self._clock.monotonic() >= deadline:
                position = position or START
                return Freshness(position, target - position, tuple(notes))
            await self._clock.sleep(_LOOK_SECONDS)

    async def rebuild(self, progress: Progress | None = None) -> Freshness:
        """Make the index anew from the whole log. Waits for the seat."""
        notes: list[str] = []
        target = await self._durable(notes)
        while not self._index.take_seat():
            await self._clock.sleep(_LOOK_SECONDS)
        try:
            await self._restart()
            return await self._caught_up(target, notes, progress)
        finally:
            self._index.leave_seat()

    async def _durable(self, notes: list[str]) -> Position:
        try:
            return await self._log.refresh()
        except StoreError as error:
            notes.append(f"the log cannot be read further: {error}")
            return self._log.durable_position

    # --- where it stands ---

    async def _standing(self, durable: Position) -> Position | None:
        """Where the index stands; None if it has to be made anew."""
        try:
            cursor = await self._index.cursor()
            await self._check(cursor, durable)
        except (Corrupt, _Astray):
            return None
        return cursor.position

    async def _check(self, cursor: Cursor, durable: Position) -> None:
        """Whether the cursor is a place of this log."""
        if cursor in (Cursor(), self._checked):
            return
        if cursor.position > durable:
            raise _Astray(f"it was at position {cursor.position}, the log ends at {durable}")
        try:
            frame = await self._log.frame_at(cursor.position)
        except Missing:
            frame = None
        except Corrupt:
            return  # the log itself is damaged there: reading on will say so
        if frame is None or frame.cursor != cursor:
            raise _Astray(f"what it had at position {cursor.position} is not what the log has")
        self._checked = cursor

    async def _begin(self, durable: Position, notes: list[str]) -> Cursor:
        """The cursor to go on from; the index is made anew if it has to be."""
        try:
            cursor = await self._index.cursor()
            await self._check(cursor, durable)
            if lost := self._index.lost():
                raise _Astray(lost)
            if self._projection is None or self._stands != cursor:
                self._projection = Projection(await self._index.last(STEP))
        except (Corrupt, _Astray) as error:
            await self._start_over(error, notes)
            return Cursor()
        self._stands = cursor
        return cursor

    async def _start_over(self, why: Exception, notes: list[str]) -> None:
        await self._restart()
        note = f"the index was made anew from the log: {why}"
        notes.append(note)
        _warnings.warning("index_rebuilt", reason=str(why))

    async def _restart(self) -> None:
        await self._index.restart()
        self._projection = Projection()
        self._stands = Cursor()
        self._checked = None

    # --- catching up ---

    async def _caught_up(self, target: Position, notes: list[str], progress: Progress | None) -> Freshness:
        position = START
        try:
            cursor = await self._begin(max(target, self._log.durable_position), notes)
            try:
                position = await self._follow(cursor, target, notes, progress)
            except (Corrupt, Conflict) as error:
                if isinstance(error, Corrupt):
                    await self._start_over(error, notes)
                position = await self._follow(await self._begin(target, notes), target, notes, progress)
        except StoreError as error:
            self._projection = None
            self.obstacle = error if isinstance(error, Full | ReadOnly) else None
            notes.append(str(error))
            position = await self._standing(target) or START
        except BaseException:
            self._projection = None  # it may have folded what was never applied
            raise
        return Freshness(position, max(0, target - position), tuple(notes))

    async def _follow(self, cursor: Cursor, target: Position, notes: list[str], progress: Progress | None) -> Position:
        async with aclosing(self._slices(cursor, target, notes)) as slices:
            async for part in slices:
                await self._apply(cursor, part)
                cursor = self._stands = self._checked = part.upto
                if progress is not None:
                    progress(cursor.position, target)
        return cursor.position

    async def _slices(self, after: Cursor, target: Position, notes: list[str]) -> AsyncGenerator[_Slice, None]:
        """The log, in slices of bounded size; it ends where the log cannot be read, with a note."""
        if after.position >= target:
            return
        parts: list[tuple[int, list[Event]]] = []
        events: list[Event] = []
        upto = after
        since = self._clock.monotonic()
        async with aclosing(self._decoded(after, target, notes)) as decoded:
            async for frame, found in decoded:
                parts.append((frame.first, found))
                events += found
                upto = frame.cursor
                if len(events) >= SLICE_EVENTS or self._clock.monotonic() - since > SLICE_SECONDS:
                    yield _Slice(parts, events, upto)
                    parts, events = [], []
                    since = self._clock.monotonic()
        if parts:
            yield _Slice(parts, events, upto)

    async def _decoded(self, after: Cursor, target: Position, notes: list[str]) -> AsyncGenerator[tuple[Frame, list[Event]], None]:
        try:
            async for frame in self._log.read(after, target):
                yield frame, decode(frame.batch.body, frame.count)
        except StoreError as error:
            notes.append(f"the log cannot be read further: {error}")
        except msgspec.MsgspecError as error:
            notes.append(f"the log goes on with events of a newer version of ashore ({error}): update ashore to see them")

    async def _apply(self, after: Cursor, part: _Slice) -> None:
        projection = self._projection
        assert projection is not None
        strays = projection.strays
        unknown = projection.unknown(part.events)
        if unknown:
            await self._learn(projection, unknown)
        for first, events in part.parts:
            projection.fold(first, events)
        await self._index.apply(projection.take(), after=after, upto=part.upto)
        if projection.strays > strays:
            _warnings.warning("index_stray_events", count=projection.strays - strays, upto=part.upto.position)

    async def _learn(self, projection: Projection, unknown: Unknown) -> None:
        names = unknown.runs | unknown.invocations.keys()
        numbers: dict[RunId, int] = {}
        for name, no in await self._index.find(RUN, ("id",), [(name,) for name in sorted(names)], ("id", "no")):
            numbers[name] = no
            if name in unknown.runs:
                projection.learn_run(name, no)
        runs = {no: name for name, no in numbers.items()}
        keys = _keys(unknown, numbers)
        steps = await self._index.find(STEP, ("run", "invocation"), keys, ("run", "invocation", "no"))
        origins: dict[int, int] = dict(await self._index.find(REUSE, ("step",), [(no,) for _, _, no in steps], ("step", "origin")))
        for run, invocation, no in steps:
            projection.learn_step(runs[run], invocation, no, origins.get(no))


def _keys(unknown: Unknown, numbers: dict[RunId, int]) -> Sequence[tuple[int, bytes]]:
    return [
        (numbers[name], invocation)
        for name, invocations in unknown.invocations.items()
        if name in numbers
        for invocation in sorted(invocations)
    ]
