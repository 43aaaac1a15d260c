"""`ashore verify`, `reproduce` and `export`: a run's decisions derived once more, the run itself, and its history as a file."""

from __future__ import annotations

from functools import partial
from typing import Any

from ashore.faces.cli.looking import catalogued
from ashore.faces.cli.naming import found_run
from ashore.faces.cli.resuming import looped_pair
from ashore.faces.cli.session import Session, commanded, looped, opened, session_of
from ashore.faces.cli.settings import DONE, FAILED, Settings
from ashore.faces.cli.targeting import loaded
from ashore.runtime import Runtime
from ashore.works import Work


def verify(settings: Settings, run: str, target: str | None) -> int:
    """Derive a run's decisions and compare; the exit code."""
    with session_of(settings) as session:
        run_id, recorded = looped_pair(session, run)
        work = loaded(target or recorded)  # user code is imported outside the loop
        return looped(session, partial(_verify, run_id, work))


def reproduce(settings: Settings, run: str, target: str | None) -> int:
    """Run it once more and compare; the exit code."""
    with session_of(settings) as session:
        run_id, recorded = looped_pair(session, run)
        work = loaded(target or recorded)  # user code is imported outside the loop
        return looped(session, partial(_reproduce, run_id, work))


def export(settings: Settings, run: str, path: str) -> int:
    """Write a run's history into a file; the exit code."""
    return commanded(settings, partial(_export, run, path))


async def _verify(run_id: str, work: Work[Any, Any], session: Session) -> int:
    async with catalogued(session) as (catalogue, _):
        answer = await (await catalogue.run(run_id)).verify(work)
        if session.settings.json:
            session.terminal.record(answer.record())
        else:
            session.terminal.result_block(str(answer))
    return DONE if answer.is_sound else FAILED


async def _reproduce(run_id: str, work: Work[Any, Any], session: Session) -> int:
    async with opened(session) as stack, Runtime(stack) as runtime:
        answer = await (await runtime.run(run_id)).reproduce(work)
        if session.settings.json:
            session.terminal.record(answer.record())
        else:
            session.terminal.result_block(str(answer))
    return DONE if answer.is_same else FAILED


async def _export(name: str, path: str, session: Session) -> int:
    async with catalogued(session) as (catalogue, _):
        run = await found_run(catalogue, name)
        await run.export(path)
        if session.settings.json:
            session.terminal.record({"run": run.id, "path": path})
        else:
            session.terminal.say(f"the history of run {run.id} is in {path}")
    return DONE
