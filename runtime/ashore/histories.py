"""What is known of a run from its own events: how it was started, what became of it, how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ashore.engine.failures import exception_of
from ashore.events import Adopted, ElementsRan, Event, Failure, Held, Redone, RunEnded, RunStarted, StepFailed, decode
from ashore.holding import held_error
from ashore.ids import InvocationId, RunId
from ashore.redoing import without
from ashore_stores.logs.base import Frame


class Ending(NamedTuple):
    """How a run ended."""

    state: str
    result: bytes
    errors: tuple[Exception, ...]


class History:
    """What is known of a run from its recorded events."""

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.owner = b""
        self.ending: Ending | None = None
        self.held: list[Held] = []
        """Why nothing of it executes now; empty if it is not held."""
        self.events: list[Event] = []
        """Those that count, in their order, up to its end."""
        self.refreshed: set[str] = set()
        """Steps that were to be called again when it went on after its end."""
        self._failed: dict[InvocationId, StepFailed] = {}
        self._elements: dict[InvocationId, dict[int, Failure]] = {}
        """What failed elements of fan-outs."""

    @classmethod
    def of(cls, frames: list[Frame], run: RunId) -> History:
        history = cls()
        for frame in frames:
            for event in decode(frame.batch.body, frame.count):
                if getattr(event, "run", None) == run:
                    history.receive(event)
        return history

    def receive(self, event: Event) -> None:
        if isinstance(event, Adopted | Redone):
            self._taken_over(event)
        if self.ending is None:
            self.events.append(event)
        if isinstance(event, RunStarted):
            self.started = event
            self.owner = event.owner
        elif isinstance(event, Held):
            self.held.append(event)
        elif isinstance(event, StepFailed):
            self._failed[event.invocation] = event
        elif isinstance(event, ElementsRan) and event.failed:
            self._elements.setdefault(event.invocation, {}).update(event.failed)
        elif isinstance(event, RunEnded):
            self.ending = Ending(event.state, event.result, tuple(self._errors(event)))
            self.held.clear()

    def _taken_over(self, event: Adopted | Redone) -> None:
        """It has another owner. If it had ended, that does not count any more, nor do some outcomes."""
        self.owner = event.owner
        self.held.clear()
        if isinstance(event, Adopted):
            return
        self.events = without(self.events, event)
        self.ending = None
        self.refreshed.update(event.refreshed)
        for name in event.invocations:
            self._failed.pop(name, None)
            self._elements.pop(name, None)

    @property
    def rest(self) -> Ending | None:
        """How it ended, or that it is held."""
        if self.ending is None and self.held and self.started is not None:
            return Ending("held", b"", (held_error(self.started.run, self.started.pipeline, self.held),))
        return self.ending

    def _errors(self, ended: RunEnded) -> Iterator[Exception]:
        """What failed it."""
        for name in ended.failed:
            if name in self._failed:
                yield exception_of(self._failed[name].failure, self._elements.get(name))
        if ended.failure is not None:
            yield exception_of(ended.failure)
