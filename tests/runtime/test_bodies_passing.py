"""Values that pass through a body: kept as what they are, on record with where they come from, and the same after a crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ashore import GraphError, RunFailed, Runtime, each, pipeline, step
from ashore.codec import decode
from ashore.events import Awaited, Call, Invoked, StepRan

np = pytest.importorskip("numpy")
pytestmark = pytest.mark.anyio


@step
async def draw(n: int) -> Any:
    return np.arange(n, dtype="float64")


@step
async def scaled(values: Any, by: float = 1.0) -> Any:
    return values * by


@step
async def total(values: Any) -> float:
    return float(values.sum())


@step
async def count(n: int) -> int:
    return n


@pipeline
async def handed_over(n: int) -> Any:
    """What was awaited is passed on as it is: it is the same artifact."""
    values = await draw(n)
    return await total(values)


@pipeline
async def made(n: int) -> Any:
    values = (await draw(n)).copy()
    values[0] = 7.0
    first = total(values)
    values[0] = 1_000.0  # what was passed is what it was when it was passed
    return await first + await total(values)


@pipeline
async def computed() -> int:
    three = await count(3)
    same = await count(three)
    return await count(same * 2 + 1)


async def calls_of(rt: Runtime, call: Any) -> tuple[Any, list[Call], list[Awaited], list[StepRan]]:
    run = await rt.start(call)
    result = await run
    calls: list[Call] = []
    awaited: list[Awaited] = []
    ran: list[StepRan] = []
    async for happened in run.events():
        if isinstance(happened.event, Invoked):
            calls += happened.event.calls
            awaited += happened.event.awaited
        elif isinstance(happened.event, StepRan):
            ran.append(happened.event)
    return result, calls, awaited, ran


@pytest.mark.parametrize("n", [4, 40_000])
async def test_an_awaited_value_that_is_passed_on_is_the_same_artifact(rt: Runtime, n: int) -> None:
    result, calls, awaited, _ = await calls_of(rt, handed_over(n))
    assert result == sum(range(n))
    assert [call.step for call in calls] == ["draw", "total"]
    assert [taken.producer for taken in calls[1].inputs] == [calls[0].invocation]
    assert awaited == []


@pytest.mark.parametrize("n", [4, 40_000])
async def test_a_value_that_the_body_made_is_kept_as_it_was_when_it_was_passed(rt: Runtime, n: int) -> None:
    result, calls, awaited, ran = await calls_of(rt, made(n))
    rest = sum(range(n))
    assert result == 2 * rest + 1_007.0
    assert [call.step for call in calls] == ["draw", "value", "total", "value", "total"]
    assert [call.given for call in calls] == [0, 1, 0, 2, 0]  # the first total was awaited meanwhile
    assert [(one.place, one.invocation) for one in awaited] == [(0, calls[0].invocation), (1, calls[2].invocation)]
    assert calls[2].inputs[0].producer == calls[1].invocation
    kept = next(event for event in ran if event.invocation == calls[1].invocation)
    assert (kept.outputs[0].data is None) == (n > 4)


async def test_a_plain_value_comes_from_the_handle_that_gave_it(rt: Runtime) -> None:
    result, calls, awaited, _ = await calls_of(rt, computed())
    assert result == 7
    assert [decode(dict(call.params)["n"]) for call in calls] == [3, 3, 7]
    assert [[taken.producer for taken in call.inputs] for call in calls] == [[], [calls[0].invocation], []]
    assert [call.given for call in calls] == [0, 0, 1]  # what was computed may come of all that was given
    assert [one.invocation for one in awaited] == [calls[0].invocation]


@pipeline
async def joined_and_handed_on() -> int:
    both = count(await count(3) * 2), count(6)  # one invocation: the second call joins it
    return await doubled(both[1])


@step
async def doubled(n: int) -> int:
    return n * 2


async def test_a_call_that_takes_handles_only_is_not_flagged_for_what_the_one_before_it_took(rt: Runtime) -> None:
    result, calls, _, _ = await calls_of(rt, joined_and_handed_on())
    assert result == 12
    assert [(call.step, call.given) for call in calls] == [("count", 0), ("count", 1), ("doubled", 0)]


@pipeline
async def of_elements() -> list[float]:
    one, two = await draw(2), await draw(3)
    return list(await total(each([one, two * 2])))


async def test_elements_that_the_body_made(rt: Runtime) -> None:
    assert await of_elements() == [1.0, 6.0]


@pipeline
async def returned() -> Any:
    return {"all": [await draw(3), (await draw(3)) + 1], "n": 3}


async def test_what_a_body_returns_may_be_anything_that_a_step_may_return(rt: Runtime, home: Path) -> None:
    run = await rt.start(returned())
    result = await run
    assert result["n"] == 3
    assert [list(values) for values in result["all"]] == [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]]


@pipeline
async def hopeless() -> Any:
    return await total(lambda: None)


async def test_what_has_no_stored_form_cannot_be_passed(rt: Runtime) -> None:
    with pytest.raises(RunFailed) as caught:
        await hopeless()
    (error,) = caught.value.failures
    assert isinstance(error, GraphError)
    assert "values cannot be recorded" in str(error)
