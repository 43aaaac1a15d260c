"""`ashore fork`: a run's pipeline once more, with arguments changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

from ashore.faces.cli.interruption import Interruption
from ashore.faces.cli.resuming import looped_pair
from ashore.faces.cli.running import see_through
from ashore.faces.cli.session import Session, looped, opened, session_of
from ashore.faces.cli.settings import Settings
from ashore.faces.cli.targeting import changed, loaded
from ashore.ids import RunId
from ashore.runtime import Runtime
from ashore.works import Work
from ashore_stores.system import system_ports


def fork(settings: Settings, run: str, arguments: tuple[str, ...], effects: str, target: str | None) -> int:
    """Fork a run; the exit code of the new one."""
    with session_of(settings) as session:
        run_id, recorded = looped_pair(session, run)
        work = loaded(target or recorded)  # user code is imported outside the loop
        given = changed(work, arguments, system_ports().disk, os.getcwd())
        return looped(session, partial(_fork, run_id, work, given, effects))


async def _fork(run_id: RunId, work: Work[Any, Any], given: Mapping[str, Any], effects: str, session: Session) -> int:
    async with opened(session) as stack:
        with Interruption(stack.ports.workers.poster()) as interruption:
            async with Runtime(stack) as runtime:
                run = await runtime.run(run_id)
                forked = await run.fork(work, effects=cast("Literal['hold', 'run']", effects), **given)
                return await see_through(session, runtime, forked, interruption)
