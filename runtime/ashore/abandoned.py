"""Runs whose owner is dead and that nobody is to go on with: ended as cancelled, without running or importing anything of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ashore.environment import who_am_i
from ashore.events import (
    HELD,
    Adopted,
    ElementsRan,
    Event,
    Invoked,
    RunEnded,
    RunSpace,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
    decode,
    encode,
)
from ashore.ids import InvocationId, RunId
from ashore.stack import Stack
from ashore_stores.logs.base import Batch, Claim, Entry, EventLog, Space

_FENCED: Final = b"fenced"
CANCELLED: Final = "cancelled"


async def cancel_abandoned(stack: Stack, run: RunId) -> bool:
    """End a run that nobody alive drives, or that is held; its end is durable then.

    False if somebody alive drives it, or it has ended. It is taken over as by whoever would go on with it: by a claim, which
    fences the dead owner.
    """
    await stack.log.refresh()
    log, topic = stack.log, run.encode()
    owner = log.register(RunSpace.OPEN_RUNS, topic)
    if owner is None or await log.is_alive(owner):
        return False
    me, now = await log.own(), stack.ports.clock.now()
    who = who_am_i(me, stack.ports.disk.process(), now)
    events: list[Event] = [who, Adopted(run, me, owner, now), *_skipped(await _events_about(log, run), run)]
    events.append(RunEnded(run, CANCELLED, now))
    entries = [Entry(RunSpace.OPEN_RUNS, topic, b""), Entry(RunSpace.CANCELS, topic, b"")]
    if owner != HELD:
        entries.append(Entry(Space.OWNERS, owner, _FENCED))
    batch = Batch(encode(events), len(events), entries=tuple(entries), topics=(topic,))
    (judged,) = await log.append([Claim(RunSpace.OPEN_RUNS, topic, owner, batch)])
    if judged.position is None:
        return False
    await log.durable(judged.position)
    return True


def _skipped(events: Sequence[Event], run: RunId) -> Iterator[StepSkipped]:
    """What did not settle: under way when its process died, or never begun."""
    open_calls: dict[InvocationId, bool] = {}
    for event in events:
        if isinstance(event, Invoked):
            open_calls |= {call.invocation: False for call in event.calls if call.invocation not in open_calls}
        elif isinstance(event, StepStarted | ElementsRan):
            open_calls[event.invocation] = True
        elif isinstance(event, StepRan | StepFailed | StepSkipped):
            open_calls.pop(event.invocation, None)
    return (StepSkipped(run, invocation, (), was_running) for invocation, was_running in open_calls.items())


async def _events_about(log: EventLog, run: RunId) -> list[Event]:
    return [
        event
        for frame in await log.about(run.encode())
        for event in decode(frame.batch.body, frame.count)
        if getattr(event, "run", None) == run
    ]
