"""Which outcomes of a run that has ended do not count any more when it goes on, and what its history is then. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ashore.errors import NotFound, did_you_mean
from ashore.events import (
    AttemptFailed,
    Call,
    EffectAnswered,
    ElementsRan,
    ElementsTaken,
    Event,
    Held,
    Invoked,
    Redone,
    RunEnded,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
)
from ashore.ids import InvocationId, RunId

_OF_CALLS = (StepStarted, StepRan, StepFailed, StepSkipped, AttemptFailed, EffectAnswered, Held)


def effective(events: Iterable[Event]) -> list[Event]:
    """A run's events as they count: without those that a later `Redone` takes back."""
    found: list[Event] = []
    for event in events:
        if isinstance(event, Redone):
            found = without(found, event)
        found.append(event)
    return found


def without(events: Sequence[Event], redone: Redone) -> list[Event]:
    """The history that a run goes on with."""
    gone = set(redone.invocations)
    whole = {name for name, done, reused, _ in redone.elements if done or reused}
    kept: list[Event] = []
    for event in events:
        if isinstance(event, RunEnded):
            continue
        if isinstance(event, _OF_CALLS) and event.invocation in gone:
            continue
        if isinstance(event, ElementsRan | ElementsTaken) and event.invocation in whole:
            continue
        if isinstance(event, ElementsRan) and event.invocation in gone and event.failed:
            event = msgspec.structs.replace(event, failed=())
        kept.append(event)
    return kept


class Redoing:
    """What is to be done again in a run that has ended."""

    def __init__(self, run: RunId, events: Sequence[Event]) -> None:
        self._run = run
        self._calls: dict[InvocationId, Call] = {}
        self._outcomes: dict[InvocationId, Event] = {}
        self._elements: dict[InvocationId, list[set[int]]] = {}
        self._ended: RunEnded | None = None
        for event in effective(events):
            self._receive(event)

    def _receive(self, event: Event) -> None:
        if isinstance(event, Invoked):
            self._calls.update((call.invocation, call) for call in event.calls)
        elif isinstance(event, StepRan | StepFailed | StepSkipped):
            self._outcomes[event.invocation] = event
        elif isinstance(event, ElementsRan):
            done, reused, failed = self._elements.setdefault(event.invocation, [set(), set(), set()])
            again = {index for index, _ in event.reused}
            done.update(index for index in event.indices if index not in again)
            reused |= again
            failed.update(index for index, _ in event.failed)
        elif isinstance(event, RunEnded):
            self._ended = event

    def failed(self, owner: bytes, at: float) -> Redone:
        """What failed the run, what was skipped because of it, and what was cancelled: what is done is final."""
        gone = {name for name, outcome in self._outcomes.items() if isinstance(outcome, StepSkipped)}
        gone |= set(self._ended.failed) if self._ended is not None else set()
        elements = tuple((name, 0, 0, len(self._elements[name][2])) for name in self._ordered(gone) if name in self._elements)
        return Redone(self._run, owner, tuple(self._ordered(gone)), at, elements)

    def steps(self, names: Sequence[str], owner: bytes, at: float) -> Redone:
        """All calls of these steps, whatever came of them, and what was made from them; what failed, too. Raises `NotFound`."""
        known = {call.step for call in self._calls.values()}
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) or f"It has {', '.join(sorted(known))}"
                raise NotFound(f"run {self._run[:8]} has no step {name!r}", mend=hint)
        failed = self.failed(owner, at)
        whole = self._from({name for name, call in self._calls.items() if call.step in names})
        gone = list(self._ordered(whole | set(failed.invocations)))
        counted = {name: (name, *(len(some) for some in self._elements[name])) for name in gone if name in self._elements}
        counted |= {entry[0]: entry for entry in failed.elements if entry[0] not in whole}
        return Redone(self._run, owner, tuple(gone), at, tuple(counted.values()), tuple(names))  # type: ignore[arg-type]  # of three counts

    def _from(self, names: set[InvocationId]) -> set[InvocationId]:
        """These, and everything that takes from them, to any depth: calls stand in an order in which inputs come first."""
        found = set(names)
        for name, call in self._calls.items():
            if any(given.producer in found for given in call.inputs):
                found.add(name)
        return found

    def _ordered(self, names: set[InvocationId]) -> Iterable[InvocationId]:
        return (name for name in self._calls if name in names)
