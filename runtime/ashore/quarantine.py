"""Runs that end the process that drives them, again and again: how that is seen, and what is said of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ashore.events import (
    Adopted,
    Answered,
    AttemptFailed,
    ElementsRan,
    Event,
    Held,
    Invoked,
    Redone,
    Released,
    Reported,
    RunStarted,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
)
from ashore.ids import InvocationId, RunId

DEATHS: Final = 3
"""How often in a row the process of a run may die while a step ran, with nothing done in between, before it is held."""

_SHORT: Final = 8
_PROGRESS: Final = (StepRan, StepFailed, StepSkipped, AttemptFailed, ElementsRan, Reported, Answered, Held, Redone, Released)
"""What shows that it did not end its process just so. Released: somebody let go of it in peace."""


def is_poisonous(events: Sequence[Event]) -> bool:
    """Whether a run whose owner is dead has ended too many of them: in each life a step began, and nothing came of any."""
    lives = [False]
    for event in _since_progress(events):
        if isinstance(event, (RunStarted, Adopted)):
            lives.append(False)
        elif isinstance(event, StepStarted):
            lives[-1] = True
    return sum(lives) >= DEATHS


def quarantined(run: RunId, events: Sequence[Event], at: float) -> Held:
    """What is recorded then."""
    names = {call.invocation: call.step for event in events if isinstance(event, Invoked) for call in event.calls}
    running = _running(_since_progress(events), names)
    reason = f"its process died {DEATHS} times in a row after {', '.join(running)} began, and nothing was done in between"
    mend = (
        "Look for what ends the process: memory, a crash in native code, a kill; process=True gives the step a process of its own. "
        f"Then `ashore resume {run[:_SHORT]}`, or `ashore cancel {run[:_SHORT]}`"
    )
    return Held(run, InvocationId(b""), reason, mend, at)


def _since_progress(events: Sequence[Event]) -> list[Event]:
    """The events after the last one that shows progress."""
    last = max((place for place, event in enumerate(events) if isinstance(event, _PROGRESS)), default=-1)
    return list(events[last + 1 :])


def _running(events: Iterable[Event], names: dict[InvocationId, str]) -> list[str]:
    """The steps that began, by name, each once."""
    began = [event.invocation for event in events if isinstance(event, StepStarted)]
    return list(dict.fromkeys(names[invocation] for invocation in began if invocation in names))
