"""What is on record of a run whose bodies run again: taken by their calls, whatever the code is now."""

from __future__ import annotations

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


class Record:
    """The outcomes of a run so far, by invocation, and which of them nobody has asked for yet."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._calls: dict[InvocationId, Call] = {}
        self._recorded: dict[InvocationId, Recorded] = {}
        self._attempts: dict[InvocationId, list[Event]] = {}
        self._failures: dict[InvocationId, Failure] = {}
        self._allowed: set[str] = set()
        self._ended: set[InvocationId] = set()
        self.is_empty = True
        """Whether nothing is on record: the run is new."""
        for place, event in enumerate(events):
            self.is_empty = False
            if isinstance(event, Invoked):
                self._calls.update((call.invocation, call) for call in event.calls)
            elif isinstance(event, (StepRan, StepFailed, StepSkipped, ElementsRan)):
                before = self._recorded.get(event.invocation)
                self._recorded[event.invocation] = Recorded(place, (*before.events, event) if before else (event,))
            elif isinstance(event, (StepStarted, AttemptFailed, EffectAnswered)) or _is_checkpoint(event):
                self._attempts.setdefault(event.invocation, []).append(event)
            elif isinstance(event, EffectsAllowed):
                self._allowed.add(event.step)
            if isinstance(event, StepFailed):
                self._failures[event.invocation] = event.failure

    def take(self, invocation: InvocationId, *, is_body: bool) -> Recorded | None:
        """What is on record of an invocation that a body asks for now.

        A sub-run that has no outcome because of steps that failed in it is not final: its body runs again, to the same end.
        """
        recorded = self._recorded.pop(invocation, None)
        if is_body and recorded is not None and isinstance(recorded.events[-1], StepSkipped):
            self._ended.add(invocation)
            return None
        attempts = self._attempts.pop(invocation, ())
        if recorded is None:
            return Recorded(-1, tuple(attempts)) if attempts else None
        return Recorded(recorded.place, (*attempts, *recorded.events))

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
