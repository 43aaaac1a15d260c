"""The shell around the machine: one run on its way.

Every outcome takes the same path, in one synchronous place (`_settle`, `_broke`): the journal first, then the machine, then
whatever became ready. Only the outside waits for the disk.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import Context
from functools import partial
from typing import Any, TypeAlias

import anyio
import structlog
from ashore_stores.errors import StoreError
from ashore_stores.logs.base import Entry, Ticket

from ashore.engine.columns import FRAME
from ashore.engine.failures import annotate, failure_of
from ashore.engine.fanout import Element, FanOut
from ashore.engine.invoke import Done, call_inline, run_blocking
from ashore.engine.journal import Journal
from ashore.engine.means import Means
from ashore.engine.pump import Pumps, is_cancelled_from_outside
from ashore.engine.reuse import Made
from ashore.engine.state import DONE, READY, RUNNING, Machine
from ashore.engine.values import Blobs, Large, blobs_of, element_key, key_of, load_blobs, store_large
from ashore.errors import StepFailure
from ashore.events import Output, RunEnded, RunSpace, StepFailed, StepRan, StepSkipped, StepStarted
from ashore.graph import Graph, Node
from ashore.ids import NO_KEY, CacheKey, InvocationId, RunId
from ashore.results import encode_result

log = structlog.get_logger("ashore")

Unit: TypeAlias = Node | Element

_NO_BLOBS: Blobs = {}
_NO_RUN = RunId("")
_NO_INVOCATION = InvocationId(b"")
_BLOCKED = 1.0
"""Seconds that a step may hold the loop before it is named."""


class Drive:
    """One run: its machine, its journal and its tasks."""

    def __init__(self, means: Means, run: RunId, graph: Graph, context: Context) -> None:
        self.means = means
        self.run = run
        self.graph = graph
        self.machine = Machine(graph)
        self.journal = Journal(means.log, run)
        self.state = "running"
        self.errors: dict[InvocationId, BaseException] = {}
        """The exceptions of failed invocations, as they were raised here."""
        self.result = b""
        """Its encoded result, once it is done."""
        self.trouble: StoreError | None = None
        """Why this process can no longer drive the run: the log refused it."""
        self._context = context
        self._now = means.ports.clock.now
        self._over = anyio.Event()
        self._pumps: Pumps[Any] | None = None
        self._fanouts: dict[int, FanOut] = {}
        self._ended_at: dict[int, float] = {}
        self._has_blobs = False
        self._in_threads: dict[int, Unit] = {}
        self._threads_free = anyio.Event()
        self._flushed = 0.0
        self._is_cancelled = False

    # ------------------------------------------------------------------ from outside

    async def go(self) -> None:
        """Drive the run to its end. Returns when its last event is queued; raises nothing of the steps."""
        if any(node.is_reusable for node in self.graph.nodes):
            await self.means.reuse.warm()
        self._begun = self._now()
        self._pumps = Pumps(self.machine.ready, self._begin, self._idle, self._context)
        try:
            self.machine.begin()
            self._pumps.wake()
            if not self.machine.is_settled:
                await self._over.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await self._pumps.stop()
                if self._is_cancelled:
                    await self._leave_threads()
        if self.trouble is None:
            self._end()

    def cancel(self) -> None:
        """End the run: running steps are cancelled, waiting ones skipped."""
        if self.state == "running":
            self._is_cancelled = True
            self._over.set()

    def give_up(self, trouble: StoreError) -> None:
        """The log refuses what this run states: stop here, with nothing acknowledged."""
        if self.trouble is None:
            self.trouble = trouble
            self.state = "lost"
            self._over.set()

    def recalled(self) -> None:
        """The machine was given a history: what was recorded is final, what is left runs."""
        self._has_blobs = any(output.data is None for node in self.graph.nodes for output in node.outputs)
        self._has_blobs = self._has_blobs or any(node.elements is not None for node in self.graph.nodes)

    @property
    def last(self) -> Ticket | None:
        """The ticket of the last batch of this run."""
        return self.journal.last

    def counts(self) -> dict[str, int]:
        """Progress: invocations by state."""
        counts = {"done": 0, "cached": 0, "failed": 0, "skipped": 0, "running": 0, "waiting": 0}
        names = ("waiting", "waiting", "running", "done", "failed", "skipped")
        for node in self.machine.nodes:
            counts["cached" if node.reused_run else names[node.state]] += 1
        return counts

    # ------------------------------------------------------------------ the pump's side

    def _begin(self, unit: Unit) -> tuple[Any, Coroutine[Any, Any, None]] | None:
        """Settle a ready unit here and now, give it to a thread or a task of its own, or say what to await."""
        node = unit.node if type(unit) is Element else unit
        if type(unit) is Element:
            if node.state != RUNNING:
                return None
        elif node.state == READY:
            node.state = RUNNING
        else:
            return None
        assert self._pumps is not None
        if node.fan and type(unit) is not Element:
            self._pumps.spawn(self._fan_out(node))
            return None
        if self._has_blobs and self._needs_blobs(unit):
            self._pumps.spawn(self._alone(unit))
            return None
        if node.is_reusable:
            if self._served(unit):
                return None
            if self.means.reuse.is_recorded(_key(unit)):
                self._pumps.spawn(self._alone(unit))
                return None
        if node.work.is_async:
            return node.work.fn, self._inline(unit, _NO_BLOBS)
        self._to_thread(unit, _NO_BLOBS)
        return None

    def _served(self, unit: Unit) -> bool:
        """Whether the unit's outputs are known in this process and inline: then it is settled with them."""
        if type(unit) is Node:
            unit.key = key_of(unit)
        made = self.means.reuse.made(_key(unit))
        if made is None or any(output.data is None for output in made.outputs):
            return False
        self._reuse(unit, made)
        return True

    def _reuse(self, unit: Unit, made: Made) -> None:
        now = self._now()
        self._settle(unit, made.outputs, now, now, made)

    def _needs_blobs(self, unit: Unit) -> bool:
        if type(unit) is Element:
            return True
        return bool(blobs_of(unit.arguments))

    async def _alone(self, unit: Unit) -> None:
        """What has to wait before it can be called: for blobs, or for an outcome that the log has under its key."""
        node = unit.node if type(unit) is Element else unit
        try:
            if node.is_reusable:
                if type(unit) is Node:
                    unit.key = key_of(unit)
                made = await self.means.reuse.find(_key(unit))
                if made is not None:
                    self._reuse(unit, made)
                    return
            needed = _blobs_of_element(unit) if type(unit) is Element else blobs_of(node.arguments)
            blobs = await load_blobs(self.means.artifacts, needed)
        except Exception as error:  # noqa: BLE001  # whatever stands in the way of a call is that call's failure
            self._broke(unit, error, self._now())
            return
        if node.work.is_async:
            await self._inline(unit, blobs)
        else:
            self._to_thread(unit, blobs)

    async def _inline(self, unit: Unit, blobs: Blobs) -> None:
        """One attempt of an `async def` step, on this task."""
        started = self._now()
        try:
            outputs = await call_inline(unit, blobs, self.means)
            if any(type(output) is Large for output in outputs):
                outputs = await self._stored(unit, outputs)
        except BaseException as error:  # noqa: BLE001  # a step can never hurt the engine: whatever it raises is a failed attempt
            if self._is_ending(error):
                raise
            self._broke(unit, error, started)
        else:
            self._settle(unit, outputs, started, self._now())

    def _is_ending(self, error: BaseException) -> bool:
        """Whether the run itself is being ended; a stray or foreign cancellation is only this step's."""
        assert self._pumps is not None
        return isinstance(error, anyio.get_cancelled_exc_class()) and self._pumps.stopping and is_cancelled_from_outside()

    def _to_thread(self, unit: Unit, blobs: Blobs) -> None:
        node = unit.node if type(unit) is Element else unit

        def started() -> None:
            self._in_threads[id(unit)] = unit
            if type(unit) is Node:
                self.journal.record(StepStarted(self.run, node.invocation, self._now(), node.attempt))

        work = partial(run_blocking, unit, blobs, self.means, self._context.copy())
        self.means.threads.submit(started, work, partial(self._from_thread, unit))

    def _from_thread(self, unit: Unit, done: Done | None, error: BaseException | None) -> None:
        self._in_threads.pop(id(unit), None)
        if not self._in_threads:
            self._threads_free.set()
        if self.state != "running" or self._is_cancelled:
            return
        assert self._pumps is not None
        if error is not None or done is None:
            self._broke(unit, error or StepFailure("the worker thread gave no result"), self._now())
        elif done.error is not None:
            self._broke(unit, done.error, done.started, done.ended)
        elif any(type(output) is Large for output in done.outputs):
            self._pumps.spawn(self._store_then(unit, done))
        else:
            self._settle(unit, done.outputs, done.started, done.ended)
            self._idle()

    async def _store_then(self, unit: Unit, done: Done) -> None:
        try:
            outputs = await self._stored(unit, done.outputs)
        except Exception as error:  # noqa: BLE001  # what cannot be stored is a failed attempt, with the value on the error
            self._broke(unit, error, done.started, done.ended)
        else:
            self._settle(unit, outputs, done.started, done.ended)
            self._idle()

    async def _stored(self, unit: Unit, outputs: tuple[Any, ...]) -> tuple[Output, ...]:
        """Blobs first: a frame is queued only when its own blobs are durable."""
        self._has_blobs = True
        node = unit.node if type(unit) is Element else unit
        stored: list[Output] = []
        for output in outputs:
            if type(output) is Large:
                output = await store_large(self.means.artifacts, node.work.fn, output, self.means.ports.workers.run)
            stored.append(output)
        return tuple(stored)

    # ------------------------------------------------------------------ fan-outs

    async def _fan_out(self, node: Node) -> None:
        """Open a fan-out: its elements are known now, and those without an outcome become ready."""
        started = self._now()
        try:
            blobs = await load_blobs(self.means.artifacts, blobs_of(node.arguments)) if self._has_blobs else _NO_BLOBS
            fanout = FanOut(node, self.run, blobs, key_of(node) if node.is_reusable else NO_KEY)
        except Exception as error:  # noqa: BLE001  # a source that is no list, or a blob that is gone: the node's failure
            self._broke(node, error, started)
            return
        fanout.started = started
        fan = fanout.fan = self.machine.open_fan(node, len(fanout.items))
        self._fanouts[id(node)] = fanout
        fanout.columns.files.extend(fanout.files())
        for index, row in enumerate(fanout.items):
            if fan.outputs[index] is None and index not in fan.failed:
                key = element_key(fanout.shared, row) if fanout.shared else NO_KEY
                self.machine.ready.append(Element(fanout, index, key))  # type: ignore[arg-type]  # the pump takes both
        if not fan.unsettled:
            self._close_fan(fanout)
        assert self._pumps is not None
        self._pumps.wake()

    def _settle_element(self, element: Element, outputs: tuple[Output, ...], reused: RunId) -> None:
        fanout = element.fanout
        fan = fanout.fan
        fan.outputs[element.index] = outputs
        fan.unsettled -= 1
        fanout.columns.add(element.index, element.key, outputs, reused)
        if not fan.unsettled:
            self._close_fan(fanout)
        elif len(fanout.columns) >= FRAME:
            self._write_columns(fanout)

    def _fail_element(self, element: Element, error: BaseException, started: float) -> None:
        fanout = element.fanout
        failure = failure_of(error)
        fanout.fan.failed[element.index] = failure
        fanout.fan.unsettled -= 1
        fanout.columns.add_failure(element.index, failure)
        if not fanout.skips:
            self._write_columns(fanout)
            self._fail(fanout.node, error, started, self._now())
        elif not fanout.fan.unsettled:
            self._close_fan(fanout)

    def _close_fan(self, fanout: FanOut) -> None:
        self._write_columns(fanout)
        node, fan = fanout.node, fanout.fan
        now = self._now()
        self._fanouts.pop(id(node), None)
        ran = StepRan(
            self.run,
            node.invocation,
            NO_KEY,
            (fanout.outcome(),),
            self._ready_at(node),
            fanout.started,
            now,
            elements=fan.count,
            skipped=len(fan.failed),
        )
        self._record(node, ran, NO_KEY, now)

    def _write_columns(self, fanout: FanOut) -> None:
        if len(fanout.columns) or fanout.columns.files:
            for event, keys in fanout.columns.take():
                self.journal.record_elements(event, keys)

    # ------------------------------------------------------------------ outcomes

    def _settle(
        self, unit: Unit, outputs: tuple[Output, ...], started: float, ended: float, made: Made | None = None
    ) -> None:
        """A unit has its outputs: the journal first, then the machine, then what became ready."""
        if made is None and ended - started >= _BLOCKED:
            self._warn_if_blocked(unit, ended - started)
        key = _key(unit)
        if key and made is None:
            node = unit.node if type(unit) is Element else unit
            self.means.reuse.add(key, Made(outputs, self.run, node.invocation))
        if type(unit) is Element:
            self._settle_element(unit, outputs, made.run if made else _NO_RUN)
            return
        assert type(unit) is Node
        if made is None:
            ran = StepRan(self.run, unit.invocation, key, outputs, self._ready_at(unit), started, ended, unit.attempt)
        else:
            unit.reused_run = made.run
            ran = StepRan(
                self.run, unit.invocation, key, outputs, self._ready_at(unit), started, ended, 1, made.run, made.invocation
            )
        self._record(unit, ran, key, ended)

    def _record(self, node: Node, ran: StepRan, key: CacheKey, ended: float) -> None:
        self.journal.record(ran, key)
        self._ended_at[node.index] = ended
        self.machine.completed(node, ran.outputs)
        if self.machine.is_settled:
            self._over.set()
        elif self._pumps is not None:
            self._pumps.wake()

    def _broke(self, unit: Unit, error: BaseException, started: float, ended: float | None = None) -> None:
        """An attempt failed. KeyboardInterrupt cancels the run as well."""
        node = unit.node if type(unit) is Element else unit
        where = unit.fanout.describe(unit.index) if type(unit) is Element else ""
        error = annotate(_as_exception(error), node, self.run, where)
        if node.state >= DONE:
            return
        if type(unit) is Element:
            self._fail_element(unit, error, started)
        else:
            self._fail(node, error, started, self._now() if ended is None else ended)
        if isinstance(error, StepFailure) and isinstance(error.__cause__, KeyboardInterrupt):
            self.cancel()

    def _fail(self, node: Node, error: BaseException, started: float, ended: float) -> None:
        failure = failure_of(error)
        self.errors[node.invocation] = error
        self.journal.record(
            StepFailed(self.run, node.invocation, failure, self._ready_at(node), started, ended, node.attempt)
        )
        for skipped in self.machine.failed(node, failure):
            self.journal.record(StepSkipped(self.run, skipped.invocation, tuple(skipped.because)))
        if self.machine.is_settled:
            self._over.set()
        elif self._pumps is not None:
            self._pumps.wake()

    def _ready_at(self, node: Node) -> float:
        """When the last input was there."""
        ended = self._ended_at
        latest = self._begun
        for argument in node.arguments:
            for source in argument.sources:
                producer = getattr(source, "node", None)
                if producer is not None:
                    latest = max(latest, ended.get(producer.index, latest))
        return latest

    # ------------------------------------------------------------------ the end

    def _idle(self) -> None:
        """Nothing is ready: hand on what has gathered, so that others see it and the disk gets it."""
        for fanout in self._fanouts.values():
            if len(fanout.columns) and self._now() - self._flushed > 0.2:
                self._write_columns(fanout)
                self._flushed = self._now()
        before = self.journal.last
        if before is not None and before.error is not None and isinstance(before.error, StoreError):
            self.give_up(before.error)
            return
        self.journal.flush()

    def _end(self) -> None:
        for fanout in list(self._fanouts.values()):
            self._write_columns(fanout)
        if self._is_cancelled:
            for node in self.machine.cancel():
                self.journal.record(StepSkipped(self.run, node.invocation))
            self.state = "cancelled"
        else:
            self.state = "failed" if self.machine.failures else "done"
        self.result = encode_result(self.graph.result) if self.state == "done" else b""
        failed = tuple(node.invocation for node in self.machine.failures)
        self.journal.record(RunEnded(self.run, self.state, self._now(), self.result, failed))
        topic = self.run.encode()
        self.journal.flush((Entry(RunSpace.OPEN_RUNS, topic, b""), Entry(RunSpace.CANCELS, topic, b"")))

    async def _leave_threads(self) -> None:
        """Wait for cancelled `def` steps through the grace time, then name those that go on."""
        if not self._in_threads:
            return
        self._threads_free = anyio.Event()
        with anyio.move_on_after(self.means.grace):
            await self._threads_free.wait()
        for unit in self._in_threads.values():
            node = unit.node if type(unit) is Element else unit
            log.warning("step abandoned: its thread goes on, its result is dropped", step=node.work.name, run=self.run)

    def _warn_if_blocked(self, unit: Unit, seconds: float) -> None:
        node = unit.node if type(unit) is Element else unit
        if node.work.is_async and self._pumps is not None and not self._pumps.is_suspending(node.work.fn):
            log.warning(
                "step blocked the event loop: make it a `def` step, or await in it",
                step=node.work.name,
                seconds=round(seconds, 1),
                where=f"{node.work.file}:{node.work.line}",
            )


def _key(unit: Unit) -> CacheKey:
    return unit.key


def _blobs_of_element(element: Element) -> list[bytes]:
    needed = blobs_of_shared(element)
    for item in element.fanout.items[element.index]:
        outputs = item.value if type(item.value) is tuple else (item.value,)
        needed.extend(output.digest for output in outputs if type(output) is Output and output.data is None)
    return needed


def blobs_of_shared(element: Element) -> list[bytes]:
    """Blobs of the arguments that all elements share."""
    node = element.node
    shared = [argument for argument in node.arguments if argument.each is None]
    return blobs_of(shared)


def _as_exception(error: BaseException) -> Exception:
    """Whatever was raised, as something that may be raised to a waiter."""
    if isinstance(error, Exception):
        return error
    kind = type(error).__name__
    failure = StepFailure(f"the step raised {kind}({error}): a step ends by returning or by raising an Exception")
    failure.__cause__ = error
    failure.__traceback__ = error.__traceback__
    return failure
