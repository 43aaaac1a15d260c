"""A stack in memory: the reference implementations of all three stores, with their real semantics and no disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from ashore.catalogue import Catalogue, of_stack
from ashore.home import Home
from ashore.stack import Stack
from ashore.testing.clock import ManualClock
from ashore_stores.artifacts.memory import MemoryArtifactStore
from ashore_stores.index.memory import MemoryIndex
from ashore_stores.logs.memory import MemoryEventLog, MemoryHome
from ashore_stores.ports import Clock, Ports, Servant, Workers
from ashore_stores.system import system_ports

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class MemoryStack(Stack):
    """Log, artifacts and index in this process's memory: `async with Runtime(MemoryStack()) as rt:`.

    It lives as long as the object, over any number of runtimes. `clock`: time by hand (`ManualClock`); else the real one. What the
    stores promise of order, claims and liveness holds here as it does on disk; only nothing survives the process.
    """

    def __init__(self, *, clock: Clock | None = None, ports: Ports | None = None) -> None:
        ports = ports or system_ports()
        workers = CountedWorkers(ports.workers)
        ports = Ports(clock or ports.clock, ports.random, ports.disk, workers, ports.watcher)
        if isinstance(clock, ManualClock):
            clock.watch(lambda: workers.busy > 0)
        name = ports.random.token(8).hex()
        self._fill(MemoryHome(), MemoryArtifactStore(), ports, name)

    def _fill(self, shared: MemoryHome, artifacts: MemoryArtifactStore, ports: Ports, name: str) -> None:
        root = os.getcwd()
        parts = {
            "home": Home(f"memory:{name}", root, name),
            "ports": ports,
            "log": MemoryEventLog(ports, shared),
            "artifacts": artifacts,
            "index": MemoryIndex,
        }
        for part, value in parts.items():
            object.__setattr__(self, part, value)

    def __repr__(self) -> str:
        return f"<MemoryStack {self.log!r}, {self.artifacts!r}>"

    def catalogue(self) -> Catalogue:
        """What is on record here, as `ashore.open()` gives it for a home."""
        return of_stack(self, owned=False)


class CountedWorkers:
    """The workers that it is given, and how much they have to do."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self.busy = 0

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        self.busy += 1
        try:
            return await self._workers.run(work, *args)
        finally:
            self.busy -= 1

    def submit(self, work: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        def ended(result: T | None, error: BaseException | None) -> None:
            self.busy -= 1
            done(result, error)

        self.busy += 1
        self._workers.submit(work, ended)

    def servant(self, work: Callable[[], None], name: str) -> Servant:
        return self._workers.servant(work, name)

    def poster(self) -> Callable[[Callable[[], None]], None]:
        return self._workers.poster()
