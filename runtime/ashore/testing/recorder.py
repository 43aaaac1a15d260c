"""What happened in a runtime, for a test to look at and to wait for."""

from __future__ import annotations

from typing import Any, TypeVar

import anyio

from ashore.events import Event, Invoked, decode
from ashore.runtime import Runtime
from ashore_stores.keys import Position
from ashore_stores.logs.base import Frame

E = TypeVar("E", bound=Event)


class Recorder:
    """The events of a runtime's log from here on, whichever run and process they are of.

    `await events.all()` is the list; `await events.of(StepRan, step="fit")` those of a type, of a step and with fields of these
    values (`run=` takes a run, too); `await events.wait_for(StepRan, step="fit")` the first such one, as soon as it is there. An
    event counts when it is durable.
    """

    def __init__(self, rt: Runtime) -> None:
        self._log = rt.stack.log
        self._after = rt.stack.log.durable_position
        self._events: list[Event] = []
        self._steps: dict[bytes, str] = {}

    def __repr__(self) -> str:
        return f"<Recorder {len(self._events)} events, up to position {self._after}>"

    async def all(self) -> list[Event]:
        """Every event so far, in order."""
        await self._log.refresh()
        async for frame in self._log.read(self._after):
            self._take(frame)
        return list(self._events)

    async def of(self, kind: type[E], *, step: str | None = None, **fields: object) -> list[E]:
        """The events of this type so far, in order."""
        return [event for event in await self.all() if isinstance(event, kind) and self._fits(event, step, fields)]

    async def wait_for(self, kind: type[E], *, step: str | None = None, seconds: float = 10.0, **fields: object) -> E:
        """The first event of this type, in the past or in the next (real) seconds. Raises `AssertionError`."""
        found = await self.of(kind, step=step, **fields)
        if found:
            return found[0]
        with anyio.move_on_after(seconds):
            return await self._next(kind, step, fields)
        wanted = ", ".join([*([f"step={step!r}"] if step else []), *(f"{name}={value!r}" for name, value in fields.items())])
        seen = ", ".join(self._shown(event) for event in self._events) or "nothing"
        raise AssertionError(f"no {kind.__name__}({wanted}) in {seconds:g} s; there was {seen}")

    async def _next(self, kind: type[E], step: str | None, fields: dict[str, object]) -> E:
        async for frame in self._log.follow(self._after):
            for event in self._take(frame):
                if isinstance(event, kind) and self._fits(event, step, fields):
                    return event
        raise AssertionError("the log was closed")

    def _take(self, frame: Frame) -> list[Event]:
        events = decode(frame.batch.body, frame.count)
        for event in events:
            if isinstance(event, Invoked):
                self._steps.update((call.invocation, call.step) for call in event.calls)
        new = [event for place, event in enumerate(events) if frame.first + place > self._after]
        self._events += new
        self._after = Position(frame.last)
        return new

    def _fits(self, event: Event, step: str | None, fields: dict[str, Any]) -> bool:
        if step is not None and step != self._step_of(event):
            return False
        return all(getattr(event, name, None) == getattr(value, "id", value) for name, value in fields.items())

    def _step_of(self, event: Event) -> str | None:
        return getattr(event, "step", None) or self._steps.get(getattr(event, "invocation", b""))

    def _shown(self, event: Event) -> str:
        step = self._step_of(event)
        return f"{type(event).__name__}({step})" if step else type(event).__name__
