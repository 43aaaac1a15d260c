"""`ashore log`: the events, one line each, as they stand in the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from ashore.catalogue import of_stack
from ashore.events import (
    Adopted,
    Answered,
    ArrivalRefused,
    Arrived,
    AttemptFailed,
    CancelAsked,
    EffectAnswered,
    EffectsAllowed,
    ElementsRan,
    ElementsTaken,
    EnvironmentSeen,
    Event,
    Held,
    Invoked,
    OwnerSeen,
    Printed,
    Redone,
    Released,
    Reported,
    RunEnded,
    RunStarted,
    ServingStarted,
    StepDefined,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
    Tagged,
    decode,
    text_path,
)
from ashore.faces.cli.naming import found_run
from ashore.faces.cli.results import event_json, shown_params
from ashore.faces.cli.session import Session, commanded, opened
from ashore.faces.cli.settings import DONE, Settings
from ashore.faces.cli.texts import SHORT, attempt_line, duration, element_of, failure_line, moment, parameters, plural, report_line
from ashore.ids import InvocationId, RunId
from ashore.runs import Happened
from ashore_stores.keys import Position
from ashore_stores.logs.base import EventLog, Frame


def log(settings: Settings, run: str | None, follow: bool, after: int) -> int:
    """Print the events; the exit code."""
    return commanded(settings, partial(_log, run, follow, after))


async def _log(run: str | None, follow: bool, after: int, session: Session) -> int:
    async with opened(session) as stack, of_stack(stack) as catalogue:
        topic = (await found_run(catalogue, run)).id if run is not None else None
        teller = Teller(session, stack.log)
        async with aclosing(_happenings(stack.log, topic, after, follow=follow)) as happenings:
            async for happened in happenings:
                await teller.tell(happened)
                if follow:
                    session.terminal.flush()
    return DONE


async def _happenings(log: EventLog, run: RunId | None, after: int, *, follow: bool) -> AsyncGenerator[Happened, None]:
    """The events of the home, or of a run, above a position; with `follow` those to come, of a run up to its end."""
    past = [happened for frame in await log.about(run.encode()) for happened in _events_of(frame, run, 0)] if run else []
    for happened in past:
        if happened.position > after:
            yield happened
    if run is not None and (not follow or (past and isinstance(past[-1].event, RunEnded))):
        return
    start = Position(max(after, past[-1].position if past else 0))
    async for frame in log.follow(start) if follow else log.read(start):
        for happened in _events_of(frame, run, start):
            yield happened
            if run is not None and isinstance(happened.event, RunEnded):
                return


def _events_of(frame: Frame, run: RunId | None, after: int) -> list[Happened]:
    if frame.last <= after or (run is not None and run.encode() not in frame.batch.topics):
        return []
    events = enumerate(decode(frame.batch.body, frame.count), frame.first)
    return [
        Happened(position, event)
        for position, event in events
        if position > after and (run is None or getattr(event, "run", None) == run)
    ]


_OF_STEPS: Final = (
    StepStarted,
    AttemptFailed,
    EffectAnswered,
    Reported,
    Printed,
    StepRan,
    StepFailed,
    StepSkipped,
    ElementsRan,
    ElementsTaken,
)


class Teller:
    """Writes events as lines. Steps are named, also where their names were said before the part that is shown."""

    def __init__(self, session: Session, log: EventLog) -> None:
        self._terminal = session.terminal
        self._is_json = session.settings.json
        self._log = log
        self._names: dict[RunId, dict[InvocationId, str]] = {}

    async def tell(self, happened: Happened) -> None:
        position, event = happened
        if isinstance(event, RunStarted):
            self._names.setdefault(event.run, {})
        elif isinstance(event, Invoked):
            await self._known(event.run)
            self._names[event.run].update((call.invocation, call.step) for call in event.calls)
        step = await self._step(event)
        if self._is_json:
            self._terminal.record({"position": position} | ({"step": step} if step else {}) | event_json(event))
        else:
            self._terminal.result(f"{position:>7} {_at(event):19} {_line(event, step)}")
        if isinstance(event, RunEnded):
            self._names.pop(event.run, None)

    async def _step(self, event: Event) -> str:
        if not isinstance(event, _OF_STEPS):
            return ""
        await self._known(event.run)
        return self._names[event.run].get(event.invocation, "")

    async def _known(self, run: RunId) -> None:
        """Look the names of a run's steps up if its beginning was not shown."""
        if run in self._names:
            return
        names = self._names[run] = {}
        for frame in await self._log.about(run.encode()):
            for event in decode(frame.batch.body, frame.count):
                if isinstance(event, Invoked) and event.run == run:
                    names.update((call.invocation, call.step) for call in event.calls)


