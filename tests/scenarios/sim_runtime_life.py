"""One life of a simulated process: the real runtime and daemon on a home, people who ask for runs, and people who put files down.

The process opens what is there, takes over what its former lives left unfinished, and everybody asks again for what they were not
told yet. Nobody but the disk ends it before its time.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from tests.scenarios.graphs_outside import canonical
from tests.scenarios.graphs_process import Told
from tests.scenarios.graphs_program import build
from tests.scenarios.sim_runtime_history import History, Witness
from tests.scenarios.sim_runtime_program import MACHINE, PIPELINES, grown, single
from tests.scenarios.sim_stores_history import Violation

from ashore import KeyConflict, RunCancelled, RunFailed
from ashore.events import Arrived, RunSpace
from ashore.faces.daemon.service import Daemon, Server
from ashore.faces.daemon.talk import Talk
from ashore.home import open_home
from ashore.ids import RunId
from ashore.runs import Run
from ashore.runtime import Runtime
from ashore.stack import Stack
from ashore.triggers.ranges import Arrival
from ashore.triggers.watch import Notice
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.errors import StoreError
from ashore_stores.keys import Cursor, Position
from ashore_stores.logs.base import Frame
from ashore_stores.logs.segment import open_segment_log
from ashore_stores.logs.segments import LogSettings
from ashore_stores.ports import Ports
from ashore_stores.testing.disk import SimDisk
from ashore_stores.testing.media import Content
from ashore_stores.testing.world import sim_ports

PROJECT: Final = "/home/p"
HOME: Final = f"{PROJECT}/.ashore"
FOLDER: Final = f"{PROJECT}/inbox"
PATIENCE: Final = 240.0
"""Virtual seconds after which everything has ended and arrived, once nobody does anything more."""
LOOKS: Final = 3
"""Looks, a second apart, that must find nothing under way."""


@dataclass(slots=True)
class Request:
    """A run that somebody wants."""

    spec: str
    key: str
    delay: float
    twist: str = ""
    """"conflict": asks for something else under the same key, too; "cancel": cancels it; "watch": reads its events."""
    other: str = ""
    run: RunId | None = None
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that happens in the inbox."""

    delay: float
    manner: str
    path: str
    content: bytes
    is_flushed: bool


