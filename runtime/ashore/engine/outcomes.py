"""What becomes of a run's invocations: every outcome takes the same path, in one synchronous place.

The journal first, then the machine, then whatever became ready. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ashore.engine.columns import FRAME
from ashore.engine.failures import annotate, as_exception, exception_of
from ashore.engine.fanout import Element, FanOut
from ashore.engine.journal import Journal
from ashore.engine.means import Means
from ashore.engine.reuse import Made
from ashore.engine.state import DONE, Machine
from ashore.engine.units import Unit, node_of
from ashore.events import AttemptFailed, Output, StepFailed, StepRan, StepSkipped, StepStarted
from ashore.graph import Node, Ref
from ashore.ids import NO_KEY, CacheKey, InvocationId, RunId

_NO_RUN = RunId("")
FRESH = 0.2
"""Seconds after which outcomes of a fan-out are written when nothing else is to be done."""


class Outcomes:
    """The outcomes of one run. `more` is called when something may have become ready, `over` when the run is settled."""

    def __init__(
        self, means: Means, run: RunId, machine: Machine, journal: Journal, signals: tuple[Callable[[], None], Callable[[], None]]
    ) -> None:
        self.errors: dict[InvocationId, Exception] = {}
        """The exceptions of failed invocations, as they were raised here."""
        self._means = means
        self._run = run
        self._machine = machine
        self._journal = journal
        self._more, self._over = signals
        self._now = means.ports.clock.now
        self._begun = self._now()
        self._ended: dict[int, float] = {}
        self._in_threads: set[int] = set()
        self._fanouts: dict[int, FanOut] = {}
        self._written = means.ports.clock.monotonic()

    def started(self, unit: Unit) -> None:
        """A unit went to a thread."""
        if type(unit) is Node:
            self._in_threads.add(unit.index)
            self._journal.record(StepStarted(self._run, unit.invocation, self._now(), unit.attempt))

    def has_begun(self, node: Node) -> bool:
        """Whether a node that was taken up was called: a `def` step may have waited for a thread."""
        if node.trials is not None and not node.fan:
            return node.trials.begun > 0
        return node.work.is_async or node.fan or node.index in self._in_threads

    def tried(self, unit: Unit, attempt: int, at: float) -> None:
        """An attempt of a step that is tried under a policy begins."""
        node, element = node_of(unit), unit.index if type(unit) is Element else -1
        self._journal.record(StepStarted(self._run, node.invocation, at, attempt, element))

    def again(self, unit: Unit, attempt: int, error: BaseException, times: tuple[float, float, float]) -> None:
        """An attempt failed, and another follows: `times` are start, end and the wait."""
        node, element = node_of(unit), unit.index if type(unit) is Element else -1
        reported = annotate(as_exception(error), node, self._run, self._where(unit))
        _, failure = self._means.supplies.hiding.error(reported)
        self._journal.record(AttemptFailed(self._run, node.invocation, failure, attempt, *times, element))

    @staticmethod
    def _where(unit: Unit) -> str:
        return unit.fanout.describe(unit.index) if type(unit) is Element else ""

    def reused(self, unit: Unit, made: Made) -> None:
        """A unit has the outputs that another invocation made."""
        if made.run != self._run:
            self._means.reuse.put_on_record(made)
        if type(unit) is Element:
            self._settle_element(unit, made.outputs, made.run)
            return
        node = node_of(unit)
        now = self._now()
        node.reused_run = made.run
        ready = self._ready_at(node)
        ran = StepRan(self._run, node.invocation, node.key, made.outputs, ready, now, now, 1, made.run, made.invocation)
        self._record(node, ran, node.key, now)

    def ran(self, unit: Unit, outputs: tuple[Output, ...], started: float, ended: float) -> None:
        """A unit was run here and has its outputs."""
        key = unit.key
        node = node_of(unit)
        if key:
            self._means.reuse.add(key, Made(outputs, self._run, node.invocation))
        if type(unit) is Element:
            self._settle_element(unit, outputs, _NO_RUN)
            return
        ran = StepRan(self._run, node.invocation, key, outputs, self._ready_at(node), started, ended, node.attempt)
        self._record(node, ran, key, ended)

    def broke(self, unit: Unit, error: BaseException, started: float, ended: float | None = None) -> None:
        """An attempt failed."""
        node = node_of(unit)
        if node.state >= DONE:
            return
        reported = annotate(as_exception(error), node, self._run, self._where(unit))
        if type(unit) is Element:
            self._fail_element(unit, reported, started)
        else:
            self._fail(node, reported, started, self._now() if ended is None else ended)

    def gave_up(self, node: Node, because: Sequence[InvocationId], *, is_recorded: bool) -> None:
        """A sub-run has no outcome because of steps that failed in it."""
        for skipped in self._machine.skipped(node, because):
            if skipped is not node or not is_recorded:
                self._journal.record(StepSkipped(self._run, skipped.invocation, tuple(skipped.because)))
        self._go_on()

    # Fan-outs.

    def opened(self, fanout: FanOut) -> list[Element]:
        """The elements of a fan-out are known; returns those that have no outcome yet."""
        node = fanout.node
        fan = fanout.fan = self._machine.open_fan(node, len(fanout.items))
        self._fanouts[id(node)] = fanout
        fanout.columns.files.extend(fanout.files())
        if fan.failed and not fanout.skips:  # recorded before a crash: it fails the fan-out now as it did then
            self._write(fanout)
            self._fanouts.pop(id(node), None)
            self._fail(node, exception_of(fan.failed[min(fan.failed)]), fanout.started, self._now())
            return []
        if not fan.unsettled:
            self._close_fan(fanout)
            return []
        return [
            Element(fanout, index, fanout.key_of(index))
            for index, outputs in enumerate(fan.outputs)
            if outputs is None and index not in fan.failed
        ]

    def write_columns(self, *, all_of_them: bool = False) -> bool:
        """Hand the gathered outcomes of open fan-outs to the journal, if it is time. False if some are left for later."""
        if not self._fanouts or not any([len(fanout.columns) for fanout in self._fanouts.values()]):
            return True
        now = self._means.ports.clock.monotonic()
        if not all_of_them and now - self._written < FRESH:
            return False
        for fanout in self._fanouts.values():
            self._write(fanout)
        self._written = now
        return True

    def _settle_element(self, element: Element, outputs: tuple[Output, ...], reused: RunId) -> None:
        fanout = element.fanout
        fan = fanout.fan
        fan.outputs[element.index] = outputs
        fan.unsettled -= 1
        fanout.columns.add(element.index, element.key, outputs, reused)
        if fanout.node.state >= DONE:  # another element failed it meanwhile; this one is made all the same
            self._write(fanout)
        elif not fan.unsettled:
            self._close_fan(fanout)
        elif len(fanout.columns) >= FRAME:
            self._write(fanout)

    def _fail_element(self, element: Element, error: Exception, started: float) -> None:
        fanout = element.fanout
        error, failure = self._means.supplies.hiding.error(error)
        fanout.fan.failed[element.index] = failure
        fanout.fan.unsettled -= 1
        fanout.columns.add_failure(element.index, failure)
        if not fanout.skips:
            self._write(fanout)
            self._fanouts.pop(id(fanout.node), None)
            self._fail(fanout.node, error, started, self._now())
        elif not fanout.fan.unsettled:
            self._close_fan(fanout)

    def _close_fan(self, fanout: FanOut) -> None:
        self._write(fanout)
        node, fan = fanout.node, fanout.fan
        now = self._now()
        self._fanouts.pop(id(node), None)
        ran = StepRan(
            self._run,
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

    def _write(self, fanout: FanOut) -> None:
        if len(fanout.columns) or fanout.columns.files:
            for event, keys in fanout.columns.take():
                self._journal.record_elements(event, keys)

    # The one path.

    def _record(self, node: Node, ran: StepRan, key: CacheKey, ended: float) -> None:
        self._journal.record(ran, key)
        self._ended[node.index] = ended
        self._machine.completed(node, ran.outputs)
        self._go_on()

    def _fail(self, node: Node, error: Exception, started: float, ended: float) -> None:
        error, failure = self._means.supplies.hiding.error(error)
        self.errors[node.invocation] = error
        self._journal.record(StepFailed(self._run, node.invocation, failure, self._ready_at(node), started, ended, node.attempt))
        for skipped in self._machine.failed(node, failure):
            self._journal.record(StepSkipped(self._run, skipped.invocation, tuple(skipped.because)))
        self._go_on()

    def _go_on(self) -> None:
        if not self._machine.unsettled:
            self._over()
        else:
            self._more()

    def _ready_at(self, node: Node) -> float:
        """When the last input was there."""
        latest = self._begun
        for argument in node.arguments:
            for source in argument.sources:
                if type(source) is Ref:
                    latest = max(latest, self._ended.get(source.node.index, latest))
        return latest
