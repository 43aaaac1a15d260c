"""Runs that are held: what is said of them, and how the answers are read that let them go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ashore.codec import Unencodable, encode
from ashore.errors import GraphError, NotFound, RunHeld
from ashore.events import EffectAnswered, Event, Held, Invoked
from ashore.ids import InvocationId, RunId

_SHORT: Final = 8
"""Digits of a run's id that are shown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody says of attempts of which nobody knew what came."""

    is_done: bool
    value: Any = None
    """What the step gives, if it has happened."""
    step: str | None = None
    """Of this step only: "charge", or of one call of it, "charge:8139de8b"."""


def held_error(run: RunId, pipeline: str, helds: Sequence[Held], holder: Any = None) -> RunHeld:
    """What whoever waits for a held run is told."""
    reasons = "; ".join(held.reason for held in helds)
    return RunHeld(f"run {run[:_SHORT]} of {pipeline} is held: {reasons}", run=holder or run, mend=helds[0].mend if helds else "")


def answers_to(run: RunId, events: Sequence[Event], helds: Sequence[Held], answer: Answer, at: float) -> list[EffectAnswered]:
    """The answer as events, one for each attempt that it is about.

    Raises `NotFound` if nothing is held, or nothing of that step, or several where one result cannot be that of each.
    """
    names = _names_in(events)
    meant = [held for held in helds if answer.step is None or _is_meant(held, names.get(held.invocation, ""), answer.step)]
    if not meant:
        held_steps = ", ".join(sorted({names.get(held.invocation, "?") for held in helds}))
        on = f"`ashore resume {run[:_SHORT]}` goes on with it, if nobody does, and says what has to be answered"
        mend = f"What is held there is {held_steps}" if helds else on
        raise NotFound(f"nothing of run {run[:_SHORT]} waits for this answer", mend=mend)
    if answer.is_done and len(meant) > 1:
        held_steps = ", ".join(f"{names.get(held.invocation, '?')}:{held.invocation.hex()[:_SHORT]}" for held in meant)
        mend = "Name the call that is meant, or give the step a check= function"
        raise NotFound(f"several calls of run {run[:_SHORT]} are held ({held_steps}), and this is the result of one", mend=mend)
    value = _encoded(answer.value) if answer.is_done else b""
    return [EffectAnswered(run, held.invocation, answer.is_done, at, value, held.element) for held in meant]


def _is_meant(held: Held, name: str, asked: str) -> bool:
    step, colon, call = asked.partition(":")
    return step == name and (not colon or held.invocation.hex().startswith(call))


def _encoded(value: Any) -> bytes:
    try:
        return encode(value)
    except Unencodable as error:
        raise GraphError(f"the result cannot be recorded: {error}", mend="Give a plain value, or a check= function") from error


def _names_in(events: Sequence[Event]) -> Mapping[InvocationId, str]:
    return {call.invocation: call.step for event in events if isinstance(event, Invoked) for call in event.calls}
