"""Bodies that hold the loop, leave tasks behind or make calls from elsewhere: they are told, by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs
from tests.runtime.bodies import failures_of, forever, inc, number, slow

from ashore import GraphError, Handle, RunCancelled, Runtime, pipeline, step

pytestmark = pytest.mark.anyio

LEFT: list[asyncio.Task[Any]] = []


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@step
async def spins(n: int) -> int:
    spin(0.3)
    return n


@pipeline
async def holds_the_loop(suspends: bool) -> int:
    await number(1)
    for _ in range(11):
        spin(0.1)
        if suspends:
            await asyncio.sleep(0)
    return await number(2)


@pipeline
async def has_slow_steps() -> int:
    return sum([await spins(n) for n in range(4)])


@pytest.mark.parametrize("suspends", [False, True])
async def test_a_body_that_holds_the_loop_is_named_with_its_place(rt: Runtime, suspends: bool) -> None:
    with capture_logs() as lines:
        assert await (await rt.start(holds_the_loop(suspends))) == 2
    named = [line for line in lines if "pipeline blocked" in line["event"]]
    assert bool(named) is not suspends
    if named:
        assert named[0]["pipeline"] == "holds_the_loop"
        assert named[0]["where"] == f"{__file__}:{holds_the_loop.line}"


async def test_the_time_of_steps_is_not_that_of_the_body_that_waits_for_them(rt: Runtime) -> None:
    with capture_logs() as lines:
        assert await (await rt.start(has_slow_steps())) == 6
    assert not [line for line in lines if "pipeline blocked" in line["event"]]


@pipeline
async def leaves_a_task() -> int:
    LEFT.append(asyncio.create_task(goes_on(), name="stray"))
    while not SAID:
        await asyncio.sleep(0)
    return await number(1)


SAID: list[int] = []
GO_ON: list[asyncio.Event] = []


async def goes_on() -> int:
    SAID.append(await inc(1))
    await GO_ON[0].wait()
    return await inc(2)


async def test_a_task_that_a_body_leaves_behind_is_named_and_can_call_nothing_any_more(rt: Runtime) -> None:
    LEFT.clear()
    SAID.clear()
    GO_ON[:] = [asyncio.Event()]
    with capture_logs() as lines:
        assert await (await rt.start(leaves_a_task())) == 1
    (told,) = [line for line in lines if "left behind" in line["event"]]
    assert (told["pipeline"], told["tasks"]) == ("leaves_a_task", ["stray (goes_on)"])
    GO_ON[0].set()
    with capture_logs() as lines, pytest.raises(GraphError, match="after the body of leaves_a_task had returned"):
        await LEFT[0]
    (told,) = [line for line in lines if "called after" in line["event"]]
    assert (told["pipeline"], told["call"], told["task"]) == ("leaves_a_task", "inc(n=2)", "stray (goes_on)")


@pipeline
async def cleans_up_after_itself() -> int:
    task = asyncio.create_task(asyncio.wait_for(slow(5), 5))
    done, others = await asyncio.wait(
        [asyncio.ensure_future(inc(1)), asyncio.ensure_future(slow(6))], return_when="FIRST_COMPLETED"
    )
    task.cancel()
    return len(done) + len(others)


async def test_a_body_that_cancels_its_tasks_is_told_nothing(rt: Runtime) -> None:
    with capture_logs() as lines:
        assert await (await rt.start(cleans_up_after_itself())) == 2
    assert not [line for line in lines if "left behind" in line["event"]]


@pipeline
async def fails_while_a_task_waits() -> int:
    LEFT.append(asyncio.create_task(waits(forever()), name="waiting"))
    await number(1)
    raise ValueError("mine")


async def waits(handle: Handle[int]) -> int:
    return await handle


async def test_nobody_waits_for_ever_when_a_run_is_over(rt: Runtime) -> None:
    LEFT.clear()
    assert await failures_of(rt, fails_while_a_task_waits()) == ["ValueError: mine"]
    with anyio.fail_after(5), pytest.raises(RunCancelled):
        await LEFT[0]


@pipeline
async def calls_in_a_thread() -> int:
    handle = await asyncio.to_thread(lambda: inc(3))
    return await handle


@pipeline
async def awaits_in_another_loop() -> int:
    handle = inc(3)
    return await asyncio.to_thread(lambda: asyncio.run(waits(handle)))


@pytest.mark.parametrize("body", [calls_in_a_thread, awaits_in_another_loop], ids=lambda body: body.name)
async def test_calls_from_another_thread_or_loop_are_refused(rt: Runtime, body: Callable[[], Handle[int]]) -> None:
    (said,) = await failures_of(rt, body())
    assert "from another thread or event loop than that of its run" in said
    assert await (await rt.start(number(7))) == 7
