"""`ashore cancel`: ends a run, whichever process drives it, or nobody any more."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ashore.abandoned import cancel_abandoned
from ashore.catalogue import PastRun
from ashore.errors import AshoreError
from ashore.faces.cli.looking import catalogued, is_driven
from ashore.faces.cli.naming import found_run
from ashore.faces.cli.session import Session, commanded
from ashore.faces.cli.settings import DONE, Settings
from ashore.faces.cli.texts import SHORT
from ashore.runtime import Runtime
from ashore.stack import Stack

_OPEN: Final = ("running", "held")


def cancel(settings: Settings, run: str, no_wait: bool) -> int:
    """Cancel a run; the exit code."""
    return commanded(settings, partial(_cancel, run, no_wait))


async def _cancel(name: str, no_wait: bool, session: Session) -> int:
    async with catalogued(session) as (catalogue, stack):
        run = await found_run(catalogue, name)
        was = run.state
        state = was if was not in _OPEN else await _ended(session, stack, run, no_wait=no_wait)
    if session.settings.json:
        session.terminal.record({"run": run.id, "pipeline": run.pipeline, "was": was, "state": state})
    else:
        session.terminal.say(f"run {run.id[:SHORT]} of {run.pipeline} {_told(was, state)}")
    return DONE


def _told(was: str, state: str) -> str:
    if was not in _OPEN:
        return f"was {was} already" if was == "cancelled" else f"is over already: {was}"
    return "is asked to end" if state == "running" else f"is {state}"


async def _ended(session: Session, stack: Stack, run: PastRun[Any], *, no_wait: bool) -> str:
    """The run's state once it is cancelled; "running" if it was asked only."""
    while not await cancel_abandoned(stack, run.id):
        async with Runtime(stack) as runtime:
            asked = await runtime.run(run.id)
            await asked.cancel()
            if no_wait:
                return asked.state
            session.terminal.status(f"waiting for run {run.id[:SHORT]} to end")
            try:
                state = await asked.wait()
                if state not in _OPEN:
                    return state
            except AshoreError:
                if await is_driven(stack.log, run):
                    raise
                # who drove it died before it was ended
    return "cancelled"
