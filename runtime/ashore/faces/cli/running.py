"""`ashore run`: one run, told as it goes, its result on stdout."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import anyio

from ashore.events import RunEnded
from ashore.faces.cli.interruption import Interruption
from ashore.faces.cli.progress import Narrator
from ashore.faces.cli.results import failure_record, result_record
from ashore.faces.cli.session import Session, looped, opened, session_of
from ashore.faces.cli.settings import DONE, FAILED, TRANSIENT, Settings
from ashore.faces.cli.targeting import called, loaded
from ashore.faces.cli.terminal import YELLOW
from ashore.faces.cli.texts import SHORT, plural, value_text
from ashore.handles import Handle
from ashore.runs import Run
from ashore.runtime import Runtime
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.ports import Clock
from ashore_stores.system import system_ports

_TICK = 0.1
"""Seconds between two looks of the status line."""


def run_target(settings: Settings, target: str, arguments: tuple[str, ...], key: str | None, refresh: tuple[str, ...] = ()) -> int:
    """Run what `target` names; the exit code."""
    with session_of(settings) as session:
        call = called(loaded(target), arguments, system_ports().disk, os.getcwd())  # user code is imported outside the loop
        if refresh:
            call = call.refresh(*refresh)
        return looped(session, partial(_open_and_run, call, key))


async def _open_and_run(call: Handle[Any], key: str | None, session: Session) -> int:
    async with opened(session, create=True) as stack:
        with Interruption(stack.ports.workers.poster()) as interruption:
            async with Runtime(stack) as runtime:
                return await see_through(session, runtime, await runtime.start(call, key=key), interruption)


async def see_through(session: Session, runtime: Runtime, run: Run[Any], interruption: Interruption) -> int:
    """Tell how a run goes, and give its result or what failed it; the exit code."""
    clock = runtime.stack.ports.clock
    begun = clock.monotonic()
    narrator = Narrator(session.terminal, run.id, run.pipeline)
    narrator.begin()
    state: str | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_heed, session, runtime, run, interruption, group.cancel_scope)
        group.start_soon(_tick, clock, begun, narrator)
        async with anyio.create_task_group() as telling:
            telling.start_soon(_tell, run, narrator)
            state = await run.wait()
        group.cancel_scope.cancel()
    if state is None:
        return interruption.code
    narrator.end(state, clock.monotonic() - begun)
    _tell_orphans(session, narrator)
    if state == "done":
        await _give_result(session, run, narrator, runtime.stack.artifacts)
        return DONE
    _give_failures(session, run, state, narrator)
    if state == "held":
        session.terminal.say(f"{run.error}", YELLOW)
        return TRANSIENT
    return interruption.code if interruption.number is not None else FAILED


def _tell_orphans(session: Session, narrator: Narrator) -> None:
    """What the run did before its code changed, and what no longer counts."""
    ended = narrator.progress.ended
    names = [narrator.progress.name(name) for name in (ended.orphans if ended is not None else ())]
    if names:
        steps = ", ".join(dict.fromkeys(names))
        session.terminal.say(f"{plural(len(names), 'recorded call')} the code asks for no more: {steps}", YELLOW)


async def _tell(run: Run[Any], narrator: Narrator) -> None:
    async for happened in run.events():
        narrator.receive(happened.event)


async def _tick(clock: Clock, begun: float, narrator: Narrator) -> None:
    while True:
        narrator.tick(clock.monotonic() - begun)
        await clock.sleep(_TICK)


async def _heed(session: Session, runtime: Runtime, run: Run[Any], interruption: Interruption, waiting: anyio.CancelScope) -> None:
    """Cancel the run when asked to; one that another process drives is only waited for no longer."""
    await interruption.asked.wait()
    short = run.id[:SHORT]
    if run in runtime.running():
        session.terminal.say(f"cancelling run {short}; Ctrl-C again ends at once", YELLOW)
        await run.cancel()
    else:
        session.terminal.say(f"not waiting for run {short} any longer: the process that drives it goes on", YELLOW)
        waiting.cancel()


async def _give_result(session: Session, run: Run[Any], narrator: Narrator, artifacts: ArtifactStore) -> None:
    if session.settings.json:
        session.terminal.record(await result_record(run, narrator.progress, artifacts))
    else:
        session.terminal.result_block(value_text(await run))


def _give_failures(session: Session, run: Run[Any], state: str, narrator: Narrator) -> None:
    progress = narrator.progress
    ended: RunEnded | None = progress.ended
    if session.settings.json:
        session.terminal.record(failure_record(run, state, progress))
    for name in ended.failed if ended is not None else ():
        failed = progress.failures.get(name)
        if failed is not None:
            session.terminal.say_block(f"\n{progress.name(name)} failed:\n{failed.failure.traceback.rstrip()}")
    if ended is not None and ended.failure is not None:
        session.terminal.say_block(f"\n{ended.failure.traceback.rstrip()}")
