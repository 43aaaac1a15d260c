"""Verifying a run, and taking its history along."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from ashore.errors import NotFound
from ashore.events import RunStarted
from ashore.graph import Graph
from ashore.questions.facts import Facts
from ashore.questions.histories import History, written
from ashore.questions.reading import on_record, recorded_of
from ashore.questions.verifying import Recorded, Verified, verify
from ashore.runs import Run
from ashore.starting import prepared_again, wired
from ashore.targets import work_of_target
from ashore.works import Work
from ashore_stores.ports import Ports


async def verify_run(run: Run[Any], work: Work[Any, Any] | None) -> Verified:
    """See `Run.verify`."""
    async with on_record(run) as (past, access):
        await access.fresh()
        recorded = await recorded_of(access.log, past.id)
        return verified(recorded, work or run._work or work_of_target(started_in(recorded).target, access.root))


async def export_run(run: Run[Any], path: str | os.PathLike[str]) -> None:
    """See `Run.export`."""
    async with on_record(run) as (past, access):
        await access.fresh()
        recorded = await recorded_of(access.log, past.id)
        content = written(History(started_in(recorded).target, recorded))
        await access.ports.workers.run(_write, access.ports, os.fspath(path), content)


def _write(ports: Ports, path: str, content: bytes) -> None:
    """Write a file whole: it is there complete, or what was there before is."""
    path = os.path.abspath(path)
    disk, temporary = ports.disk, f"{path}.{ports.random.token(4).hex()}"
    file = disk.open(temporary, write=True, create=True, exclusive=True)
    try:
        file.write(content, 0)
        file.flush()
    finally:
        file.close()
    disk.rename(temporary, path)
    disk.flush_folder(os.path.dirname(path))


def verified(recorded: Recorded, work: Work[Any, Any]) -> Verified:
    """The recorded run's decisions, derived with this pipeline."""
    return verify(recorded, partial(_wired, work, started_in(recorded)))


def _wired(work: Work[Any, Any], started: RunStarted) -> Graph:
    return wired(prepared_again(work, started))


def started_in(recorded: Recorded) -> RunStarted:
    """How the run was started. Raises `NotFound` if that is not among its events."""
    started = Facts(recorded.events).started
    if started is None:
        raise NotFound(f"the start of run {recorded.run!r} is not on record")
    return started
