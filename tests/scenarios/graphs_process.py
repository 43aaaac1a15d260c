"""One process of a random graph's life: it opens the home, starts or resumes the run, and tells what it found and what came of it.

It is forked from a server that has imported everything and has no threads, and may be told to kill itself at the k-th write,
flush or rename, or at the k-th line that its steps write outside.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import anyio
from tests.scenarios.graphs_outside import canonical, outside
from tests.scenarios.graphs_program import build

from ashore import RunFailed, Runtime
from ashore.engine.state import Machine
from ashore.events import ElementsRan, Event, RunEnded, RunSpace, RunStarted, StepFailed, StepRan, decode
from ashore.graph import wire
from ashore.ids import hash_id
from ashore.runs import Driven
from ashore.stack import Stack, open_stack
from ashore_stores.ports import Disk, DiskFile
from ashore_stores.system import system_ports


@dataclass
class Order:
    """What a child is to do."""

    home: str
    outside: str
    spec: str
    key: str
    kill_at: int = 0
    """The operation of the disk at which it kills itself; 0: never."""
    is_after: bool = False
    """Whether the operation is done before it dies."""
    kill_line: int = 0
    """The line outside after which it kills itself; 0: never."""
    by_resume: bool = False
    """Whether the run is taken over by `Runtime(resume=...)`, not by its key."""


@dataclass
class Found:
    """What was in the log when the process opened it: recorded outcomes by invocation."""

    run: str = ""
    settled: list[str] = field(default_factory=list)
    elements: dict[str, list[int]] = field(default_factory=dict)
    is_over: bool = False


@dataclass
class Told:
    """What a child says when it ends by itself."""

    result: str = ""
    failures: list[str] | None = None
    operations: int = 0
    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class DeadlyFile:
    """A file whose writes, flushes and cuts are counted."""

    def __init__(self, file: DiskFile, count: Callable[[Callable[[], None]], None]) -> None:
        self._file = file
        self._count = count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any, offset: int) -> None:
        self._count(lambda: self._file.write(data, offset))

    def flush(self) -> None:
        self._count(self._file.flush)

    def truncate(self, size: int) -> None:
        self._count(lambda: self._file.truncate(size))


class DeadlyDisk:
    """The real disk, on which this process dies at the k-th operation that changes something."""

    def __init__(self, disk: Disk, kill_at: int, *, is_after: bool) -> None:
        self._disk = disk
        self._kill_at = kill_at
        self._is_after = is_after
        self.operations = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def open(self, path: str, *, write: bool = False, create: bool = False, exclusive: bool = False) -> DiskFile:
        file = self._disk.open(path, write=write, create=create, exclusive=exclusive)
        return DeadlyFile(file, self._count) if write else file

    def rename(self, source: str, target: str) -> None:
        self._count(lambda: self._disk.rename(source, target))

    def remove(self, path: str) -> None:
        self._count(lambda: self._disk.remove(path))

    def flush_folder(self, path: str) -> None:
        self._count(lambda: self._disk.flush_folder(path))

    def _count(self, operation: Callable[[], None]) -> None:
        self.operations += 1
        is_deadly = self.operations == self._kill_at
        if not is_deadly or self._is_after:
            operation()
        if is_deadly:
            os.kill(os.getpid(), signal.SIGKILL)


def child(order: Order, report: int) -> None:
    """All that the forked child does. Writes two lines to `report`: what it found, and what came of it."""
    os.dup2(2, 1)  # log lines do not belong among the server's answers
    outside.open(order.outside, order.kill_line)
    outside.line(f"process {os.getpid()}")
    anyio.run(main, order, lambda said: os.write(report, f"{json.dumps(asdict(said))}\n".encode()))


async def main(order: Order, say: Callable[[Any], Any]) -> None:
    disk = DeadlyDisk(system_ports().disk, order.kill_at, is_after=order.is_after)
    stack = await open_stack(home=order.home, ports=replace(system_ports(), disk=disk))
    found, recorded = await found_in(stack, order.key)
    say(found)
    told = Told(problems=recorded)
    try:
        async with Runtime(stack, resume=[build] if order.by_resume else []) as rt:
            if order.by_resume and found.run and not found.is_over:
                told.problems += [] if found.run in [run.id for run in rt.open_runs(build)] else ["the run was not adopted"]
            run = await rt.start(build(order.spec), key=order.key)
            if found.run and found.run != run.id:
                told.problems.append("the key has another run now")
            try:
                told.result = canonical(await run)
            except RunFailed as failed:
                told.failures = sorted(str(error) for error in failed.failures)
            if isinstance(run._course, Driven):
                told.counts = run.counts()
                told.problems += await compared(stack, run.id, run._course.drive.machine, order.spec)
            else:
                told.problems += [] if found.is_over else ["the run is driven by nobody"]
    finally:
        await stack.aclose()
    told.operations = disk.operations
    say(told)


async def found_in(stack: Stack, key: str) -> tuple[Found, list[str]]:
    """The recorded outcomes of the run of this key, and what is wrong with them."""
    taken = stack.log.register(RunSpace.STARTS, hash_id(build.name.encode(), key.encode()))
    if taken is None:
        return Found(), []
    run = taken[16:].decode()
    found = Found(run)
    events = await events_of(stack, run)
    for event in events:
        if isinstance(event, (StepRan, StepFailed)):
            found.settled.append(event.invocation.hex())
        elif isinstance(event, ElementsRan):
            places = found.elements.setdefault(event.invocation.hex(), [])
            places += [*event.indices, *(index for index, _ in event.failed)]
        elif isinstance(event, RunEnded):
            found.is_over = True
    return found, twice_in(events)


def twice_in(events: list[Event]) -> list[str]:
    """Whatever has more than one recorded outcome."""
    outcomes: Counter[str] = Counter()
    for event in events:
        if isinstance(event, (StepRan, StepFailed)):
            outcomes[f"outcome of {event.invocation.hex()}"] += 1
        elif isinstance(event, ElementsRan):
            outcomes.update(f"outcome of {event.invocation.hex()}[{index}]" for index in event.indices)
            outcomes.update(f"outcome of {event.invocation.hex()}[{index}]" for index, _ in event.failed)
        elif isinstance(event, (RunStarted, RunEnded)):
            outcomes[type(event).__name__] += 1
    return [f"{number} times: {what}" for what, number in outcomes.items() if number > 1]


async def events_of(stack: Stack, run: str) -> list[Event]:
    frames = await stack.log.about(run.encode())
    events = [event for frame in frames for event in decode(frame.batch.body, frame.count)]
    return [event for event in events if getattr(event, "run", None) == run]


async def compared(stack: Stack, run: str, live: Machine, spec: str) -> list[str]:
    """Live state against what anybody folds from the log's bytes."""
    events = await events_of(stack, run)
    machine = Machine(wire(build, {"spec": spec}))
    for event in events:
        machine.receive(event)
    problems = twice_in(events)
    if live.fold() != machine.fold():
        problems.append(f"live state is not the fold of the log: {live.fold()} != {machine.fold()}")
    if not isinstance(events[-1], RunEnded):
        problems.append(f"the last event is no end but {events[-1]!r}")
    return problems


def run_child(order: Order) -> tuple[Found | None, Told | None, int]:
    """Fork a child for this order; what it said, and the signal that ended it (0: by itself). Raises if it failed otherwise."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status = 1
        try:
            child(order, writing)
            status = 0
        except BaseException:  # noqa: BLE001  # the parent reads it; nothing may leave the child by any other way
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(pid, 0)
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not killed and os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"the child failed with {os.waitstatus_to_exitcode(status)}: {order}")
    found = Found(**json.loads(lines[0])) if lines else None
    return found, Told(**json.loads(lines[1])) if len(lines) > 1 else None, killed
