"""`ashore why`, `diff` and `code`: what the record answers about a run."""

from __future__ import annotations

from functools import partial

from ashore.faces.cli.looking import catalogued
from ashore.faces.cli.naming import found_run
from ashore.faces.cli.session import Session, commanded
from ashore.faces.cli.settings import DONE, Settings


def why(settings: Settings, run: str, step: str | None) -> int:
    """Say why the steps of a run ran; the exit code."""
    return commanded(settings, partial(_why, run, step))


def diff(settings: Settings, run: str, other: str, everything: bool) -> int:
    """Put two runs side by side; the exit code."""
    return commanded(settings, partial(_diff, run, other, everything))


def code(settings: Settings, run: str, step: str | None) -> int:
    """Print the code that ran; the exit code."""
    return commanded(settings, partial(_code, run, step))


async def _why(name: str, step: str | None, session: Session) -> int:
    async with catalogued(session) as (catalogue, _):
        answer = await (await found_run(catalogue, name)).why(step)
        if session.settings.json:
            session.terminal.record(answer.record())
        else:
            session.terminal.result_block(str(answer))
    return DONE


async def _diff(name: str, other: str, everything: bool, session: Session) -> int:
    async with catalogued(session) as (catalogue, _):
        run = await found_run(catalogue, name)
        answer = await run.diff(await found_run(catalogue, other), all=everything)
        if session.settings.json:
            session.terminal.record(answer.record())
        else:
            session.terminal.result_block(str(answer))
    return DONE


async def _code(name: str, step: str | None, session: Session) -> int:
    async with catalogued(session) as (catalogue, _):
        answer = await (await found_run(catalogue, name)).code(step)
        if session.settings.json:
            session.terminal.record(answer.record())
        else:
            session.terminal.result_block(str(answer))
    return DONE
