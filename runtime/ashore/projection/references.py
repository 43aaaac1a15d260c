"""What events refer to, so that it can be looked up before they are folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from ashore.events import (
    Adopted,
    Answered,
    AttemptFailed,
    CancelAsked,
    EffectsAllowed,
    ElementsRan,
    Held,
    Invoked,
    Redone,
    Released,
    Reported,
    RunEnded,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
)
from ashore.ids import InvocationId, RunId


class Unknown:
    """What has to be looked up in the index."""

    def __init__(self) -> None:
        self.runs: set[RunId] = set()
        self.invocations: dict[RunId, set[InvocationId]] = {}

    def __bool__(self) -> bool:
        return bool(self.runs or self.invocations)

    def add(self, run: RunId, invocations: Iterable[InvocationId]) -> None:
        self.invocations.setdefault(run, set()).update(invocations)


def referred(event: Any) -> Iterable[InvocationId]:
    """The invocations of its own run that an event is about."""
    return REFERRING[type(event)](event)


def _called(event: Invoked) -> Iterable[InvocationId]:
    for call in event.calls:
        yield call.invocation
        for taken in call.inputs:
            yield taken.producer
    for given in event.awaited:
        yield given.invocation


def _itself(event: Any) -> Iterable[InvocationId]:
    return (event.invocation,)


def _none(event: Any) -> Iterable[InvocationId]:
    return ()


REFERRING: Final[dict[type, Callable[[Any], Iterable[InvocationId]]]] = {
    Invoked: _called,
    StepStarted: _itself,
    AttemptFailed: _itself,
    Held: _none,
    Reported: lambda event: (event.invocation,) if event.metrics else (),
    StepRan: lambda event: (event.invocation, *(taken.producer for taken in event.handed)),
    StepFailed: _itself,
    StepSkipped: lambda event: (event.invocation, *event.because[:1]),
    ElementsRan: lambda event: (event.invocation, *(taken.producer for taken in event.inputs)),
    RunEnded: lambda event: event.failed[:1],
    Adopted: _none,
    Redone: lambda event: event.invocations,
    CancelAsked: _none,
    Answered: _none,
    EffectsAllowed: _none,
    Released: _none,
}
"""By kind of event that is about a run under way: the invocations it names."""
