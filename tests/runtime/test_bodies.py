"""Bodies in a real runtime: what comes back, and what fails a run."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from tests.runtime.bodies import Halves, Point, asked, fails, failures_of, halves, inc, number, point

from ashore import Handle, RunFailed, Runtime, pipeline, step

pytestmark = pytest.mark.anyio

# --- results ---


@pipeline
async def shapes() -> Any:
    return {"list": [number(1), (number(2), "two")], "deep": {"deeper": [{"n": inc(number(2))}]}, "plain": None}


@pipeline
async def outputs() -> Any:
    both = halves(5)
    low, high = halves(7)
    return both, both.low, [low, high], await both.high


@pipeline
async def nothing() -> None:
    await number(1)


@pipeline
async def dataclasses() -> Any:
    return [await point(1, 2), point(3, 4), Point(5, 6)]


@pipeline
async def outer_of_shapes() -> Any:
    inner = shapes()
    return inner, await shapes(), outputs(), nothing(), dataclasses()


SHAPES = {"list": [1, (2, "two")], "deep": {"deeper": [{"n": 3}]}, "plain": None}
OUTPUTS = (Halves(2, 3), 2, [3, 4], 3)
POINTS = [Point(1, 2), Point(3, 4), Point(5, 6)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (shapes, SHAPES),
        (outputs, OUTPUTS),
        (nothing, None),
        (dataclasses, POINTS),
        (outer_of_shapes, (SHAPES, SHAPES, OUTPUTS, None, POINTS)),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
async def test_a_result_of_any_shape_is_the_same_at_once_and_from_the_log(rt: Runtime, home: Any, body: Any, expected: Any) -> None:
    run = await rt.start(body())
    assert await run == expected
    async with Runtime(home=home) as other:
        assert await (await other.run(run.id)) == expected


@step
async def frame(n: int) -> Any:
    return pytest.importorskip("pandas").DataFrame({"n": list(range(n))})


@pipeline
async def frames() -> Any:
    whole = await frame(3)
    return {"awaited": whole, "handle": frame(4), "made": whole[whole["n"] > 0]}


@pipeline
async def outer_of_frames() -> Any:
    found = await frames()
    return found["made"]


async def test_data_frames_pass_through_bodies_and_come_back(rt: Runtime) -> None:
    pytest.importorskip("pandas")
    value = await rt.start(frames())
    result = await value
    assert [len(result[name]) for name in ("awaited", "handle", "made")] == [3, 4, 2]
    run = await rt.start(outer_of_frames())
    assert list((await run)["n"]) == [1, 2]


@pipeline
async def of_a_class_without_a_form() -> Any:
    class Mine:
        pass

    return Mine()


async def test_a_result_that_cannot_be_stored_fails_the_run_and_is_not_thrown_away(rt: Runtime) -> None:
    run = await rt.start(of_a_class_without_a_form())
    with pytest.raises(RunFailed) as failed:
        await run
    (error,) = failed.value.failures
    assert "of_a_class_without_a_form" in str(error)
    assert type(error.value).__name__ == "Mine"  # type: ignore[attr-defined]


# --- failures ---


@pipeline
async def sees_itself() -> Any:
    try:
        await fails(3)
    except ValueError as error:
        return str(error), any("in step fails(n=3" in note for note in error.__notes__)


async def test_a_steps_exception_arrives_as_itself_with_notes(rt: Runtime) -> None:
    assert await (await rt.start(sees_itself())) == ("no 3", True)


@pipeline
async def not_awaited() -> int:
    fails(1)
    return await number(1)


@pipeline
async def not_awaited_further_down() -> int:
    inc(inc(fails(1)))
    return await number(1)


@pipeline
async def raised_on() -> int:
    await fails(1)
    return 1


@pipeline
async def own_error() -> int:
    await number(1)
    raise KeyError("mine")


@pipeline
async def own_error_from_a_steps() -> int:
    try:
        return await fails(1)
    except ValueError as error:
        raise KeyError("mine") from error


@pipeline
async def in_a_task_group() -> int:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails(1))
        group.create_task(fails(2, 5.0))
    return 1


@pipeline
async def group_and_own() -> int:
    try:
        await fails(1)
    except ValueError as error:
        raise ExceptionGroup("two", [error, KeyError("mine")]) from None
    return 1


@pipeline
async def returned_failing() -> Handle[int]:
    return fails(1)


@pipeline
async def sub_fails() -> int:
    return await raised_on()


@pipeline
async def sub_has_own_error() -> int:
    return await own_error()


@pipeline
async def sub_not_awaited() -> int:
    raised_on()
    return await number(1)


@pipeline
async def exit_in_body() -> int:
    await number(1)
    raise SystemExit(3)


@pipeline
async def stray_cancellation() -> int:
    await number(1)
    raise asyncio.CancelledError("stray")


MEND = "It ends by returning, or by raising an Exception"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (not_awaited, ["ValueError: no 1"]),
        (not_awaited_further_down, ["ValueError: no 1"]),
        (raised_on, ["ValueError: no 1"]),
        (own_error, ["KeyError: 'mine'"]),
        (own_error_from_a_steps, ["KeyError: 'mine'"]),
        (in_a_task_group, ["ValueError: no 1"]),
        (group_and_own, ["ValueError: no 1", "KeyError: 'mine'"]),
        (returned_failing, ["ValueError: no 1"]),
        (sub_fails, ["ValueError: no 1"]),
        (sub_has_own_error, ["KeyError: 'mine'"]),
        (sub_not_awaited, ["ValueError: no 1"]),
        (
            exit_in_body,
            [f"StepError: the body of exit_in_body raised SystemExit(3). {MEND}"],
        ),
        (
            stray_cancellation,
            [f"StepError: the body of stray_cancellation raised CancelledError(stray). {MEND}"],
        ),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
async def test_what_fails_a_run_is_told_once_at_its_root(rt: Runtime, home: Any, body: Any, expected: list[str]) -> None:
    assert await failures_of(rt, body()) == expected
    assert await (await rt.start(number(7))) == 7  # the runtime goes on


@pipeline
async def handled_in_a_gather() -> list[str]:
    return [str(one) for one in await asyncio.gather(fails(1), number(2), inc(fails(3)), return_exceptions=True)]


@pipeline
async def handled_groups() -> list[str]:
    said: list[str] = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(1))
            group.create_task(number(1))
    except* ValueError as errors:
        said += map(str, errors.exceptions)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asked, fails(2))
    except* ValueError as errors:
        said += map(str, errors.exceptions)
    return said


@pipeline
async def handled_sub_run() -> tuple[str, list[str]]:
    try:
        await raised_on()
    except RunFailed as error:
        return str(error), [str(one) for one in error.failures]
    return "", []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (handled_in_a_gather, ["no 1", "2", "no 3"]),
        (handled_groups, ["no 1", "no 2"]),
        (handled_sub_run, ("the sub-run raised_on failed (1 sub-exception)", ["no 1"])),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
async def test_failures_that_a_body_handles_do_not_fail_the_run(rt: Runtime, body: Any, expected: Any) -> None:
    run = await rt.start(body())
    assert await run == expected
    assert run.state == "done"
