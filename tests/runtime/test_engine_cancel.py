"""Cancel everywhere: at every turn of the loop, in three ways, nothing is left behind, the log is sound, and the run can go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.scenarios.graphs_process import events_of, twice_in

from ashore import RunCancelled, Runtime, each, pipeline, step
from ashore.events import RunEnded, StepRan
from ashore.stack import open_stack
from ashore_stores.ports import DiskFile
from ashore_stores.testing.disk import SimDisk
from ashore_stores.testing.loop import current_loop, simulate
from ashore_stores.testing.world import sim_ports

HOME = "/home/.ashore"
MIDDLE = 60
"""A turn in the middle of a life."""


class Executed(list[str]):
    """What was executed: a class of its own, so that it is no constant of a step's code."""


executed = Executed()


@step
async def source(x: int) -> int:
    executed.append(f"source {x}")
    return x


@step
async def slow(x: int) -> int:
    await anyio.sleep(0.01 * x)
    executed.append(f"slow {x}")
    return x + 1


@step
def threaded(x: int) -> tuple[int, list[int]]:
    executed.append(f"threaded {x}")
    return x, list(range(x))


@step
async def large(x: int) -> bytes:
    executed.append(f"large {x}")
    return b"%d" % x * 50_000


@step
async def element(x: int) -> int:
    await anyio.lowlevel.checkpoint()
    executed.append(f"element {x}")
    if x == 1:
        raise ValueError("one")
    return x


@step
def total(parts: list[int], data: bytes) -> int:
    executed.append("total")
    return len(data) + sum(parts)


@pipeline
def mixed(x: int) -> Any:
    number, numbers = threaded(slow(source(x)))
    elements = element(each(numbers, on_error="skip"))
    return total(elements, large(number)), slow(number)


EXPECTED = (50_005, 5)
EXECUTIONS = 10


class WatchedDisk(SimDisk):
    """Knows which files are open."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.opened: list[Any] = []

    def open(self, path: str, *, write: bool = False, create: bool = False, exclusive: bool = False) -> DiskFile:
        file = super().open(path, write=write, create=create, exclusive=exclusive)
        self.opened.append(file)
        return file

    def still_open(self) -> list[str]:
        return sorted(file.path for file in self.opened if not file._closed)


@dataclass
class Life:
    """What one life came to: in which state the run ended, and how often the loop turned."""

    state: str
    turns: int
    left: list[str]
    """Files that stay open: of a process that goes on, its owner's lock."""


def at_turn(number: int, deed: Callable[[], object]) -> None:
    """Do something at the start of a turn of the running loop."""
    loop: Any = current_loop()
    original, wanted = loop._run_once, loop.turns + number

    def once() -> None:
        if loop.turns == wanted:
            deed()
        original()

    loop._run_once = once


class Cancelling:
    """One runtime with one run, hit at turn `k` in one of the ways."""

    def __init__(self, way: str, k: int) -> None:
        self.way = way
        self.k = k
        self.disk = WatchedDisk(k)
        self.ports = sim_ports(k, disk=self.disk)
        self.state = ""
        self.helpers: list[asyncio.Task[None]] = []

    async def first(self, k: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        runs: list[Any] = []

        def hit() -> None:
            if self.way == "run":
                self.helpers.extend(asyncio.get_running_loop().create_task(run.cancel()) for run in runs)
            else:
                task.cancel()

        at_turn(k, hit)
        if self.way == "twice":
            at_turn(k + 4, hit)
        async with Runtime(home=HOME, ports=self.ports, resume=[mixed], grace=1.0) as rt:
            run = await rt.start(mixed(3), key="k")
            runs.append(run)
            self.state = await run.wait()

    async def main(self) -> Life:
        executed.clear()
        if self.way == "recovery":
            await self.hit_in(MIDDLE)
        turns = await self.hit_in(self.k)
        for helper in self.helpers:
            await helper
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [other for other in others if not other.done()]
        left = self.disk.still_open()
        await self.second()
        return Life(self.state, turns, left)

    async def hit_in(self, k: int) -> int:
        """One life; how often the loop turned meanwhile."""
        before = current_loop().turns
        task = asyncio.get_running_loop().create_task(self.first(k))
        with suppress(asyncio.CancelledError):
            await task
        return current_loop().turns - before

    async def second(self) -> None:
        """The log is sound, and the run goes on from it."""
        recorded = await self.recorded()
        executed.clear()
        async with Runtime(home=HOME, ports=self.ports, resume=[mixed], grace=1.0) as rt:
            run = await rt.start(mixed(3), key="k")
            try:
                assert await run == EXPECTED
            except RunCancelled:
                assert self.way == "run"
            events = await events_of(rt.stack, run.id)
        assert not twice_in(events)
        assert isinstance(events[-1], RunEnded)
        assert len(executed) == len(set(executed))
        if recorded:  # whatever of the run was on record is not executed again
            assert len(executed) <= EXECUTIONS - recorded

    async def recorded(self) -> int:
        stack = await open_stack(home=HOME, ports=self.ports)
        try:
            frames = [frame async for frame in stack.log.read()]
            topics = {topic for frame in frames for topic in frame.batch.topics}
            events = [event for topic in topics for event in await events_of(stack, topic.decode())]
        finally:
            await stack.aclose()
        return sum(isinstance(event, StepRan) and event.elements < 0 for event in events)


def life_of(way: str, k: int) -> Life:
    async def main() -> Life:
        return await Cancelling(way, k).main()

    return simulate(main, k)


def test_uncancelled_it_gives_what_it_should() -> None:
    life = life_of("run", 1_000_000)
    assert life.state == "done"
    assert executed == []  # the second found it done


@pytest.mark.parametrize("way", ["run", "task", "twice", "recovery"])
def test_cancelled_at_any_turn_nothing_is_left_and_the_run_can_go_on(way: str) -> None:
    whole = life_of(way, 1_000_000)
    assert whole.turns > MIDDLE / 2
    states = set()
    for k in range(1, whole.turns + 5):
        life = life_of(way, k)
        assert set(life.left) <= set(whole.left), f"turn {k}: left open: {life.left}"
        states.add(life.state)
    assert states == ({"done", "cancelled"} if way == "run" else {"", "done"})
