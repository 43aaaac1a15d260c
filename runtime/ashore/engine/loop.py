"""The shell around the machine: one run on its way, its steps awaited on pumps or sent to threads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextvars import Context
from functools import partial
from typing import Any, TypeAlias, cast

import anyio

from ashore.engine.away import Away
from ashore.engine.effects import surely_held
from ashore.engine.failures import error_of, failure_of
from ashore.engine.fanout import Element, FanOut
from ashore.engine.fanouts import FRESH
from ashore.engine.invoke import Done, call_inline
from ashore.engine.journal import Journal
from ashore.engine.keys import ElementKeys
from ashore.engine.live.bodies import Bodies, Parts
from ashore.engine.live.endings import Broken, group_of
from ashore.engine.live.record import Record
from ashore.engine.means import Means
from ashore.engine.outcomes import Outcomes
from ashore.engine.pump import Pumps, TimerHandle, is_cancelled_from_outside
from ashore.engine.reporting import Reports
from ashore.engine.serving import Serving
from ashore.engine.state import CANCELLED, RUNNING, Machine
from ashore.engine.stretch import stretch
from ashore.engine.taking import take_all
from ashore.engine.trying import Attempts
from ashore.engine.units import Unit, blobs_needed, node_of, take_up
from ashore.engine.unstored import Unstored
from ashore.engine.values import Blobs, Large, load_blobs, store_all
from ashore.engine.waits import Waits
from ashore.errors import AshoreError, InternalError, StepError, StepLost, WorkerLeft
from ashore.events import HELD, Event, Held, Output, RunEnded, RunSpace, StepSkipped
from ashore.graph import Graph, Node
from ashore.ids import CodeId, InvocationId, RunId
from ashore.notices import log
from ashore.places import Place, here
from ashore.policies import Policy
from ashore.results import encode_result
from ashore.works import Work
from ashore_stores.errors import StoreError
from ashore_stores.logs.base import Entry, Ticket

_NO_BLOBS: Blobs = {}
_BLOCKED = 1.0
"""Seconds that a step may hold the loop before it is named."""
Introduce: TypeAlias = Callable[[Work[Any, Any]], Awaitable[CodeId]]
_GATHERED = 0.002
"""Seconds after which the events of a busy body are handed on at the latest."""


class Drive:
    """One run: its machine, its journal and its tasks."""

    entrance: tuple[Policy, Hashable] | None = None
    """What it has to be let in by before it goes, and where it queues."""
    is_left = False
    """Whether nothing more is recorded here: whatever still runs is dropped."""

    def __init__(self, means: Means, run: RunId, graph: Graph, context: Context, introduce: Introduce) -> None:
        """`introduce(work)` states what a step is, before it is called for the first time; it gives its code's id."""
        self.unstored = Unstored(means, run, graph.nodes, context)
        self.means = means = self.unstored.means
        self.run, self.graph = run, graph
        self.machine = Machine(graph)
        self.over = anyio.Event()
        self.journal = Journal(means.log, run)
        self.outcomes = Outcomes(means, run, self.machine, self.journal, (self._wake, self._settled))
        self.waits = Waits(means, run, self.journal, self.outcomes)
        self.bodies = self._bodies(context, introduce) if graph.body is not None or graph.bodies else None
        """What decides while the run goes, if it has an `async def` pipeline in it."""
        self.state = "running"
        self.errors: tuple[Exception, ...] = ()
        """What failed it, once it has failed."""
        self.result = b""
        """Its encoded result, once it is done."""
        self.trouble: StoreError | AshoreError | None = None
        """Why this process can no longer drive the run: the log refused it, or we broke it."""
        self._context = context
        self._now, self._monotonic = means.ports.clock.now, means.ports.clock.monotonic
        self._pumps: Pumps[Any] | None = None
        self.has_blobs = self.is_cancelled = False
        self.away = Away(means, run, context, self.is_over_for, self.broken)
        self._timer: TimerHandle | None = None
        self._gathering: TimerHandle | None = None
        self.attempts = Attempts(self)
        self.reports = Reports(self)
        self.held: list[Held] = []
        """Why nothing of the run executes until somebody answers."""
        self.serving = Serving(self, graph.refreshed)

    def _bodies(self, context: Context, introduce: Introduce) -> Bodies:
        parts = (self.means, self.run, self.graph, self.machine, self.journal, self.outcomes, context)
        return Bodies(Parts(*parts, self.over.set, self.cancel, self.hold, introduce))

    # From outside.

    async def go(self) -> None:
        """Drive the run to its end. Returns when its last event is queued; raises nothing of the steps."""
        if self.bodies is not None or any(node.is_reusable or node.fan for node in self.graph.nodes):
            await self.means.reuse.warm()
        self._pumps = Pumps(self.machine.ready, self._begin, self.idle, self._context, self.broken)
        self._pumps.entering = lambda: here.set(Place(self.reports))
        self.means.reuse.running[self.run] = self.put_on_record
        self.unstored.spawn = self.spawn
        try:
            if self.bodies is not None:
                self.bodies.open(self._pumps)
            self.held = surely_held(self.run, self.machine.nodes, self._now())
            if not self.held:
                await self._run_on()
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop(self._pumps)
        if self.trouble is None and self.held and not self.is_cancelled:
            self._rest()
        elif self.trouble is None:
            self._end()

    async def _run_on(self) -> None:
        self.machine.begin()
        if self.bodies is not None and not self.is_cancelled:
            self.bodies.begin()
        if not self.is_cancelled:
            self._wake()
        if not self.machine.is_settled:
            await self.over.wait()

    async def _stop(self, pumps: Pumps[Any]) -> None:
        """Let go of all that runs. What has an outcome keeps it, however the run is left; what comes later is dropped."""
        left = await pumps.stop(self.means.grace, patiently=self.is_cancelled or bool(self.held))
        self.attempts.close()
        if left:
            log.warning(
                "steps abandoned: they go on after they were cancelled, their results are dropped", steps=left, run=self.run
            )
        await self.away.leave()
        self.reports.close()
        self.is_left = True
        if self.bodies is not None:
            self.bodies.close()
        for timer in (self._timer, self._gathering):
            if timer is not None:
                timer.cancel()
        self.put_on_record()
        self.means.reuse.running.pop(self.run, None)
        self.means.reuse.flights.leave(self.run)

    def recall(self, events: Sequence[Event]) -> None:
        """What is on record of this run is final; what is left runs. Bodies take their part when they ask for it."""
        self.waits.recall(events)
        for event in events:
            if not (isinstance(event, StepSkipped) and event.invocation in self.graph.bodies):  # a sub-run comes to that end again
                self.machine.receive(event)
        if self.bodies is not None:
            self.bodies.recall(Record(events))
        self.has_blobs = self.bodies is not None or any(
            node.elements or any(output.data is None for output in node.outputs) for node in self.graph.nodes
        )

    def cancel(self) -> None:
        """End the run: running steps are cancelled, waiting ones skipped."""
        if self.state == "running":
            self.is_cancelled = True
            self.over.set()

    def hold(self, held: Held) -> None:
        """Let nothing of the run execute any more, until somebody answers."""
        self.held.append(held)
        self.over.set()

    def give_up(self, trouble: StoreError | AshoreError) -> None:
        """The log refuses what this run states (or we are broken): stop here, with nothing acknowledged."""
        self.trouble = self.trouble or trouble
        self.state = "lost"
        self.over.set()

    @property
    def last(self) -> Ticket | None:
        """The ticket of the last batch of this run."""
        return self.journal.last

    def counts(self) -> dict[str, int]:
        """Progress: invocations by state."""
        return self.machine.counts()

    # What the pumps ask for.

    def _begin(self, unit: Unit | FanOut) -> tuple[Any, Coroutine[Any, Any, None]] | None:
        """Settle a ready unit here and now, give it to a thread or a task of its own, or say what to await."""
        if isinstance(unit, FanOut):
            return self._begin_next(unit)
        node = node_of(unit)
        if not take_up(unit):
            return None
        if not node.work.is_step:
            self.spawn(self.waits.wait(node) if node.work.is_wait or self.bodies is None else self.bodies.run(node))
            return None
        if type(unit) is Node and unit.fan:
            self.spawn(self._fan_out(unit))
            return None
        if self.has_blobs and self.away.blobs_here(unit):
            self.spawn(self.alone(unit))
            return None
        if node.is_reusable and self.serving.serve(unit):
            return None
        if node.work.is_async and node.trials is None:
            return node.work.definition, self._inline(unit, _NO_BLOBS)
        self._begin_apart(unit, node)
        return None

    def _begin_apart(self, unit: Unit, node: Node) -> None:
        """Begin what is not awaited on a pump."""
        if node.trials is not None:
            self.attempts.begin(unit)
        elif node.work.supplied and not self.means.supplies.is_open(node.work):
            self.spawn(self.alone(unit))
        else:
            self._to_thread(unit, _NO_BLOBS)

    async def alone(self, unit: Unit) -> None:
        """What has to wait before it can be called: for blobs, for resources, or for an outcome that the log has under its key."""
        node = node_of(unit)
        try:
            if node.is_reusable and await self.serving.found(unit):
                return
            if node.trials is not None:
                self.attempts.begin(unit)
                return
            blobs = await load_blobs(self.means.artifacts, self.away.blobs_here(unit))
            if node.work.supplied:
                await self.means.supplies.open(node.work)
        except BaseException as error:  # noqa: BLE001  # whatever stands in the way of a call is that call's failure
            self.failed_or_ended(unit, error, self._now())
            return
        if node.work.is_async:
            await self._inline(unit, blobs)
        else:
            self._to_thread(unit, blobs)

    async def _inline(self, unit: Unit, blobs: Blobs) -> None:
        """One attempt of an `async def` step, on this task."""
        assert self._pumps is not None
        turn, started, begun = self._pumps.turn, self._now(), self._monotonic()
        place = here.get()
        assert place is not None
        place.unit = unit
        try:
            outputs = await call_inline(unit, blobs, self.means)
            stored = await self.stored(unit, outputs)
        except BaseException as error:  # noqa: BLE001  # a step can never hurt the engine: whatever it raises is a failed attempt
            self.failed_or_ended(unit, error, started)
        else:
            ended = self._now()
            if turn == self._pumps.turn and self._monotonic() - begun >= _BLOCKED:
                self._warn_if_blocked(unit, self._monotonic() - begun)
            if not self.is_left:
                self.outcomes.ran(unit, stored, started, ended)

    async def _fan_out(self, node: Node) -> None:
        """Open a fan-out: its elements are known now, and those without an outcome become ready."""
        started = self._now()
        try:
            blobs = await load_blobs(self.means.artifacts, blobs_needed(node)) if self.has_blobs else _NO_BLOBS
            shared = ElementKeys(node) if node.is_reusable or node.has_recipe else None
            fanout = FanOut(node, self.run, blobs, shared, started)
        except BaseException as error:  # noqa: BLE001  # a source that is no list, or a blob that is gone: the node's failure
            self.failed_or_ended(node, error, started)
            return
        if node.state == RUNNING:
            self.outcomes.fanouts.opened(fanout)
            for feed in fanout.taken:
                self.spawn(take_all(fanout, feed, self.outcomes.fanouts, self.means))

    def _begin_next(self, fanout: FanOut) -> tuple[Any, Coroutine[Any, Any, None]] | None:
        """Begin the next element of a fan-out, which stands in line again for the one after it."""
        element = fanout.next()
        fanout.is_queued = element is not None
        if element is None:
            return None
        self.machine.ready.append(fanout)  # type: ignore[arg-type]  # the pump takes both
        assert self._pumps is not None
        definition = fanout.node.work.definition
        if fanout.is_quick and not self._pumps.is_suspending(definition):
            return definition, self._stretch(fanout, element)
        return self._begin(element)

    async def _stretch(self, fanout: FanOut, first: Element) -> None:
        """Some elements that are quick, on this task."""
        assert self._pumps is not None
        turn, begun = self._pumps.turn, self._monotonic()
        await stretch(self, self._pumps, fanout, first)
        if turn == self._pumps.turn and self._monotonic() - begun >= _BLOCKED:
            self._warn_if_blocked(first, self._monotonic() - begun)

    def is_at_hand(self, element: Element) -> bool:
        """Whether an element can be called at once; if not, it was settled or goes its own way."""
        if element.node.state != RUNNING:
            return False
        if self.has_blobs and self.away.blobs_here(element):
            self.spawn(self.alone(element))
            return False
        if element.key and self.serving.serve(element):
            return False
        if element.is_of_files:
            self.spawn(self._inline(element, _NO_BLOBS))
            return False
        return True

    # Off the loop.

    def _to_thread(self, unit: Unit, blobs: Blobs) -> None:
        self.away.submit(unit, blobs, Place(self.reports, unit), partial(self.outcomes.started, unit), partial(self._take, unit))

    def _take(self, unit: Unit, done: Done | None, error: BaseException | None) -> None:
        if self.state != "running" or self.is_cancelled or self.is_left:
            return
        if isinstance(error, WorkerLeft) or (self.away.is_left and isinstance(error, StepLost)):
            return  # it was we who ended it: that is no outcome
        if done is None:
            self.failed(unit, error or StepError("the worker thread gave no result"), self._now())
        elif done.error is not None:
            self.failed(unit, done.error, done.started, done.ended)
        elif any([type(output) is Large for output in done.outputs]):
            self.spawn(self._store_then(unit, done))
        else:
            outputs = cast("tuple[Output, ...]", done.outputs)
            self.has_blobs = self.has_blobs or any([output.data is None for output in outputs])
            self.outcomes.ran(unit, outputs, done.started, done.ended)
        self.idle()

    async def _store_then(self, unit: Unit, done: Done) -> None:
        try:
            outputs = await self.stored(unit, done.outputs)
        except BaseException as error:  # noqa: BLE001  # what cannot be stored is a failed attempt
            self.failed_or_ended(unit, error, done.started, done.ended)
        else:
            if not self.is_left:
                self.outcomes.ran(unit, outputs, done.started, done.ended)
        self.idle()

    async def stored(self, unit: Unit, outputs: tuple[Output | Large, ...]) -> tuple[Output, ...]:
        """The outputs with blobs for the large ones: a frame is queued only when its own blobs are durable."""
        if not any([type(output) is Large for output in outputs]):
            return cast("tuple[Output, ...]", outputs)
        self.has_blobs = True
        means, work = self.means, node_of(unit).work
        if not work.is_stored:
            self.outcomes.passed = self.unstored.settled
            return self.unstored.keep(unit, outputs)
        return await store_all(means.artifacts, means.ports.workers, work, outputs)

    # Signals.

    def _wake(self) -> None:
        if self._pumps is not None:
            self._pumps.wake()
            if self.bodies is not None:
                self.bodies.turnstile.turn()

    def _settled(self) -> None:
        self.over.set()
        if self.bodies is not None and self._pumps is not None:
            self.bodies.turnstile.turn()

    def spawn(self, work: Coroutine[Any, Any, None], *, kept: bool = False) -> None:
        """A task of this run; one that is `kept` is not cancelled with it, but waited for."""
        assert self._pumps is not None
        if kept:
            self._pumps.spawn_kept(work)
        else:
            self._pumps.spawn(work)

    def later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle | None:
        """Have `callback` called after a while; None if the run has no tasks yet."""
        return None if self._pumps is None else self._pumps.later(seconds, callback)

    def is_over_for(self, unit: Unit) -> bool:
        """Whether a unit that waited for a thread is not to run any more: the run ends, or its fan-out failed."""
        return self._pumps is None or self._pumps.stopping or node_of(unit).state != RUNNING

    def idle(self) -> None:
        """Nothing is ready: hand on what has gathered, so that others see it and the disk gets it."""
        if self.is_left:
            return
        if not self.outcomes.fanouts.write_columns() and self._timer is None and self._pumps is not None:
            self._timer = self._pumps.later(FRESH, self._in_time)
        if self.bodies is None or self.bodies.turnstile.is_at_rest or self._pumps is None:
            self.hand_on()
        elif self._gathering is None:  # a body is about to ask for more: that goes into the same frame
            self._gathering = self._pumps.later(_GATHERED, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        if not self.is_left:
            self.hand_on()

    def put_on_record(self) -> None:
        """Hand on all that has gathered, elements of fan-outs too."""
        self.outcomes.fanouts.write_columns(all_of_them=True)
        self.hand_on()

    def _in_time(self) -> None:
        self._timer = None
        self.idle()

    def hand_on(self) -> None:
        """Hand on what is recorded, without elements that gather."""
        before = self.journal.last
        if before is not None and isinstance(before.error, StoreError):
            self.give_up(before.error)
        else:
            self.journal.flush()

    def failed(self, unit: Unit, error: BaseException, started: float, ended: float | None = None) -> None:
        """An attempt failed; KeyboardInterrupt cancels the run as well."""
        self.outcomes.broke(unit, error, started, ended)
        if isinstance(error, KeyboardInterrupt):
            self.cancel()

    def failed_or_ended(self, unit: Unit, error: BaseException, started: float, ended: float | None = None) -> None:
        """An attempt failed; a stray or foreign cancellation is only its own failure. See `is_ended_with`."""
        if not self.is_ended_with(error):
            self.failed(unit, error, started, ended)

    def is_ended_with(self, error: BaseException) -> bool:
        """Whether the run itself is being ended: whatever an attempt makes of that is no outcome. Raises the cancellation then."""
        assert self._pumps is not None
        if not self.is_left and not (self._pumps.stopping and is_cancelled_from_outside()):
            return False
        if isinstance(error, anyio.get_cancelled_exc_class()):
            raise error
        return True

    def broken(self, error: BaseException) -> None:
        """A task of ours ended by an exception. The run stops here, instead of waiting for it for ever."""
        trouble = InternalError(f"run {self.run} was broken by {type(error).__name__}", mend="Please report it, with its traceback")
        trouble.__cause__ = error
        self.give_up(trouble)

    def _rest(self) -> None:
        """The run is left to whoever answers."""
        self.state = "held"
        for held in self.held:
            self.journal.record(held)
        self.journal.flush((Entry(RunSpace.OPEN_RUNS, self.run.encode(), HELD),))

    def _end(self) -> None:
        self.outcomes.fanouts.write_columns(all_of_them=True)
        broken = self._broken()
        if self.is_cancelled or self.machine.unsettled:
            for node in self.machine.cancel(self.outcomes.has_begun):
                self.journal.record(StepSkipped(self.run, node.invocation, (), node.state == CANCELLED))
        self.state = "cancelled" if self.is_cancelled else "failed" if any(broken) else "done"
        self.result = encode_result(self._returned()) if self.state == "done" else b""
        failure = failure_of(group_of(broken.own)) if broken.own else None
        orphans = () if self.bodies is None or self.is_cancelled else self.bodies.orphans()
        self.journal.record(RunEnded(self.run, self.state, self._now(), self.result, broken.roots, failure, orphans))
        topic = self.run.encode()
        told = (*self.waits.forgotten(), *self.serving.told())
        self.journal.flush((Entry(RunSpace.OPEN_RUNS, topic, b""), Entry(RunSpace.CANCELS, topic, b""), *told))

    def _broken(self) -> Broken:
        """What failed the run."""
        if self.bodies is not None:
            broken = self.bodies.broken()
        else:
            broken = Broken(tuple([node.invocation for node in self.machine.failures]), ())
        self.errors = (*map(self._error, broken.roots), *broken.own)
        return broken

    def _error(self, invocation: InvocationId) -> Exception:
        if self.bodies is not None:
            return self.bodies.error(invocation)
        error = self.outcomes.errors.get(invocation)
        return error if error is not None else error_of(self.machine.by_invocation[invocation])

    def _returned(self) -> Any:
        return self.graph.result if self.graph.body is None or self.bodies is None else self.bodies.result

    def _warn_if_blocked(self, unit: Unit, seconds: float) -> None:
        work = node_of(unit).work
        if self._pumps is not None and not self._pumps.is_suspending(work.definition):
            log.warning(
                "step blocked the event loop: make it a `def` step, or await in it",
                step=work.name,
                seconds=round(seconds, 1),
                where=f"{work.file}:{work.line}",
            )
