"""What steps say while they run: numbers, how far they are, checkpoints, and what they print. Gathered, and handed on in batches.

Anything here may be called from a step's thread; what touches the run happens on its loop, by posts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, final

import anyio

from ashore.attempts import Trials
from ashore.engine.effects import element_of, key_of
from ashore.engine.fanout import Element
from ashore.engine.journal import Journal
from ashore.engine.means import Means
from ashore.engine.outcomes import Outcomes
from ashore.engine.output import Output as Written
from ashore.engine.processes import Said
from ashore.engine.pump import TimerHandle
from ashore.engine.units import Unit, node_of
from ashore.engine.values import Large, dump_whole, load_output, store_large
from ashore.events import Metric, Output, Printed, Reported
from ashore.graph import DONE, Node
from ashore.ids import RunId
from ashore.ongoing import About, Current, Saved
from ashore.places import Place
from ashore_stores.logs.base import Ticket

_FRESH: Final = 0.5
"""Seconds after which what a step says is handed on."""


Whose: TypeAlias = tuple[Node, int, int]
"""An invocation, which element (-1: itself), and which attempt."""


class Host(Protocol):
    """What reports need of the run that they are about."""

    means: Means
    run: RunId
    outcomes: Outcomes
    journal: Journal
    is_left: bool

    @property
    def last(self) -> Ticket | None: ...

    def spawn(self, work: Coroutine[Any, Any, None], *, kept: bool = False) -> None: ...

    def later(self, seconds: float, callback: Callable[[], None]) -> TimerHandle | None: ...

    def hand_on(self) -> None: ...


@final
class Report:
    """What one attempt has said, and what of it is not handed on yet."""

    __slots__ = ("attempt", "element", "gone", "is_idle", "metrics", "node", "written")

    def __init__(self, node: Node, element: int, attempt: int) -> None:
        self.node = node
        self.element = element
        self.attempt = attempt
        self.is_idle = False
        """Whether it had nothing to say when it was last asked."""
        self.metrics: deque[Metric] = deque()
        self.gone: tuple[float, float | None] | None = None
        """How far it is, of how much, if that is news."""
        self.written = Written()


class Reports:
    """The reports of one run."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._now = host.means.ports.clock.now
        self._post = host.means.ports.workers.poster()
        self.by_unit: dict[tuple[Node, int], Report] = {}
        """Of attempts that have said something: by the invocation, and the element if it is one of a fan-out."""
        self._timer: TimerHandle | None = None
        self._is_armed = False
        host.outcomes.said, host.outcomes.before = self.by_unit, self.ended

    # From steps, on any thread.

    def current(self, place: Place) -> Current:
        return Current(self.about(place), _Desk(self, place.unit, place.saved))

    def about(self, place: Place) -> About:
        unit: Unit = place.unit
        node = node_of(unit)
        key = key_of(self._host.run, node, element_of(unit))
        return About(self._host.run, node.work.name, attempt_of(unit), key, place.gpus)

    def heard(self, place: Place, said: Said) -> None:
        unit: Unit = place.unit
        report = self.of(unit)
        report.metrics.extend(said.metrics)
        report.gone = said.progress or report.gone
        self.arm()
        if said.checkpoint is not None:
            whose = node_of(unit), element_of(unit), attempt_of(unit)
            self._post(partial(self._save, whose, said.checkpoint, _Saving(self._host)))

    def wrote(self, place: Place, stream: int, text: str) -> None:
        if node_of(place.unit).state < DONE:  # else it is no word of the step's own: it has its outcome
            self.of(place.unit).written.add(stream, text)
            self.arm()

    def of(self, unit: Unit) -> Report:
        """The report of the attempt that is under way."""
        key = node_of(unit), element_of(unit)
        report = self.by_unit.get(key)
        if report is None:
            report = self.by_unit.setdefault(key, Report(*key, attempt_of(unit)))
        report.is_idle = False
        return report

    def arm(self) -> None:
        """Have it handed on soon."""
        if not self._is_armed:
            self._is_armed = True
            self._post(self._arm)

    def save(self, unit: Unit, value: Any) -> Awaitable[None]:
        """Keep a checkpoint; what is small enough for the log is on record as soon as the loop has its turn."""
        dumped = dump_whole(node_of(unit).work, value)
        self._host.means.supplies.hiding.refuse(node_of(unit).work, [dumped])
        saving = _Saving(self._host)
        self._post(partial(self._save, (node_of(unit), element_of(unit), attempt_of(unit)), dumped, saving))
        return Saved(saving.wait)

    # On the loop.

    def _arm(self) -> None:
        if not self._host.is_left:
            self._timer = self._host.later(_FRESH, self.flush)

    def ended(self, unit: Unit) -> None:
        """An attempt has an outcome: what it said goes before that."""
        self._end((node_of(unit), element_of(unit)))

    def _end(self, key: tuple[Node, int]) -> None:
        report = self.by_unit.pop(key, None)
        if report is not None:
            self._hand_over(report, is_over=True)

    def close(self) -> None:
        """The run ends: hand over all that is left."""
        if self._timer is not None:
            self._timer.cancel()
        while self.by_unit:
            self._end(next(iter(self.by_unit)))

    def flush(self) -> None:
        """Hand on what has gathered."""
        self._is_armed = False
        if self._host.is_left:
            return
        for key, report in list(self.by_unit.items()):
            if report.is_idle and report.element >= 0:  # of many elements nobody keeps one that is silent
                self._end(key)
            else:
                self._hand_over(report, is_over=False)
                report.is_idle = True
        self._host.hand_on()

    def _hand_over(self, report: Report, *, is_over: bool) -> None:
        host, node, element = self._host, report.node, report.element
        metrics = tuple([report.metrics.popleft() for _ in range(len(report.metrics))])
        gone, report.gone = report.gone, None
        if metrics or gone is not None:
            at = self._now()
            host.journal.record(Reported(host.run, node.invocation, report.attempt, at, metrics, gone, None, element))
        for pieces, dropped in report.written.take(is_over=is_over):
            shown = tuple([(stream, host.means.supplies.hiding.text(text)) for stream, text in pieces])
            host.journal.record(Printed(host.run, node.invocation, report.attempt, self._now(), shown, dropped, element))

    # Checkpoints.

    def _save(self, whose: Whose, dumped: Output | Large, saving: _Saving) -> None:
        if self._host.is_left:
            saving.end()
        elif type(dumped) is Large:
            self._host.spawn(self._store(whose, dumped, saving))
        else:
            self._saved(whose, dumped, saving)  # type: ignore[arg-type]  # it is no large one

    async def _store(self, whose: Whose, large: Large, saving: _Saving) -> None:
        means = self._host.means
        try:
            output = await store_large(means.artifacts, means.ports.workers, whose[0].work, large)
        except Exception as error:  # noqa: BLE001  # whoever waits for it is told
            saving.end(error)
        else:
            self._saved(whose, output, saving)

    def _saved(self, whose: Whose, output: Output, saving: _Saving) -> None:
        host, (node, element, attempt) = self._host, whose
        if host.is_left:
            saving.end()
            return
        event = Reported(host.run, node.invocation, attempt, self._now(), (), None, output, element)
        host.journal.record(event)
        if node.trials is None:
            node.trials = Trials()
            node.trials.begun = node.attempt
        node.trials.receive(event)
        host.hand_on()
        saving.end(None, host.last)


