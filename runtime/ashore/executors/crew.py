"""One worker of a pool: the process, the attempt that it has, and how both end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anyio

from ashore.engine.processes import Said, Task
from ashore.engine.sending import file_of
from ashore.executors.byvalue import MAIN, dumped_classes
from ashore.executors.messages import Function, Surroundings, from_worker, pack
from ashore.executors.output import Output
from ashore.executors.sent import left, lost, messages_of, surroundings, taken
from ashore_stores.ports import Child, Nursery

ENTRY: Final = "ashore.executors.worker:main"
_OUT_OF_MEMORY: Final = "builtins:MemoryError"


@dataclass(eq=False, slots=True)
class Job:
    """An attempt that waits, or is under way."""

    task: Task
    started: Callable[[], bool]
    done: Callable[[Any, BaseException | None], None]
    worker: Worker | None = None
    is_stopped: bool = False
    is_over: bool = False
    modules: tuple[tuple[str, str], ...] = ()
    """Names and files of modules that a worker lacked."""

    def settle(self, done: Any, error: BaseException | None) -> None:
        """It has an outcome."""
        self.worker, self.is_over = None, True
        self.done(done, error)


class Chief(Protocol):
    """Whom a worker tells."""

    def is_free(self, worker: Worker) -> None:
        """It can take an attempt."""
        ...

    def around(self, gpus: tuple[int, ...]) -> Surroundings:
        """What there is around this process, for workers with these GPUs."""
        ...

    def differs(self, task: Task, parts: Any) -> BaseException:
        """The error of a step that is another one there."""
        ...


class Worker:
    """One worker process."""

    def __init__(self, chief: Chief, gpus: tuple[int, ...], grace: float) -> None:
        self.gpus = gpus
        self.job: Job | None = None
        self.is_leaving = False
        """Whether it takes no more attempts."""
        self._chief = chief
        self._grace = grace
        self._child: Child | None = None
        self._output = Output()
        self._functions: set[bytes] = set()
        self._around: Surroundings | None = None

    def __repr__(self) -> str:
        state = "starting" if self._child is None else "leaving" if self.is_leaving else "busy" if self.job else "idle"
        return f"<Worker {self.pid or ''} {state}>"

    @property
    def pid(self) -> int:
        """Its process; 0 as long as there is none."""
        return 0 if self._child is None else self._child.pid

    @property
    def is_idle(self) -> bool:
        return self._child is not None and self.job is None and not self.is_leaving

    async def live(self, nursery: Nursery, own: dict[str, str]) -> None:
        """Start, and work until the process ends. Its attempt gets an error then. Raises `Unavailable`."""
        around = surroundings(self.gpus)
        child = self._child = await nursery.start(ENTRY, around.environ | own, self)
        try:
            self._chief.is_free(self)
            await child.silent()
            self.is_leaving = True
            code = await self._end(child)
            if self.job is not None:
                self._settle(None, lost(self.job.task, code, self._output.last_words, is_stopped=self.job.is_stopped))
        finally:
            self.is_leaving = True
            if self.job is not None:  # the pool is closed
                self._settle(None, left(self.job.task))

    async def _end(self, child: Child) -> int:
        """The channel is closed: the process has ended, or is about to."""
        with anyio.move_on_after(self._grace):
            return await child.ended()
        child.signal("SIGKILL")
        return await child.ended()

    def take(self, job: Job) -> None:
        """Have the process run this."""
        assert self._child is not None
        around = self._chief.around(self.gpus)
        try:
            function, attempt = messages_of(
                job.task, None if around is self._around or around == self._around else around, job.modules
            )
            if function is not None and function.digest not in self._functions:
                self._child.send(pack(function))
                self._functions.add(function.digest)
        except Exception as error:  # noqa: BLE001  # what cannot be sent is a failed attempt
            self.job = None
            job.settle(None, error)
            return
        self.job, job.worker = job, self
        self._around = around
        self._output.tell = job.task.tell
        self._child.send(pack(attempt))

    def hear(self, descriptor: int, data: bytes) -> None:
        self._output.hear(descriptor, data)

    def deliver(self, message: bytes) -> None:
        job, child = self.job, self._child
        finished = from_worker.decode(message)
        if isinstance(finished, Said):  # perhaps by a thread that goes on after its step has ended
            if job is not None and job.task.report is not None:
                job.task.report(finished)
            return
        assert job is not None
        assert child is not None
        if finished.has_written:
            child.hear()  # it was written before this message
        if not job.is_stopped and self._lacks(job, finished.module):
            self.take(job)
            return
        self._output.end()
        failure = finished.failure
        if job.is_stopped or (failure is not None and failure.classes[0] == _OUT_OF_MEMORY):
            self.retire()
        if finished.parts:
            self._settle(None, self._chief.differs(job.task, finished.parts))
        else:
            self._settle(taken(finished), None)
        if self.is_idle:
            self._chief.is_free(self)

    def _lacks(self, job: Job, module: str) -> bool:
        """Whether a module that is imported here was not imported there: with it, the attempt can be made."""
        if module not in sys.modules or any(module == name for name, _ in job.modules):
            return False
        if module == MAIN:
            assert self._child is not None
            self._child.send(pack(Function(*dumped_classes())))
        job.modules += ((module, "" if module == MAIN else file_of(module)),)
        return True

    def _settle(self, done: Any, error: BaseException | None) -> None:
        job, self.job = self.job, None
        if job is not None:
            job.settle(done, error)

    def retire(self) -> None:
        """Let it end by itself, as soon as it has nothing to do."""
        self.is_leaving = True
        if self._child is not None:
            self._child.dismiss()

    def signal(self, name: str) -> None:
        if self._child is not None:
            self._child.signal(name)
