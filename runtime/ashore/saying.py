"""What the steps of a run have printed and logged, as it is on record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ashore.capturing import NAMES
from ashore.errors import NotFound, did_you_mean
from ashore.events import Event, Invoked, Printed
from ashore.ids import InvocationId


class Said(NamedTuple):
    """A text of one attempt."""

    step: str
    invocation: str
    """The call, as hex: a step may have several."""
    element: int
    """Which element, if it is one of a fan-out; else -1."""
    attempt: int
    stream: str
    """ "out", "err" or "log"."""
    text: str
    dropped: int
    """Characters before this that were not kept."""


class Logs(tuple[Said, ...]):
    """What was said, in order. `str()` is the text."""

    __slots__ = ()

    def __str__(self) -> str:
        return "".join(
            f"{f'[... {said.dropped:,} characters were not kept ...]' + chr(10) if said.dropped else ''}{said.text}"
            for said in self
        )

    def __repr__(self) -> str:
        return f"<Logs: {len(self)} texts, {sum(len(said.text) for said in self):,} characters>"


def logs_in(events: Iterable[Event], step: str | None = None, attempt: int | None = None) -> Logs:
    """What the events say, of all steps or of one, of all attempts or of one. Raises `NotFound` for a step that is not there."""
    names: dict[InvocationId, str] = {}
    found: list[Said] = []
    for event in events:
        if isinstance(event, Invoked):
            names.update((call.invocation, call.step) for call in event.calls)
        elif isinstance(event, Printed):
            name = names.get(event.invocation, "")
            if step in (None, name) and attempt in (None, event.attempt):
                found += _said(name, event)
    if step is not None and step not in names.values():
        mend = did_you_mean(step, set(names.values())) or f"It has {', '.join(sorted(set(names.values()))) or 'no steps'}"
        raise NotFound(f"the run has no step {step!r}", mend=mend)
    return Logs(found)


def _said(name: str, event: Printed) -> Iterable[Said]:
    dropped = event.dropped
    for stream, text in event.pieces:
        yield Said(name, event.invocation.hex(), event.element, event.attempt, NAMES.get(stream, str(stream)), text, dropped)
        dropped = 0
