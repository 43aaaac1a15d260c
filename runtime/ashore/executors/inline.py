"""Attempts that ask for a process of their own, in this one: for simulations, and for stores that only this process can open.

They take the whole way all the same: arguments in their stored forms, loaded as another process would, on a worker thread. What
they are spared is a process: they can be neither stopped nor limited, nor are they seeded.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from anyio.abc import TaskGroup

from ashore.engine.invoke import Done
from ashore.engine.processes import Stop, Task
from ashore.executors.asking import asks_for_process
from ashore.executors.attempt import Site, is_to_be_stored
from ashore.works import Work

Started = Callable[[], bool]
Finished = Callable[[Any, BaseException | None], None]


class InlineProcesses:
    """Runs attempts on worker threads, at most `limit` at once."""

    def __init__(self, site: Site, group: TaskGroup, limit: int, *, all_of_them: bool = False) -> None:
        self._site = site
        self._group = group
        self._limit = limit
        self._all = all_of_them
        self._busy = 0
        self._waiting: deque[tuple[Task, Started, Finished]] = deque()

    def __repr__(self) -> str:
        return f"<InlineProcesses: {self._busy} of {self._limit} busy, {len(self._waiting)} waiting>"

    def takes(self, work: Work[Any, Any]) -> bool:
        return asks_for_process(work, all_of_them=self._all)

    def submit(self, task: Task, started: Started, done: Finished) -> Stop:
        self._waiting.append((task, started, done))
        self._fill()
        return _nothing

    def _fill(self) -> None:
        while self._waiting and self._busy < self._limit:
            task, started, done = self._waiting.popleft()
            if started():
                self._busy += 1
                self._group.start_soon(self._run, task, done)

    async def _run(self, task: Task, done: Finished) -> None:
        result: Done | None = None
        failure: BaseException | None = None
        try:
            blobs = await self._site.load(task)
            result = await self._site.ports.workers.run(partial(self._site.call, task, blobs))
            if is_to_be_stored(result):
                result = await self._site.store(task, result)
        except Exception as error:  # noqa: BLE001  # a blob that is gone
            failure = error
        finally:
            self._busy -= 1
        done(result, failure)
        self._fill()


def _nothing() -> None:
    """A thread cannot be stopped."""


def found(module: str, file: str) -> Any:
    """A module of this process."""
    return importlib.import_module(module)
