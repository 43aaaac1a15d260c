"""What an attempt says while it runs, on its way from where it runs to the run that it belongs to."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import anyio

from ashore.engine.processes import Said, Task
from ashore.engine.values import Large, dump_whole, load_blobs, load_output, store_large
from ashore.events import Metric, Output
from ashore.ongoing import About, Current, Saved
from ashore.places import Place
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.ports import Ports


class Speaker:
    """The reporter of one attempt, and its desk. What is written goes another way: the process's own streams."""

    def __init__(self, task: Task, artifacts: ArtifactStore, ports: Ports) -> None:
        self._task = task
        self._artifacts = artifacts
        self._ports = ports
        self._rest: dict[int, str] = {}

    def end(self) -> None:
        """The attempt is over: what is not a whole line yet is one now."""
        for stream, rest in self._rest.items():
            if rest and self._task.tell is not None:
                self._task.tell(stream, rest)
        self._rest.clear()

    # For the place.

    def current(self, place: Place) -> Current:
        return Current(self._task.about, self)

    def about(self, place: Place) -> About:
        return self._task.about

    def heard(self, place: Place, said: Said) -> None:
        self._say(said)

    def wrote(self, place: Place, stream: int, text: str) -> None:
        """In a worker, nobody takes the streams down here; in the process of the run, it does so itself."""
        *lines, self._rest[stream] = (self._rest.get(stream, "") + text).split("\n")
        for line in lines if self._task.tell is not None else ():
            self._task.tell(stream, line)  # type: ignore[misc]  # it was just looked at

    # For the step.

    def metric(self, name: str, value: float, step: int | None) -> None:
        self._say(Said((Metric(name, value, step, self._ports.clock.now()),)))

    def progress(self, done: float, total: float | None) -> None:
        self._say(Said((), (done, total)))

    def checkpoint(self, value: Any) -> Awaitable[None]:
        """Stored when this returns; on record as soon as the run has heard of it."""
        dumped = dump_whole(self._task.work, value)
        output: Output = anyio.run(self._stored, dumped) if type(dumped) is Large else dumped  # type: ignore[assignment]
        self._say(Said(checkpoint=output))
        return Saved(_at_once)

    def checkpointed(self, default: Any) -> Any:
        saved = self._task.saved
        if saved is None:
            return default
        blobs = anyio.run(load_blobs, self._artifacts, [saved.digest]) if saved.data is None else {}
        return load_output(saved, blobs)

    async def _stored(self, large: Large) -> Output:
        return await store_large(self._artifacts, self._ports.workers, self._task.work, large)

    def _say(self, said: Said) -> None:
        if self._task.report is not None:
            self._task.report(said)


async def _at_once() -> None: ...
