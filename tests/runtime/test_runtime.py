"""What a run does, as whoever awaits it sees it."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import anyio
import anyio.lowlevel
import pytest

from ashore import (
    File,
    Handle,
    InsideLoop,
    KeyConflict,
    NestedCall,
    NotStarted,
    RunCancelled,
    RunFailed,
    Runtime,
    StepError,
    WrongArgument,
    each,
    pipeline,
    run,
    start,
    step,
)
from ashore.events import Event, StepRan

pytestmark = pytest.mark.anyio


class Calls(list[str]):
    """What was executed. A class of its own: a plain list would be a constant of the steps' code, part of their keys."""


executed = Calls()


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


@step
async def double(x: int) -> int:
    executed.append(f"double {x}")
    return 2 * x


@step
def add(a: int, b: int) -> int:
    executed.append(f"add {a} {b}")
    return a + b


@step
def total(numbers: list[int]) -> int:
    executed.append(f"total {numbers}")
    return sum(numbers)


@step
async def later(x: int) -> int:
    await anyio.lowlevel.checkpoint()
    executed.append(f"later {x}")
    return x


@step
async def broken(x: int) -> int:
    raise ValueError(f"no {x}")


@step
def halves(x: int) -> tuple[int, int]:
    return x // 2, x - x // 2


@step
async def odd_only(x: int) -> int:
    executed.append(f"odd_only {x}")
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


@pipeline
def diamond(x: int) -> Handle[int]:
    left, right = halves(double(x))
    return add(left, right)


@pipeline
def summed(numbers: list[int]) -> Handle[int]:
    return total(double(each(later(each(numbers)))))


async def events_of(runtime: Runtime, run_id: str) -> list[Event]:
    found = await runtime.run(run_id)
    return [happened.event async for happened in found.events()]


async def test_a_pipeline_gives_its_value(rt: Runtime) -> None:
    assert await diamond(5) == 10


async def test_a_result_may_be_any_nesting_of_handles(rt: Runtime) -> None:
    @pipeline
    def nested(x: int) -> Any:
        return {"a": double(x), "b": [add(x, 1), (double(x), x)]}

    assert await nested(3) == {"a": 6, "b": [4, (6, 3)]}


async def test_equal_calls_are_one_invocation(rt: Runtime) -> None:
    @pipeline
    def twice(x: int) -> Handle[int]:
        return add(double(x), double(x))

    assert await twice(4) == 16
    assert executed.count("double 4") == 1


async def test_a_fan_out_keeps_the_order_of_its_elements(rt: Runtime) -> None:
    assert await summed([3, 1, 2]) == 12
    assert "total [6, 2, 4]" in executed


async def test_a_fan_out_over_nothing_is_an_empty_list(rt: Runtime) -> None:
    assert await summed([]) == 0


async def test_failing_elements_are_left_out_where_asked(rt: Runtime) -> None:
    @pipeline
    def odd(numbers: list[int]) -> Handle[int]:
        return total(odd_only(each(numbers, on_error="skip")))

    assert await odd([1, 2, 3, 4]) == 4


async def test_a_failing_element_fails_its_run_otherwise(rt: Runtime) -> None:
    @pipeline
    def odd(numbers: list[int]) -> Handle[int]:
        return total(odd_only(each(numbers)))

    with pytest.raises(RunFailed) as caught:
        await odd([1, 2])
    assert str(caught.value.failures[0]) == "2 is even"
    assert "element 1 (2)" in caught.value.failures[0].__notes__[0]


async def test_side_by_side_and_all_combinations(rt: Runtime) -> None:
    @pipeline
    def pairs() -> Any:
        return add(*each([1, 2], [10, 20])), add(*each.product([1, 2], [10, 20]))

    assert await pairs() == ([11, 22], [11, 21, 12, 22])


async def test_a_failure_fails_its_branch_and_the_others_finish(rt: Runtime) -> None:
    @pipeline
    def half_broken() -> Any:
        return add(broken(1), 2), later(7)

    with pytest.raises(RunFailed) as caught:
        await half_broken()
    (failure,) = caught.value.failures
    assert isinstance(failure, ValueError)
    assert "in step broken(x=1)" in failure.__notes__[0]
    assert executed == ["later 7"]