class _Saving:
    """A checkpoint that may be waited for, on the loop."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._is_over = False
        self._error: Exception | None = None
        self._ticket: Ticket | None = None
        self._event: anyio.Event | None = None

    def end(self, error: Exception | None = None, ticket: Ticket | None = None) -> None:
        self._is_over, self._error, self._ticket = True, error, ticket
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        if not self._is_over:
            self._event = self._event or anyio.Event()
            await self._event.wait()
        if self._error is not None:
            raise self._error
        if self._ticket is not None:
            await self._host.means.log.durable(self._ticket)


class _Desk:
    """Where one attempt's reports go."""

    def __init__(self, reports: Reports, unit: Unit, saved: tuple[Any, Any] | None) -> None:
        self._reports = reports
        self._unit = unit
        self._saved = saved

    def metric(self, name: str, value: float, step: int | None) -> None:
        self._reports.of(self._unit).metrics.append(Metric(name, value, step, self._reports._now()))
        self._reports.arm()

    def progress(self, done: float, total: float | None) -> None:
        self._reports.of(self._unit).gone = (done, total)
        self._reports.arm()

    def checkpoint(self, value: Any) -> Awaitable[None]:
        return self._reports.save(self._unit, value)

    def checkpointed(self, default: Any) -> Any:
        if self._saved is None:
            return default
        output, blobs = self._saved
        return load_output(output, blobs)


def attempt_of(unit: Unit) -> int:
    """The number of the attempt that is under way."""
    if type(unit) is Element:
        trials = unit.node.trials
        return max(1, trials.element(unit.index).begun) if trials is not None else 1
    return node_of(unit).attempt
