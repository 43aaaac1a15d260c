"""Steps that act on the world: nobody is charged twice, and where nobody can know, the run rests until somebody says."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ashore import Done, NotFound, Retry, Run, RunCancelled, RunFailed, RunHeld, Runtime, StepTimeout, each, pipeline, step
from ashore.events import AttemptFailed, EffectAnswered, Event, Held, RunEnded, StepRan, StepStarted

pytestmark = pytest.mark.anyio

BOUND = 30.0
"""Seconds in which whatever is tried here is over, or hangs."""


class Left(Exception):
    """A runtime's block is left by it: its runs stay as they are, as after a crash."""


class Outside:
    """The world outside, which remembers."""

    def __init__(self) -> None:
        self.charged: list[Any] = []
        self.keys: list[str] = []
        self.gate = anyio.Event()
        self.hangs = True
        self.others: list[int] = []
        self.says: Any = None


class World:
    now: Outside


world = World()


@pytest.fixture(autouse=True)
def outside() -> Outside:
    world.now = Outside()
    return world.now


@step(effects=True)
async def charge(order: int) -> str:
    outside = world.now
    outside.charged.append(order)
    if outside.hangs:
        await outside.gate.wait()
    return f"receipt {order}"


@step
async def note(receipt: str) -> str:
    world.now.others.append(1)
    return f"noted {receipt}"


@step
async def other(x: int) -> int:
    world.now.others.append(x)
    return x


@pipeline
def pay(order: int) -> Any:
    return note(charge(order)), other(5)


@pytest.fixture
async def rt(home: Path) -> AsyncIterator[Runtime]:
    async with Runtime(home=home, grace=0.05) as opened:
        yield opened


async def crashed(home: Path, call: Any, outside: Outside, count: int = 1) -> str:
    """Start a run and have its process die while the effect is under way; its id."""
    run: Run[Any] | None = None
    with anyio.fail_after(BOUND), suppress(Left):
        async with Runtime(home=home, grace=0.05) as first:
            run = await first.start(call, key="k")
            while len(outside.charged) < count:
                await anyio.sleep(0.001)
            raise Left
    assert run is not None
    outside.hangs = False
    outside.others.clear()
    return run.id


async def events_of(run: Run[Any], *kinds: type[Event]) -> list[Any]:
    return [happened.event async for happened in run.events() if isinstance(happened.event, kinds)]


async def test_an_effect_is_done_once_and_its_start_is_durable_before(rt: Runtime, outside: Outside) -> None:
    durable: list[bool] = []

    @step(effects=True)
    async def send(x: int) -> int:
        (frame,) = [frame for frame in await rt.stack.log.about(rt.running()[0].id.encode()) if b"" in frame.batch.body][-1:]
        durable.append(rt.stack.log.durable_position >= frame.last)
        outside.charged.append(x)
        return x

    run = await rt.start(send(3))
    assert await run == 3
    assert await run == 3
    assert await send(3) == 3
    assert outside.charged == [3, 3], "a run of its own does it again: effects are never cached"
    assert durable == [True, True]
    assert [type(event).__name__ for event in await events_of(run, StepStarted, StepRan)] == ["StepStarted", "StepRan"]


async def test_what_nobody_knows_holds_the_run_and_nothing_executes(home: Path, outside: Outside) -> None:
    run_id = await crashed(home, pay(7), outside)
    async with Runtime(home=home, resume=[pay]) as second:
        run = await second.start(pay(7), key="k")
        assert run.id == run_id
        assert await run.wait() == run.state == "held"
        with pytest.raises(RunHeld, match=r"charge began \(attempt 1\), and nobody knows.*ashore resume .* --done VALUE.*--again"):
            await run
        assert isinstance(run.error, RunHeld)
        assert [event.attempt for event in await events_of(run, Held)] == [1]
    assert outside.charged == [7]
    assert outside.others == []
    async with Runtime(home=home, resume=[pay]) as third:  # it is not taken over by itself
        assert third.adopted(pay) == []
        again = await third.run(run_id)
        assert again.state == "held"
        with anyio.fail_after(BOUND), pytest.raises(RunHeld):
            await again
    assert outside.charged == [7]


async def test_done_says_what_it_gave(home: Path, outside: Outside) -> None:
    run_id = await crashed(home, pay(7), outside)
    async with Runtime(home=home, resume=[pay]) as second:
        await (await second.run(run_id)).wait()
        with pytest.raises(NotFound, match=r"nothing of run .* waits"):
            await second.resume(pay, run_id, done="receipt x", step="note")
        run = await second.resume(pay, run_id, done="receipt by hand")
        assert await run == ("noted receipt by hand", 5)
        with pytest.raises(NotFound):
            await second.resume(pay, run_id, done="receipt by hand")
        assert [type(event) for event in await events_of(run, Held, EffectAnswered)] == [Held, EffectAnswered]
        assert (await second.run(run_id)).state == "done"
    assert outside.charged == [7]