@dataclass(slots=True)
class People:
    """Who puts files down; they go on in the process's next life."""

    deeds: list[Deed]
    done: int = 0
    boot: int = 0
    contents: dict[bytes, bytes] = field(default_factory=dict)
    """By digest, all that a file of the inbox ever held."""
    restless: set[str] = field(default_factory=set)
    """Paths that were changed after they had been put down, or may have been lost."""

    async def work(self, disk: SimDisk) -> None:
        while self.done < len(self.deeds):
            deed = self.deeds[self.done]
            await anyio.sleep(deed.delay)
            self.done += 1
            if disk.stat(deed.path) is not None or not deed.is_flushed:
                self.restless.add(deed.path)
            with suppress(StoreError):  # no room: somebody else's trouble
                await getattr(self, deed.manner)(disk, deed)

    async def rename(self, disk: SimDisk, deed: Deed) -> None:
        self.note(deed.content)
        aside = f"{PROJECT}/aside"
        self._write(disk, aside, deed)
        disk.rename(aside, deed.path)
        if deed.is_flushed:
            disk.flush_folder(FOLDER)

    async def in_place(self, disk: SimDisk, deed: Deed) -> None:
        self.note(deed.content)
        self._write(disk, deed.path, deed)
        if deed.is_flushed:
            disk.flush_folder(FOLDER)

    async def grow(self, disk: SimDisk, deed: Deed) -> None:
        self.restless.add(deed.path)
        file = disk.open(deed.path, write=True, create=True)
        file.truncate(0)
        for end in range(0, len(deed.content), 1 + len(deed.content) // 3):
            self.note(deed.content[:end])
            file.write(deed.content[:end], 0)
            await anyio.sleep(0.7)
        self.note(deed.content)
        file.write(deed.content, 0)
        file.close()

    async def remove(self, disk: SimDisk, deed: Deed) -> None:
        disk.remove(deed.path)

    def wake(self, disk: SimDisk) -> None:
        """The machine is on again."""
        self.boot = disk.machine.boot
        self.look(disk)

    def look(self, disk: SimDisk) -> dict[str, bytes]:
        """What lies in the inbox: path -> digest."""
        folder = disk.machine.medium.folder(FOLDER)
        lying = {}
        for name, node in sorted(folder.entries.items()) if folder else ():
            if isinstance(node, Content):
                lying[f"{FOLDER}/{name}"] = self.note(bytes(node.data))
        return lying

    def note(self, content: bytes) -> bytes:
        digest = hashlib.sha256(content).digest()
        self.contents[digest] = content
        return digest

    def _write(self, disk: SimDisk, path: str, deed: Deed) -> None:
        self.note(b"")
        file = disk.open(path, write=True, create=True)
        file.truncate(0)
        file.write(deed.content, 0)
        if deed.is_flushed:
            file.flush()
        file.close()


class WatchedDaemon(Daemon):
    """A daemon, and people who read what it says."""

    def __init__(self, runtime: Runtime, group: anyio.abc.TaskGroup, history: History) -> None:
        super().__init__(runtime, [single, grown], group, Talk(io.StringIO()))
        self._history = history
        self._newest: dict[str, bytes] = {}
        self._is_ready = False

    async def _catch_up(self) -> Cursor | Position:
        after = await super()._catch_up()
        self._is_ready = True
        return after

    def _arrived(self, arrivals: Sequence[Arrival]) -> None:
        super()._arrived(arrivals)
        self._newest.update((arrival.event.path, arrival.event.digest) for arrival in arrivals)

    def _notice(self, notice: Notice) -> None:
        super()._notice(notice)
        if isinstance(notice, Arrived):
            self._history.tell_arrived(notice)

    async def _see_through(self, server: Server, run: Run[Any]) -> None:
        self._history.tell_started(run.id, "")
        await super()._see_through(server, run)
        told = await told_of_run(run)
        self._history.tell_ended(run.id, run.state, shown(told))

    def missing(self, lying: Mapping[str, bytes]) -> list[str]:
        """Which of these files, by path and digest, have not arrived."""
        return [path for path, digest in lying.items() if self._newest.get(path) != digest]

    def is_waiting(self) -> bool:
        """Whether a run is under way or something arrived that no run has taken."""
        return not self._is_ready or bool(self.left) or any(server.intake.next() is not None for server in self._servers)


class Life:
    """One life, from the opening of the home to its end."""

    def __init__(self, disk: SimDisk, seed: str, settings: LogSettings, preempt: float) -> None:
        self.disk = disk
        self.seed = seed
        self.settings = settings
        self.preempt = preempt
        self.before: list[Frame] = []
        """What was durable when it began."""
        self.frames: list[Frame] = []
        """All frames, when it came to its end."""
        self.told: dict[RunId, Told] = {}
        """What came of every run, when it came to its end."""
        self.open_runs: list[bytes] = []

    async def main(self, history: History, people: People, requests: list[Request]) -> None:
        ports = sim_ports(random.Random(self.seed).randrange(1 << 30), disk=self.disk, preempt=self.preempt)
        MACHINE.use(self.disk)
        people.wake(self.disk)
        stack = await open_here(ports, self.settings, history)
        self.before = [frame async for frame in stack.log.read()]
        async with Runtime(stack, resume=PIPELINES, grace=1.0, threads=2) as runtime:
            async with anyio.create_task_group() as group:
                daemon = WatchedDaemon(runtime, group, history)
                group.start_soon(daemon.serve)
                async with anyio.create_task_group() as everybody:
                    everybody.start_soon(people.work, self.disk.for_process("people"))
                    for request in requests:
                        everybody.start_soon(ask, runtime, request, history)
                await self._quiet(daemon, people)
                group.cancel_scope.cancel()
            await self._tell_all(runtime)
        self.frames = await read_all(stack)
        await stack.aclose()

    async def _quiet(self, daemon: WatchedDaemon, people: People) -> None:
        """Wait until nothing is under way and all that lies in the inbox has arrived."""
        deadline = anyio.current_time() + PATIENCE
        quiet = 0
        while quiet < LOOKS:
            missing = daemon.missing(people.look(self.disk))
            quiet = 0 if missing or daemon.is_waiting() else quiet + 1
            if anyio.current_time() > deadline:
                what = f"missing are {missing}, under way {daemon.left}, given up {daemon.given_up}, {daemon!r}"
                raise Violation("I11" if missing else "I9", f"nothing more comes of it: {what}")
            await anyio.sleep(1.0)

    async def _tell_all(self, runtime: Runtime) -> None:
        """Ask for every run that the log knows, as anybody may."""
        for frame in await read_all(runtime.stack):
            for topic in frame.batch.topics:
                run_id = RunId(topic.decode())
                if run_id not in self.told:
                    run = await runtime.run(run_id)
                    with anyio.move_on_after(PATIENCE):
                        self.told[run_id] = await told_of_run(run)
                    self.told.setdefault(run_id, Told("running"))
        self.open_runs = sorted(runtime.stack.log.registers(RunSpace.OPEN_RUNS))


async def open_here(ports: Ports, settings: LogSettings, history: History | None = None) -> Stack:
    """The stack `local` by hand: with small segments, and a witness of the log."""
    home = await ports.workers.run(open_home, ports, HOME)
    log = await open_segment_log(home.log, ports, settings)
    return Stack(home, ports, log if history is None else Witness(log, history), LocalArtifactStore(home.artifacts, ports))


async def read_all(stack: Stack) -> list[Frame]:
    """Every frame, made durable first."""
    await stack.log.refresh()
    await stack.log.durable(stack.log.statistics().written)
    return [frame async for frame in stack.log.read()]


async def ask(runtime: Runtime, request: Request, history: History) -> None:
    """Have a run started, or look after the one that was, until its end is told."""
    await anyio.sleep(request.delay)
    run = await _asked(runtime, request, history)
    async with anyio.create_task_group() as group:
        if request.twist == "watch":
            group.start_soon(_watch, run, history)
        if request.twist == "cancel" and run.state == "running":
            await anyio.sleep(request.delay)
            await run.cancel()
        if request.twist == "conflict":
            await _refused(runtime, request)
        told = await told_of_run(run)
        history.tell_ended(run.id, run.state, shown(told))
        request.is_told = True


async def _asked(runtime: Runtime, request: Request, history: History) -> Run[Any]:
    if request.run is not None and not request.key:
        return await runtime.run(request.run)
    run: Run[Any] = await runtime.start(build(request.spec), key=request.key or None)
    if request.run not in (None, run.id):
        raise Violation("I33", f"key {request.key!r} has run {run.id} now, it was told to be {request.run}")
    request.run = run.id
    history.tell_started(run.id, request.key)
    return run


async def _refused(runtime: Runtime, request: Request) -> None:
    try:
        run = await runtime.start(build(request.other), key=request.key)
    except KeyConflict:
        return
    raise Violation("I33", f"key {request.key!r} was given for other arguments, too: {run!r}")


async def _watch(run: Run[Any], history: History) -> None:
    async for happened in run.events():
        history.tell_happened(happened.position, happened.event)


async def told_of_run(run: Run[Any]) -> Told:
    """What awaiting a run tells."""
    try:
        return Told(canonical(await run))
    except RunFailed as failed:
        return Told(failures=sorted(str(error) for error in failed.failures))
    except RunCancelled:
        return Told("cancelled")


def shown(told: Told) -> str:
    return told.result if told.failures is None else "\n".join(told.failures)
