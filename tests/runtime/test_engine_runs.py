"""Runs over runtimes: of another process, of a killed one, of two runtimes at once, of one that is closed too early."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.runtime.engine_process import gated, said

from ashore import AshoreError, KeyConflict, RunCancelled, Runtime, pipeline, start, step
from ashore import run as run_now
from ashore.errors import RunLeft
from ashore.events import RunEnded, RunStarted

pytestmark = pytest.mark.anyio

BOUND = 60.0
"""Seconds in which whatever is tried here is over, or hangs."""


class Executed(list[int]):
    """What was executed: a class of its own, so that it is no constant of a step's code."""


executed = Executed()


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


@step
async def counted(x: int) -> int:
    await anyio.lowlevel.checkpoint()
    executed.append(x)
    return x + 1


@step
async def split(x: int) -> tuple[int, str]:
    executed.append(x)
    return x, f"s{x}"


@pipeline
def twice(x: int) -> Any:
    return counted(counted(x))


class Other:
    """`engine_process.py`, running."""

    def __init__(self, home: Path, folder: Path, key: str = "k") -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "tests.runtime.engine_process", str(home), str(folder), key]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    async def line(self) -> str:
        """What it prints next that is no log line."""
        assert self.process.stdout is not None
        while True:
            line = await anyio.to_thread.run_sync(self.process.stdout.readline)
            assert line, "it ended"
            if "[" not in line:
                return line.strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def others() -> Iterator[list[Other]]:
    made: list[Other] = []
    yield made
    for other in made:
        other.kill()
        assert other.process.stdout is not None
        other.process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    return path


async def started(others: list[Other], home: Path, folder: Path) -> tuple[Other, str]:
    other = Other(home, folder)
    others.append(other)
    return other, await other.line()


# Of another process.


async def test_another_processs_run_is_awaited_from_here(rt: Runtime, home: Path, folder: Path, others: list[Other]) -> None:
    other, run_id = await started(others, home, folder)
    with anyio.fail_after(BOUND):
        run = await rt.run(run_id)
        assert run.state == "running"
        (folder / "go").touch()
        assert await run == list(range(20))
        assert run.state == "done"
        assert await other.line() == "done"
        same = await rt.start(gated(str(folder)), key="k")
        assert (same.id, await same) == (run_id, list(range(20)))
    assert said(str(folder)).count("first") == 1


async def test_another_processs_run_is_cancelled_from_here(rt: Runtime, home: Path, folder: Path, others: list[Other]) -> None:
    other, run_id = await started(others, home, folder)
    with anyio.fail_after(BOUND):
        run = await rt.run(run_id)
        await run.cancel()  # within the first second: the other one does not listen yet
        with pytest.raises(RunCancelled):
            await run
        assert await other.line() == "cancelled"
    assert not [line for line in said(str(folder)) if line.startswith("last")]


async def test_whoever_waits_with_the_code_goes_on_with_a_killed_owners_run(
    rt: Runtime, home: Path, folder: Path, others: list[Other]
) -> None:
    other, run_id = await started(others, home, folder)
    with anyio.fail_after(BOUND):
        run = await rt.start(gated(str(folder)), key="k")
        assert (run.id, run.state) == (run_id, "running")
        async with anyio.create_task_group() as group:
            results: list[Any] = []

            async def wait() -> None:
                results.append(await run)

            group.start_soon(wait)
            group.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            other.kill()
            (folder / "go").touch()
        assert results == [list(range(20))] * 2
    lines = said(str(folder))
    assert lines.count("first") == 1  # it was on record
    assert sorted(lines[-20:]) == sorted(f"last {number}" for number in range(20))  # once each: adopted by one, not by both


async def test_whoever_waits_without_the_code_is_told_what_to_do(
    rt: Runtime, home: Path, folder: Path, others: list[Other]
) -> None:
    other, run_id = await started(others, home, folder)
    run = await rt.run(run_id)
    other.kill()
    with anyio.fail_after(BOUND), pytest.raises(AshoreError, match=r"no living owner.*ashore serve"):
        await run


