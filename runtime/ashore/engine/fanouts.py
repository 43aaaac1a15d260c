"""The fan-outs of one run that are open: what becomes of their elements, and when each is over. Nothing here waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from ashore.engine.columns import FRAME
from ashore.engine.failures import exception_of
from ashore.engine.fanout import Element, FanOut
from ashore.engine.feeds import Taken
from ashore.engine.journal import Journal
from ashore.engine.state import DONE, fan_of
from ashore.errors import ElementsFailed
from ashore.events import ElementsTaken, Failure, Output
from ashore.graph import Node, Ref
from ashore.ids import NO_KEY, InvocationId, RunId
from ashore_stores.ports import Clock

FRESH = 0.2
"""Seconds after which outcomes of a fan-out are written when nothing else is to be done."""
_KEPT_ERRORS = 100
"""Exceptions of elements that are kept as they were raised, until their fan-out is over."""


Recording: TypeAlias = Callable[[Exception], tuple[Exception, Failure]]


class Ends(Protocol):
    """Where a fan-out's own outcome goes."""

    def fan_out_ran(self, node: Node, started: float, outputs: tuple[Output, ...], sizes: tuple[int, int, int]) -> None: ...

    def fan_out_failed(self, node: Node, error: Exception, started: float) -> None: ...

    def fan_out_skipped(self, node: Node, because: InvocationId) -> None: ...

    def is_ready(self, fanout: FanOut) -> None:
        """An element of it may be taken up."""

    def fan_outs(self, step: str) -> list[Node]:
        """The fan-outs of this step."""
        ...


