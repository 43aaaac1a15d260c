"""`ashore resume`: a run goes on that nobody drives, or that is held until somebody answers."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, NamedTuple

from ashore.catalogue import of_stack
from ashore.faces.cli.interruption import Interruption
from ashore.faces.cli.naming import found_run
from ashore.faces.cli.running import see_through
from ashore.faces.cli.session import Session, looped, opened, session_of
from ashore.faces.cli.settings import Settings
from ashore.faces.cli.targeting import loaded
from ashore.ids import RunId
from ashore.runtime import Runtime
from ashore.works import Work


class Said(NamedTuple):
    """What was said of what nobody knew: the keywords of `Runtime.resume`."""

    step: str | None
    done: str | None
    again: bool
    allow: tuple[str, ...]
    redo: tuple[str, ...] = ()

    def keywords(self) -> dict[str, Any]:
        said: dict[str, Any] = {"step": self.step, "again": self.again, "allow": self.allow}
        return said if self.done is None else said | {"done": _value(self.done)}


def resume(settings: Settings, run: str, target: str | None, **said: Any) -> int:
    """Go on with the run; `said` is what `Said` holds. The exit code."""
    with session_of(settings) as session:
        run_id, recorded = looped_pair(session, run)
        work = loaded(target or recorded)  # user code is imported outside the loop
        return looped(session, partial(_resume, run_id, work, Said(**said)))


def looped_pair(session: Session, name: str) -> tuple[RunId, str]:
    """The run that is meant, and where its code is."""
    found: list[tuple[RunId, str]] = []

    async def find(session: Session) -> int:
        async with opened(session) as stack, of_stack(stack) as catalogue:
            run = await found_run(catalogue, name)
            found.append((run.id, run.target))
        return 0

    looped(session, find)
    return found[0]


async def _resume(run_id: RunId, work: Work[Any, Any], said: Said, session: Session) -> int:
    async with opened(session) as stack:
        with Interruption(stack.ports.workers.poster()) as interruption:
            async with Runtime(stack) as runtime:
                if said.redo:
                    run = await runtime.redo(work, run_id, said.redo)
                else:
                    run = await runtime.resume(work, run_id, **said.keywords())
                return await see_through(session, runtime, run, interruption)


def _value(text: str) -> Any:
    """JSON, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