def _at(event: Event) -> str:
    at = getattr(event, "at", None) or getattr(event, "ended", None)
    return moment(at)


def _line(event: Event, step: str) -> str:
    run: Any = getattr(event, "run", None)
    what = _attempt_line(event, step) or _step_line(event, step) or _run_line(event) or _other_line(event)
    return f"{run[:SHORT] if run else '-' * SHORT} {what}"


def _step_line(event: Event, step: str) -> str:
    match event:
        case StepRan() if event.reused_run:
            return f"{step} cached from run {event.reused_run[:SHORT]}"
        case StepRan():
            elements = f", {plural(event.elements, 'element')}, {event.skipped} left out" if event.elements >= 0 else ""
            return f"{step} done in {duration(event.ended - event.started)}{elements}"
        case StepFailed():
            return f"{step} failed in {duration(event.ended - event.started)}: {failure_line(event.failure)}"
        case StepSkipped():
            return f"{step} {'cancelled' if event.was_running else 'skipped'}"
        case ElementsRan() | ElementsTaken():
            return _elements_line(event, step)
        case _:
            return ""


def _attempt_line(event: Event, step: str) -> str:
    match event:
        case StepStarted():
            return f"{step}{element_of(event)} started{f', attempt {event.attempt}' if event.attempt > 1 else ''}"
        case EffectAnswered():
            return f"{step}{element_of(event)} {'has happened' if event.is_done else 'is to be done again'}, somebody says"
        case AttemptFailed():
            return f"{step}{element_of(event)} {attempt_line(event)}"
        case Reported():
            return f"{step}{element_of(event)} {report_line(event)}"
        case Printed():
            return f"{step}{element_of(event)} wrote {sum(len(text) for _, text in event.pieces):,} characters"
        case _:
            return ""


def _elements_line(event: ElementsRan | ElementsTaken, step: str) -> str:
    if isinstance(event, ElementsTaken):
        end = ", the last" if event.is_end else ""
        return f"{step} took {plural(len(event.elements), 'element')} for {event.argument}{end}"
    ran = len(event.indices) - len(event.reused)
    return f"{step} elements: {ran} ran, {len(event.reused)} cached, {len(event.failed)} failed"


def _run_line(event: Event) -> str:
    match event:
        case RunStarted():
            return f"run of {event.pipeline}({parameters(shown_params(event.params))}) started"
        case Invoked() if not event.calls:
            return f"was given {plural(len(event.awaited), 'value')}"
        case Invoked():
            return f"asks for {', '.join([call.step for call in event.calls[:5]])}{' ...' if len(event.calls) > 5 else ''}"
        case RunEnded():
            orphans = f", {plural(len(event.orphans), 'orphan')}" if event.orphans else ""
            return f"run {event.state}{orphans}{f': {failure_line(event.failure)}' if event.failure is not None else ''}"
        case Redone():
            return f"goes on after its end: {plural(len(event.invocations), 'call')} to be done again"
        case Adopted():
            return f"adopted by {event.owner.hex()[:SHORT]} from {event.former.hex()[:SHORT]}"
        case _:
            return _said_line(event)


def _said_line(event: Event) -> str:
    """What somebody said of a run, or is to say."""
    match event:
        case CancelAsked():
            return "asked to be cancelled"
        case Released():
            return "let go of by its process, for another to go on with"
        case Held():
            return f"held: {event.reason}"
        case EffectsAllowed():
            return f"new calls of {event.step} are allowed"
        case Answered():
            return "nobody answered in time" if event.is_late else "approved" if event.yes else "denied"
        case _:
            return ""


def _other_line(event: Event) -> str:
    match event:
        case OwnerSeen():
            return f"owner {event.owner.hex()[:SHORT]} is process {event.pid} of {event.user} on {event.host}: {event.command}"
        case EnvironmentSeen():
            commit = f", commit {event.commit[:SHORT]}" if event.commit else ""
            return f"Python {event.python}, {event.platform}, {plural(len(event.versions), 'distribution')}{commit}"
        case StepDefined():
            left = f", {plural(len(event.unfollowed), 'thing')} not followed" if event.unfollowed else ""
            return f"{event.role} {event.step} is {event.code.hex()[:SHORT]} ({event.file}:{event.line}){left}"
        case Arrived():
            return f"arrived {text_path(event.path)}, version {event.version}, {event.size:,} bytes"
        case ArrivalRefused():
            return f"refused {text_path(event.path)}: {event.reason}"
        case Tagged():
            output = f"[{event.output}]" if event.output > 0 else ""
            return f"tagged {event.step}{output} of run {event.made_in[:SHORT]} of {event.pipeline} as {event.name!r}"
        case ServingStarted():
            return f"serving {', '.join(event.pipelines)}"
        case _:
            return type(event).__name__