async def test_again_does_it_again(home: Path, outside: Outside) -> None:
    run_id = await crashed(home, pay(7), outside)
    async with Runtime(home=home, resume=[pay]) as second:
        await (await second.run(run_id)).wait()
        run = await second.resume(pay, run_id, again=True)
        assert await run == ("noted receipt 7", 5)
        story = await events_of(run, StepStarted, AttemptFailed)
        assert [event.attempt for event in story] == [1, 1, 2]
        assert "StepLost" in story[1].failure.classes[0]
    assert outside.charged == [7, 7]


async def test_a_result_that_does_not_fit_holds_the_run_again(home: Path, outside: Outside) -> None:
    run_id = await crashed(home, pay(7), outside)
    async with Runtime(home=home, resume=[pay]) as second:
        await (await second.run(run_id)).wait()
        run = await second.resume(pay, run_id, done=3.5)
        with pytest.raises(RunHeld, match="annotated to return str, but returned float"):
            await run
        assert await (await second.resume(pay, run_id, done="receipt")) == ("noted receipt", 5)
    assert outside.charged == [7]


async def test_a_held_run_can_be_cancelled(home: Path, outside: Outside) -> None:
    run_id = await crashed(home, pay(7), outside)
    async with Runtime(home=home, resume=[pay]) as second:
        await (await second.run(run_id)).wait()
    async with Runtime(home=home) as third:
        run = await third.run(run_id)
        await run.cancel()
        with anyio.fail_after(BOUND), pytest.raises(RunCancelled):
            await (await third.run(run_id))
        assert [event.state for event in await events_of(run, RunEnded)] == ["cancelled"]
    assert outside.charged == [7]


# A check that can find out.


def paid(order: int, key: str) -> Done | None:
    outside = world.now
    outside.keys.append(key)
    if isinstance(outside.says, Exception):
        raise outside.says
    return outside.says  # type: ignore[no-any-return]


@step(effects=True, check=paid)
async def checked(order: int) -> str:
    return await charge.fn(order)


@pipeline
def pay_checked(order: int) -> Any:
    return note(checked(order))


async def test_a_check_finds_that_it_has_happened(home: Path, outside: Outside) -> None:
    await crashed(home, pay_checked(7), outside)
    outside.says = Done("receipt from there")
    async with Runtime(home=home, resume=[pay_checked]) as second:
        assert await (await second.start(pay_checked(7), key="k")) == "noted receipt from there"
    assert outside.charged == [7]
    assert len(outside.keys) == 1


async def test_a_check_finds_that_it_has_not(home: Path, outside: Outside) -> None:
    await crashed(home, pay_checked(7), outside)
    async with Runtime(home=home, resume=[pay_checked]) as second:
        assert await (await second.start(pay_checked(7), key="k")) == "noted receipt 7"
    assert outside.charged == [7, 7]


@pytest.mark.parametrize(("said", "told"), [(ConnectionError("no line"), "no line"), ("yes", "it returned str")])
async def test_a_check_that_cannot_say_holds_the_run_until_it_can(home: Path, outside: Outside, said: Any, told: str) -> None:
    run_id = await crashed(home, pay_checked(7), outside)
    outside.says = said
    async with Runtime(home=home, resume=[pay_checked]) as second:
        run = await second.start(pay_checked(7), key="k")
        with pytest.raises(RunHeld, match=f"paid, which could say so.*{told}"):
            await run
        outside.says = Done("receipt from there")
        assert await (await second.resume(pay_checked, run_id)) == "noted receipt from there"
    assert outside.charged == [7]
    assert len(set(outside.keys)) == 1, "the key is the same over attempts and restarts"


async def test_on_lost_retry_does_it_again(home: Path, outside: Outside) -> None:
    @step(effects=True, on_lost="retry")
    async def idempotent(order: int) -> str:
        return await charge.fn(order)

    await crashed(home, idempotent(7), outside)
    async with Runtime(home=home) as second:
        assert await (await second.start(idempotent(7), key="k")) == "receipt 7"
    assert outside.charged == [7, 7]


# While it runs.


async def test_the_end_of_its_time_leaves_it_unknown(rt: Runtime, outside: Outside) -> None:
    run = await rt.start(charge.options(timeout="20ms", retry=3)(7))
    with anyio.fail_after(BOUND), pytest.raises(RunHeld):
        await run
    outside.hangs = False
    assert outside.charged == [7]
    assert await (await rt.resume(charge, run, done="receipt")) == "receipt"


