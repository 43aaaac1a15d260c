"""What becomes of a run's invocations: every outcome takes the same path, in one synchronous place.

The journal first, then the machine, then whatever became ready. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ashore.engine.failures import annotate, as_exception
from ashore.engine.fanout import Element, FanOut, describe
from ashore.engine.fanouts import FanOuts
from ashore.engine.journal import Journal
from ashore.engine.means import Means
from ashore.engine.reuse import Made
from ashore.engine.state import DONE, Machine
from ashore.engine.units import Unit, node_of
from ashore.events import AttemptFailed, Input, Output, StepFailed, StepRan, StepSkipped, StepStarted
from ashore.graph import Node, Ref
from ashore.ids import NO_KEY, CacheKey, InvocationId, RunId


class Handed(NamedTuple):
    """Where the result of a sub-run comes from."""

    inputs: tuple[Input, ...] = ()
    """The outputs that it hands on."""
    given: int = 0
    """If its body made it: how many values that had been given by then."""
    body: str = ""
    """The scope of its body."""


NOTHING_HANDED: Final = Handed()
_NO_RUN = RunId("")


class Outcomes:
    """The outcomes of one run. `more` is called when something may have become ready, `over` when the run is settled."""

    def __init__(
        self, means: Means, run: RunId, machine: Machine, journal: Journal, signals: tuple[Callable[[], None], Callable[[], None]]
    ) -> None:
        self.errors: dict[InvocationId, Exception] = {}
        """The exceptions of failed invocations, as they were raised here."""
        self.passed: Callable[[Node], None] | None = None
        """Told of each node that has its outputs, if anybody wants to know."""
        self.said: Mapping[tuple[Node, int], object] = {}
        """Attempts that have said something, and have no outcome yet."""
        self.before: Callable[[Unit], None] = _nothing
        """What is to be done before the outcome of such a one is on record."""
        self._means = means
        self._run = run
        self._machine = machine
        self._journal = journal
        self._more, self._over = signals
        self._now = means.ports.clock.now
        self._begun = self._now()
        self._ended: dict[int, float] = {}
        self._in_threads: set[int] = set()
        self.fanouts = FanOuts(run, journal, (means.ports.clock, means.supplies.hiding.error), self)

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
        if self.said:
            self.before(unit)
        node, element = node_of(unit), unit.index if type(unit) is Element else -1
        reported = annotate(as_exception(error), node, self._run, self._where(unit))
        _, failure = self._means.supplies.hiding.error(reported)
        self._journal.record(AttemptFailed(self._run, node.invocation, failure, attempt, *times, element))

    @staticmethod
    def _where(unit: Unit) -> str:
        return describe(unit) if type(unit) is Element else ""

    def reused(self, unit: Unit, made: Made) -> None:
        """A unit has the outputs that another invocation made."""
        if made.run != self._run:
            self._means.reuse.put_on_record(made)
        if type(unit) is Element:
            self.fanouts.settle(unit, made.outputs, made.run)
            return
        node = node_of(unit)
        now = self._now()
        node.reused_run = made.run
        ready = self._ready_at(node)
        ran = StepRan(self._run, node.invocation, node.key, made.outputs, ready, now, now, 1, made.run, made.invocation)
        self._record(node, ran, NO_KEY, now)  # its maker is found under the key

    def ran(self, unit: Unit, outputs: tuple[Output, ...], started: float, ended: float, handed: Handed = NOTHING_HANDED) -> None:
        """A unit was run here and has its outputs. `handed`: where a sub-run's result comes from."""
        if self.said:
            self.before(unit)
        key = unit.key
        node = node_of(unit)
        renews = bool(key) and self._means.reuse.add(key, Made(outputs, self._run, node.invocation, ended))
        if type(unit) is Element:
            if renews:
                unit.fanout.columns.renewing.add(unit.index)
            self.fanouts.settle(unit, outputs, _NO_RUN)
        else:
            ready = self._ready_at(node)
            ran = StepRan(
                *(self._run, node.invocation, key, outputs, ready, started, ended, node.attempt),
                renews=renews,
                handed=handed.inputs,
                given=handed.given,
                body=handed.body,
            )
            self._record(node, ran, key, ended)
        if key:
            self._means.reuse.flights.land(key, unit)

    def made(self, element: Element, outputs: tuple[Output, ...]) -> None:
        """As `ran`, for an element: nobody asks when it ran, but if it is cached."""
        if element.key:
            now = self._now()
            self.ran(element, outputs, now, now)
        else:
            self.fanouts.settle(element, outputs, _NO_RUN)

    def broke(self, unit: Unit, error: BaseException, started: float, ended: float | None = None) -> None:
        """An attempt failed."""
        if self.said:
            self.before(unit)
        node = node_of(unit)
        if node.state >= DONE:
            return
        reported = annotate(as_exception(error), node, self._run, self._where(unit))
        if type(unit) is Element:
            self.fanouts.fail(unit, reported)
        else:
            self._fail(node, reported, started, self._now() if ended is None else ended)
        if unit.key:
            self._means.reuse.flights.land(unit.key, unit)

    def gave_up(self, node: Node, because: Sequence[InvocationId], *, is_recorded: bool) -> None:
        """A sub-run has no outcome because of steps that failed in it."""
        self._skipped(one for one in self._machine.skipped(node, because) if one is not node or not is_recorded)
        self._go_on()

    # Fan-outs, when they are over.

    def fan_out_ran(self, node: Node, started: float, outputs: tuple[Output, ...], sizes: tuple[int, int, int]) -> None:
        """A fan-out has the outcomes of all its elements; how many these are, how many failed, how many places it has."""
        elements, skipped, places = sizes
        ready, now = self._ready_at(node), self._now()
        more = places if places > elements else -1
        ran = StepRan(
            self._run, node.invocation, NO_KEY, outputs, ready, started, now, elements=elements, skipped=skipped, places=more
        )
        self._record(node, ran, NO_KEY, now)

    def fan_out_failed(self, node: Node, error: Exception, started: float) -> None:
        self._fail(node, error, started, self._now())

    def fan_out_skipped(self, node: Node, because: InvocationId) -> None:
        """A fan-out has no outcome of its own, though elements of it may have one."""
        node.because += (because,)
        self._journal.record(StepSkipped(self._run, node.invocation, (because,), places=_places(node)))
        self._skipped(skipped for skipped in self._machine.skipped(node) if skipped is not node)
        self._go_on()

    def fan_outs(self, step: str) -> list[Node]:
        return [node for node in self._machine.nodes if node.fan and node.work.name == step]

    def is_ready(self, fanout: FanOut) -> None:
        self._machine.ready.append(fanout)  # type: ignore[arg-type]  # the pump takes both
        self._more()

    # The one path.

    def _record(self, node: Node, ran: StepRan, key: CacheKey, ended: float) -> None:
        self._journal.record(ran, key)
        self._ended[node.index] = ended
        self._machine.completed(node, ran.outputs)
        if self.passed is not None:
            self.passed(node)
        self._go_on()

    def _fail(self, node: Node, error: Exception, started: float, ended: float) -> None:
        error, failure = self._means.supplies.hiding.error(error)
        self.errors[node.invocation] = error
        ready, places = self._ready_at(node), _places(node)
        self._journal.record(StepFailed(self._run, node.invocation, failure, ready, started, ended, node.attempt, places))
        if node.fan:
            self._let_go(node)
        self._skipped(self._machine.failed(node, failure))
        self._go_on()

    def _skipped(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self.fanouts.skipped(node)
            if node.fan:
                self._let_go(node)
            self._journal.record(StepSkipped(self._run, node.invocation, node.because))

    def _let_go(self, fan: Node) -> None:
        """Elements of a fan-out that is over may have no outcome: nobody waits for them."""
        self._means.reuse.flights.let_go(lambda unit: node_of(unit) is fan)

    def _go_on(self) -> None:
        if not self._machine.unsettled:
            self._over()
        else:
            self._more()

    def _ready_at(self, node: Node) -> float:
        """When it was asked for and the last input was there."""
        latest = node.asked or self._begun
        for argument in node.arguments:
            for source in argument.sources:
                if type(source) is Ref:
                    latest = max(latest, self._ended.get(source.node.index, latest))
        return latest


def _places(node: Node) -> int:
    """How many places a fan-out has that went over all of its elements, though it has no outcome."""
    fan = node.elements
    return fan.count if fan is not None and fan.is_drained and fan.count is not None else -1


def _nothing(unit: Unit) -> None: ...
