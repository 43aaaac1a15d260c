"""The journal of one run: its events in order, in batches for the log.

Recording never waits. What is recorded is handed on by `flush`, as one frame; a consumer's event can never be durable before
its producer's, since all of them go through one queue in order.
"""

from __future__ import annotations

from collections.abc import Callable

from ashore.events import ElementsRan, Event, encode
from ashore.ids import CacheKey, RunId
from ashore_stores.logs.base import NO_MARK, Batch, Entry, EventLog, Ticket

SLICE = 512
"""Events that gather before they are handed on by themselves."""


class Journal:
    """Events of one run on their way to the log."""

    __slots__ = ("_events", "_log", "_marks", "_topics", "last", "listeners")

    def __init__(self, log: EventLog, run: RunId) -> None:
        self._log = log
        self._topics = (run.encode(),)
        self._events: list[Event] = []
        self._marks: list[bytes] = []
        self.last: Ticket | None = None
        self.listeners: list[Callable[[list[Event]], None]] = []

    def record(self, event: Event, mark: bytes = NO_MARK) -> None:
        """State a fact; it is in the run's order from now on."""
        self._events.append(event)
        self._marks.append(mark or NO_MARK)
        if len(self._events) >= SLICE:
            self.flush()

    def record_elements(self, event: ElementsRan, keys: list[CacheKey]) -> None:
        """State outcomes of a fan-out: a frame of its own, found again by each element's key."""
        self.flush()
        self._events.append(event)
        self._marks.extend(key or NO_MARK for key in keys)
        self.flush()

    def batch(self, entries: tuple[Entry, ...] = ()) -> Batch:
        """Take what has gathered as one batch (for a claim that carries it)."""
        events, self._events = self._events, []
        marks, self._marks = self._marks, []
        for listener in self.listeners:
            listener(events)
        return Batch(encode(events), len(events), b"".join(marks), entries, self._topics)

    def flush(self, entries: tuple[Entry, ...] = ()) -> Ticket | None:
        """Hand on what has gathered; returns the ticket of the last batch so far."""
        if self._events:
            self.last = self._log.queue(self.batch(entries))
        return self.last
