"""Attempts of `def` steps: off the loop, in threads of this process or in other processes."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TypeAlias

import anyio

from ashore.engine.invoke import Done, run_blocking
from ashore.engine.means import Means
from ashore.engine.processes import Stop, Task
from ashore.engine.sending import task_of
from ashore.engine.units import Unit, blobs_needed, node_of
from ashore.engine.values import Blobs, is_in_memory
from ashore.ids import RunId
from ashore.notices import log
from ashore.places import Place, here

Take: TypeAlias = Callable[[Done | None, BaseException | None], None]


class Away:
    """Those of one run. `is_over_for(unit)`: it is not to begin any more; `broken(error)`: taking a result failed, our bug."""

    def __init__(
        self,
        means: Means,
        run: RunId,
        context: Context,
        is_over_for: Callable[[Unit], bool],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._means = means
        self._run = run
        self._context = context
        self._is_over_for = is_over_for
        self._broken = broken
        self._units: dict[int, Unit] = {}
        """Those under way."""
        self._stops: dict[int, Stop] = {}
        """How those are stopped that run in other processes."""
        self._is_free = anyio.Event()
        self.is_left = False
        """Whether what is lost from now on was stopped by us."""

    def is_remote(self, unit: Unit) -> bool:
        """Whether it runs in another process: it asks for that, or its attempts are under a policy that does."""
        node = node_of(unit)
        if node.work.is_async:
            return False
        policy = None if node.trials is None else node.trials.policy
        if policy is not None and policy.needs_process:
            return True
        return self._means.processes.takes(node.work) and not any([is_in_memory(digest) for digest in blobs_needed(unit)])

    def blobs_here(self, unit: Unit) -> list[bytes]:
        """Digests of the blobs that this process must load before the unit can be called; another process loads its own."""
        needed = blobs_needed(unit)
        return [] if needed and self.is_remote(unit) else needed

    def submit(self, unit: Unit, blobs: Blobs, place: Place, began: Callable[[], None], take: Take) -> None:
        """Have a `def` step called at a place of its own.

        `began()` as soon as there is a thread or process for it, `take(done, error)` after it.
        """

        def started() -> bool:
            if self._is_over_for(unit):
                return False
            self._units[id(unit)] = unit
            began()
            return True

        done = partial(self._back, unit, take)
        if self.is_remote(unit):
            try:
                self._stops[id(unit)] = self._means.processes.submit(_told(task_of(unit, self._means), place), started, done)
            except Exception as error:  # noqa: BLE001  # what cannot be sent is a failed attempt
                take(None, error)
        else:
            context = self._context.copy()
            context.run(here.set, place)
            self._means.threads.submit(started, partial(run_blocking, unit, blobs, self._means, context), done)

    def stop(self, unit: Unit) -> bool:
        """End an attempt that runs in another process; False if it runs in this one, where it cannot be."""
        stop = self._stops.get(id(unit))
        if stop is not None:
            stop()
        return stop is not None

    async def leave(self) -> None:
        """Stop what runs in other processes, wait for the rest through the grace time, then name those that go on."""
        self.is_left = True
        for stop in list(self._stops.values()):
            stop()
        if self._units:
            self._is_free = anyio.Event()
            with anyio.move_on_after(self._means.grace):
                await self._is_free.wait()
        for unit in self._units.values():
            log.warning("step abandoned: its thread goes on, its result is dropped", step=node_of(unit).work.name, run=self._run)

    def _back(self, unit: Unit, take: Take, done: Done | None, error: BaseException | None) -> None:
        try:
            self._units.pop(id(unit), None)
            self._stops.pop(id(unit), None)
            if not self._units:
                self._is_free.set()
            take(done, error)
        except BaseException as broken:  # noqa: BLE001  # our bug: the run must not wait for ever
            self._broken(broken)


def _told(task: Task, place: Place) -> Task:
    """The task, with what it says and writes there told here."""
    reporter = place.reporter
    return task._replace(
        about=reporter.about(place),
        saved=place.saved[0] if place.saved is not None else None,
        report=partial(reporter.heard, place),
        tell=lambda stream, line: reporter.wrote(place, stream, f"{line}\n"),
    )