async def test_a_key_whose_owner_was_killed_is_resumed_and_keeps_its_arguments(
    rt: Runtime, home: Path, folder: Path, others: list[Other]
) -> None:
    other, run_id = await started(others, home, folder)
    other.kill()
    (folder / "go").touch()
    with anyio.fail_after(BOUND):
        with pytest.raises(KeyConflict, match="elsewhere"):
            await rt.start(gated("elsewhere"), key="k")
        runs: list[Any] = []

        async def start_it() -> None:
            runs.append(await rt.start(gated(str(folder)), key="k"))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(start_it)
        assert {run.id for run in runs} == {run_id}
        assert [await run for run in runs] == [list(range(20))] * 5
    lines = said(str(folder))
    assert lines.count("first") == 1
    assert len([line for line in lines if line.startswith("last")]) == 20


async def test_no_event_is_doubled_or_lost_whenever_one_begins_to_listen(
    rt: Runtime, home: Path, folder: Path, others: list[Other]
) -> None:
    _, run_id = await started(others, home, folder)
    run = await rt.run(run_id)
    whole: list[Any] = []

    async def all_of_them() -> None:
        whole.extend([happened async for happened in run.events()])

    async def piece_by_piece(size: int) -> None:
        pieces: list[Any] = []
        while not pieces or not isinstance(pieces[-1].event, RunEnded):
            after = pieces[-1].position if pieces else 0
            taken = 0
            async for happened in run.events(after=after):
                pieces.append(happened)
                taken += 1
                if taken == size:
                    break
        listened.append(pieces)

    listened: list[list[Any]] = []
    with anyio.fail_after(BOUND):
        async with anyio.create_task_group() as group:
            group.start_soon(all_of_them)
            for size in (1, 2, 3, 7):
                group.start_soon(piece_by_piece, size)
            await anyio.sleep(0.05)
            (folder / "go").touch()
    positions = [happened.position for happened in whole]
    assert positions == sorted(set(positions))
    assert isinstance(whole[0].event, RunStarted)
    assert isinstance(whole[-1].event, RunEnded)
    assert listened == [whole] * 4


# Closed too early, and closed at all.


async def test_whoever_waits_for_a_run_whose_runtime_is_closed_is_told(home: Path) -> None:
    told: list[BaseException] = []
    began = anyio.Event()

    @step
    async def stuck(x: int) -> int:
        began.set()
        await anyio.sleep_forever()
        return x

    async def wait(run: Any) -> None:
        try:
            await run
        except RunLeft as error:
            told.append(error)

    async def leave(group: Any) -> None:
        async with Runtime(home=home) as rt:
            run = await rt.start(stuck(1))
            group.start_soon(wait, run)
            await began.wait()
            raise KeyError

    with anyio.fail_after(BOUND):
        async with anyio.create_task_group() as group:
            with pytest.raises(KeyError):
                await leave(group)
    assert len(told) == 1


async def test_leaving_the_block_waits_for_runs_that_begin_meanwhile(home: Path) -> None:
    gate = anyio.Event()
    runs: list[Any] = []

    @step
    async def gated_here(x: int) -> int:
        await gate.wait()
        return x

    async def start_more(rt: Runtime) -> None:
        await anyio.sleep(0.02)
        runs.append(await rt.start(twice(1)))
        gate.set()

    async with anyio.create_task_group() as group, Runtime(home=home) as rt:
        runs.append(await rt.start(gated_here(1)))
        group.start_soon(start_more, rt)
    assert [run.state for run in runs] == ["done", "done"]


