"""The kit for users' own tests: a stack in memory, time by hand, a recorder, and the pytest plug-in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

import ashore
from ashore import File, Handle, KeyConflict, Runtime, each, pipeline, step
from ashore.events import RunEnded, RunStarted, StepFailed, StepRan
from ashore.testing import ManualClock, MemoryStack, Recorder
from ashore.testing.plugin import ashore_clock, ashore_runtime, memory_stack  # noqa: F401  # wherever it is installed

pytestmark = pytest.mark.anyio


class Done(list[str]):
    """What was done. A class of its own: a plain list would be part of the code of the steps that write to it."""


done = Done()


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@step
def double(x: int) -> int:
    done.append(f"double {x}")
    return 2 * x


@step
def total(xs: list[int]) -> int:
    return sum(xs)


@step
def large(x: int) -> str:
    return "x" * 100_000 * x


@step
def length(text: str) -> int:
    done.append("length")
    return len(text)


@pipeline
def doubled(xs: list[int]) -> Handle[int]:
    return total(double(each(xs)))


@pipeline
def measured(x: int) -> Handle[int]:
    return length(large(x))


# The stack.


async def test_pipelines_run_in_memory_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Runtime(MemoryStack()) as rt:
        assert await (await rt.start(doubled([1, 2, 3]))) == 12
        assert await (await rt.start(measured(2))) == 200_000
    assert os.listdir(tmp_path) == []


async def test_the_stores_mean_what_they_mean_on_disk() -> None:
    stack = MemoryStack()
    async with Runtime(stack) as rt:
        run = await rt.start(measured(1), key="monday")
        assert await run == 100_000
    async with Runtime(stack) as rt:  # the same store: keys hold, results are reused, runs are found
        assert (await rt.start(measured(1), key="monday")).id == run.id
        with pytest.raises(KeyConflict):
            await rt.start(measured(2), key="monday")
        assert await (await rt.start(measured(1))) == 100_000
        assert await (await rt.run(run.id)) == 100_000
        assert done == ["length"]
    async with Runtime(MemoryStack()) as rt:  # another one knows nothing
        assert await (await rt.start(measured(1))) == 100_000
    assert done == ["length", "length"]


async def test_it_has_a_catalogue() -> None:
    stack = MemoryStack()
    async with Runtime(stack) as rt:
        await (await rt.start(doubled([1, 2])))
        for _ in range(2):  # closing it leaves the stack open
            async with stack.catalogue() as cat:
                run = await cat.runs(doubled).last()
                assert await run == 6
                assert await run[total].out.load() == 6
        assert await (await rt.start(doubled([3]))) == 6


async def test_files_of_this_machine_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")

    @step
    def size(file: File) -> int:
        return len(Path(file.path).read_text())

    async with Runtime(MemoryStack()) as rt:
        assert await (await rt.start(size(File(tmp_path / "a.txt")))) == 5


# The clock.


async def test_a_week_passes_in_a_moment() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def daily() -> None:
        for _ in range(10):
            await clock.sleep(24 * 3600)
            woken.append(("day", clock.monotonic() / 86400))

    async def once() -> None:
        await clock.sleep(2.5 * 86400)
        woken.append(("once", clock.monotonic() / 86400))

    async with anyio.create_task_group() as group:
        group.start_soon(daily)
        group.start_soon(once)
        started = clock.now()
        await clock.advance("2d")
        assert woken == [("day", 1.0), ("day", 2.0)]
        await clock.advance(timedelta(days=5))
        assert woken == [("day", 1.0), ("day", 2.0), ("once", 2.5), *[("day", float(day)) for day in range(3, 8)]]
        assert clock.now() - started == 7 * 86400
        assert clock.sleepers == 1
        group.cancel_scope.cancel()
    assert clock.sleepers == 0  # a cancelled sleep leaves nothing behind


async def test_what_threads_do_comes_before_time_goes_on() -> None:
    clock = ManualClock()
    stack = MemoryStack(clock=clock)
    order: list[str] = []

    async def work() -> None:
        await clock.sleep(60)
        order.append(await stack.ports.workers.run(lambda: "worked" if sum(range(1_000_000)) else ""))
        await clock.sleep(60)
        order.append("slept again")

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await clock.advance("2m")
        assert order == ["worked", "slept again"]


async def test_runs_carry_its_time() -> None:
    clock = ManualClock(start=1000.0)
    async with Runtime(MemoryStack(clock=clock)) as rt:
        events = Recorder(rt)
        await clock.advance("1h")
        await (await rt.start(double(2)))
        assert (await events.wait_for(RunStarted)).at == 4600.0


async def test_wall_time_may_jump_and_durations_do_not() -> None:
    clock = ManualClock(is_steady=False)
    before = clock.now(), clock.monotonic()
    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep, 100)
        await clock.advance("40s")
        clock.jump("-2h")
        assert (clock.now(), clock.monotonic()) == (before[0] + 40 - 7200, before[1] + 40)
        await clock.advance("59s")
        assert clock.sleepers == 1
        await clock.advance("1s")
        assert clock.sleepers == 0


@pipeline
async def weekly(weeks: int) -> int:
    for _ in range(weeks):
        await ashore.sleep("7d")
        await double(weeks)
    return weeks


async def test_a_pipeline_that_sleeps_for_weeks() -> None:
    clock = ManualClock()
    async with Runtime(MemoryStack(clock=clock)) as rt:
        events = Recorder(rt)
        run = await rt.start(weekly(3))
        await clock.advance("20d")
        assert len(await events.of(StepRan, step="double")) == 2
        assert run.state == "running"
        await clock.advance("1d")
        assert await run == 3


async def test_a_steady_clock_does_not_jump() -> None:
    with pytest.raises(ValueError, match="is_steady=False"):
        ManualClock().jump("1h")


# The recorder.


@step
def odd(x: int) -> int:
    raise ValueError(f"{x} is odd")


async def test_a_recorder_tells_what_happened_by_type_step_and_run() -> None:
    async with Runtime(MemoryStack()) as rt:
        await (await rt.start(double(1)))
        events = Recorder(rt)
        assert await events.all() == []
        run = await rt.start(doubled([1, 2]))
        other = await rt.start(odd(3))
        ended = await events.wait_for(RunEnded, run=run)
        assert (ended.run, ended.state) == (run.id, "done")
        failed = await events.wait_for(StepFailed, step="odd")
        assert (failed.run, failed.failure.message) == (other.id, "3 is odd")
        assert [event.elements for event in await events.of(StepRan, step="double")] == [2]
        assert await events.of(StepRan, step="odd") == []
        assert len(await events.of(RunStarted)) == 2
        await other.wait()


async def test_it_waits_for_what_comes() -> None:
    async with Runtime(MemoryStack()) as rt:
        events = Recorder(rt)
        found: list[StepRan] = []

        async def wait() -> None:
            found.append(await events.wait_for(StepRan, step="total"))

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            await (await rt.start(doubled([4])))
        assert found[0].outputs


async def test_what_never_comes_is_told_with_what_there_was() -> None:
    async with Runtime(MemoryStack()) as rt:
        events = Recorder(rt)
        await (await rt.start(double(1)))
        with pytest.raises(AssertionError) as caught:
            await events.wait_for(StepFailed, step="double", seconds=0.01)
        assert "no StepFailed(step='double') in 0.01 s; there was " in str(caught.value)
        assert "StepRan(double)" in str(caught.value)


# The plug-in.


@pytest.mark.usefixtures("memory_stack")
async def test_fixtures(request: pytest.FixtureRequest) -> None:
    make: Callable[..., Runtime] = request.getfixturevalue("ashore_runtime")
    async with make(replace={double: lambda x: 100}) as rt:
        assert rt.stack is request.getfixturevalue("memory_stack")
        assert rt.stack.ports.clock is request.getfixturevalue("ashore_clock")
        assert await (await rt.start(doubled([1, 2]))) == 200


SUITE = """
import sys
HEAVY = {"asyncio", "anyio", "msgspec", "ashore.runtime", "ashore.stack", "structlog", "sqlite3"}

def test_nothing_was_imported_for_those_who_ask_for_nothing(request):
    assert "ashore.testing.plugin" in sys.modules
    assert sorted(HEAVY & set(sys.modules)) == []

def test_a_runtime(ashore_runtime, memory_stack):
    import asyncio
    from ashore import step

    @step
    def double(x: int) -> int:
        return 2 * x

    async def main():
        async with ashore_runtime() as rt:
            return await (await rt.start(double(21)))

    assert asyncio.run(main()) == 42
"""


def test_the_plug_in_costs_those_nothing_who_do_not_use_it(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "ashore.testing.plugin", "-p", "no:cacheprovider", str(tmp_path)]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    said = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False)
    assert "2 passed" in said.stdout, said.stdout + said.stderr


def test_the_plug_in_is_declared() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\nashore = "ashore.testing.plugin"' in text
