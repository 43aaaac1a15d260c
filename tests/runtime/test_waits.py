"""Waits for time and for people: they last through restarts and jumps of the clock, and end once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.scenarios.live_world import events_of

import ashore
from ashore import (
    AmbiguousCall,
    AnsweredAlready,
    File,
    GraphError,
    NotFound,
    Run,
    RunFailed,
    Runtime,
    WrongArgument,
    approval,
    arrival,
    new,
    pipeline,
    sleep,
    step,
    until,
    within,
)
from ashore.answers import questions_in
from ashore.events import Answered, StepRan, StepStarted
from ashore.home import open_home
from ashore.stack import Stack
from ashore_stores.artifacts.memory import MemoryArtifactStore
from ashore_stores.logs.memory import MemoryEventLog, MemoryHome
from ashore_stores.testing.loop import current_loop, simulate
from ashore_stores.testing.world import sim_ports

pytestmark = pytest.mark.anyio
DAY = 86_400.0


@step
async def one(n: int) -> int:
    return n


@pipeline
async def asks(patience: str | None = None) -> str:
    said = await approval("deploy?", timeout=patience)
    return f"{said} {await one(1)}"


@pipeline
async def asks_twice() -> list[bool]:
    first, second = approval("first?"), approval("second?")
    return [await first, await second]


@pipeline
async def sleeps() -> int:
    await sleep("1d")
    return await one(1)


class Left(Exception):
    """A runtime is left though its runs have not ended."""


@step
def content(file: File) -> str:
    return Path(file.path).read_text(encoding="utf-8")


@pipeline
async def two_files() -> list[str]:
    first, second = arrival("inbox/*.txt"), arrival(new("inbox/*.txt"))
    return [await content(first), await content(await second)]


async def test_files_are_waited_for_in_the_middle_of_a_run_and_through_a_restart(home: Path) -> None:
    (home.parent / "inbox").mkdir()
    with suppress(Left):
        async with Runtime(home=home) as rt:
            run = await rt.start(two_files())
            await question_of(run)
            (home.parent / "inbox" / "a.txt").write_text("one", encoding="utf-8")
            async for happened in run.events():
                if isinstance(happened.event, StepRan):
                    raise Left
    (home.parent / "inbox" / "b.txt").write_text("two", encoding="utf-8")
    async with Runtime(home=home, resume=[two_files]) as heir:
        assert await heir.adopted(two_files)[0] == ["one", "two"]


@pipeline
async def badly_named() -> File:
    return await arrival("in*box/*.txt")


async def test_a_folder_that_cannot_be_watched_fails_the_wait(rt: Runtime) -> None:
    with pytest.raises(RunFailed) as caught:
        await badly_named()
    assert "wildcard in its folder" in str(caught.value.failures[0])


async def question_of(run: Run[Any]) -> None:
    """Wait until the run asks."""
    async for happened in run.events():
        if isinstance(happened.event, StepStarted):
            return


@pytest.mark.parametrize(("deny", "answer"), [(False, "True 1"), (True, "False 1")])
async def test_somebody_answers(rt: Runtime, deny: bool, answer: str) -> None:
    run = await rt.start(asks())
    await question_of(run)
    assert await run.approve(deny=deny) == "deploy?"
    assert await run == answer


async def test_nobody_answers_in_time(rt: Runtime) -> None:
    run = await rt.start(asks("10ms"))
    assert await run == "False 1"
    with pytest.raises(NotFound, match="waits for no answer"):
        await run.approve()
    assert [happened.event.is_late async for happened in run.events() if isinstance(happened.event, Answered)] == [True]


async def test_the_first_answer_holds(rt: Runtime) -> None:
    run = await rt.start(asks_twice())
    await question_of(run)
    with pytest.raises(NotFound, match=r"several answers.*'first\?', 'second\?'"):
        await run.approve()
    assert await run.approve("first?") == "first?"
    with pytest.raises((AnsweredAlready, NotFound)):
        await run.approve("first?", deny=True)
    with pytest.raises(NotFound, match="does not ask 'third"):
        await run.approve("third?")
    await run.approve("second?", deny=True)
    assert await run == [True, False]


async def test_an_answer_comes_from_another_process_while_nobody_drives_the_run(home: Path) -> None:
    with suppress(Left):
        async with Runtime(home=home) as rt:
            run = await rt.start(asks())
            await question_of(run)
            raise Left
    async with Runtime(home=home) as other:
        assert await (await other.run(run.id)).approve() == "deploy?"
    async with Runtime(home=home, resume=[asks]) as heir:
        assert await (await heir.run(run.id)) == "True 1"


def in_a_life(home: MemoryHome, seed: int, main: Callable[[Runtime], Any], **options: Any) -> Any:
    async def life() -> Any:
        ports = sim_ports(seed)
        place = await ports.workers.run(lambda: open_home(ports, "/home", create=True))
        async with Runtime(Stack(place, ports, MemoryEventLog(ports, home), MemoryArtifactStore()), **options) as rt:
            return await main(rt)

    return simulate(life, seed)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_sleep_lasts_through_a_restart() -> None:
    home = MemoryHome()

    async def half(rt: Runtime) -> None:
        run = await rt.start(sleeps())
        await anyio.sleep(DAY / 2)
        assert run.state == "running"
        raise Left

    async def rest(rt: Runtime) -> float:
        before = current_loop().time()
        assert await rt.adopted(sleeps)[0] == 1
        return current_loop().time() - before

    with suppress(Left):
        in_a_life(home, 1, half)
    home.alive.clear()
    # the clock of the second life stands where that of the first began: it has been set back, and the sleep is no longer for that
    assert in_a_life(home, 2, rest, resume=[sleeps]) == pytest.approx(DAY, abs=120)


def test_ten_thousand_runs_sleep_and_none_of_them_is_busy() -> None:
    async def main(rt: Runtime) -> int:
        runs = [await rt.start_soon(sleeps()) for _ in range(200)]
        await anyio.sleep(10)
        turns = current_loop().turns
        await anyio.sleep(600)
        assert current_loop().turns - turns < 200 * 10 * 4  # each looks at the clock once a minute
        assert [await run for run in runs] == [1] * 200
        return len(runs)

    assert in_a_life(MemoryHome(), 3, main) == 200


async def test_what_cannot_be_waited_for(rt: Runtime) -> None:
    with pytest.raises(WrongArgument, match="time zone"):
        until(datetime(2030, 1, 1))  # noqa: DTZ001  # that is the point
    with pytest.raises(GraphError, match="no length of time"):
        sleep("soon")
    with pytest.raises(GraphError, match=r"outside the body.*datetime.now"):
        ashore.now()
    with pytest.raises(GraphError, match="outside the body"):
        await within("1s", one(1))


@pipeline
async def ambiguous() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(pause)
        group.start_soon(pause)


async def pause() -> None:
    await sleep("1ms")


async def test_equal_waits_of_two_tasks_are_told_apart_by_strands(rt: Runtime) -> None:
    with pytest.raises(RunFailed) as caught:
        await ambiguous()
    (error,) = caught.value.failures
    assert isinstance(error, AmbiguousCall)
    assert "two tasks" in str(error)
    assert "with ashore.strand(name)" in str(error)


async def test_alone_a_wait_is_a_run_of_its_own(rt: Runtime) -> None:
    await sleep("1ms")
    await until(datetime.now(UTC))


def test_questions_that_are_open() -> None:
    home = MemoryHome()

    async def main(rt: Runtime) -> list[str]:
        run = await rt.start(asks_twice())
        await anyio.sleep(1)
        open_ones = [question.text for question in questions_in(events_of(home.frames, run.id))]
        await run.cancel()
        assert questions_in(events_of(home.frames, run.id)) == []
        return open_ones

    assert in_a_life(home, 4, main) == ["first?", "second?"]
