"""Which kind of processes a runtime has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from ashore.engine.looking import Looker
from ashore.engine.processes import Processes
from ashore.executors.attempt import Site
from ashore.executors.inline import InlineProcesses, found
from ashore.executors.pool import Pool, Settings
from ashore.stack import Stack, shared_artifacts


@asynccontextmanager
async def open_processes(
    stack: Stack, looker: Looker, limit: int, grace: float, *, all_of_them: bool = False
) -> AsyncIterator[Processes]:
    """At most `limit` worker processes; where there can be none, in a simulation or with artifacts in memory, so many threads.

    `all_of_them`: every `def` step goes there, not only those that ask for it. An attempt that is told to end is killed after
    `grace` seconds. When the block is left, nothing of them remains.
    """
    ports, folder = stack.ports, shared_artifacts(stack)
    async with anyio.create_task_group() as group:
        if ports.children is None or folder is None:
            yield InlineProcesses(Site(stack.artifacts, ports, looker, found), group, limit, all_of_them=all_of_them)
        else:
            settings = Settings(folder, stack.home.root, limit, grace, all_of_them)
            pool = Pool(ports.children, ports.clock, looker, group, settings)
            if all_of_them:
                pool.warm_up()
            try:
                yield pool
            finally:
                await pool.aclose()
        group.cancel_scope.cancel()
