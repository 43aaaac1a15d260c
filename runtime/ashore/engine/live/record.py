"""What is on record of a run whose bodies run again: taken by their calls, whatever the code is now."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, TypeGuard

from ashore.events import (
    AttemptFailed,
    Call,
    EffectAnswered,
    EffectsAllowed,
    ElementsRan,
    Event,
    Failure,
    Invoked,
    Reported,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
)
from ashore.ids import InvocationId


class Recorded(NamedTuple):
    """What is on record of one invocation."""

    place: int
    """Where its last event stands among those of the run: what has an outcome passes to the bodies in this order."""
    events: tuple[Event, ...]
    at: float = 0.0
    """Wall time by then."""


class Asked(NamedTuple):
    """A recorded call that nobody has made again yet."""

    place: int
    at: float
    """Wall time by then."""


class Record:
    """The outcomes of a run so far, by invocation, and which of them nobody has asked for yet."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._calls: dict[InvocationId, Call] = {}
        self._recorded: dict[InvocationId, Recorded] = {}
        self._attempts: dict[InvocationId, list[Event]] = {}
        self._failures: dict[InvocationId, Failure] = {}
        self._allowed: set[str] = set()
        self._ended: set[InvocationId] = set()
        self._unasked: dict[InvocationId, Asked] = {}
        self._order: deque[InvocationId] = deque()
        """The recorded calls, in order; those at its head that were made again are dropped when it is looked at."""
        self._inside: dict[str, list[InvocationId]] = {}
        self.is_empty = True
        """Whether nothing is on record: the run is new."""
        at = 0.0
        for place, event in enumerate(events):
            self.is_empty = False
            at = max(at, getattr(event, "ended", 0.0), getattr(event, "at", 0.0))
            if isinstance(event, Invoked):
                self._asked(event.calls, Asked(place, at))
            elif isinstance(event, (StepRan, StepFailed, StepSkipped, ElementsRan)):
                before = self._recorded.get(event.invocation)
                self._recorded[event.invocation] = Recorded(place, (*before.events, event) if before else (event,), at)
            elif isinstance(event, (StepStarted, AttemptFailed, EffectAnswered)) or _is_checkpoint(event):
                self._attempts.setdefault(event.invocation, []).append(event)
            elif isinstance(event, EffectsAllowed):
                self._allowed.add(event.step)
            if isinstance(event, StepFailed):
                self._failures[event.invocation] = event.failure

    def _asked(self, calls: Iterable[Call], asked: Asked) -> None:
        for call in calls:
            self._calls[call.invocation] = call
            if call.invocation not in self._unasked:
                self._unasked[call.invocation] = asked
                self._order.append(call.invocation)
            self._inside.setdefault(call.scope, []).append(call.invocation)

    def take(self, invocation: InvocationId, *, is_body: bool) -> Recorded | None:
        """What is on record of an invocation that a body asks for now.

        A sub-run that has no outcome because of steps that failed in it is not final: its body runs again, to the same end.
        """
        self._unasked.pop(invocation, None)
        recorded = self._recorded.pop(invocation, None)
        if is_body and recorded is not None and isinstance(recorded.events[-1], StepSkipped):
            self._ended.add(invocation)
            return None
        attempts = self._attempts.pop(invocation, ())
        if recorded is None:
            return Recorded(-1, tuple(attempts)) if attempts else None
        return Recorded(recorded.place, (*attempts, *recorded.events), recorded.at)

    def missing(self, place: int) -> Asked | None:
        """The first recorded call before this place that nobody has made again yet."""
        order = self._order
        while order and order[0] not in self._unasked:
            order.popleft()
        first = self._unasked[order[0]] if order else None
        return first if first is not None and first.place < place else None

    def miss_no_more(self, place: int) -> list[Call]:
        """The calls before this place are not waited for any longer; returns them."""
        missing = [name for name, asked in self._unasked.items() if asked.place < place]
        for name in missing:
            del self._unasked[name]
        return [self._calls[name] for name in missing]

    def is_done(self, scope: str) -> None:
        """A sub-run is done as a whole: nobody makes its calls again."""
        scopes = [scope, *(inner for inner in self._inside if inner.startswith(f"{scope}/"))] if scope in self._inside else []
        for inner in scopes:
            for name in self._inside.pop(inner, ()):
                self._unasked.pop(name, None)

    def has_call(self, invocation: InvocationId) -> bool:
        """Whether the call is on record."""
        return invocation in self._calls

    def has_outcome(self, invocation: InvocationId) -> bool:
        """Whether a sub-run that runs again has its end on record."""
        return invocation in self._ended

    def unclaimed(self, step: str) -> list[Call]:
        """Recorded calls of a step that began or have an outcome, and that nobody has asked for; none if that was allowed."""
        if step in self._allowed:
            return []
        names = (*self._recorded, *(name for name in self._attempts if name not in self._recorded))
        return [call for name in names if (call := self._calls.get(name)) is not None and call.step == step]

    def failure(self, invocation: InvocationId) -> Failure | None:
        return self._failures.get(invocation)

    def orphans(self, scopes_done: Iterable[str] = ()) -> list[Call]:
        """Recorded calls with an outcome that nobody has asked for, but for those of sub-runs that are done as a whole."""
        done = set(scopes_done)
        left = (self._calls.get(invocation) for invocation in self._recorded)
        return [call for call in left if call is not None and not _is_within(call.scope, done)]


def _is_within(scope: str, outer: set[str]) -> bool:
    """Whether a scope is one of these, or a sub-run of one."""
    if not outer:
        return False
    names = scope.split("/")
    return any("/".join(names[:depth]) in outer for depth in range(1, len(names) + 1))


def _is_checkpoint(event: Event) -> TypeGuard[Reported]:
    return isinstance(event, Reported) and event.checkpoint is not None
