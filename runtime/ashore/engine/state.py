"""The machine: which invocations may run, what has become of each, and when a run is over. Pure.

Its rules, all of them:

* a node waits until every input has its outputs, then it is ready, exactly once; a fan-out does not wait for what it takes
  element by element: it is told (`Node.feed`) when such a producer is settled, and by the producer's `Fan` of each element;
* an outcome is final; the first one counts, live as replayed;
* a failed node skips everything that needs it, and nothing else; one that collects its failures lets what takes its elements
  go on to the end of them;
* a run is settled when no node waits, is ready or runs.

`completed`, `failed` and `skipped` change nodes in place and push what became ready on `ready`. `receive` is the same behind
the decoding of a recorded event: the state of a live run equals the state that anybody folds from its bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ashore.attempts import TrialEvent, Trials
from ashore.events import (
    AttemptFailed,
    EffectAnswered,
    ElementsRan,
    ElementsTaken,
    Event,
    Failure,
    Output,
    Reported,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
)
from ashore.fans import Fan
from ashore.graph import CANCELLED as CANCELLED
from ashore.graph import DONE as DONE
from ashore.graph import FAILED as FAILED
from ashore.graph import READY as READY
from ashore.graph import RUNNING as RUNNING
from ashore.graph import SKIPPED as SKIPPED
from ashore.graph import WAITING as WAITING
from ashore.graph import Graph, Node, Ref, connect
from ashore.ids import NO_KEY, CacheKey, InvocationId, RunId

_OF_STEPS = (StepRan, StepFailed, StepSkipped, ElementsRan, ElementsTaken, StepStarted, AttemptFailed, EffectAnswered, Reported)
_SHOWN = ("waiting", "waiting", "running", "done", "failed", "skipped", "cancelled")
STATES = ("waiting", "ready", "running", "done", "failed", "skipped", "cancelled")


class Machine:
    """The state of one run."""

    __slots__ = ("by_invocation", "failures", "nodes", "ready", "settled", "unsettled")

    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        self.by_invocation = graph.by_invocation
        self.ready: deque[Node] = deque()
        self.unsettled = len(graph.nodes)
        self.failures: list[Node] = []
        self.settled: deque[Node] | None = None
        """What settled, in the order of its events, for bodies that wait for it; None if there is none."""

    def begin(self) -> None:
        """Everything without inputs becomes ready, in the order of the calls."""
        for node in self.nodes:
            if node.state == WAITING and not node.missing:
                node.state = READY
                self.ready.append(node)

    @property
    def is_settled(self) -> bool:
        return not self.unsettled

    def counts(self) -> dict[str, int]:
        """Progress: invocations by state."""
        counts = {"done": 0, "cached": 0, "failed": 0, "skipped": 0, "cancelled": 0, "running": 0, "waiting": 0}
        for node in self.nodes:
            counts["cached" if node.reused_run else _SHOWN[node.state]] += 1
        return counts

    def keep_order(self) -> deque[Node]:
        """Bodies wait for outcomes: keep what settles, in order."""
        if self.settled is None:
            self.settled = deque()
        return self.settled

    def body_began(self) -> None:
        """A body decides while the run goes: the run is not settled before `body_ended`."""
        self.unsettled += 1

    def body_ended(self) -> None:
        self.unsettled -= 1

    def admit(self, node: Node) -> list[Node]:
        """`node` was asked for while the run goes (it is in `nodes` already). Returns it if it is skipped at once."""
        self.unsettled += 1
        if not node.work.is_body and any([argument.sources for argument in node.arguments]):
            connect(node)
            broken = [source.node for source in _inputs(node) if source.node.state > DONE]
            if broken:
                return self.skipped(node, dict.fromkeys(name for one in broken for name in one.because or (one.invocation,)))
        if not node.missing:
            node.state = READY
            self.ready.append(node)
        return []

    def recall(self, node: Node, events: Iterable[Event]) -> bool:
        """`node` was asked for, and this is what is on record of it: final. Whether it is settled by that; if not, admit it."""
        self.unsettled += 1
        for event in events:
            self.receive(event)
        if node.state >= DONE:
            if self.settled is not None:
                self.settled.pop()  # it passes by its place in the log
            return True
        self.unsettled -= 1
        return False

    def completed(self, node: Node, outputs: tuple[Output, ...]) -> None:
        """`node` has its outputs. Never waits, never looks at a clock."""
        if node.state >= DONE:
            return
        node.state = DONE
        node.outputs = outputs
        self.unsettled -= 1
        if self.settled is not None:
            self.settled.append(node)
        ready = self.ready
        for consumer in node.consumers:
            consumer.missing -= 1
            if not consumer.missing and consumer.state == WAITING:
                consumer.state = READY
                ready.append(consumer)
        if node.stages:
            _feed(node)

    def failed(self, node: Node, failure: Failure) -> list[Node]:
        """`node` failed for good; returns what is skipped because of it."""
        if node.state >= DONE:
            return []
        node.state = FAILED
        node.failure = failure
        self.unsettled -= 1
        self.failures.append(node)
        if self.settled is not None:
            self.settled.append(node)
        return self._skip_consumers(node, node.invocation)

    def skipped(self, node: Node, because: Iterable[InvocationId] = (), *, was_running: bool = False) -> list[Node]:
        """`node` will have no outcome; returns it and what else is skipped because of it."""
        if node.state >= DONE:
            return []
        node.state = CANCELLED if was_running else SKIPPED
        node.because += tuple(because)
        self.unsettled -= 1
        if self.settled is not None:
            self.settled.append(node)
        return [node, *self._skip_consumers(node, *node.because)]

    def _skip_consumers(self, node: Node, *because: InvocationId) -> list[Node]:
        skipped: list[Node] = []
        pending = _needing(node)
        while pending:
            consumer = pending.pop()
            if consumer.state < DONE:
                consumer.state = SKIPPED
                consumer.because += because
                self.unsettled -= 1
                skipped.append(consumer)
                if self.settled is not None:
                    self.settled.append(consumer)
                pending.extend(_needing(consumer))
        if _is_drained(node):
            _feed(node)
        return skipped

    def cancel(self, begun: Callable[[Node], bool]) -> list[Node]:
        """Everything that has no outcome yet is cancelled if it runs and has begun, else skipped; returns it."""
        left = [node for node in self.nodes if node.state < DONE]
        for node in left:
            node.state = CANCELLED if node.state == RUNNING and begun(node) else SKIPPED
        self.unsettled = 0
        self.ready.clear()
        return left

    def receive(self, event: Event) -> None:
        """Fold one recorded event of this run in. Events about invocations that nobody asks for are orphans: left alone."""
        if not isinstance(event, _OF_STEPS):
            return
        node = self.by_invocation.get(event.invocation)
        if node is None:
            return
        if isinstance(event, StepRan):
            self._fold_ran(node, event)
        elif isinstance(event, StepFailed):
            node.attempt = event.attempt
            _fold_drained(node, event.places)
            self.failed(node, event.failure)
        elif isinstance(event, StepSkipped):
            _fold_drained(node, event.places)
            self.skipped(node, event.because, was_running=event.was_running)
        elif isinstance(event, ElementsRan | ElementsTaken):
            _fold_elements(node, event)
        elif node.state < DONE:
            _fold_attempt(node, event)

    def _fold_ran(self, node: Node, event: StepRan) -> None:
        node.key, node.reused_run, node.attempt = event.key, event.reused_run, event.attempt
        if event.elements >= 0 and node.state < DONE:
            fan_of(node).close(max(event.places, event.elements))
        self.completed(node, event.outputs)

    def fold(self) -> list[tuple[str, str, CacheKey, tuple[Output, ...], RunId]]:
        """The state as plain values: equal for a live run and for the fold of its bytes."""
        return [
            (node.invocation.hex(), STATES[node.state], node.key if node.state == DONE else NO_KEY, node.outputs, node.reused_run)
            for node in self.nodes
            if node.state >= DONE
        ]


def _inputs(node: Node) -> Iterator[Ref]:
    """What it needs: not those whose elements it takes, and that have no outcome though all of these have one."""
    return (
        source
        for argument in node.arguments
        for source in argument.refs
        if not (argument.takes_elements_of(source) and _is_drained(source.node))
    )


def outputs_of(event: ElementsRan, place: int) -> tuple[Output, ...]:
    """The outputs of the element at `place` among the event's indices."""
    return tuple(
        Output(
            column.digests[32 * place : 32 * place + 32],
            column.sizes[place],
            column.format,
            column.type,
            column.data[place],
            column.contents[place] if column.contents else b"",
        )
        for column in event.columns
    )


