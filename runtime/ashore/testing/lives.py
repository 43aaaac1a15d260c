"""A process for `assert_resumes`: a seeded loop, a log that dies at a chosen event, and a runtime over a store that outlives it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import cache
from typing import Any, Final, TypeVar, TypeVarTuple

from ashore import driving
from ashore.events import decode, encode
from ashore.home import Home
from ashore.stack import Stack
from ashore_stores.artifacts.memory import MemoryArtifactStore
from ashore_stores.index.memory import MemoryIndex
from ashore_stores.keys import Position
from ashore_stores.logs.base import MARK_SIZE, Batch
from ashore_stores.logs.memory import MemoryEventLog, MemoryHome
from ashore_stores.ports import Ports
from ashore_stores.system import SystemDisk
from ashore_stores.testing.disk import SimDisk
from ashore_stores.testing.loop import Deadlock, SimLoop
from ashore_stores.testing.world import SimClock, SimRandomness, SimWatcher, SimWorkers

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ALL: Final = -1
"""Every event may be written."""
_PATIENCE: Final = 5.0
"""Real seconds that the loop waits for a thread that it knows nothing of, where else it would be at its end."""


class Killed(BaseException):
    """The process of a life was killed, as by kill -9."""


class Crash:
    """When a life ends: after `events` of its events are in the store, or (`late`) not before the next one is to be written."""

    def __init__(self, events: int = ALL, *, late: bool = False, told: Callable[[], object] = bool) -> None:
        self.events = events
        self.late = late
        self.told = told
        """Called in the moment of the crash."""

    def __repr__(self) -> str:
        return f"{'before' if self.late else 'after'} event {self.events + self.late}"


class World:
    """What outlives a process: the store, and nothing else."""

    def __init__(self, root: str) -> None:
        self.shared = MemoryHome()
        self.artifacts = MemoryArtifactStore()
        self.lives = 0
        self._root = root
        self._name = f"memory:{id(self):x}"

    def live(self, main: Callable[[Stack], Coroutine[Any, Any, T]], seed: int, crash: Crash) -> T:
        """Run `main(stack)` as one process of this world. Raises what it raises, `Killed` if the crash came first."""
        self.lives += 1
        loop = _Loop(seed)
        log: _MortalLog | None = None
        try:
            stack = self._stack(loop, seed, crash)
            log = stack.log if isinstance(stack.log, _MortalLog) else None
            result = loop.run_until_complete(main(stack))
            loop.cancel_all()
            return result
        finally:
            if log is not None:
                log.kill()
            self.shared.listeners.clear()
            loop.close()
            loop.end_threads()
            self._forget()

    def _forget(self) -> None:
        """What the product remembers of a process ends with it."""
        for place in [place for place in driving._driven_here if place[0].startswith(self._name)]:
            del driving._driven_here[place]

    def _stack(self, loop: _Loop, seed: int, crash: Crash) -> Stack:
        disk = SimDisk(seed)
        life = f"{seed}-{self.lives}"
        workers = _Workers(loop, disk, seed)
        ports = Ports(_Clock(loop), SimRandomness(life), _SteadyDisk(), workers, SimWatcher(loop, disk, seed))
        home = Home(f"{self._name}/{life}", self._root, "world")
        return Stack(home, ports, _MortalLog(ports, self.shared, crash, loop.halt), self.artifacts, MemoryIndex)


class _MortalLog(MemoryEventLog):
    """A log that takes so many events, and with the last one its process is gone."""

    def __init__(self, ports: Ports, home: MemoryHome, crash: Crash, halt: Callable[[BaseException], None]) -> None:
        super().__init__(ports, home)
        self._left = crash.events
        self._crash = crash
        self._halt = halt

    def _add(self, batch: Batch) -> Position:
        if self._left == ALL:
            return super()._add(batch)
        if batch.count < self._left or (batch.count == self._left and self._crash.late):
            self._left -= batch.count
            return super()._add(batch)
        if self._left:
            super()._add(_first(batch, self._left))
        self._crash.told()
        killed = Killed()
        self._halt(killed)
        self.kill()
        raise killed


def _first(batch: Batch, count: int) -> Batch:
    """The first events of a batch, as a frame that was written before the others; what concerns all of them comes with the last."""
    if count == batch.count:
        return batch
    events = decode(batch.body, batch.count)[:count]
    return Batch(encode(events), count, batch.marks[: count * MARK_SIZE], (), batch.topics)


class _Clock(SimClock):
    """The loop's time, which passes in no time; without the jumps that wall clocks make."""

    is_steady = True

    def __init__(self, loop: SimLoop) -> None:
        super().__init__(loop)
        self._virtual = loop

    def now(self) -> float:
        return 1_900_000_000.0 + self._virtual.time()


class _Workers(SimWorkers):
    """Blocking work in turns of the loop of its own. To the work it looks like a thread without a loop."""

    def submit(self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        super().submit(lambda: _without_loop(work), done)


def _without_loop(work: Callable[[], T]) -> T:
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return work()
    finally:
        asyncio._set_running_loop(loop)


class _Loop(SimLoop):
    """The seeded loop, for code that may have threads of its own."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._heard = threading.Event()
        self._threads = set(threading.enumerate())

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """On a thread that the loop waits for: nothing is ever at the same time."""
        result: Future[T] = Future()

        def work() -> None:
            try:
                result.set_result(func(*args))
            except BaseException as error:  # noqa: BLE001  # raised where it is awaited
                result.set_exception(error)

        def turn() -> None:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

        self.call_soon(turn)
        return asyncio.wrap_future(result, loop=self)

    def end_threads(self) -> None:
        """anyio's threads end with the task that asked for them, which never ended if it was killed: they would go on for ever."""
        for thread in set(threading.enumerate()) - self._threads:
            stop = getattr(thread, "stop", None)
            if stop is not None and getattr(thread, "loop", None) is self:
                stop()

    def _write_to_self(self) -> None:
        self._heard.set()

    def _jump(self) -> None:
        self._heard.clear()
        try:
            super()._jump()
        except Deadlock:
            is_alone = set(threading.enumerate()) <= self._threads
            if not self._ready and (is_alone or not self._heard.wait(_PATIENCE)):
                raise


class _SteadyDisk(SystemDisk):
    """This machine's disk. A thousand processes look for what is installed: folders of modules are listed once."""

    def names(self, path: str) -> list[str]:
        return list(_names(path)) if path in sys.path else super().names(path)


@cache
def _names(path: str) -> tuple[str, ...]:
    return tuple(SystemDisk().names(path))
