"""From a run on record to one that goes: with arguments changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ashore.catalogue import PastRun
from ashore.driving import Drives, Fork
from ashore.entry import runtime_here
from ashore.errors import AshoreError, InternalError, NotFound, WrongArgument, user_line
from ashore.events import RunStarted
from ashore.runs import Driven, Run
from ashore.starting import prepared_with
from ashore.targets import work_of_target
from ashore.works import Step, Work


async def fork_run(run: Run[Any], work: Work[Any, Any] | None, changed: Mapping[str, Any], *, effects: str) -> Run[Any]:
    """See `Run.fork`."""
    if effects not in ("hold", "run"):
        raise WrongArgument(f"fork(effects={effects!r})", where=user_line(), mend='There are effects="hold" and effects="run"')
    drives = await drives_for(run)
    started = await started_of(run, drives)
    prepared = await prepared_with(work or work_of(run, started, drives), started, changed, drives.means)
    forked = await drives.start_now(prepared, Fork(run.id, effects == "hold"))
    if isinstance(forked._course, Driven) and forked.state != "lost":
        await drives.stack.log.durable(forked._course.ticket)
    return forked


async def resume_run(run: Run[Any], work: Work[Any, Any] | None, redo: Sequence[Step[Any, Any] | str]) -> Run[Any]:
    """See `Run.resume`."""
    drives = await drives_for(run)
    runtime = drives.runtime
    if runtime is None:
        raise InternalError(f"run {run.id} is held by no runtime")
    await drives.stack.log.refresh()
    work = work or work_of(run, await started_of(run, drives), drives)
    if redo:
        return await runtime.redo(work, run, redo)
    return await runtime.resume(work, run)


async def drives_for(run: Run[Any]) -> Drives:
    """The runs of the runtime that holds this one, or, for one of the catalogue, of the runtime that is open here."""
    if run._drives is not None:
        return run._drives
    drives = (await runtime_here()).drives
    home = run._access.home if isinstance(run, PastRun) else ""
    if drives.stack.home.path != home:
        what = f"run {run.id[:8]} is of the home {home}, and the runtime that is open here is of {drives.stack.home.path}"
        raise AshoreError(what, mend=f'Do it in a runtime of that home: async with Runtime(home="{home}")')
    return drives


async def started_of(run: Run[Any], drives: Drives) -> RunStarted:
    """How it was started."""
    started = (await drives.history(run.id)).started
    if started is None:
        await drives.stack.log.refresh()
        started = (await drives.history(run.id)).started
    if started is None:
        raise NotFound(f"no run {run.id!r} is on record")
    return started


def work_of(run: Run[Any], started: RunStarted, drives: Drives) -> Work[Any, Any]:
    """What it is a run of: as it is at hand, else imported from where it was. Raises `TargetError`."""
    return run._work or work_of_target(started.target, drives.stack.home.root)