async def test_a_pipeline_that_cannot_be_wired_any_more_does_not_keep_a_runtime_from_opening(home: Path) -> None:
    is_broken = Executed()
    began = anyio.Event()

    @step
    async def stuck(x: int) -> int:
        began.set()
        await anyio.sleep_forever()
        return x

    wired: Any = stuck

    @pipeline
    def changing(x: int) -> Any:
        return wired(x, y=1) if is_broken else wired(x)

    async def leave() -> None:
        async with Runtime(home=home) as rt:
            await rt.start(changing(1), key="k")
            await began.wait()
            raise KeyError

    with pytest.raises(KeyError):
        await leave()
    is_broken.append(1)
    async with Runtime(home=home, resume=[changing]) as rt:
        assert rt.open_runs(changing) == []
        with pytest.raises(AshoreError, match="no parameter"):
            await rt.start(changing(1), key="k")
        assert await rt.start_soon(twice(1)) is not None


async def test_a_runtime_keeps_the_last_runs_and_finds_the_others(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ashore.driving._KEPT_RUNS", 3)
    runs = [await rt.start(counted(n)) for n in range(8)]
    for n, run in enumerate(runs):
        assert await run == n + 1
    assert len(rt._drives.runs) <= 4
    assert [await (await rt.run(run.id)) for run in runs] == [n + 1 for n in range(8)]


# Two at once.


async def test_two_runtimes_of_one_home_share_keys_and_see_each_others_runs(home: Path) -> None:
    async with Runtime(home=home) as one, Runtime(home=home) as two:
        here = await one.start(twice(1), key="k")
        there = await two.start(twice(1), key="k")
        with anyio.fail_after(BOUND):
            assert (here.id, await here) == (there.id, await there) == (here.id, 3)
    assert executed == [1, 2]
    async with Runtime(home=home) as three:
        assert await (await three.run(here.id)) == 3


async def test_one_runtime_ends_while_the_other_goes_on(home: Path) -> None:
    async with Runtime(home=home) as one:
        async with Runtime(home=home) as two:
            assert await two.start_soon(twice(1)) is not None
        assert await (await one.start(twice(5))) == 7


async def test_two_threads_with_a_loop_each_make_one_run_of_a_key(home: Path) -> None:
    found: list[tuple[str, int]] = []
    barrier = threading.Barrier(3)

    async def main() -> None:
        async with Runtime(home=home) as rt:
            barrier.wait()
            for number in range(10):
                run = await rt.start(twice(number), key=str(number))
                found.append((run.id, await run))

    threads = [threading.Thread(target=anyio.run, args=(main,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    with anyio.fail_after(BOUND):
        for thread in threads:
            await anyio.to_thread.run_sync(thread.join)
    assert len(found) == 30
    assert len({run_id for run_id, _ in found}) == 10
    assert sorted(executed) == sorted([*range(10), *range(1, 11)])


# A call is started once.


async def test_a_call_that_is_awaited_twice_is_one_run(rt: Runtime) -> None:
    call = counted(1)
    results: list[int] = []

    async def wait() -> None:
        results.append(await call)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(wait)
    assert results == [2] * 5
    assert await call == 2
    assert await (await rt.start(call)) == 2
    assert executed == [1]
    assert await counted(1) == 2  # another call is another run
    assert executed == [1, 1]


async def test_outputs_of_one_call_are_of_one_run(rt: Runtime) -> None:
    number, text = split(3)
    assert (await number, await text) == (3, "s3")
    assert executed == [3]
    with pytest.raises(AshoreError, match="one output of a call"):
        await rt.start(number)


async def test_a_waiter_that_is_cancelled_while_the_run_starts_leaves_it_to_the_next(rt: Runtime) -> None:
    call = counted(1)

    async def wait() -> None:
        await call

    for turns in range(12):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    with anyio.fail_after(BOUND):
        assert await call == 2


async def test_start_of_an_awaited_call_is_its_run(rt: Runtime) -> None:
    call = twice(4)
    assert await call == 6
    run = await start(call)
    assert await run == 6
    assert executed == [4, 5]


def test_run_gives_one_output_where_one_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    assert run_now(split(3)[1]) == "s3"
    assert run_now(split(4)) == (4, "s4")
    again = split(5)
    assert [run_now(again), run_now(again)] == [(5, "s5")] * 2  # each on a loop of its own