async def test_the_end_of_its_time_may_be_looked_into(rt: Runtime, outside: Outside) -> None:
    outside.says = Done("receipt from there")
    assert await checked.options(timeout="20ms")(7) == "receipt from there"
    outside.says = None
    with pytest.raises(StepTimeout):
        await checked.options(timeout="20ms")(8)
    assert outside.charged == [7, 8]


async def test_its_own_exception_is_a_known_outcome_and_may_be_tried_again(rt: Runtime, outside: Outside) -> None:
    @step(effects=True, retry=Retry(2, wait=0))
    async def refusing(order: int) -> str:
        outside.charged.append(order)
        if len(outside.charged) < 3:
            raise ConnectionRefusedError("closed")
        return "receipt"

    assert await refusing(7) == "receipt"
    assert outside.charged == [7, 7, 7]


async def test_what_has_happened_is_not_done_again_because_its_result_is_wrong(rt: Runtime, outside: Outside) -> None:
    @step(effects=True, retry=Retry(2, wait=0))
    async def wrong(order: int) -> str:
        outside.charged.append(order)
        result: Any = order
        return result  # type: ignore[no-any-return]

    with pytest.raises(Exception, match="annotated to return str"):
        await wrong(7)
    assert outside.charged == [7]


async def test_cancelling_waits_for_it(rt: Runtime, outside: Outside) -> None:
    run = await rt.start(pay(7))
    with anyio.fail_after(BOUND):
        while not outside.charged:
            await anyio.lowlevel.checkpoint()
        async with anyio.create_task_group() as group:
            group.start_soon(run.cancel)
            await anyio.wait_all_tasks_blocked()
            assert run.state == "running"
            outside.gate.set()
    assert run.state == "cancelled"
    assert len(await events_of(run, StepRan)) >= 1
    assert "receipt 7" in str(await events_of(run, StepRan))


async def test_elements_of_a_fan_out_are_each_known_or_not(home: Path, outside: Outside) -> None:
    @step(effects=True)
    async def send(x: int) -> int:
        outside.charged.append(x)
        if x == 2 and outside.hangs:
            await outside.gate.wait()
        return x * 10

    @pipeline
    def sent() -> Any:
        return send(each([0, 1, 2, 3]))

    run_id = await crashed(home, sent(), outside, 4)
    async with Runtime(home=home) as second:
        run = await second.start(sent(), key="k")
        with pytest.raises(RunHeld, match=r"send\[2\] began"):
            await run
        assert await (await second.resume(sent, run_id, done=20)) == [0, 10, 20, 30]
    assert sorted(outside.charged) == [0, 1, 2, 3]


async def test_it_holds_a_body_that_decides_while_it_runs(home: Path, outside: Outside) -> None:
    @pipeline
    async def buying(order: int) -> str:
        receipt = await charge(order)
        return await note(receipt)

    run_id = await crashed(home, buying(7), outside)
    async with Runtime(home=home) as second:
        run = await second.start(buying(7), key="k")
        with anyio.fail_after(BOUND), pytest.raises(RunHeld):
            await run
        with anyio.fail_after(BOUND):
            assert await (await second.resume(buying, run_id, done="receipt by hand")) == "noted receipt by hand"
    assert outside.charged == [7]


async def test_a_failed_sibling_does_not_stop_it(rt: Runtime, outside: Outside) -> None:
    @step
    async def failing(x: int) -> int:
        raise ValueError("no")

    @pipeline
    def both() -> Any:
        return charge(7), failing(1)

    run = await rt.start(both())
    with anyio.fail_after(BOUND):
        while not outside.charged:
            await anyio.lowlevel.checkpoint()
        outside.gate.set()
        with pytest.raises(RunFailed):
            await run
    assert len(await events_of(run, StepRan)) == 1


# In a process of its own.


@step(effects=True, process=True)
def dying(path: str) -> str:
    with Path(path).open("a") as file:
        file.write("charged ")
    os._exit(3)


async def test_a_worker_that_dies_leaves_it_unknown(rt: Runtime, tmp_path: Path) -> None:
    run = await rt.start(dying(str(tmp_path / "charged")))
    with anyio.fail_after(2 * BOUND), pytest.raises(RunHeld, match="dying began"):
        await run
    assert (tmp_path / "charged").read_text() == "charged "
    assert await (await rt.resume(dying, run, done="receipt")) == "receipt"
    assert (tmp_path / "charged").read_text() == "charged "


@step(effects=True, timeout="300ms")
def hanging(path: str) -> str:
    with Path(path).open("a") as file:
        file.write("charged ")
    while True:
        time.sleep(0.01)


async def test_a_hanging_worker_is_ended_and_leaves_it_unknown(rt: Runtime, tmp_path: Path) -> None:
    run = await rt.start(hanging(str(tmp_path / "charged")))
    with anyio.fail_after(2 * BOUND), pytest.raises(RunHeld, match="hanging began"):
        await run
    assert (tmp_path / "charged").read_text() == "charged "
