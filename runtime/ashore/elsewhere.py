"""The runs of other processes: waited for, cancelled, and driven on here if their owner dies; and what others ask of ours."""

from __future__ import annotations

from typing import Any

import anyio
from anyio.abc import TaskGroup

from ashore.driving import Drives
from ashore.engine.waits import asked_of
from ashore.errors import AshoreError
from ashore.events import HELD, Answered, CancelAsked, Event, RunEnded, RunSpace, decode, encode
from ashore.histories import Ending, History
from ashore.ids import RunId
from ashore.notices import log
from ashore.runs import Run, Watched
from ashore.stack import Stack
from ashore.works import Work
from ashore_stores.errors import StoreError
from ashore_stores.keys import Position
from ashore_stores.logs.base import Batch, Claim, Entry

_OWNER_LOOK = 1.0
"""Seconds between looks at whether the owner of a run that is waited for still lives."""
_LISTEN_AFTER = 1.0
"""Seconds after which a runtime begins to listen for requests from other processes."""

_ASKING = (RunSpace.CANCELS, RunSpace.ANSWERS)
"""Registers by which other processes ask something of the runs that are driven here."""


class Elsewhere:
    """What a runtime hears from others, by following the log."""

    def __init__(self, stack: Stack, drives: Drives, group: TaskGroup) -> None:
        self._stack = stack
        self._drives = drives
        self._group = group
        self._watched: dict[RunId, list[Watched]] = {}
        self._listens = False

    def watch(self, run_id: RunId, history: History, work: Work[Any, Any] | None) -> Run[Any]:
        async def wait(watched: Watched) -> Ending:
            return await self._wait_for(run_id, watched, work)

        async def cancel(watched: Watched) -> None:
            await self._ask_to_cancel(run_id)

        course = Watched(history, wait, cancel, self._stack.ports.clock)
        assert history.started is not None
        if history.ending is None:
            self._watched.setdefault(run_id, []).append(course)
            self._listen_now()
        run: Run[Any] = Run.held(self._drives, run_id, history.started.pipeline, course)
        run._work = work
        return run

    async def _wait_for(self, run_id: RunId, watched: Watched, work: Work[Any, Any] | None) -> Ending:
        """Wait for another process's run; if its owner dies, drive it on here where the code is known."""
        while watched.history.rest is None:
            with anyio.move_on_after(_OWNER_LOOK):
                await watched.over.wait()
            if watched.history.rest is None:
                history = await self._drives.history(run_id)
                if history.rest is not None:
                    return history.rest
                if work is not None:
                    adopted = await self._drives.adopt_if_dead(run_id, work, history)
                    if adopted is not None:
                        return await adopted._course.wait()
                else:
                    await self._fail_if_dead(run_id, history)
        return watched.history.rest

    async def _fail_if_dead(self, run_id: RunId, history: History) -> None:
        if not await self._stack.log.is_alive(history.owner) and history.owner != self._stack.log.owner:
            raise AshoreError(
                f"run {run_id[:8]} has no living owner, so nobody drives it on",
                mend="Start it again under its key, or serve its pipeline: `ashore serve FILE`",
            )

    async def _ask_to_cancel(self, run_id: RunId) -> None:
        """A claim on the run being open: a run that has ended meanwhile is not asked."""
        event_log, topic = self._stack.log, run_id.encode()
        await event_log.own()
        now = self._stack.ports.clock.now()
        asking = Batch(encode([CancelAsked(run_id, now)]), 1, entries=(Entry(RunSpace.CANCELS, topic, b"asked"),), topics=(topic,))
        closed = (Entry(RunSpace.OPEN_RUNS, topic, b""), Entry(RunSpace.CANCELS, topic, b""))
        ending = Batch(encode([RunEnded(run_id, "cancelled", now)]), 1, entries=closed, topics=(topic,))
        owner = event_log.register(RunSpace.OPEN_RUNS, topic)
        while owner is not None:
            batch = ending if owner == HELD else asking  # nobody drives a held run: this is its end
            (judged,) = await event_log.append([Claim(RunSpace.OPEN_RUNS, topic, owner, batch)])
            if judged.position is not None:
                await event_log.durable(judged.position)
                return
            owner = judged.current

    async def listen_later(self) -> None:
        await self._stack.ports.clock.sleep(_LISTEN_AFTER)
        self._listen_now()

    def _listen_now(self) -> None:
        if not self._listens:
            self._listens = True
            self._group.start_soon(self._listen)

    async def _listen(self) -> None:
        """Follow the log for the ends of watched runs and for requests to cancel ours."""
        try:
            await self._follow()
        except StoreError as error:  # ours go on: only what others say is not heard any more
            log.warning("what other processes say is not heard any more: the log cannot be followed", why=str(error))

    async def _follow(self) -> None:
        start = await self._stack.log.refresh()
        for topic in self._stack.log.registers(RunSpace.CANCELS):  # asked for before we listened
            self._drives.cancel(RunId(topic.decode()))
        for key in self._stack.log.registers(RunSpace.ANSWERS):
            self._drives.answered(*asked_of(key))
        for run_id, courses in list(self._watched.items()):
            await self._catch_up(run_id, courses)
        async for frame in self._stack.log.follow(Position(start)):
            concerned = [topic for topic in frame.batch.topics if RunId(topic.decode()) in self._watched]
            asked = any(entry.space in _ASKING and entry.value for entry in frame.batch.entries)
            if concerned or asked:
                self._hear(decode(frame.batch.body, frame.count))

    async def _catch_up(self, run_id: RunId, courses: list[Watched]) -> None:
        history = await self._drives.history(run_id)
        for course in courses:
            for event in history.events[len(course.history.events) :]:
                course.receive(event)

    def _hear(self, events: list[Event]) -> None:
        for event in events:
            run_id = getattr(event, "run", None)
            for course in self._watched.get(run_id, ()) if run_id else ():
                course.receive(event)
            if isinstance(event, RunEnded):
                self._watched.pop(event.run, None)
            if isinstance(event, CancelAsked):
                self._drives.cancel(event.run)
            elif isinstance(event, Answered):
                self._drives.answered(event.run, event.invocation)
