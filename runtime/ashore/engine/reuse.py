"""What earlier invocations made, by cache key: this process's in a dictionary, everybody's behind it in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ashore.engine.state import outputs_of
from ashore.events import ElementsRan, Event, Output, StepRan, decode, text_digest
from ashore.ids import CacheKey, InvocationId, RunId
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.errors import Missing
from ashore_stores.logs.base import MARK_SIZE, EventLog
from ashore_stores.ports import Workers

_KEPT = 1_000_000
"""Outcomes that are kept in memory; past it the oldest go, and are read from the log when asked for."""


class Made(NamedTuple):
    """Outputs, and the invocation that made them."""

    outputs: tuple[Output, ...]
    run: RunId
    invocation: InvocationId


class Reuse:
    """Look-up of outcomes by cache key. The first committed output of a key is the one served."""

    def __init__(self, log: EventLog, artifacts: ArtifactStore, workers: Workers) -> None:
        self._log = log
        self._artifacts = artifacts
        self._workers = workers
        self._made: dict[CacheKey, Made] = {}
        self._whole: set[bytes] = set()
        self._is_warm = False
        self.running: dict[RunId, Callable[[], None]] = {}
        """For each run that is driven now, how it hands on what it has recorded so far."""

    async def warm(self) -> None:
        """Learn the keys of the log, off the loop, so that later look-ups do not wait for the disk."""
        if not self._is_warm:
            await self._workers.run(self._log.marked, bytes(MARK_SIZE))
            self._is_warm = True

    def made(self, key: CacheKey) -> Made | None:
        """What is known here and now under this key."""
        return self._made.get(key)

    def put_on_record(self, made: Made) -> None:
        """Before anybody states that this is reused: its maker's own event stands before that in the log."""
        hand_on = self.running.get(made.run)
        if hand_on is not None:
            hand_on()

    def is_recorded(self, key: CacheKey) -> bool:
        """Whether the log has an outcome under this key that `find` can bring."""
        return bool(self._log.marked(key))

    def add(self, key: CacheKey, made: Made) -> None:
        """This process has made it."""
        self._made.setdefault(key, made)
        if len(self._made) > _KEPT:
            del self._made[next(iter(self._made))]

    async def find(self, key: CacheKey) -> Made | None:
        """The first outcome under this key whose bytes are all still here."""
        made = self._made.get(key)
        if made is None:
            made = await self._read(key)
        if made is not None and not await self._is_whole(made.outputs):
            return None
        return made

    async def _read(self, key: CacheKey) -> Made | None:
        for position in self._log.marked(key):
            try:
                frame = await self._log.frame_at(position)
            except Missing:
                continue
            for event in decode(frame.batch.body, frame.count):
                self._learn(event)
            if key in self._made:
                return self._made[key]
        return None

    def _learn(self, event: Event) -> None:
        if isinstance(event, StepRan) and event.key and event.elements < 0:
            run, invocation = event.reused_run or event.run, event.reused_invocation or event.invocation
            self.add(event.key, Made(event.outputs, run, invocation))
        elif isinstance(event, ElementsRan) and event.keys:
            reused = dict(event.reused)
            for place, index in enumerate(event.indices):
                key = CacheKey(event.keys[place * MARK_SIZE : (place + 1) * MARK_SIZE])
                self.add(key, Made(outputs_of(event, place), reused.get(index, event.run), event.invocation))

    async def _is_whole(self, outputs: tuple[Output, ...]) -> bool:
        for output in outputs:
            if output.data is None and output.digest not in self._whole:
                if await self._artifacts.size(text_digest(output.digest)) != output.size:
                    return False
                self._whole.add(output.digest)
        return True
