"""The runs that this process drives: started here, or taken over from an owner that died."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from anyio.abc import TaskGroup

from ashore.calls import current_scope
from ashore.capturing import capture
from ashore.defined import Defined, definitions_batch
from ashore.engine.invoke import INSIDE_STEP
from ashore.engine.loop import Drive
from ashore.engine.means import Means
from ashore.environment import look_around, who_am_i
from ashore.errors import GraphError, RunLeft
from ashore.events import (
    HELD,
    Adopted,
    Arrivals,
    EffectAnswered,
    EffectsAllowed,
    ElementsRan,
    EnvironmentSeen,
    Event,
    Held,
    Invoked,
    Redone,
    Released,
    RunSpace,
    StepRan,
    encode,
)
from ashore.graph import Graph
from ashore.histories import History
from ashore.ids import NO_KEY, RUN_TOKEN_SIZE, CodeId, InvocationId, RunId, new_run_id
from ashore.notices import log
from ashore.quarantine import is_poisonous, quarantined
from ashore.replacing import Replacements
from ashore.runs import Driven, Run
from ashore.stack import Stack
from ashore.starting import About, Prepared, first_events, invoked, prepared_again, wired
from ashore.targets import target_of
from ashore.works import Work
from ashore_stores.errors import StoreError
from ashore_stores.logs.base import Batch, Claim, Entry, Space

if TYPE_CHECKING:
    from ashore.runtime import Runtime

_FENCED = b"fenced"
_KEPT_RUNS = 256
"""Runs that ended here and are kept in memory."""


class Fork(NamedTuple):
    """What a run is forked from."""

    parent: RunId
    without_effects: bool
    given: Sequence[Event] = ()
    """Outcomes that it has from the start: events of the other run, with the calls that they are about."""


class Drives:
    """The runs of one runtime that are driven here, and the last ones that were."""

    def __init__(self, stack: Stack, means: Means, group: TaskGroup, replaced: Replacements) -> None:
        self.runtime: Runtime | None = None
        """Whose runs they are."""
        self.runs: dict[RunId, Run[Any]] = {}
        self.adopted: list[Run[Any]] = []
        """Those that were taken over at the start, whatever became of them since."""
        self.stack = self._stack = stack
        self.means = self._means = means
        self._group = group
        self._replaced = replaced
        self._ended: deque[RunId] = deque()
        self._defined = Defined(means, stack.home.root)
        self._environment: EnvironmentSeen | None = None
        self._owner = b""

    def running(self) -> list[Run[Any]]:
        """Those that are under way now."""
        return [run for run in self.runs.values() if run.state == "running"]

    def cancel(self, run_id: RunId) -> None:
        """Somebody asked for it, from whichever process."""
        run = self.runs.get(run_id)
        if run is not None and isinstance(run._course, Driven):
            run._course.drive.cancel()

    def answered(self, run_id: RunId, invocation: InvocationId) -> None:
        """Somebody answered a question of a run, in whichever process."""
        run = self.runs.get(run_id)
        if run is not None and isinstance(run._course, Driven):
            run._course.drive.waits.answered(invocation)

    async def start_now(self, prepared: Prepared, fork: Fork | None = None) -> Run[Any]:
        drive = await self._new_drive(prepared, fork=fork)
        drive.journal.flush((await self._open_entry(drive),))
        return self._go(drive, prepared.work)

    async def start_claimed(
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
        (judged,) = await self._stack.log.append([Claim(entry.space, entry.key, expected, batch)])
        if judged.position is None:
            return None, judged.current
        run = self._go(drive, prepared.work)
        await self._stack.log.durable(judged.position)
        return run, None

    async def _new_drive(
        self, prepared: Prepared, key: str = "", arrivals: Arrivals | None = None, fork: Fork | None = None
    ) -> Drive:
        graph, entrance = await self._wired(prepared), prepared.entrance
        if fork is not None and fork.without_effects:
            refuse_effects(graph.works())
        owner, environment = await self._introduce(graph)
        run = new_run_id(self._stack.ports.random.token(RUN_TOKEN_SIZE))
        drive = self._drive(run, graph, without_effects=fork is not None and fork.without_effects)
        drive.entrance = entrance
        now = self._stack.ports.clock.now()
        about = About(self._stack.home.root, environment, now, key, arrivals, *(fork or ())[:2])
        drive.journal.record(first_events(run, prepared, owner, about))
        for event in invoked(run, graph):
            drive.journal.record(event)
        if fork is not None and fork.given:
            _give(drive, fork.given)
        return drive

    def _drive(self, run: RunId, graph: Graph, *, without_effects: bool = False) -> Drive:
        context = copy_context()
        context.run(current_scope.set, INSIDE_STEP)
        return Drive(self._means, run, graph, context, self._define_harmless if without_effects else self._define)

    async def _define_harmless(self, work: Work[Any, Any]) -> CodeId:
        """As `_define`, in a run that does not act on the world."""
        refuse_effects([work])
        return await self._define(work)

    async def _define(self, work: Work[Any, Any]) -> CodeId:
        """State, once, what a step is; a body calls it for the first time."""
        code, events = await self._defined.define(work)
        if events:
            self._stack.log.queue(definitions_batch(events))
        return code

    async def _open_entry(self, drive: Drive) -> Entry:
        return Entry(RunSpace.OPEN_RUNS, drive.run.encode(), await self._stack.log.own())

    async def _introduce(self, graph: Graph) -> tuple[bytes, bytes]:
        """State, once, who this owner is, what it runs on, and what its steps are. Returns owner and environment."""
        events: list[Event] = []
        owner = self._owner = await self._stack.log.own()
        if self._environment is None:
            ports = self._stack.ports
            self._environment = await ports.workers.run(look_around, ports.disk, self._stack.home.root)
            events += [who_am_i(owner, ports.disk.process(), ports.clock.now()), self._environment]
        events += await self._defined.stamp(graph.nodes)
        if events:
            self._stack.log.queue(definitions_batch(events))
        return owner, self._environment.environment

    def _go(self, drive: Drive, work: Work[Any, Any]) -> Run[Any]:
        course = Driven(drive, work.name)
        run: Run[Any] = Run.held(self, drive.run, work.name, course)
        run._work = work
        self.runs[drive.run] = run
        _driven_here[self._stack.home.path, drive.run] = drive
        capture.renew()
        self._group.start_soon(self._see_through, drive, course)
        return run

    async def _see_through(self, drive: Drive, course: Driven) -> None:
        """Drive a run, and let its waiters go when its end is durable."""
        try:
            async with self._means.gate.inside(*drive.entrance, drive.over) if drive.entrance else nullcontext():
                await drive.go()
            if drive.trouble is None and drive.last is not None:
                await self._stack.log.durable(drive.last)
        except StoreError as trouble:
            drive.give_up(trouble)
        except Exception as error:  # noqa: BLE001  # our bug: it is this run's trouble, not that of the others
            drive.broken(error)
        finally:
            if drive.state == "running":  # this runtime is closed by an exception
                self._release(drive)
                drive.give_up(RunLeft(drive.run))
            _driven_here.pop((self._stack.home.path, drive.run), None)
            course.finished.set()
            self._forget_oldest(drive.run)

    def _release(self, drive: Drive) -> None:
        """Say that it is left in peace: its owner did not die of it."""
        drive.journal.record(Released(drive.run, self._owner, self._stack.ports.clock.now()))
        drive.journal.flush()

    def _forget_oldest(self, ended: RunId) -> None:
        """Keep the last runs that ended at hand; older ones are read from the log when asked for."""
        self._ended.append(ended)
        if len(self._ended) > _KEPT_RUNS:
            self.runs.pop(self._ended.popleft(), None)

    async def history(self, run_id: RunId) -> History:
        return History.of(await self._stack.log.about(run_id.encode()), run_id)

    async def adopt_dead(self, works: Sequence[Work[Any, Any]]) -> None:
        """Take over the unfinished runs of dead owners, of these pipelines."""
        await self._stack.log.refresh()
        by_name = {(work.name, target_of(work, self._stack.home.root)): work for work in works}
        for topic in self._stack.log.registers(RunSpace.OPEN_RUNS):
            run_id = RunId(topic.decode())
            history = await self.history(run_id)
            started = history.started
            work = by_name.get((started.pipeline, started.target)) if started is not None else None
            if work is None or history.rest is not None:
                continue
            try:
                run = await self.adopt_if_dead(run_id, work, history)
                if run is not None:
                    self.adopted.append(run)
            except GraphError as error:
                log.warning("run left as it is: its pipeline cannot go on with it", run=run_id, pipeline=work.name, why=str(error))

    async def adopt_if_dead(
        self,
        run_id: RunId,
        work: Work[Any, Any],
        history: History,
        answers: Sequence[EffectAnswered | EffectsAllowed] | None = None,
    ) -> Run[Any] | None:
        """The run, driven on here, if nobody alive drives it; None otherwise. Raises `GraphError` if it cannot go on.

        A run that is held goes on only with `answers`, or with none of them to look again at what it can find out by itself.
        """
        if history.held and answers is None:
            return None
        event_log = self._stack.log
        owner = event_log.register(RunSpace.OPEN_RUNS, run_id.encode())
        if owner is None or history.started is None:
            return None
        me = await event_log.own()
        if owner != me and await event_log.is_alive(owner):
            return None
        with self._reserved(run_id) as is_ours:
            if not is_ours:
                return None
            if answers is None and owner != me and is_poisonous(history.events):
                await self._hold(run_id, owner, quarantined(run_id, history.events, self._stack.ports.clock.now()))
                return None
            prepared = prepared_again(work, history.started)
            graph = await self._wired(prepared)
            if await self._claim_run(run_id, owner, me, answers or ()):
                return await self._resume_run(run_id, prepared, graph)
        return None

    @contextmanager
    def _reserved(self, run_id: RunId) -> Iterator[bool]:
        """Keep every other runtime of this process from driving a run meanwhile; whether none of them does."""
        place, mine = (self._stack.home.path, run_id), object()
        try:
            yield _driven_here.setdefault(place, mine) is mine
        finally:
            if _driven_here.get(place) is mine:  # else a drive stands there by now
                del _driven_here[place]

    async def _wired(self, prepared: Prepared) -> Graph:
        """The graph of a call, with all that its steps ask of this runtime. Raises `GraphError` for what it cannot give."""
        graph = wired(prepared, self._replaced)
        await self._means.supplies.check(graph.works())
        self._means.gate.check(graph.nodes)
        return graph

    async def redo(self, run_id: RunId, work: Work[Any, Any], history: History, redone: Redone) -> Run[Any] | None:
        """Go on with a run that has ended; None if somebody was first. Raises `GraphError` if it cannot go on."""
        assert history.started is not None
        with self._reserved(run_id) as is_ours:
            if not is_ours:
                return None
            prepared = prepared_again(work, history.started)
            graph = await self._wired(prepared)
            refuse_redoing(graph, history, redone)
            topic = run_id.encode()
            entries = (Entry(RunSpace.OPEN_RUNS, topic, redone.owner),)
            batch = Batch(encode([redone]), 1, entries=entries, topics=(topic,))
            (judged,) = await self._stack.log.append([Claim(RunSpace.OPEN_RUNS, topic, None, batch)])
            if judged.position is None:
                return None
            await self._stack.log.durable(judged.position)
            return await self._resume_run(run_id, prepared, graph)

    async def _hold(self, run_id: RunId, owner: bytes, held: Held) -> None:
        """Take a run over from a dead owner only to hold it."""
        topic, me = run_id.encode(), await self._stack.log.own()
        entries = (Entry(RunSpace.OPEN_RUNS, topic, HELD), Entry(Space.OWNERS, owner, _FENCED))
        batch = Batch(encode([Adopted(run_id, me, owner, held.at), held]), 2, entries=entries, topics=(topic,))
        (judged,) = await self._stack.log.append([Claim(RunSpace.OPEN_RUNS, topic, owner, batch)])
        if judged.position is not None:
            await self._stack.log.durable(judged.position)
            log.warning("run held: it ends the process that drives it", run=run_id, why=held.reason, mend=held.mend)

    async def _claim_run(self, run_id: RunId, owner: bytes, me: bytes, answers: Sequence[EffectAnswered | EffectsAllowed]) -> bool:
        topic = run_id.encode()
        adopted = Adopted(run_id, me, owner, self._stack.ports.clock.now())
        entries: tuple[Entry, ...] = (Entry(RunSpace.OPEN_RUNS, topic, me),)
        if owner not in (me, HELD):
            entries += (Entry(Space.OWNERS, owner, _FENCED),)
        batch = Batch(encode([adopted, *answers]), 1 + len(answers), entries=entries, topics=(topic,))
        (judged,) = await self._stack.log.append([Claim(RunSpace.OPEN_RUNS, topic, owner, batch)])
        if judged.position is None:
            return False
        await self._stack.log.durable(judged.position)
        return True

    async def _resume_run(self, run_id: RunId, prepared: Prepared, graph: Graph) -> Run[Any]:
        history = await self.history(run_id)
        graph.refreshed |= history.refreshed
        await self._introduce(graph)
        drive = self._drive(run_id, graph, without_effects=history.started is not None and history.started.without_effects)
        known: set[bytes] = set()
        for event in history.events:
            if isinstance(event, Invoked):
                known.update(call.invocation for call in event.calls)
        drive.recall(history.events)
        for event in invoked(run_id, graph, known):
            drive.journal.record(event)
        log.info("run adopted", run=run_id, pipeline=prepared.work.name)
        if self._stack.log.register(RunSpace.CANCELS, run_id.encode()):
            drive.cancel()  # asked for while nobody drove it
        drive.entrance = prepared.entrance
        return self._go(drive, prepared.work)


def _give(drive: Drive, given: Sequence[Event]) -> None:
    """State outcomes that a run has from the start, and let it find them as if they were its own."""
    known = drive.graph.by_invocation
    events: list[Event] = []
    for event in given:
        if isinstance(event, Invoked):  # calls that a body has yet to make are stated with their outcomes
            calls = tuple([call for call in event.calls if call.invocation not in known])
            event = msgspec.structs.replace(event, calls=calls)
            if not calls:
                continue
        events.append(msgspec.structs.replace(event, run=drive.run))
    for event in events:
        if isinstance(event, ElementsRan):
            drive.journal.record_elements(event, [NO_KEY] * len(event.indices))
        else:
            drive.journal.record(event)
    drive.recall(events)


def refuse_effects(works: Sequence[Work[Any, Any]]) -> None:
    """Raises `GraphError` if one of these steps acts on the world."""
    for work in works:
        policy = work.definition.options.policy
        if policy is not None and policy.effects:
            what = f"{work.name} acts on the world (effects=True), and a fork does not do that by itself"
            raise GraphError(what, where=f"{work.file}:{work.line}", mend='Say fork(effects="run"), or `ashore fork --effects run`')


def refuse_redoing(graph: Graph, history: History, redone: Redone) -> None:
    """Raises `GraphError` if a step that has acted on the world would do so again without being named."""
    if graph.body is not None and redone.refreshed:
        what = "a pipeline that is an `async def` decides while it runs: what came from which of its calls is known only then"
        raise GraphError(what, mend="Fork it, or start it anew; resume() without redo= does again what failed")
    done = {event.invocation for event in history.events if isinstance(event, StepRan)}
    for name in redone.invocations:
        node = graph.by_invocation.get(name)
        if node is None or name not in done or node.work.name in redone.refreshed:
            continue
        policy = node.work.definition.options.policy
        if policy is not None and policy.effects:
            what = f"{node.work.name} acts on the world (effects=True), and would do it again"
            mend = f'Name it, if that is meant: redo=["{node.work.name}"]'
            raise GraphError(what, where=f"{node.work.file}:{node.work.line}", mend=mend)


_driven_here: dict[tuple[str, RunId], object] = {}
"""Runs that some runtime of this process drives or is about to, by home: whoever put itself there first does."""
