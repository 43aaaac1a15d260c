"""Warm worker processes: started when they are needed, kept as long as the runtime is open, replaced when they end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup, TaskStatus

from ashore.defined import fingerprint_here
from ashore.engine.looking import Looker
from ashore.engine.processes import Stop, Task
from ashore.executors.asking import asks_for_process
from ashore.executors.crew import Job, Worker
from ashore.executors.messages import Surroundings
from ashore.executors.sent import lost, refused, surroundings
from ashore.executors.worker import ARTIFACTS, ROOT
from ashore.works import Work
from ashore_stores.errors import StoreError
from ashore_stores.ports import Children, Clock, Nursery

PRELOAD: Final = ("ashore.executors.worker",)
"""What a worker has imported when it is forked: ashore, and nothing of the user's, which might start threads."""

_FRESH: Final = 0.05
"""Seconds for which a look at folder, environment and path is good while workers are busy."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a pool is like."""

    artifacts: str
    """The folder of the artifact store."""
    root: str
    """The project's."""
    limit: int
    """How many workers there are at most."""
    grace: float
    """Seconds between asking an attempt to end and killing it."""
    all_of_them: bool
    """Whether every `def` step comes here."""


class Pool:
    """Runs attempts in worker processes, each in one that has nothing else to do."""

    def __init__(self, children: Children, clock: Clock, looker: Looker, group: TaskGroup, settings: Settings) -> None:
        self._children = children
        self._clock = clock
        self._looker = looker
        self._group = group
        self._settings = settings
        self._waiting: deque[Job] = deque()
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._nursery: Nursery | None = None
        self._lock = anyio.Lock()
        self._is_closing = False
        self._around: dict[tuple[int, ...], Surroundings] = {}
        self._looked = clock.monotonic()
        self._changed = anyio.Event()

    def __repr__(self) -> str:
        busy = sum(worker.job is not None for worker in self._workers)
        return f"<Pool: {len(self._workers)} of {self._settings.limit} workers, {busy} busy, {len(self._waiting)} waiting>"

    @property
    def pids(self) -> list[int]:
        """The process numbers of the workers."""
        return sorted(worker.pid for worker in self._workers if worker.pid)

    def takes(self, work: Work[Any, Any]) -> bool:
        return asks_for_process(work, all_of_them=self._settings.all_of_them)

    def submit(self, task: Task, started: Callable[[], bool], done: Callable[[Any, BaseException | None], None]) -> Stop:
        job = Job(task, started, done)
        self._waiting.append(job)
        self._fill()
        return lambda: self._stop(job)

    def _stop(self, job: Job) -> None:
        if job.is_stopped or job.is_over:
            return
        job.is_stopped = True
        if job.worker is None:
            job.settle(None, lost(job.task, 0, "", is_stopped=True))
        else:
            job.worker.signal("SIGTERM")
            self._group.start_soon(self._kill_later, job)

    async def _kill_later(self, job: Job) -> None:
        await self._clock.sleep(self._settings.grace)
        if job.worker is not None:
            job.worker.signal("SIGKILL")

    def warm_up(self) -> None:
        """Start the first worker before anything needs it."""
        self._add(())

    def around(self, gpus: tuple[int, ...]) -> Surroundings:
        """Looked at anew after a pause, and often enough in between: each look costs several calls of the system."""
        now = self._clock.monotonic()
        if now - self._looked > _FRESH or not any([worker.job is not None for worker in self._workers]):
            self._around.clear()
            self._looked = now
        found = self._around.get(gpus)
        if found is None:
            found = self._around[gpus] = surroundings(gpus)
        return found

    # Who does what.

    def is_free(self, worker: Worker) -> None:
        self._idle.append(worker)
        self._fill()

    def _fill(self) -> None:
        """Give what waits to workers that have nothing to do, and see that there are enough of them."""
        while self._waiting and not self._is_closing:
            job = self._waiting[0]
            worker = None if job.is_stopped else self._taken(job.task.gpus)
            if worker is None and not job.is_stopped:
                self._grow()
                return
            self._waiting.popleft()
            if worker is None:
                continue
            if job.started():
                worker.take(job)
            if worker.job is None:
                self._idle.append(worker)

    def _taken(self, gpus: tuple[int, ...]) -> Worker | None:
        """An idle worker with these GPUs: the one that worked last, whose memory is still warm."""
        for place in range(len(self._idle) - 1, -1, -1):
            worker = self._idle[place]
            if not worker.is_idle:
                del self._idle[place]
            elif worker.gpus == gpus:
                return self._idle.pop(place)
        return None

    def _grow(self) -> None:
        """One more worker for what waits first, in the place of an idle one with other GPUs if there are enough."""
        gpus = self._waiting[0].task.gpus
        starting = sum(worker.pid == 0 and worker.gpus == gpus for worker in self._workers)
        if starting >= len(self._waiting):
            return
        if len(self._workers) >= self._settings.limit:
            if self._idle:
                self._idle.pop(0).retire()
            return
        self._add(gpus)

    def _add(self, gpus: tuple[int, ...]) -> None:
        worker = Worker(self, gpus, self._settings.grace)
        self._workers.add(worker)
        self._group.start_soon(self._live, worker)

    async def _live(self, worker: Worker) -> None:
        own = {ARTIFACTS: self._settings.artifacts, ROOT: self._settings.root}
        try:
            await worker.live(await self._housed(), own)
        except StoreError as error:
            self._workers.discard(worker)
            if not self._workers:
                self._refuse(error)
        finally:
            self._workers.discard(worker)
            self._changed.set()
        self._fill()

    def _refuse(self, error: StoreError) -> None:
        """No worker can be started: what waits fails."""
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            if not job.is_stopped and job.started():
                job.settle(None, error)

    def differs(self, task: Task, parts: Any) -> BaseException:
        here = fingerprint_here(task.work.definition, self._looker, self._settings.root)
        return refused(task, parts, here.parts)

    # Where they come from.

    async def _housed(self) -> Nursery:
        """The nursery, opened when the first worker is needed, and anew if it ended. Raises `Unavailable`."""
        async with self._lock:
            if self._nursery is None:
                self._nursery = await self._group.start(self._house)
            return self._nursery

    async def _house(self, *, task_status: TaskStatus[Nursery]) -> None:
        async with self._children.nursery(PRELOAD) as nursery:
            task_status.started(nursery)
            await nursery.ended()
            self._nursery = None

    async def aclose(self) -> None:
        """Let the workers end by themselves; those that do not are killed."""
        self._is_closing = True
        for worker in list(self._workers):
            worker.retire()
        with anyio.move_on_after(self._settings.grace, shield=True):
            while self._workers:
                self._changed = anyio.Event()
                await self._changed.wait()
