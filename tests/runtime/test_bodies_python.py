"""Bodies in a real runtime: plain Python, cut short and misused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from tests.runtime.bodies import asked, executed, failures_of, forever, inc, number, plus, slow

from ashore import GraphError, Handle, RunCancelled, Runtime, pipeline, step

pytestmark = pytest.mark.anyio

# --- the end of a body by force ---


@pipeline
async def waits_for_ever() -> int:
    return await forever()


@pipeline
async def cleans_up() -> int:
    try:
        return await forever()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.01)
        executed.append("cleaned up")


@pipeline
async def asks_while_it_cleans_up() -> int:
    try:
        return await forever()
    finally:
        with anyio.CancelScope(shield=True):
            await slow(99)


@pipeline
async def swallows() -> int:
    with suppress(asyncio.CancelledError):
        await forever()
    with suppress(asyncio.CancelledError):
        await anyio.sleep(0.01)
    executed.append("swallowed")
    return 5


@pipeline
async def outer_waits() -> int:
    return await waits_for_ever()


@pytest.mark.parametrize(
    "body", [waits_for_ever, cleans_up, asks_while_it_cleans_up, swallows, outer_waits], ids=lambda body: body.name
)
async def test_a_cancelled_run_ends_cancelled_whatever_its_body_makes_of_it(home: Any, body: Any) -> None:
    executed.clear()
    async with Runtime(home=home, grace=0.5) as rt:
        run = await rt.start(body())
        async for happened in run.events():
            if type(happened.event).__name__ == "Invoked":
                break
        with anyio.fail_after(5):
            await run.cancel()
        assert run.state == "cancelled"
        with pytest.raises(RunCancelled):
            await run
        assert await (await rt.start(inc(1))) == 2
    if body is cleans_up:
        assert executed == ["cleaned up"]


@pipeline
async def interrupted() -> int:
    await number(1)
    raise KeyboardInterrupt


async def test_keyboard_interrupt_in_a_body_cancels_the_run(rt: Runtime) -> None:
    run = await rt.start(interrupted())
    with pytest.raises(RunCancelled):
        await run


@pipeline
async def cancels_its_tasks() -> list[Any]:
    task = asyncio.ensure_future(asked(slow(5)))
    other = asyncio.ensure_future(inc(1))
    await number(1)
    task.cancel()
    said = await asyncio.gather(task, other, return_exceptions=True)
    return [type(one).__name__ for one in said]


@pipeline
async def gives_up_waiting() -> list[Any]:
    said: list[Any] = []
    try:
        async with asyncio.timeout(0.01):
            await slow(1, 0.1)
    except TimeoutError:
        said.append("timeout")
    with anyio.move_on_after(0.01):
        await slow(2, 0.1)
        said.append("not reached")
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(slow(3, 0.1)), 0.01)
    return [*said, await slow(1, 0.1), await slow(2, 0.1), await slow(3, 0.1)]


async def test_who_gives_up_waiting_does_not_stop_the_step(rt: Runtime) -> None:
    executed.clear()
    assert await (await rt.start(gives_up_waiting())) == ["timeout", 1, 2, 3]
    assert sorted(executed) == ["slow 1", "slow 2", "slow 3"]


# --- plain Python ---


@pipeline
async def a_queue_of_workers() -> int:
    queue: asyncio.Queue[int] = asyncio.Queue()
    total: list[int] = []

    async def work() -> None:
        while True:
            n = await queue.get()
            total.append(await inc(n))
            if n < 20:
                queue.put_nowait(n * 3)
            queue.task_done()

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(3)]
        for n in range(5):
            queue.put_nowait(n)
        queue.put_nowait(7)
        for _ in range(200):
            if len(total) >= 15 and queue.empty():
                break
            await asyncio.sleep(0.001)
        for worker in workers:
            worker.cancel()
    return len(total)


async def several(upto: int) -> AsyncIterator[int]:
    for n in range(upto):
        yield await inc(n)


@pipeline
async def an_async_generator() -> list[int]:
    return [n async for n in several(4)]


@pipeline
async def as_they_come() -> list[int]:
    handle: Any = numbers(4)
    return [n async for n in handle]


@step
async def numbers(n: int) -> list[int]:
    return list(range(n))


@pipeline
async def gathers_many(n: int) -> int:
    return sum(await asyncio.gather(*(inc(i) for i in range(n))))


@pipeline
async def counts_up(n: int) -> Handle[int]:
    x = number(0)
    for _ in range(n):
        x = inc(x)
    return x


@pipeline
async def nested(depth: int) -> int:
    return await number(0) if depth == 0 else 1 + await nested(depth - 1)


@pipeline
def wired(n: int) -> Handle[int]:
    return inc(inc(n))


@pipeline
async def awaits_wired() -> int:
    return await wired(3) + await plus([wired(1), wired(1), number(1)])


@pipeline
async def awaits_a_value_made_outside(n: int) -> Any:
    return await OUTSIDE_CALL


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (an_async_generator(), [1, 2, 3, 4]),
        (as_they_come(), [0, 1, 2, 3]),
        (gathers_many(10_000), 50_005_000),
        (counts_up(20_000), 20_000),
        (nested(200), 200),
        (awaits_wired(), 5 + 3 + 3 + 1),
        (cancels_its_tasks(), ["CancelledError", "int"]),
    ],
    ids=repr,
)
async def test_plain_python(rt: Runtime, body: Any, expected: Any) -> None:
    assert await (await rt.start(body)) == expected


setting: ContextVar[str] = ContextVar("setting", default="unset")


@step
async def sees_setting(n: int) -> str:
    return setting.get()


@step
def sees_setting_in_a_thread(n: int) -> str:
    return setting.get()


@pipeline
async def sets() -> list[str]:
    setting.set("by the body")

    async def in_a_task() -> str:
        return setting.get()

    return [await asyncio.ensure_future(in_a_task()), await sees_setting(1), await sees_setting_in_a_thread(1), setting.get()]


async def test_what_a_body_sets_is_seen_by_its_tasks_and_not_by_steps(rt: Runtime) -> None:
    assert await (await rt.start(sets())) == ["by the body", "unset", "unset", "by the body"]
    assert setting.get() == "unset"


# --- misuse ---

OUTSIDE_CALL: Any = None
LEAKED: list[Any] = []


@pipeline
async def keeps(n: int) -> Any:
    LEAKED.append(inc(n))
    return await LEAKED[-1]


@pipeline
async def uses_anothers() -> Any:
    return await inc(LEAKED[0])


@pipeline
async def awaits_anothers() -> Any:
    return await LEAKED[0]


@pytest.mark.parametrize("body", [uses_anothers, awaits_anothers], ids=lambda body: body.name)
async def test_a_handle_of_another_run_is_refused_by_name(home: Any, body: Any) -> None:
    LEAKED.clear()
    async with Runtime(home=home) as rt:
        await (await rt.start(keeps(1)))
    async with Runtime(home=home) as rt:
        (said,) = await failures_of(rt, body())
        assert "inc(n=1) belongs to another run" in said
    with pytest.raises(GraphError, match="inc"):
        await LEAKED[0]


async def test_a_call_made_outside_may_be_awaited_inside(rt: Runtime) -> None:
    global OUTSIDE_CALL
    OUTSIDE_CALL = inc(4)
    assert await (await rt.start(awaits_a_value_made_outside(1))) == 5


@pipeline
async def two_at_once(tag: str) -> list[int]:
    return [await slow(1, 0.001), *await asyncio.gather(inc(1), inc(2), slow(3, 0.001))]


async def test_runs_of_one_body_at_once_do_not_meet(rt: Runtime, home: Any) -> None:
    async with Runtime(home=home) as other:
        runs = [await one.start(two_at_once(tag)) for one in (rt, other) for tag in ("a", "b", "a")]
        assert [await run for run in runs] == [[1, 2, 3, 3]] * 6
        assert len({run.id for run in runs}) == 6
