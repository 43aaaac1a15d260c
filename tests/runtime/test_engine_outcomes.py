"""Outcomes: of elements and wholes, of equal names, in the order of the log, and of what waits for a thread."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.runtime.engine_misbehaving import BOUND, executed, sibling

from ashore import Handle, Outputs, RunFailed, Runtime, each, pipeline, step
from ashore.events import ElementsRan, RunSpace, StepRan, decode, encode
from ashore_stores import Batch, Entry

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


# Fan-outs.


async def test_elements_in_flight_when_their_fan_out_fails_leave_one_outcome(rt: Runtime) -> None:
    gate = anyio.Event()

    @step
    async def element(x: int) -> int:
        if x == 0:
            await anyio.lowlevel.checkpoint()
            raise ValueError("first")
        await gate.wait()
        return x

    @step
    async def opener(x: int) -> int:
        await anyio.sleep(0.01)
        gate.set()
        return x

    @pipeline
    def fan() -> Any:
        return sibling(element(each([0, 1, 2]))), opener(1)  # type: ignore[arg-type]

    run = await rt.start(fan())
    with anyio.fail_after(BOUND):
        assert await run.wait() == "failed"
    assert run.counts()["failed"] == 1
    names = [type(happened.event).__name__ for happened in [item async for item in run.events()]]
    assert names.count("StepFailed") == 1
    assert names.count("StepRan") == 1  # the opener's


async def test_elements_of_all_kinds_come_as_what_they_are(rt: Runtime) -> None:
    class Halves(Outputs):
        left: int
        right: str

    @step
    async def named(x: int) -> Halves:
        return Halves(x, f"r{x}")

    @step
    async def pair(x: int) -> tuple[int, str]:
        return x, f"p{x}"

    @step
    async def kind(x: Any) -> str:
        return f"{type(x).__name__} {x!r}"

    @step
    async def spoil(x: Any, y: int) -> int:
        x.append(y)
        return len(x)

    @pipeline
    def shown() -> Any:
        fan, empty = sibling(each([7])), sibling(each([]))
        return [
            kind(each([fan, empty])),
            kind(each(pair(each([1, 2])))),
            kind(each(named(each([1])))),
            kind(each([named(2), pair(3), [pair(4)[0], "x"]])),
            spoil(*each.product([[0]], [1, 2, 3])),
        ]

    fans, pairs, halves, mixed, spoilt = await shown()
    assert fans == ["list [7]", "list []"]
    assert pairs == ["tuple (1, 'p1')", "tuple (2, 'p2')"]
    assert [text.split()[0] for text in halves] == ["Halves"]
    assert [text.split()[0] for text in mixed] == ["Halves", "tuple", "list"]
    assert mixed[2] == "list [4, 'x']"
    assert spoilt == [2, 2, 2]


async def test_equal_parts_are_not_equal_wholes(rt: Runtime) -> None:
    """Outputs that make one tuple, elements that make one list: a cache that takes the one for the other would give it."""

    @step
    async def pair(x: int) -> tuple[int, int]:
        return x, x + 1

    @step
    async def kind(x: Any) -> str:
        return f"{x!r}"

    @pipeline
    def all_kinds() -> Any:
        return [
            kind(pair(1)),
            kind(sibling(each([1, 2]))),
            kind(pair(each([1]))),
            kind(["\0input", sibling(5)]),
            kind([sibling(5), "\0input"]),
        ]

    expected = ["(1, 2)", "[1, 2]", "[(1, 2)]", "['\\x00input', 5]", "[5, '\\x00input']"]
    assert await all_kinds() == expected
    assert await all_kinds() == expected


def named_alike(number: int) -> Any:
    @step
    async def clean(x: int) -> int:
        return x * number

    return clean


async def test_two_steps_of_one_name_are_two_steps(rt: Runtime) -> None:
    two, three = named_alike(2), named_alike(3)

    @pipeline
    def both_of_them() -> Any:
        return two(5), three(5), two(5)

    run = await rt.start(both_of_them())
    assert await run == (10, 15, 10)
    assert run.counts()["done"] == 2


async def test_a_result_that_cannot_be_recorded_is_refused_before_anything_runs(rt: Runtime) -> None:
    @pipeline
    def odd() -> Any:
        return [sibling(1), object()]

    with pytest.raises(Exception, match="the pipeline's result cannot be recorded"):
        await odd()
    assert executed == []


@step(cache=True)
async def kept(x: int) -> int:
    return x


@step
async def after(x: int) -> int:
    return x + 1


@pipeline
def long(x: int) -> Any:
    handle = kept(x)
    for _ in range(300):  # all on one pump: nothing of it is handed on before the end
        handle = after(handle)
    return handle, kept(each([x + 1]))


@pipeline
def short(x: int) -> Any:
    return kept(x), kept(each([x + 1]))


async def test_what_is_reused_is_on_record_before_whoever_reuses_it(rt: Runtime) -> None:
    async def go(call: Handle[Any]) -> None:
        await (await rt.start_soon(call))

    async with anyio.create_task_group() as group:
        for number in range(0, 20, 2):
            group.start_soon(go, long(number))
            group.start_soon(go, short(number))
    frames = [frame async for frame in rt.stack.log.read()]
    events = [event for frame in frames for event in decode(frame.batch.body, frame.count)]
    outcomes = [event for event in events if isinstance(event, (StepRan, ElementsRan))]
    seen: set[tuple[str, bytes]] = set()
    for event in outcomes:
        seen.add((event.run, event.invocation))
        assert set(origins_of(event)) <= seen
    assert sum(len(origins_of(event)) for event in outcomes) > 5


def origins_of(event: StepRan | ElementsRan) -> list[tuple[str, bytes]]:
    """Whose outputs it reuses."""
    if isinstance(event, ElementsRan):
        return [(run, event.invocation) for _, run in event.reused]
    return [(event.reused_run, event.reused_invocation)] if event.reused_run else []


# Threads.


async def test_def_steps_that_wait_for_a_thread_do_not_start_once_their_run_is_cancelled(home: Any) -> None:
    go_on = threading.Event()

    @step
    def slow(x: int) -> int:
        executed.append(x)
        go_on.wait(BOUND)
        return x

    @pipeline
    def several() -> Any:
        return [slow(n) for n in range(5)]

    async with Runtime(home=home, threads=1, grace=5) as rt:
        run = await rt.start(several())
        while not executed:
            await anyio.sleep(0)
        async with anyio.create_task_group() as group:
            group.start_soon(run.cancel)
            while not run._course.drive._pumps.stopping:  # type: ignore[attr-defined]  # it has begun
                await anyio.sleep(0)
            go_on.set()
        assert run.state == "cancelled"
        assert await sibling(1) == 1
    assert executed == [0, 1]


async def test_columns_are_written_in_time_while_a_last_element_goes_on(rt: Runtime) -> None:
    gate = anyio.Event()

    @step
    async def element(x: int) -> int:
        if x == 3:
            await gate.wait()
        return x

    @pipeline
    def fan() -> Any:
        return element(each(range(4)))

    run = await rt.start(fan())

    async def recorded() -> int:
        found = await rt.stack.log.about(run.id.encode())
        return sum(frame.count for frame in found)

    first = await recorded()
    with anyio.fail_after(BOUND):
        while await recorded() == first:  # the columns, though the run has not a thing to do
            await anyio.sleep(0.01)
    gate.set()
    assert await run == [0, 1, 2, 3]


async def test_wait_is_over_once_whatever_the_awaiter_does(rt: Runtime) -> None:
    """Cancelling a waiter never cancels the step."""
    gate = anyio.Event()

    @step
    async def gated(x: int) -> int:
        await gate.wait()
        executed.append(x)
        return x

    async def wait_for(awaitable: Awaitable[int]) -> None:
        await awaitable

    call = gated(1)
    async with anyio.create_task_group() as group:
        group.start_soon(wait_for, call)
        await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    gate.set()
    assert await call == 1
    assert executed == [1]


async def test_a_fan_out_that_an_element_failed_before_a_crash_fails_when_it_is_resumed(tmp_path: Path) -> None:
    """The crash lies between the frame that names the element and the one that says that the fan-out failed."""

    @step
    async def odd_only(x: int) -> int:
        executed.append(f"odd_only {x}")
        if x % 2 == 0:
            raise ValueError(f"{x} is even")
        return x

    @pipeline
    def odd(numbers: list[int]) -> Any:
        return odd_only(each(numbers))

    async with Runtime(home=tmp_path / "first") as rt:
        run = await rt.start(odd([2, 1, 3]))
        assert await run.wait() == "failed"
        events = [happened.event async for happened in run.events()]
    kept = events[: next(place for place, event in enumerate(events) if isinstance(event, ElementsRan)) + 1]
    assert kept[-1].failed  # type: ignore[union-attr]  # an ElementsRan
    executed.clear()

    async with Runtime(home=tmp_path / "second") as rt:
        log, topic = rt.stack.log, run.id.encode()
        entries = (Entry(RunSpace.OPEN_RUNS, topic, await log.own()),)
        await log.durable(log.queue(Batch(encode(kept), len(kept), entries=entries, topics=(topic,))))
    async with Runtime(home=tmp_path / "second", resume=[odd]) as rt:
        resumed = await rt.run(run.id)
        with pytest.raises(RunFailed) as caught:
            await resumed
    assert str(caught.value.failures[0]) == "2 is even"
    assert not executed