def _fold_attempt(node: Node, event: TrialEvent) -> None:
    """What has no outcome yet was tried before: the next attempt has the next number, and goes on from what was kept."""
    if event.element < 0 and isinstance(event, StepStarted | AttemptFailed):
        node.attempt = event.attempt + 1
    if node.trials is None and isinstance(event, Reported) and event.checkpoint is not None:
        node.trials = Trials()
        node.trials.begun = node.attempt - 1
    if node.trials is not None:
        node.trials.receive(event)


def fan_of(node: Node) -> Fan:
    """What is known of a fan-out's elements."""
    if node.elements is None:
        node.elements = Fan()
    return node.elements


def _feed(node: Node) -> None:
    """Tell the fan-outs that take elements of this one that there will be no more."""
    for stage in node.stages:
        if stage.elements is not None and stage.elements.feed is not None:
            stage.elements.feed.producer_settled(node)


def _needing(node: Node) -> list[Node]:
    """Who has no outcome if this node has none."""
    return list(node.consumers) if _is_drained(node) else [*node.consumers, *node.stages]


def _is_drained(node: Node) -> bool:
    return node.elements is not None and node.elements.is_drained


def _fold_elements(node: Node, event: ElementsRan | ElementsTaken) -> None:
    fan = fan_of(node)
    if isinstance(event, ElementsTaken):
        if event.start == len(fan.taken):
            fan.taken.extend(event.elements)
        fan.taken_all = fan.taken_all or event.is_end
        return
    if node.trials is not None:
        node.trials.settled(event)
    for place, index in enumerate(event.indices):
        fan.put(index, outputs_of(event, place))
    for index, failure in event.failed:
        fan.fail(index, failure)


def _fold_drained(node: Node, places: int) -> None:
    if places >= 0 and node.state < DONE:
        fan = fan_of(node)
        fan.close(places)
        fan.is_drained = True
