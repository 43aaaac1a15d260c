"""One attempt where it runs: arguments loaded from their stored forms, the function called, the result stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ashore.calls import current_scope
from ashore.engine.hiding import Hiding
from ashore.engine.invoke import INSIDE_STEP, Done, gives_files, kept, spread
from ashore.engine.looking import Looker
from ashore.engine.processes import Task
from ashore.engine.sending import Receiving
from ashore.engine.values import Blobs, Large, load_blobs, store_large
from ashore.events import Output
from ashore.executors.speaking import Speaker
from ashore.places import Place, here
from ashore.supplies import Secret
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.ports import Ports


@dataclass(frozen=True, slots=True)
class Site:
    """What attempts work with where they run."""

    artifacts: ArtifactStore
    ports: Ports
    looker: Looker
    find: Callable[[str, str], Any]
    """A module by its name and file, imported if need be."""

    async def load(self, task: Task) -> Blobs:
        """The blobs among the arguments, checked once per process, and mapped. Raises `Missing`, `Corrupt`."""
        return await load_blobs(self.artifacts, task.blobs)

    def call(self, task: Task, blobs: Blobs) -> Done:
        """Call the step. Never raises: whatever happened is in what it returns. Blocking."""
        now = self.ports.clock.now
        started = now()
        try:
            outputs = self._call(task, blobs)
        except BaseException as error:  # noqa: BLE001  # SystemExit and the like are this attempt's failure, not the process's
            return Done((), error, started, now())
        return Done(outputs, None, started, now())

    def _call(self, task: Task, blobs: Blobs) -> tuple[Output | Large, ...]:
        work, hiding = task.work, Hiding()
        self._check(task)
        positional, named = spread(work, Receiving(blobs, self.find).arguments(task.arguments))
        for parameter, name, value in task.secrets:
            named[parameter] = Secret(name, value)
            hiding.add(name, value)
        scope = current_scope.set(INSIDE_STEP)
        speaker = Speaker(task, self.artifacts, self.ports)
        place = here.set(Place(speaker, work))
        try:
            result = work.fn(*positional, **named)
        finally:
            here.reset(place)
            speaker.end()
            current_scope.reset(scope)
        if gives_files(work):
            result = self.looker.settle(result)
        self._check(task)
        return kept(work, result, hiding)

    def _check(self, task: Task) -> None:
        for file in task.files:
            self.looker.check(file)

    async def store(self, task: Task, done: Done) -> Done:
        """The same with blobs, durable, in the place of large results. Raises nothing: what cannot be stored is a failure."""
        try:
            stored = [
                await store_large(self.artifacts, self.ports.workers, task.work, output) if type(output) is Large else output
                for output in done.outputs
            ]
        except Exception as error:  # noqa: BLE001  # a materializer's, or the store's
            return done._replace(outputs=(), error=error)
        return done._replace(outputs=tuple(stored))


def is_to_be_stored(done: Done) -> bool:
    """Whether there are large results in it."""
    return any([type(output) is Large for output in done.outputs])
