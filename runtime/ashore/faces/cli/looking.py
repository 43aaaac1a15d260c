"""`ashore runs`, `show`, `sql` and `index rebuild`: what the catalogue knows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from ashore.catalogue import Catalogue, PastRun, of_stack
from ashore.events import RunSpace
from ashore.faces.cli.history import graph_of
from ashore.faces.cli.naming import Short, found_run
from ashore.faces.cli.progress import STATE_COLOURS
from ashore.faces.cli.session import Session, commanded, opened
from ashore.faces.cli.settings import DONE, FAILED, Settings
from ashore.faces.cli.showing import run_json, show_run, state_text
from ashore.faces.cli.terminal import DIM, YELLOW, printable
from ashore.faces.cli.texts import SHORT, duration, moment, plural, table
from ashore.faces.cli.unfollowed import show_unfollowed, unfollowed_by
from ashore.ids import RunId
from ashore.stack import Stack
from ashore_stores.keys import Position
from ashore_stores.logs.base import EventLog

_TROUBLE_SHOWN: Final = 60
_ALIKE: Final = "select id from runs where substr(id, 1, ?) in (select value from json_each(?))"


def runs(settings: Settings, pipeline: str | None, state: str | None, limit: int) -> int:
    """List runs; the exit code."""
    return commanded(settings, partial(_runs, pipeline, state, limit))


def show(settings: Settings, run: str) -> int:
    """Show one run; the exit code."""
    return commanded(settings, partial(_show, run))


def sql(settings: Settings, query: str) -> int:
    """Ask the index; the exit code."""
    return commanded(settings, partial(_sql, query))


def rebuild(settings: Settings) -> int:
    """Make the index anew; the exit code."""
    return commanded(settings, _rebuild)


@asynccontextmanager
async def catalogued(session: Session) -> AsyncIterator[tuple[Catalogue, Stack]]:
    """The catalogue of the home; in the end what was found wrong with the index is said."""
    async with opened(session) as stack, of_stack(stack) as catalogue:
        yield catalogue, stack
        freshness = catalogue.freshness
        for note in freshness.notes:
            session.terminal.say(f"note: {note}", YELLOW)
        if freshness.behind:
            session.terminal.say(f"note: {freshness}", YELLOW)


async def _runs(pipeline: str | None, state: str | None, limit: int, session: Session) -> int:
    async with catalogued(session) as (catalogue, stack):
        found: list[PastRun[Any]] = await catalogue.runs(pipeline, state=state, limit=limit)
        driven = {run.id: await is_driven(stack.log, run) for run in found}
        if session.settings.json:
            for run in found:
                session.terminal.record(run_json(run) | {"driven": driven[run.id]})
        elif found:
            _list(session, found, driven, await _short(catalogue, [run.id for run in found]))
        else:
            session.terminal.say("no such run is on record" if pipeline or state else "no run is on record")
    return DONE


async def is_driven(log: EventLog, run: PastRun[Any]) -> bool:
    """Whether some living process drives it on."""
    owner = log.register(RunSpace.OPEN_RUNS, run.id.encode())
    return run.state == "running" and owner is not None and await log.is_alive(owner)


def _list(session: Session, found: Sequence[PastRun[Any]], driven: Mapping[RunId, bool], short: Short) -> None:
    terminal = session.terminal
    cells = [_cells(run, short, is_driven=driven[run.id]) for run in found]
    head, *lines = table(("RUN", "PIPELINE", "STATE", "STARTED", "TOOK", "STEPS"), cells)
    terminal.painted_result(terminal.painted(head, DIM))
    for run, line in zip(found, lines, strict=True):
        trouble = f"  {printable(run.trouble)[:_TROUBLE_SHOWN]}" if run.trouble else ""
        terminal.painted_result(
            terminal.painted(f"{line}{trouble}", STATE_COLOURS.get(run.state, "") if run.state != "done" else "")
        )


def _cells(run: PastRun[Any], short: Short, *, is_driven: bool) -> tuple[str, ...]:
    steps = ", ".join(f"{count} {state}" for state, count in _ordered(run.counts()))
    return (
        short[run.id],
        printable(run.pipeline),
        state_text(run, is_driven=is_driven),
        moment(run.started),
        duration(run.took),
        steps,
    )


def _ordered(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda counted: list(STATE_COLOURS).index(counted[0]) if counted[0] in STATE_COLOURS else 99)


async def _short(catalogue: Catalogue, ids: Sequence[str]) -> Short:
    """How far these ids may be shortened, among all ids of the home."""
    beginnings = json.dumps(sorted({id[:SHORT] for id in ids}))
    return Short([id for (id,) in await catalogue.sql(_ALIKE, (SHORT, beginnings))])


async def _show(name: str, session: Session) -> int:
    async with catalogued(session) as (catalogue, stack):
        run = await found_run(catalogue, name)
        graph = await graph_of(stack.log, run.id)
        driven = await is_driven(stack.log, run)
        unfollowed = await unfollowed_by(catalogue, run)
        if session.settings.json:
            session.terminal.record(run_json(run, graph) | {"driven": driven, "unfollowed": unfollowed})
        else:
            others = {one.cached_from for one in run.invocations if one.cached_from}
            show_run(session.terminal, run, graph, await _short(catalogue, [run.id, *others]), is_driven=driven)
            show_unfollowed(session.terminal, unfollowed)
    return DONE


async def _sql(query: str, session: Session) -> int:
    async with catalogued(session) as (catalogue, _):
        answer = await catalogue.sql(query)
        terminal = session.terminal
        if session.settings.json:
            for record in answer.records():
                terminal.record({name: value.hex() if isinstance(value, bytes) else value for name, value in record.items()})
            return DONE
        head, *lines = table(answer.columns, [[_cell(value) for value in row] for row in answer])
        terminal.painted_result(terminal.painted(head, DIM))
        for line in lines:
            terminal.result(line)
    return DONE


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value.hex() if isinstance(value, bytes) else printable(str(value))


async def _rebuild(session: Session) -> int:
    terminal = session.terminal

    def progress(position: Position, target: Position) -> None:
        terminal.status(f"{position:,} of {target:,} events")

    async with catalogued(session) as (catalogue, _):
        freshness = await catalogue.rebuild(progress)
        terminal.status("")
        tables = dict(list(await catalogue.sql(_COUNTS)))
        if session.settings.json:
            terminal.record({"position": freshness.position, "behind": freshness.behind, **tables, "notes": list(freshness.notes)})
        else:
            told = ", ".join(plural(count, name.removesuffix("s")) for name, count in tables.items())
            terminal.result(f"index made anew from {plural(freshness.position, 'event')}: {told}")
            for note in freshness.notes:
                terminal.say(f"note: {note}", YELLOW)
    return FAILED if freshness.behind else DONE


_COUNTS: Final = "select 'runs', count(*) from runs union all select 'steps', count(*) from steps"
