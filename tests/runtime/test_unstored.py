"""`@step(store=False)`: what it makes is handed on in memory, and made again where it is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from ashore import GraphError, Handle, MaterializeError, RunFailed, Runtime, each, pipeline, step
from ashore.events import UNSTORED, StepRan
from ashore.testing import MemoryStack, Recorder, assert_resumes
from ashore.testing.lives import Crash
from ashore.testing.resuming import _Trial

pytestmark = pytest.mark.anyio


class Done(list[str]):
    """What was done. A class of its own: a plain list would be part of the code of the steps that write to it."""


done = Done()


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


class Session:
    """What has no stored form."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows


@step
def numbers(n: int) -> list[int]:
    done.append("numbers")
    return list(range(n))


@step(store=False)
def opened(rows: list[int]) -> Session:
    done.append("opened")
    return Session(rows)


@step(store=False)
async def doubled(session: Session) -> Session:
    done.append("doubled")
    await anyio.lowlevel.checkpoint()
    return Session([2 * row for row in session.rows])


@step(store=False)
def halves(session: Session) -> tuple[Session, Session]:
    done.append("halves")
    middle = len(session.rows) // 2
    return Session(session.rows[:middle]), Session(session.rows[middle:])


@step
def total(session: Session) -> int:
    done.append("total")
    return sum(session.rows)


@pipeline
def sums(n: int) -> dict[str, Handle[int]]:
    session = opened(numbers(n))
    first, second = halves(doubled(session))
    return {"all": total(session), "first": total(first), "second": total(second)}


@pipeline
async def by_body(n: int) -> int:
    session = await doubled(opened(numbers(n)))
    return sum(session.rows) + await total(opened(numbers(n)))


async def test_values_without_a_stored_form_are_handed_on() -> None:
    async with Runtime(MemoryStack()) as rt:
        events = Recorder(rt)
        assert await (await rt.start(sums(4))) == {"all": 6, "first": 2, "second": 10}
        made = await events.of(StepRan, step="halves")
        assert [(output.format, output.size, output.data) for output in made[0].outputs] == [(UNSTORED, 0, None)] * 2
        assert sorted(done) == ["doubled", "halves", "numbers", "opened", "total", "total", "total"]


async def test_consumers_get_the_value_itself() -> None:
    got: list[Session] = []

    @step
    def look(session: Session, place: int) -> int:
        got.append(session)
        return place

    @pipeline
    def two(n: int) -> list[Handle[int]]:
        session = opened(numbers(n))
        return [look(session, 0), look(session, 1)]

    async with Runtime(MemoryStack()) as rt:
        await (await rt.start(two(1)))
    assert got[0] is got[1]


async def test_it_is_named_by_its_recipe_so_that_later_steps_are_reused_over_runs() -> None:
    stack = MemoryStack()
    for _ in range(2):
        async with Runtime(stack) as rt:
            await (await rt.start(sums(4)))
    assert done.count("total") == 3
    assert done.count("opened") == 2  # it is not stored: each run makes it
    async with Runtime(stack) as rt:
        await (await rt.start(sums(5)))
    assert done.count("total") == 6


async def test_what_a_source_hands_on_is_equal_within_its_run_only() -> None:
    """Nobody knows whether it is still the same: nothing made of it is reused by the next run."""
    state = [1]

    @step(store=False)
    def reading(name: str) -> Session:
        return Session(list(state))

    @pipeline
    def read(name: str) -> Handle[int]:
        return total(reading(name))

    stack = MemoryStack()
    async with Runtime(stack) as rt:
        assert await (await rt.start(read("a"))) == 1
        state.append(5)
        assert await (await rt.start(read("a"))) == 6
    assert done.count("total") == 2


async def test_a_body_may_await_it() -> None:
    async with Runtime(MemoryStack()) as rt:
        assert await (await rt.start(by_body(4))) == 12 + 6


def test_a_resumed_run_makes_again_what_it_needs_and_no_more() -> None:
    proof = assert_resumes(sums(4), schedules=1)
    assert proof.value == {"all": 6, "first": 2, "second": 10}
    assert assert_resumes(by_body(4), schedules=1).value == 18
    trial = _Trial(sums(4), None, None, None, {})
    trial._call.claim()
    whole = trial.whole(1)
    last = max(place for place, event in enumerate(whole.log) if isinstance(event, StepRan))
    done.clear()
    history = trial.resumed(1, Crash(last))  # only one of the totals is left to be done
    assert history.end.value == {"all": 6, "first": 2, "second": 10}
    assert done.count("numbers") == 1  # that one is stored
    assert done.count("total") in (3, 4)  # the last one may have been done, but not recorded
    assert done.count("opened") == 2
    assert done.count("halves") <= 2
    done.clear()
    trial.resumed(1, Crash(whole.events))  # nothing is left to be done
    assert done.count("opened") == done.count("doubled") == done.count("halves") == 1