async def test_a_step_alone_raises_its_own_exception(rt: Runtime) -> None:
    with pytest.raises(ValueError, match="no 3"):
        await broken(3)


async def test_the_traceback_is_the_users(rt: Runtime) -> None:
    with pytest.raises(ValueError, match="no 3") as caught:
        await broken(3)
    frames = [entry.path for entry in caught.traceback]
    assert not [path for path in frames[1:] if "ashore/engine" in str(path) and "runs" not in str(path)]


@pytest.mark.parametrize("raised", [SystemExit(3), GeneratorExit(), asyncio.CancelledError()])
async def test_no_step_can_hurt_the_loop_or_its_siblings(rt: Runtime, raised: BaseException) -> None:
    @step
    async def evil(x: int) -> int:
        raise raised

    @step
    def evil_in_a_thread(x: int) -> int:
        raise raised

    for bad in (evil, evil_in_a_thread):

        @pipeline
        def mixed() -> Any:
            return bad(1), later(2), add(1, 2)  # noqa: B023  # used within this turn of the loop

        with pytest.raises(RunFailed) as caught:
            await mixed()
        (failure,) = caught.value.failures
        assert isinstance(failure, StepError)
        assert type(raised).__name__ in str(failure)
    assert executed.count("later 2") == 2


async def test_a_step_that_swallows_the_end_of_its_task_hurts_nobody(rt: Runtime) -> None:
    @step
    async def suicidal(x: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.lowlevel.checkpoint()
        return x

    @pipeline
    def mixed() -> Any:
        return suicidal(1), later(2)

    with pytest.raises(RunFailed):
        await mixed()
    assert executed == ["later 2"]
    assert await double(4) == 8


async def test_a_context_variable_does_not_leak_into_the_next_step(rt: Runtime) -> None:
    colour: ContextVar[str] = ContextVar("colour", default="none")

    @step
    async def paint(x: int) -> str:
        before = colour.get()
        colour.set(f"red {x}")
        return before

    @pipeline
    def painted() -> Any:
        return [paint(n) for n in range(5)]

    assert await painted() == ["none"] * 5


async def test_a_step_called_inside_a_step_is_refused(rt: Runtime) -> None:
    @step
    async def outer(x: int) -> int:
        return await double(x)

    @step
    def outer_in_a_thread(x: int) -> int:
        double(x)
        return x

    for step_ in (outer, outer_in_a_thread):
        with pytest.raises(NestedCall, match=r"double\.fn"):
            await step_(1)


async def test_sources_run_in_every_run_and_what_follows_is_reused(rt: Runtime) -> None:
    await diamond(5)
    first = list(executed)
    executed.clear()
    second = await rt.start(diamond(5))
    assert await second == 10
    assert first == ["double 5", "add 5 5"]
    assert executed == ["double 5"]
    reused = [event for event in await events_of(rt, second.id) if isinstance(event, StepRan) and event.reused_run]
    assert len(reused) == 2


async def test_an_unchanged_output_stops_the_wave(rt: Runtime) -> None:
    await diamond(5)
    executed.clear()
    assert await diamond(x=5) == 10
    assert "add 5 5" not in executed


async def test_results_are_reused_by_a_later_process(home: Path) -> None:
    async with Runtime(home=home):
        await diamond(5)
    executed.clear()
    async with Runtime(home=home):
        await diamond(5)
    assert executed == ["double 5"]


async def test_files_make_a_step_reusable_by_content(rt: Runtime, tmp_path: Path) -> None:
    @step
    def length(file: File) -> int:
        executed.append("length")
        return len(Path(file.path).read_text())

    @pipeline
    def measured(file: File) -> Handle[int]:
        return length(file)

    path = tmp_path / "a.txt"
    path.write_text("abc")
    assert await measured(File(path)) == 3
    assert await measured(File(path)) == 3
    assert executed == ["length"]
    path.write_text("abcd")
    assert await measured(File(path)) == 4
    assert executed == ["length", "length"]


async def test_values_are_handed_on_as_copies(rt: Runtime) -> None:
    @step
    async def make(x: int) -> list[int]:
        return [x]

    @step
    async def spoil(xs: list[int]) -> int:
        xs.append(99)
        return len(xs)

    @step
    async def look(xs: list[int]) -> list[int]:
        return xs

    @pipeline
    def spoiled(x: int) -> Any:
        made = make(x)
        return spoil(made), look(made)

    assert await spoiled(1) == (2, [1])


async def test_a_large_value_is_a_blob_and_comes_back(rt: Runtime) -> None:
    @step
    async def large(x: int) -> bytes:
        return bytes(200_000 + x)

    @step
    def size(data: bytes) -> int:
        return len(data)

    @pipeline
    def sized(x: int) -> Any:
        made = large(x)
        return size(made), made

    count, data = await sized(1)
    assert (count, len(data)) == (200_001, 200_001)
    assert await sized(1) == (count, data)


async def test_a_start_key_means_one_run(rt: Runtime, home: Path) -> None:
    first = await rt.start(diamond(5), key="five")
    again = await rt.start(diamond(5), key="five")
    assert (first.id, await first) == (again.id, await again)
    with pytest.raises(KeyConflict, match="x=6"):
        await rt.start(diamond(6), key="five")
    async with Runtime(home=home) as other:
        elsewhere = await other.start(diamond(5), key="five")
        assert (elsewhere.id, await elsewhere) == (first.id, 10)
    assert executed.count("double 5") == 1


async def test_equal_starts_at_once_are_one_run(rt: Runtime) -> None:
    runs = await asyncio.gather(*(rt.start(diamond(7), key="seven") for _ in range(20)))
    assert len({each_run.id for each_run in runs}) == 1
    assert await asyncio.gather(*runs) == [14] * 20
    assert executed.count("double 7") == 1


async def test_cancelling_ends_a_run_and_leaves_the_rest(rt: Runtime) -> None:
    began = anyio.Event()

    @step
    async def forever(x: int) -> int:
        began.set()
        await anyio.sleep_forever()
        return x

    @pipeline
    def stuck() -> Handle[int]:
        return double(forever(1))

    stuck_run = await rt.start(stuck())
    await began.wait()
    await stuck_run.cancel()
    assert stuck_run.state == "cancelled"
    with pytest.raises(RunCancelled):
        await stuck_run
    assert await double(2) == 4


async def test_leaving_by_an_error_leaves_the_run_to_be_resumed(home: Path) -> None:
    began, go_on = anyio.Event(), anyio.Event()

    @step
    async def waits(x: int) -> int:
        began.set()
        await go_on.wait()
        executed.append("waits")
        return x

    @pipeline
    def waiting(x: int) -> Handle[int]:
        return add(waits(x), later(5))

    async def leave() -> str:
        async with Runtime(home=home) as rt:
            left = await rt.start(waiting(1))
            await began.wait()
            while "later 5" not in executed:
                await anyio.lowlevel.checkpoint()
            raise KeyError(left.id)

    with pytest.raises(KeyError) as caught:
        await leave()
    assert executed == ["later 5"]
    go_on.set()
    async with Runtime(home=home, resume=[waiting]) as rt:
        (resumed,) = rt.open_runs(waiting)
        assert resumed.id == caught.value.args[0]
        assert await resumed == 6
    assert executed == ["later 5", "waits", "add 1 5"]


async def test_awaiting_without_a_runtime_uses_one_of_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "other"))
    assert await diamond(1) == 2
    started = await start(diamond(2), key="k")
    assert await started == 4
    assert (tmp_path / "other" / "format.json").exists()


def test_run_is_the_synchronous_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "other"))
    assert run(diamond(3)) == 6


@pytest.mark.parametrize(("given", "says"), [(3, "not a value of type int"), (diamond, "not the pipeline diamond")])
def test_what_cannot_be_run_is_refused_saying_what_can(given: Any, says: str) -> None:
    with pytest.raises(WrongArgument, match=f"takes a call of a step or of a pipeline, {says}"):
        run(given)


async def test_run_inside_a_loop_is_one_error_and_no_warning_besides() -> None:
    with catch_warnings(record=True) as warned:
        simplefilter("always")
        with pytest.raises(InsideLoop, match="await"):
            run(diamond(3))
        gc.collect()
    assert [str(one.message) for one in warned if issubclass(one.category, NotStarted)] == []