class FanOuts:
    """The open fan-outs of one run."""

    def __init__(self, run: RunId, journal: Journal, means: tuple[Clock, Recording], ends: Ends) -> None:
        """`means`: the clock, and how an exception is recorded."""
        self._run = run
        self._journal = journal
        clock, self._recorded = means
        self._monotonic, self._now = clock.monotonic, clock.now
        self._ends = ends
        self._open: dict[int, FanOut] = {}
        self._errors: dict[tuple[int, int], Exception] = {}
        """What elements of collecting fan-outs raised, by node and place."""
        self._written = self._monotonic()

    def of(self, node: Node) -> FanOut | None:
        """The fan-out of this node, if it is open."""
        return self._open.get(node.index)

    def opened(self, fanout: FanOut) -> None:
        """A fan-out begins: elements that are there become ready."""
        node, fan = fanout.node, fanout.fan
        self._open[node.index] = fanout
        fanout.open()
        if fan.failed and fanout.on_error == "stop":  # recorded before a crash: it fails the fan-out now as it did then
            self._fail(fanout, exception_of(fan.failed[min(fan.failed)]))
            return
        fanout.changed = self._changed
        self._changed(fanout)

    def settle(self, element: Element, outputs: tuple[Output, ...], reused: RunId) -> None:
        """An element has its outputs; `reused`: from that run."""
        fanout = element.fanout
        fanout.columns.add(element.index, element.key, outputs, reused)
        if fanout.columns.names or element.is_of_files:
            self._add_about(element)
        fanout.fan.put(element.index, outputs)
        self._settled(fanout, element.index)

    def settle_plain(self, fanout: FanOut, index: int, outputs: tuple[Output, ...]) -> None:
        """An element without a key, made here of a plain value."""
        columns, fan = fanout.columns, fanout.fan
        columns.indices.append(index)
        columns.keys.append(NO_KEY)
        columns.outputs.append(outputs)
        fan.put(index, outputs)
        if fanout.is_queued and fan.settled != fan.count and len(columns.indices) < FRAME and fanout.node.state < DONE:
            fanout.under_way -= 1
        else:
            self._settled(fanout, index)

    def fail(self, element: Element, error: Exception) -> None:
        """An element failed. What that means is the fan-out's policy."""
        fanout = element.fanout
        error, failure = self._recorded(error)
        fanout.columns.add_failure(element.index, failure)
        fanout.columns.files.extend(fanout.files(element, by_place=True))
        fanout.fan.fail(element.index, failure)
        if fanout.on_error == "stop" and fanout.node.state < DONE:
            fanout.under_way -= 1
            self._fail(fanout, error)
            return
        if fanout.on_error == "collect" and len(self._errors) < _KEPT_ERRORS:
            self._errors[fanout.node.index, element.index] = error
        self._settled(fanout, element.index)

    def took(self, fanout: FanOut, feed: Taken, *elements: bytes) -> None:
        """An iterator gave this element, or has ended: that is on record before any outcome of it."""
        taken = ElementsTaken(self._run, fanout.node.invocation, feed.name, feed.given, elements, feed.fan.taken_all)
        fanout.columns.taken.append(taken)

    def broke(self, fanout: FanOut, error: Exception) -> None:
        """What it goes over is broken."""
        if fanout.node.state < DONE:
            self._fail(fanout, error)

    def skipped(self, node: Node) -> None:
        """What comes before this failed: no more of its elements run. Those that do keep their outcomes."""
        fanout = self._open.get(node.index)
        if fanout is not None:
            self._write(fanout)
            self._leave(fanout)

    def write_columns(self, *, all_of_them: bool = False) -> bool:
        """Hand the gathered outcomes of open fan-outs to the journal, if it is time. False if some are left for later."""
        if not self._open or not any([len(fanout.columns) or fanout.columns.taken for fanout in self._open.values()]):
            return True
        now = self._monotonic()
        if not all_of_them and now - self._written < FRESH:
            return False
        for fanout in self._open.values():
            self._write(fanout)
        self._written = now
        return True

    def counts(self, step: str) -> dict[str, int]:
        """The elements of a step's fan-outs by state, as far as they are known."""
        counts = {"done": 0, "failed": 0, "left out": 0, "running": 0, "waiting": 0}
        for node in self._ends.fan_outs(step):
            fan, fanout = fan_of(node), self._open.get(node.index)
            running = fanout.under_way if fanout is not None else 0
            counts["done"] += fan.elements - len(fan.failed)
            counts["failed"] += len(fan.failed)
            counts["left out"] += len(fan.left_out)
            counts["running"] += running
            counts["waiting"] += max(0, (fan.count or 0) - fan.settled - running)
        return counts

    # One by one.

    def _add_about(self, element: Element) -> None:
        """What the log needs beside the outcome to tell where an element came from."""
        fanout = element.fanout
        fanout.columns.files.extend(fanout.files(element))
        parts = fanout.parts(element.index)
        if parts is not None:
            fanout.columns.parts.append(parts)

    def _settled(self, fanout: FanOut, index: int) -> None:
        fanout.under_way -= 1
        if fanout.is_held_back:
            fanout.let_go(index)
        if fanout.node.state >= DONE:  # another element failed it meanwhile; this one is made all the same
            self._write(fanout)
            return
        if len(fanout.columns) >= FRAME:
            self._write(fanout)
        if fanout.fan.is_settled or not fanout.is_queued:
            self._changed(fanout)
        if fanout.is_held_back:
            self._make_room(fanout.node)

    def _changed(self, fanout: FanOut) -> None:
        """Something arrived, settled, or is known."""
        if fanout.is_closed or fanout.node.state >= DONE:
            return
        mismatch = fanout.mismatch()
        is_last = mismatch is not None or fanout.fan.is_settled
        if is_last and (fanout.is_endless() or all(producer.state >= DONE for producer in _producers(fanout.node))):
            if mismatch is None:
                self._close(fanout)
            else:
                self._fail(fanout, mismatch)
        elif not is_last and not fanout.is_queued and fanout.under_way < fanout.limit:
            fanout.is_queued = True
            self._ends.is_ready(fanout)

    def _make_room(self, node: Node) -> None:
        """An iterator that this, or what comes before it, goes over may be asked for more."""
        fanout = self._open.get(node.index)
        for feed in fanout.taken if fanout is not None else ():
            if feed.changed is not None:
                feed.changed()
        for producer in _producers(node):
            self._make_room(producer)

    # The end.

    def _close(self, fanout: FanOut) -> None:
        self._write(fanout)
        self._leave(fanout)
        node, fan = fanout.node, fanout.fan
        broken = next((producer for producer in _producers(node) if producer.state > DONE), None)
        fan.is_drained = broken is not None or (bool(fan.failed) and fanout.on_error == "collect")
        if fan.failed and fanout.on_error == "collect":
            self._ends.fan_out_failed(node, self._all_failures(node, fan.failed), fanout.started)
        elif broken is not None:  # it collected its failures; what it made has been gone over
            self._ends.fan_out_skipped(node, broken.invocation)
        else:
            sizes = (fan.elements, len(fan.failed), fan.count or 0)
            self._ends.fan_out_ran(node, fanout.started, (fanout.outcome(),), sizes)

    def _fail(self, fanout: FanOut, error: Exception) -> None:
        self._write(fanout)
        self._leave(fanout)
        self._ends.fan_out_failed(fanout.node, error, fanout.started)
        for producer in _producers(fanout.node):
            self._spare(producer, fanout.node)

    def _spare(self, node: Node, because: Node) -> None:
        """Nobody needs what an iterator gives for this any more: an endless one must not keep the run from ending."""
        fanout = self._open.get(node.index)
        if fanout is None or any(stage.state < DONE for stage in (*node.stages, *node.consumers)):
            return
        if fanout.taken:
            self._write(fanout)
            self._leave(fanout)
            self._ends.fan_out_skipped(node, because.invocation)
        for producer in _producers(node):
            self._spare(producer, because)

    def _leave(self, fanout: FanOut) -> None:
        fanout.is_closed = True
        fanout.fan.feed = None
        self._open.pop(fanout.node.index, None)
        for feed in fanout.taken:
            if feed.changed is not None:
                feed.changed()

    def _all_failures(self, node: Node, failed: dict[int, Failure]) -> ElementsFailed:
        errors = {
            place: self._errors.pop((node.index, place)) if (node.index, place) in self._errors else exception_of(failed[place])
            for place in sorted(failed)
        }
        return ElementsFailed(node.work.name, errors)

    def _write(self, fanout: FanOut) -> None:
        """Hand its gathered outcomes to the journal; those that they came from stand before them in the log."""
        for producer in _producers(fanout.node):
            before = self._open.get(producer.index)
            if before is not None:
                self._write(before)
        for taken in fanout.columns.take_taken() if fanout.columns.taken else ():
            self._journal.record(taken)
        if len(fanout.columns):
            for event, keys in fanout.columns.take(self._now()):
                self._journal.record_elements(event, keys)


def _producers(node: Node) -> list[Node]:
    """The fan-outs whose elements this one takes."""
    return [
        argument.template.node
        for argument in node.arguments
        if argument.each is not None and type(argument.template) is Ref and argument.template.node.fan
    ]
