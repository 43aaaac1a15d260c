"""The runtime: what is embedded in an application, or stands behind the command line and the daemon."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token, copy_context
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
from anyio.abc import TaskGroup

from ashore.calls import Bound, current_scope
from ashore.engine.invoke import INSIDE_STEP
from ashore.engine.looking import Looker
from ashore.engine.loop import Drive
from ashore.engine.means import Means
from ashore.engine.reuse import Reuse
from ashore.engine.threads import Threads
from ashore.environment import look_around, who_am_i
from ashore.errors import AshoreError, KeyConflict
from ashore.events import (
    Adopted,
    Arrivals,
    CancelAsked,
    EnvironmentSeen,
    Event,
    Invoked,
    RunSpace,
    decode,
    encode,
)
from ashore.files import File
from ashore.graph import Graph
from ashore.handles import Handle
from ashore.ids import RUN_TOKEN_SIZE, RunId, hash_id, new_run_id
from ashore.notices import log
from ashore.runs import Driven, Ending, History, Run, Watched
from ashore.stack import LOCAL, Stack, open_stack
from ashore.starting import About, Defined, Prepared, declared_files, first_events, invoked, prepare, prepared_again, wired
from ashore.targets import target_of
from ashore.works import Pipeline, Work
from ashore_stores.errors import StoreError
from ashore_stores.keys import Position
from ashore_stores.logs.base import Batch, Claim, Entry, Space, Ticket
from ashore_stores.ports import Ports

T = TypeVar("T")

current_runtime: ContextVar[Runtime | None] = ContextVar("ashore_runtime", default=None)

_OWNER_LOOK = 1.0
"""Seconds between looks at whether the owner of a run that is waited for still lives."""
_LISTEN_AFTER = 1.0
"""Seconds after which a runtime begins to listen for requests from other processes."""
_FENCED = b"fenced"


class Runtime:
    """Runs pipelines in the application's own loop. `async with Runtime() as rt:`.

    Leaving the block waits for the runs it drives; leaving it by an exception stops them where they are, and they are
    resumed by whoever adopts them. `resume=[pipeline]`: unfinished runs of dead owners are taken over at the start.
    """

    def __init__(
        self,
        stack: str | Stack = LOCAL,
        *,
        home: str | os.PathLike[str] | None = None,
        resume: Sequence[Work[Any, Any]] = (),
        threads: int | None = None,
        grace: float = 10.0,
        ports: Ports | None = None,
    ) -> None:
        self._asked = stack
        self._home = home
        self._resume = tuple(resume)
        self._threads = threads or min(32, (os.cpu_count() or 1) + 4)
        self._grace = grace
        self._ports = ports
        self._runs: dict[RunId, Run[Any]] = {}
        self._watched: dict[RunId, list[Watched]] = {}
        self._defined = Defined()
        self._environment: EnvironmentSeen | None = None
        self._listens = False

    # ------------------------------------------------------------------ the block

    async def __aenter__(self) -> Self:
        self._is_own_stack = isinstance(self._asked, str)
        if isinstance(self._asked, str):
            self.stack = await open_stack(self._asked, home=self._home, ports=self._ports)
        else:
            self.stack = self._asked
        stack = self.stack
        disk = stack.ports.disk
        self.means = Means(
            stack.log,
            stack.artifacts,
            stack.ports,
            Reuse(stack.log, stack.artifacts, stack.ports.workers),
            Threads(stack.ports.workers, self._threads),
            Looker(disk, os.getcwd()),
            self._grace,
        )
        self._group: TaskGroup = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._listen_later)
        self._token: Token[Runtime | None] = current_runtime.set(self)
        if self._resume:
            await self._adopt_dead()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        current_runtime.reset(self._token)
        try:
            if kind is None:
                await self._settle_runs()
            self._group.cancel_scope.cancel()
            await self._group.__aexit__(None, None, None)  # the block's own exception is raised as itself, not in a group
        finally:
            with anyio.CancelScope(shield=True):
                for run_id in self._runs:
                    _driven_here.discard((self.stack.home.path, run_id))
                if self._is_own_stack:
                    await self.stack.aclose()

    async def _settle_runs(self) -> None:
        """Wait for the runs that this runtime drives."""
        for run in list(self._runs.values()):
            course = run._course
            if isinstance(course, Driven):
                await course.finished.wait()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """For frameworks that take a lifespan: `FastAPI(lifespan=rt.lifespan)`."""
        async with self:
            yield

    def __repr__(self) -> str:
        where = self.stack.home.path if hasattr(self, "stack") else "not open"
        return f"<Runtime {where}: {len(self.running())} running>"

    # ------------------------------------------------------------------ starting

    async def start(self, call: Handle[T], /, *, key: str | None = None) -> Run[T]:
        """Start a run of a call; returns when its start is durable.

        With a key, over all processes of the home: the one run of that key, running, finished, or resumed if its owner is
        dead. Raises `KeyConflict` if that run has other arguments, `GraphError` for a call that is not right.
        """
        prepared = await prepare(_taken(call), self.means)
        if key is not None:
            return await self._start_keyed(prepared, key)
        run = await self._start_now(prepared)
        await self.stack.log.durable(run_ticket(run))
        return run

    async def start_soon(self, call: Handle[T], /) -> Run[T]:
        """As `start` without a key, but returns at once: whoever awaits the run's end waits for the disk then."""
        return await self._start_now(await prepare(_taken(call), self.means))

    async def start_triggered(
        self, pipeline: Pipeline[Any, Any], files: Sequence[File], arrivals: Arrivals, expected: bytes | None
    ) -> Run[Any] | None:
        """Start the run that stands for these arrivals; None if they were given to a run by somebody else already."""
        parameter, many = pipeline.arrival
        call: Handle[Any] = pipeline(**{parameter.name: list(files) if many else files[0]})
        prepared = await prepare(_taken(call), self.means)
        upto = arrivals.upto.to_bytes(8, "little")
        entry = Entry(RunSpace.TRIGGERED, pipeline.name.encode(), upto)
        run, _ = await self._start_claimed(prepared, entry, expected, arrivals=arrivals)
        return run

    async def _start_now(self, prepared: Prepared) -> Run[Any]:
        drive = await self._new_drive(prepared)
        drive.journal.flush((await self._open_entry(drive),))
        return self._go(drive, prepared.work)

    async def _start_keyed(self, prepared: Prepared, key: str) -> Run[Any]:
        claim_key = hash_id(prepared.work.name.encode(), key.encode())
        taken = self.stack.log.register(RunSpace.STARTS, claim_key)
        if taken is None:
            entry = Entry(RunSpace.STARTS, claim_key, prepared.digest)
            run, taken = await self._start_claimed(prepared, entry, None, key=key)
            if run is not None:
                return run
        assert taken is not None
        await self.stack.log.durable(self.stack.log.statistics().written)
        run_id = RunId(taken[16:].decode())
        if taken[:16] != prepared.digest:
            await self._refuse(prepared, key, run_id)
        return await self._existing(run_id, prepared.work)

    async def _start_claimed(
        self,
        prepared: Prepared,
        entry: Entry,
        expected: bytes | None,
        *,
        key: str = "",
        arrivals: Arrivals | None = None,
    ) -> tuple[Run[Any] | None, bytes | None]:
        """Start a run together with a claim; (None, what the register holds) if it was lost."""
        drive = await self._new_drive(prepared, key, arrivals)
        if key:
            entry = Entry(entry.space, entry.key, entry.value + drive.run.encode())
        batch = drive.journal.batch((entry, await self._open_entry(drive)))
        (judged,) = await self.stack.log.append([Claim(entry.space, entry.key, expected, batch)])
        if judged.position is None:
            return None, judged.current
        run = self._go(drive, prepared.work)
        await self.stack.log.durable(judged.position)
        return run, None

    async def _new_drive(self, prepared: Prepared, key: str = "", arrivals: Arrivals | None = None) -> Drive:
        graph = wired(prepared)
        owner, environment = await self._introduce(graph)
        run = new_run_id(self.stack.ports.random.token(RUN_TOKEN_SIZE))
        drive = self._drive(run, graph)
        now = self.stack.ports.clock.now()
        about = About(self.stack.home.root, environment, now, key, arrivals)
        drive.journal.record(first_events(run, prepared, owner, about))
        for event in invoked(run, graph):
            drive.journal.record(event)
        return drive

    def _drive(self, run: RunId, graph: Graph) -> Drive:
        context = copy_context()
        context.run(current_scope.set, INSIDE_STEP)
        return Drive(self.means, run, graph, context)

    async def _open_entry(self, drive: Drive) -> Entry:
        return Entry(RunSpace.OPEN_RUNS, drive.run.encode(), await self.stack.log.own())

    async def _introduce(self, graph: Graph) -> tuple[bytes, bytes]:
        """State, once, who this owner is, what it runs on, and what its steps are. Returns owner and environment."""
        events: list[Event] = []
        owner = await self.stack.log.own()
        if self._environment is None:
            ports = self.stack.ports
            self._environment = await ports.workers.run(look_around, ports.disk, self.stack.home.root)
            events += [who_am_i(owner, ports.disk.process(), ports.clock.now()), self._environment]
        events += self._defined.fingerprint(graph, await declared_files(graph, self.means, self.stack.home.root))
        if events:
            self.stack.log.queue(Batch(encode(events), len(events)))
        return owner, self._environment.environment

    def _go(self, drive: Drive, work: Work[Any, Any]) -> Run[Any]:
        course = Driven(drive)
        run: Run[Any] = Run(drive.run, work.name, self.stack.log, self.stack.artifacts, course)
        self._runs[drive.run] = run
        _driven_here.add((self.stack.home.path, drive.run))
        self._group.start_soon(self._see_through, drive, course)
        return run

    async def _see_through(self, drive: Drive, course: Driven) -> None:
        """Drive a run, and let its waiters go when its end is durable."""
        try:
            await drive.go()
            if drive.trouble is None and drive.last is not None:
                await self.stack.log.durable(drive.last)
        except StoreError as trouble:
            drive.give_up(trouble)
            drive.state, drive.trouble = "lost", trouble
        finally:
            _driven_here.discard((self.stack.home.path, drive.run))
        course.finished.set()

    async def _refuse(self, prepared: Prepared, key: str, run_id: RunId) -> None:
        history = await self._history(run_id)
        recorded = {}
        if history.started is not None:
            recorded = prepared_again(prepared.work, history.started).shown()
        raise KeyConflict(key, prepared.work.name, recorded, prepared.shown(), run=run_id)

    # ------------------------------------------------------------------ runs that are there already

    async def run(self, id: str) -> Run[Any]:
        """The run with this id, whichever process drives it. Raises `AshoreError` if there is none."""
        known = self._runs.get(RunId(id))
        if known is not None:
            return known
        await self.stack.log.refresh()
        return await self._existing(RunId(id), None)

    def running(self) -> list[Run[Any]]:
        """The runs that this runtime drives now."""
        return [run for run in self._runs.values() if run.state == "running"]

    def open_runs(self, pipeline: Work[Any, Any]) -> list[Run[Any]]:
        """The runs of a pipeline that this runtime drives now, adopted ones among them."""
        return [run for run in self.running() if run.pipeline == pipeline.name]

    async def _existing(self, run_id: RunId, work: Work[Any, Any] | None) -> Run[Any]:
        known = self._runs.get(run_id)
        if known is not None:
            return known
        history = await self._history(run_id)
        if history.started is None:
            raise AshoreError(f"there is no run {run_id}", mend="`ashore runs` lists them")
        if history.ending is None and work is not None:
            adopted = await self._adopt_if_dead(run_id, work, history)
            if adopted is not None:
                return adopted
        return self._watch(run_id, history, work)

    async def _history(self, run_id: RunId) -> History:
        return History.of(await self.stack.log.about(run_id.encode()), run_id)

    def _watch(self, run_id: RunId, history: History, work: Work[Any, Any] | None) -> Run[Any]:
        async def wait(watched: Watched) -> Ending:
            return await self._wait_for(run_id, watched, work)

        async def cancel(watched: Watched) -> None:
            await self._ask_to_cancel(run_id)

        course = Watched(history, wait, cancel)
        assert history.started is not None
        if history.ending is None:
            self._watched.setdefault(run_id, []).append(course)
            self._listen_now()
        return Run(run_id, history.started.pipeline, self.stack.log, self.stack.artifacts, course)

    async def _wait_for(self, run_id: RunId, watched: Watched, work: Work[Any, Any] | None) -> Ending:
        """Wait for another process's run; if its owner dies, drive it on here where the code is known."""
        while watched.history.ending is None:
            with anyio.move_on_after(_OWNER_LOOK):
                await watched.over.wait()
            if watched.history.ending is None:
                history = await self._history(run_id)
                if history.ending is not None:
                    return history.ending
                if work is not None:
                    adopted = await self._adopt_if_dead(run_id, work, history)
                    if adopted is not None:
                        return await adopted._course.wait()
                else:
                    await self._fail_if_dead(run_id, history)
        return watched.history.ending

    async def _fail_if_dead(self, run_id: RunId, history: History) -> None:
        if not await self.stack.log.is_alive(history.owner) and history.owner != self.stack.log.owner:
            raise AshoreError(
                f"run {run_id[:8]} has no living owner, so nobody drives it on",
                mend="Start it again under its key, or serve its pipeline: `ashore serve FILE`",
            )

    async def _ask_to_cancel(self, run_id: RunId) -> None:
        asked = CancelAsked(run_id, self.stack.ports.clock.now())
        topic = run_id.encode()
        await self.stack.log.own()
        batch = Batch(encode([asked]), 1, entries=(Entry(RunSpace.CANCELS, topic, b"asked"),), topics=(topic,))
        await self.stack.log.durable(self.stack.log.queue(batch))

    # ------------------------------------------------------------------ adoption

    async def _adopt_dead(self) -> None:
        """Take over the unfinished runs of dead owners, of the pipelines named in `resume`."""
        await self.stack.log.refresh()
        by_name = {(work.name, target_of(work, self.stack.home.root)): work for work in self._resume}
        for topic in self.stack.log.registers(RunSpace.OPEN_RUNS):
            run_id = RunId(topic.decode())
            history = await self._history(run_id)
            started = history.started
            work = by_name.get((started.pipeline, started.target)) if started is not None else None
            if work is not None and history.ending is None:
                await self._adopt_if_dead(run_id, work, history)

    async def _adopt_if_dead(self, run_id: RunId, work: Work[Any, Any], history: History) -> Run[Any] | None:
        """The run, driven on here, if nobody alive drives it; None otherwise."""
        event_log = self.stack.log
        owner = event_log.register(RunSpace.OPEN_RUNS, run_id.encode())
        if owner is None:
            return None
        me = await event_log.own()
        if owner == me:
            if (self.stack.home.path, run_id) in _driven_here:
                return None
        elif await event_log.is_alive(owner):
            return None
        if not await self._claim_run(run_id, owner, me):
            return None
        history = await self._history(run_id)
        assert history.started is not None
        prepared = prepared_again(work, history.started)
        return await self._resume_run(run_id, prepared, history)

    async def _claim_run(self, run_id: RunId, owner: bytes, me: bytes) -> bool:
        topic = run_id.encode()
        adopted = Adopted(run_id, me, owner, self.stack.ports.clock.now())
        entries: tuple[Entry, ...] = (Entry(RunSpace.OPEN_RUNS, topic, me),)
        if owner != me:
            entries += (Entry(Space.OWNERS, owner, _FENCED),)
        batch = Batch(encode([adopted]), 1, entries=entries, topics=(topic,))
        (judged,) = await self.stack.log.append([Claim(RunSpace.OPEN_RUNS, topic, owner, batch)])
        if judged.position is None:
            return False
        _driven_here.add((self.stack.home.path, run_id))
        await self.stack.log.durable(judged.position)
        return True

    async def _resume_run(self, run_id: RunId, prepared: Prepared, history: History) -> Run[Any]:
        graph = wired(prepared)
        await self._introduce(graph)
        drive = self._drive(run_id, graph)
        known: set[bytes] = set()
        for event in history.events:
            drive.machine.receive(event)
            if isinstance(event, Invoked):
                known.update(call.invocation for call in event.calls)
        drive.recalled()
        for event in invoked(run_id, graph, known):
            drive.journal.record(event)
        log.info("run adopted", run=run_id, pipeline=prepared.work.name)
        return self._go(drive, prepared.work)

    # ------------------------------------------------------------------ what others say

    async def _listen_later(self) -> None:
        await self.stack.ports.clock.sleep(_LISTEN_AFTER)
        self._listen_now()

    def _listen_now(self) -> None:
        if not self._listens:
            self._listens = True
            self._group.start_soon(self._listen)

    async def _listen(self) -> None:
        """Follow the log for the ends of watched runs and for requests to cancel ours."""
        start = await self.stack.log.refresh()
        for run_id, courses in list(self._watched.items()):
            await self._catch_up(run_id, courses)
        async for frame in self.stack.log.follow(Position(start)):
            concerned = [topic for topic in frame.batch.topics if RunId(topic.decode()) in self._watched]
            asked = any(entry.space == RunSpace.CANCELS and entry.value for entry in frame.batch.entries)
            if concerned or asked:
                self._hear(decode(frame.batch.body, frame.count))

    async def _catch_up(self, run_id: RunId, courses: list[Watched]) -> None:
        history = await self._history(run_id)
        for course in courses:
            for event in history.events[len(course.history.events) :]:
                course.receive(event)

    def _hear(self, events: list[Event]) -> None:
        for event in events:
            run_id = getattr(event, "run", None)
            for course in self._watched.get(run_id, ()) if run_id else ():
                course.receive(event)
            if isinstance(event, CancelAsked):
                run = self._runs.get(event.run)
                if run is not None and isinstance(run._course, Driven):
                    run._course.drive.cancel()


def _taken(call: Handle[Any]) -> Bound:
    """The call that a handle stands for; it counts as started."""
    call.claim()
    return call.bound


_driven_here: set[tuple[str, RunId]] = set()
"""Runs that some runtime of this process drives, by home."""


def run_ticket(run: Run[Any]) -> Ticket:
    """The ticket of the last batch of a run that is driven here."""
    course = run._course
    assert isinstance(course, Driven)
    ticket = course.drive.last
    assert ticket is not None
    return ticket
