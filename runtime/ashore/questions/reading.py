"""From a run to what is on record of it: its own events, those of the runs before it, and the code of their steps."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from ashore.catalogue import Catalogue, PastRun, of_stack
from ashore.catalogue.access import Access
from ashore.catalogue.catalogue import find_run
from ashore.engine.state import outputs_of
from ashore.errors import InternalError
from ashore.events import ElementsRan, Event, Output, StepDefined, StepRan, decode
from ashore.ids import CacheKey, CodeId, RunId
from ashore.questions.diffing import Side
from ashore.questions.facts import Definition, Facts
from ashore.questions.verifying import Recorded
from ashore.questions.why import Made, Record
from ashore.redoing import effective
from ashore.runs import Run
from ashore_stores.errors import Missing
from ashore_stores.keys import Position
from ashore_stores.logs.base import MARK_SIZE, EventLog

_RUNS_COMPARED: Final = 20
"""Earlier runs of a pipeline that are looked at for the nearest call."""


@asynccontextmanager
async def on_record(run: Run[Any]) -> AsyncIterator[tuple[PastRun[Any], Access]]:
    """The run as the catalogue has it, caught up with what is durable. Raises `NotFound`."""
    if isinstance(run, PastRun):
        yield run, run._access
        return
    async with catalogue_of(run) as catalogue:
        yield await catalogue.run(run.id), catalogue._access


@asynccontextmanager
async def catalogue_of(run: Run[Any]) -> AsyncIterator[Catalogue]:
    """The catalogue of a runtime's run; the stack stays open."""
    if run._drives is None:
        raise InternalError(f"run {run.id} belongs to no runtime and to no catalogue")
    async with of_stack(run._drives.stack, owned=False) as catalogue:
        yield catalogue


async def past_run(access: Access, run: str) -> PastRun[Any]:
    """A run of the catalogue, by its id or the beginning of it. Raises `NotFound`."""
    return await find_run(access, run)


async def side_of(run: PastRun[Any], access: Access) -> Side:
    """A run, as one side of a comparison."""
    environment = {"Python": run.python or "", "commit": run.git_commit or "", **run.versions}
    return Side(run.id, run.state, await facts_of(access.log, run.id), {k: v for k, v in environment.items() if v})


async def events_of(log: EventLog, run: str) -> list[Event]:
    """A run's own events, in their order."""
    frames = await log.about(run.encode())
    found = [event for frame in frames for event in decode(frame.batch.body, frame.count)]
    return [event for event in found if getattr(event, "run", None) == run]


async def facts_of(log: EventLog, run: str) -> Facts:
    """A run's events, folded."""
    return Facts(await events_of(log, run))


async def recorded_of(log: EventLog, run: str) -> Recorded:
    """A run's events, and what stands under the keys that it reused."""
    events = effective(await events_of(log, run))
    keys: dict[CacheKey, None] = {}
    for one in Facts(events):
        if isinstance(one.outcome, StepRan) and one.outcome.reused_run:
            keys[one.outcome.key] = None
        if one.elements is not None:
            keys |= {one.elements.keys[index]: None for index in one.elements.reused if index in one.elements.keys}
    return Recorded(run, events, {key: [made for at in log.marked(key) for made in await _made_at(log, at, key)] for key in keys})


async def definitions_of(access: Access, codes: Iterable[CodeId]) -> Mapping[bytes, Definition]:
    """The definitions of these codes."""
    rows = await access.ask("codes", {"codes": json.dumps(sorted(code.hex() for code in codes))})
    return {row["id"]: _definition(row) for row in rows}


def _definition(row: Mapping[str, Any]) -> Definition:
    parts, places = json.loads(row["parts"]), json.loads(row["places"])
    standing = {name: place for (name, _), place in zip(parts, places, strict=False) if place}
    ignored = frozenset(json.loads(row["ignored"]))
    return Definition(CodeId(row["id"]), row["step"], row["file"], row["line"], dict(parts), standing, ignored, row["role"])


async def sources_of(log: EventLog, code: CodeId) -> Output | None:
    """The stored sources of a code: they stand where it was stated first in this home."""
    for position in log.marked(code):
        event = await event_at(log, position)
        if isinstance(event, StepDefined) and event.sources is not None:
            return event.sources
    return None


async def event_at(log: EventLog, position: Position) -> Event | None:
    """The event at a position; None if that is not in the log any more."""
    try:
        frame = await log.frame_at(position)
    except Missing:
        return None
    return decode(frame.batch.body, frame.count)[position - frame.first]


async def record_of(run: PastRun[Any], access: Access, step: str | None = None) -> Record:
    """What `why` decides from."""
    await access.fresh()
    facts = await facts_of(access.log, run.id)
    rows = await access.ask("runs_before", {"pipeline": run.pipeline, "before": run.no, "limit": _RUNS_COMPARED})
    earlier = [(RunId(row["id"]), await facts_of(access.log, row["id"])) for row in rows]
    codes = facts.codes.union(*(before.codes for _, before in earlier))
    calls = [one for one in facts if step is None or step in (one.call.step, one.name)]
    keys = {one.outcome.key for one in calls if isinstance(one.outcome, StepRan) and one.outcome.key}
    return Record(run.id, facts, earlier, await definitions_of(access, codes), await _made(access.log, keys))


async def _made(log: EventLog, keys: Iterable[CacheKey]) -> Mapping[CacheKey, Sequence[Made]]:
    """What was executed under each of these keys, where that is more than one thing."""
    found: dict[CacheKey, list[Made]] = {}
    for key in keys:
        positions = log.marked(key)
        if len(positions) > 1:
            found[key] = [made for position in positions for made in await _made_at(log, position, key)]
    return found


async def _made_at(log: EventLog, position: Position, key: CacheKey) -> list[Made]:
    """What the event at this position says was executed under the key."""
    event = await event_at(log, position)
    if isinstance(event, StepRan) and event.key == key and not event.reused_run:
        return [Made(event.run, tuple(output.identity for output in event.outputs), event.renews)]
    if isinstance(event, ElementsRan):
        reused = dict(event.reused)
        places = [place for place in range(len(event.indices)) if event.keys[place * MARK_SIZE : (place + 1) * MARK_SIZE] == key]
        return [
            Made(event.run, tuple(output.identity for output in outputs_of(event, place)))
            for place in places
            if event.indices[place] not in reused
        ]
    return []
