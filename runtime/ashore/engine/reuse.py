"""What earlier invocations made, by cache key: this process's in a dictionary, everybody's behind it in the log.

One key may have several outputs: two processes made one at the same time, a result was too old, or somebody asked for a refresh.
All are kept in the log. Which is served is decided by its order alone, so that all processes decide the same: an execution that
*renews* its key, as what was there was not to be used, is served in the place of all before it; else the first committed is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ashore.engine.flights import Flights
from ashore.engine.state import outputs_of
from ashore.events import ElementsRan, Event, Output, RunSpace, StepRan, decode, text_digest
from ashore.ids import CacheKey, InvocationId, RunId
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.errors import Missing
from ashore_stores.logs.base import MARK_SIZE, EventLog
from ashore_stores.ports import Workers

_KEPT = 1_000_000
"""Outcomes that are kept in memory; past it the oldest go, and are read from the log when asked for."""
_ALWAYS: Final = -math.inf


class Made(NamedTuple):
    """Outputs, and the invocation that made them."""

    outputs: tuple[Output, ...]
    run: RunId
    invocation: InvocationId
    ended: float
    """When it had made them, by the clock on the wall."""


class Reuse:
    """Look-up of outcomes by cache key, and which are under way."""

    def __init__(self, log: EventLog, artifacts: ArtifactStore, workers: Workers) -> None:
        self.flights = Flights()
        self._log = log
        self._artifacts = artifacts
        self._workers = workers
        self._made: dict[CacheKey, Made] = {}
        self._refused: set[CacheKey] = set()
        """Keys that have outputs which are not to be used: whoever makes the next one renews the key."""
        self._whole: set[bytes] = set()
        self._is_warm = False
        self._refreshed: bytes | None = None
        self.running: dict[RunId, Callable[[], None]] = {}
        """For each run that is driven now, how it hands on what it has recorded so far."""

    async def warm(self) -> None:
        """Learn the keys of the log, off the loop, so that no look-up waits for the disk; forget what was refreshed."""
        if not self._is_warm:
            await self._workers.run(self._log.marked, bytes(MARK_SIZE))
            self._is_warm = True
        refreshed = self._log.register(RunSpace.REFRESHED, b"")
        if refreshed != self._refreshed:
            self._refreshed = refreshed
            self._made.clear()

    def made(self, key: CacheKey, oldest: float = _ALWAYS) -> Made | None:
        """What is known here and now under this key, if it is no older than that."""
        made = self._made.get(key)
        return made if made is not None and made.ended >= oldest else None

    def put_on_record(self, made: Made) -> None:
        """Before anybody states that this is reused: its maker's own event stands before that in the log."""
        hand_on = self.running.get(made.run)
        if hand_on is not None:
            hand_on()

    def is_recorded(self, key: CacheKey) -> bool:
        """Whether the log has an outcome under this key that `find` may bring."""
        return bool(self._log.marked(key))

    def refuse(self, key: CacheKey) -> None:
        """What is there under this key is not to be used: whoever makes the next output renews it."""
        self._refused.add(key)

    def is_refused(self, key: CacheKey) -> bool:
        """Whether what is there is not to be used, and nothing else was made yet."""
        return key in self._refused

    def add(self, key: CacheKey, made: Made) -> bool:
        """This process has made it. Returns whether that renews its key."""
        renews = key in self._refused
        if renews:
            self._refused.discard(key)
            self._made.pop(key, None)
        self._keep(key, made)
        return renews

    def _keep(self, key: CacheKey, made: Made) -> None:
        self._made.setdefault(key, made)
        if len(self._made) > _KEPT:
            del self._made[next(iter(self._made))]

    async def find(self, key: CacheKey, oldest: float = _ALWAYS) -> Made | None:
        """The outcome that is served under this key: no older than that, with all its bytes here. None: it has to be made."""
        made = self.made(key, oldest)
        if made is not None and await self._is_whole(made.outputs):
            return made
        known = await self._read(key)
        for made in known:
            if made.ended >= oldest and await self._is_whole(made.outputs):
                self._made.pop(key, None)
                self._keep(key, made)
                return made
        if known:
            self.refuse(key)
        return None

    async def _read(self, key: CacheKey) -> list[Made]:
        """The outputs of this key that are on record, from the last one on that renewed it, in the log's order."""
        found: list[Made] = []
        seen: set[int] = set()
        for position in self._log.marked(key):
            try:
                frame = await self._log.frame_at(position)
            except Missing:
                continue
            if frame.first in seen:
                continue
            seen.add(frame.first)
            for event in decode(frame.batch.body, frame.count):
                for other, made, renews in _executed(event):
                    if other != key:
                        self._learn(other, made)
                        continue
                    if renews:
                        found.clear()
                    found.append(made)
        return found

    def _learn(self, key: CacheKey, made: Made) -> None:
        """Another key of a frame that was read: if it has no other output, that is the one served."""
        if key not in self._made and len(self._log.marked(key)) == 1:
            self._keep(key, made)

    async def _is_whole(self, outputs: tuple[Output, ...]) -> bool:
        for output in outputs:
            if output.data is None and output.digest not in self._whole:
                if await self._artifacts.size(text_digest(output.digest)) != output.size:
                    return False
                self._whole.add(output.digest)
        return True


def _executed(event: Event) -> Iterator[tuple[CacheKey, Made, bool]]:
    """Under which keys an event states what was made there, and whether that renews the key; what was reused is left out."""
    if isinstance(event, StepRan) and event.key and event.elements < 0 and not event.reused_run:
        yield event.key, Made(event.outputs, event.run, event.invocation, event.ended), event.renews
    elif isinstance(event, ElementsRan) and event.keys:
        reused, renewing = dict(event.reused), set(event.renewing)
        for place, index in enumerate(event.indices):
            if index not in reused:
                key = CacheKey(event.keys[place * MARK_SIZE : (place + 1) * MARK_SIZE])
                yield key, Made(outputs_of(event, place), event.run, event.invocation, event.ended), index in renewing