async def test_what_making_it_again_raises_fails_whoever_needs_it(home: Path) -> None:
    stack, calls = MemoryStack(), Done()

    @step(store=False)
    def once(n: int) -> Session:
        calls.append("once")
        if len(calls) > 1:
            raise OSError("gone")
        return Session([n])

    @pipeline
    def wired(n: int) -> list[Handle[int]]:
        session = once(n)
        return [total(session), waits(session)]

    ready = anyio.Event()

    @step
    async def waits(session: Session) -> int:
        if not ready.is_set():
            ready.set()
            await anyio.sleep_forever()
        return session.rows[0]

    with pytest.raises(ZeroDivisionError):
        await _left(stack, wired(1), ready)
    done.clear()
    async with Runtime(stack) as rt:
        run = await rt.start(wired(1), key="k")
        with pytest.raises(RunFailed) as caught:
            await run
    assert [type(error) for error in caught.value.failures] == [OSError]
    assert any("once was called again" in note for note in caught.value.failures[0].__notes__)


async def _left(stack: MemoryStack, call: Handle[Any], ready: anyio.Event) -> None:
    async with Runtime(stack, grace=0.1) as rt:
        await rt.start(call, key="k")
        await ready.wait()
        raise ZeroDivisionError


async def test_what_is_not_needed_any_more_is_let_go() -> None:
    async with Runtime(MemoryStack()) as rt:
        run = await rt.start(sums(4))
        await run
        assert run._course.drive.unstored._values == {}  # type: ignore[attr-defined]


async def test_it_cannot_be_the_result_nor_be_loaded_from_the_record() -> None:
    @pipeline
    def gives(n: int) -> Handle[Session]:
        return opened(numbers(n))

    @pipeline
    async def gives_too(n: int) -> Handle[Session]:
        return opened(numbers(n))

    stack = MemoryStack()
    async with Runtime(stack) as rt:
        for call in (gives(1), opened([1])):
            with pytest.raises(GraphError, match="only handed on"):
                await rt.start(call)
        with pytest.raises(RunFailed) as caught:
            await (await rt.start(gives_too(1)))
        assert "only handed on" in str(caught.value.failures[0])
        await (await rt.start(sums(2)))
        async with stack.catalogue() as cat:
            past = await cat.runs(sums).last()
            with pytest.raises(MaterializeError, match="not stored"):
                await past[opened].out.load()
            assert await past[numbers].out.load() == [0, 1]


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(GraphError, match="acts on the world"):

        @step(store=False, effects=True)
        def charge(n: int) -> int:
            return n

    with pytest.raises(GraphError, match="process of its own"):

        @step(store=False, timeout="3s")
        def timed(n: int) -> int:
            return n

    with pytest.raises(GraphError, match="neither True nor False"):

        @step(store="yes")  # type: ignore[call-overload,untyped-decorator]
        def odd(n: int) -> int:
            return n


# Elements of fan-outs.


@step
def all_of(sessions: list[Session]) -> int:
    return sum(sum(session.rows) for session in sessions)


@step
def rows_of(session: Session) -> int:
    done.append("rows_of")
    return len(session.rows)


@step
def listed(lists: list[list[int]]) -> list[list[int]]:
    return lists


@pipeline
def staged(lists: list[list[int]]) -> dict[str, Handle[Any]]:
    sessions = doubled(each(opened(each(listed(lists)))))
    first, _ = halves(each(sessions))
    return {"sum": all_of(sessions), "rows": rows_of(each(first)), "again": all_of(first)}


LISTS = [[1, 2], [3, 4], [5, 6, 7, 8]]


async def test_elements_are_handed_on_as_they_come() -> None:
    stack = MemoryStack()
    for times in (1, 2):
        async with Runtime(stack) as rt:
            run = await rt.start(staged(LISTS))
            assert await run == {"sum": 72, "rows": [1, 1, 2], "again": 2 + 6 + 22}
        assert done.count("opened") == 3 * times
        assert done.count("rows_of") == 3  # by their recipes, they were made before
        assert run._course.drive.unstored._values == {}  # type: ignore[attr-defined]
    async with Runtime(stack) as rt:
        await (await rt.start(staged([[1, 2], [9, 9], [5, 6, 7, 8]])))
    assert done.count("rows_of") == 4


def test_elements_are_made_again_where_they_are_missing() -> None:
    assert assert_resumes(staged(LISTS), schedules=1).value == {"sum": 72, "rows": [1, 1, 2], "again": 30}
