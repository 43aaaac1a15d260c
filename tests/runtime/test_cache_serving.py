"""Which result is served: how old it may be, what a refresh makes of it, and that equal calls are made once at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ashore import File, GraphError, Handle, Run, RunFailed, Runtime, Secret, each, pipeline, secret, step
from ashore.engine.flights import Flights
from ashore.engine.values import load_output
from ashore.events import ElementsRan, Invoked, RunStarted, StepRan, decode
from ashore.ids import CacheKey, RunId
from ashore.starting import prepared_again
from ashore.testing import ManualClock, MemoryStack

pytestmark = pytest.mark.anyio


class Outside:
    """What steps meet outside of ashore. They change it by its methods: it is state, and no part of their code."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate: anyio.Event | None = None
        self.is_broken = False

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    def called(self, what: object) -> int:
        """How often it was called so far."""
        self.calls.append(str(what))
        return self.calls.count(str(what))

    async def passed(self) -> None:
        if self.gate is not None:
            await self.gate.wait()

    def close(self) -> None:
        self.gate = anyio.Event()

    def open(self) -> None:
        assert self.gate is not None
        self.gate.set()

    def breaks(self, is_broken: bool) -> None:
        self.is_broken = is_broken

    async def at(self, number: int) -> None:
        """Wait until that many calls were made."""
        with anyio.fail_after(10):
            while len(self.calls) < number:
                await anyio.sleep(0.001)

    def taken(self) -> list[str]:
        calls, self.calls = sorted(self.calls), []
        return calls


OUTSIDE = Outside()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    OUTSIDE.reset()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def rt(clock: ManualClock) -> AsyncIterator[Runtime]:
    async with Runtime(MemoryStack(clock=clock)) as runtime:
        yield runtime


@step(cache="1d")
async def weather(day: str) -> str:
    return f"{day} {OUTSIDE.called('weather')}"


@step
async def source(day: str) -> str:
    OUTSIDE.called("source")
    return day


@step(cache=True)
async def kept(day: str) -> str:
    OUTSIDE.called("kept")
    return day


@step(cache=False)
async def never(text: str) -> str:
    OUTSIDE.called("never")
    return text


@step
async def fit(text: str) -> str:
    number = OUTSIDE.called("fit")
    await OUTSIDE.passed()
    if OUTSIDE.is_broken:
        raise OSError("not today")
    return f"model {number} of {text}"


@step
async def score(model: str) -> str:
    OUTSIDE.called("score")
    return f"score of {model}"


@step(cache="1d")
async def stamped(number: int) -> str:
    return f"{number} {OUTSIDE.called(number)}"


@step
def constant(text: str) -> int:
    OUTSIDE.called("constant")
    return len(text)


@step
def late(number: int) -> int:
    OUTSIDE.called("late")
    return number + 1


@pipeline
def forecast(day: str) -> Handle[str]:
    return weather(day)


@pipeline
def retrain(day: str) -> Handle[str]:
    return score(fit(kept(day)))


@pipeline
def uncached(day: str) -> Handle[str]:
    return never(source(day))


@pipeline
def many(numbers: list[int]) -> Handle[list[str]]:
    return stamped(each(numbers))


@pipeline
def cut_off(day: str) -> Handle[int]:
    return late(constant(source(day)))


@pipeline
async def decided(day: str) -> str:
    model = await fit(kept(day))
    return await score(model)


async def recorded(rt: Runtime, kind: type[Any]) -> list[Any]:
    await rt.stack.log.refresh()
    events = [event async for frame in rt.stack.log.read() for event in decode(frame.batch.body, frame.count)]
    return [event for event in events if isinstance(event, kind)]


async def outcomes(rt: Runtime, step: str) -> list[StepRan]:
    """Of a step, in the log's order."""
    calls = [call for event in await recorded(rt, Invoked) for call in event.calls]
    names = {call.invocation: call.step for call in calls}
    return [event for event in await recorded(rt, StepRan) if names[event.invocation] == step]


async def started(rt: Runtime, call: Handle[Any]) -> Run[Any]:
    run = await rt.start(call)
    await run.wait()
    return run


# How old a result may be.


async def test_a_result_is_served_as_long_as_it_is_not_too_old(rt: Runtime, clock: ManualClock) -> None:
    assert await forecast("mon") == "mon 1"
    await clock.advance("23h")
    assert await forecast("mon") == "mon 1"
    await clock.advance("2h")
    assert await forecast("mon") == "mon 2"
    await clock.advance("23h")
    assert await forecast("mon") == "mon 2"  # a hit does not make it younger, a new result does
    await clock.advance("2h")
    assert await forecast("mon") == "mon 3"
    assert [event.renews for event in await recorded(rt, StepRan) if not event.reused_run] == [False, True, True]


async def test_other_processes_go_by_the_same_age(clock: ManualClock) -> None:
    stack = MemoryStack(clock=clock)
    results = []
    for hours in ("0h", "23h", "2h", "23h", "2h"):
        await clock.advance(hours)
        async with Runtime(stack):  # remembers nothing but what is in the log
            results.append(await forecast("mon"))
    assert results == ["mon 1", "mon 1", "mon 2", "mon 2", "mon 3"]


async def test_each_element_has_its_own_age(clock: ManualClock) -> None:
    stack = MemoryStack(clock=clock)
    async with Runtime(stack):
        assert await many([1, 2]) == ["1 1", "2 1"]
        await clock.advance("20h")
        assert await many([1, 2, 3]) == ["1 1", "2 1", "3 1"]
        await clock.advance("5h")
    async with Runtime(stack) as rt:
        assert await many([1, 2, 3]) == ["1 2", "2 2", "3 1"]
        assert await many([1, 2, 3]) == ["1 2", "2 2", "3 1"]
        assert [event.renewing for event in await recorded(rt, ElementsRan) if event.renewing] == [(0, 1)]


async def test_a_clock_that_was_set_back_makes_nothing_too_old(clock: ManualClock) -> None:
    clock = ManualClock(is_steady=False)
    async with Runtime(MemoryStack(clock=clock)):
        assert await forecast("mon") == "mon 1"
        clock.jump("-3d")
        assert await forecast("mon") == "mon 1"


async def test_sources_run_always_unless_they_say_so_and_cache_false_keeps_nothing(rt: Runtime) -> None:
    assert await uncached("mon") == await uncached("mon") == "mon"
    assert OUTSIDE.taken() == ["never", "never", "source", "source"]
    assert await retrain("mon") == await retrain("mon") == "score of model 1 of mon"
    assert OUTSIDE.taken() == ["fit", "kept", "score"]
    assert [event.key for event in await outcomes(rt, "never")] == [b"", b""]


class Model:
    """What must be served: of each key the last result that was made, unless it is too old or a refresh is asked for."""

    def __init__(self) -> None:
        self.now = 0
        self.made: dict[int, int] = {}
        self.calls: dict[int, int] = {}

    def run(self, numbers: list[int], *, is_refresh: bool) -> list[str]:
        for number in dict.fromkeys(numbers):
            if is_refresh or number not in self.made or self.now - self.made[number] > 24:
                self.made[number] = self.now
                self.calls[number] = self.calls.get(number, 0) + 1
        return [f"{number} {self.calls[number]}" for number in numbers]


DEEDS: st.SearchStrategy[tuple[str, int, list[int]]] = st.one_of(
    st.tuples(st.sampled_from(["run", "run", "refresh"]), st.integers(0, 2), st.lists(st.integers(1, 2), min_size=1, max_size=3)),
    st.tuples(st.just("wait"), st.integers(1, 30), st.just([])),
)


@given(st.lists(DEEDS, max_size=12))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_the_right_result_is_served(deeds: list[tuple[str, int, list[int]]]) -> None:
    OUTSIDE.reset()
    anyio.run(_happen, deeds)


async def _happen(deeds: list[tuple[str, int, list[int]]]) -> None:
    """In three runtimes, each of which remembers what it was the last to know; and then in one that remembers nothing."""
    clock, model = ManualClock(), Model()
    stack = MemoryStack(clock=clock)
    async with Runtime(stack) as one, Runtime(stack) as two, Runtime(stack) as three:
        for deed, which, numbers in deeds:
            if deed == "wait":
                await clock.advance(f"{which}h")
                model.now += which
                continue
            call = many(numbers).refresh() if deed == "refresh" else many(numbers)
            run = await (one, two, three)[which].start(call)
            assert await run == model.run(numbers, is_refresh=deed == "refresh")
    async with Runtime(stack):
        assert await many([1, 2]) == model.run([1, 2], is_refresh=False)


# Refresh.


async def test_what_is_refreshed_runs_again_and_is_served_from_then_on(rt: Runtime) -> None:
    assert await retrain("mon") == "score of model 1 of mon"
    assert await retrain("mon").refresh("fit") == "score of model 2 of mon"
    assert OUTSIDE.taken() == ["fit", "fit", "kept", "score", "score"]
    assert await retrain("mon") == "score of model 2 of mon"
    assert OUTSIDE.taken() == []
    fits = await outcomes(rt, "fit")
    assert len({event.key for event in fits}) == 1
    assert [(event.renews, bool(event.reused_run)) for event in fits] == [(False, False), (True, False), (False, True)]


async def test_a_refresh_with_the_same_result_stops_there(rt: Runtime) -> None:
    assert await retrain("mon") == "score of model 1 of mon"
    await retrain("mon").refresh(kept)
    assert OUTSIDE.taken() == ["fit", "kept", "kept", "score"]


async def test_all_or_several_steps_are_refreshed(rt: Runtime) -> None:
    await retrain("mon")
    OUTSIDE.taken()
    await retrain("mon").refresh()
    assert OUTSIDE.taken() == ["fit", "kept", "score"]
    await retrain("mon").refresh("kept", score)
    assert OUTSIDE.taken() == ["kept", "score"]
    await retrain("mon").refresh("kept").refresh("score")
    assert OUTSIDE.taken() == ["kept", "score"]


async def test_a_step_alone_and_the_elements_of_a_fan_out_are_refreshed(rt: Runtime) -> None:
    assert await kept("mon") == await kept("mon").refresh() == "mon"
    assert OUTSIDE.taken() == ["kept", "kept"]
    assert await many([1, 2]) == ["1 1", "2 1"]
    assert await many([1, 2]).refresh("stamped") == ["1 2", "2 2"]
    assert await many([2, 3]) == ["2 2", "3 1"]


async def test_equal_elements_are_refreshed_once(rt: Runtime) -> None:
    assert await many([1, 2]) == ["1 1", "2 1"]
    assert await many([1, 2, 1, 1]).refresh() == ["1 2", "2 2", "1 2", "1 2"]
    assert await many([1, 2]) == ["1 2", "2 2"]


async def test_if_the_refreshed_one_fails_the_next_equal_one_is_made_and_never_the_old_result_served(rt: Runtime) -> None:
    @step
    async def flaky(text: str, again: int = 0) -> str:
        number = OUTSIDE.called("flaky")
        await anyio.sleep(0)
        if OUTSIDE.is_broken and number == 3:
            raise OSError("once")
        return f"{text} {number}"

    @pipeline
    def twice(texts: list[str]) -> Handle[list[str]]:
        return flaky(each(kept(each(texts)), on_error="skip"))

    assert await twice(["a", "b"]) == ["a 1", "b 2"]
    OUTSIDE.breaks(True)
    assert await twice(["a", "a"]).refresh("flaky") == ["a 4"]
    assert await twice(["a"]) == ["a 4"]


async def test_other_processes_serve_what_was_refreshed_too(clock: ManualClock) -> None:
    stack = MemoryStack(clock=clock)
    async with Runtime(stack) as one, Runtime(stack) as other:  # each with a memory of its own
        for runtime in (one, other):
            await started(runtime, retrain("mon"))
        assert OUTSIDE.taken() == ["fit", "kept", "score"]
        assert await (await one.start(retrain("mon").refresh("fit"))) == "score of model 1 of mon"
        OUTSIDE.called("fit")
        assert await (await one.start(retrain("mon").refresh("fit"))) == "score of model 3 of mon"
        assert await (await other.start(retrain("mon"))) == "score of model 3 of mon"
    async with Runtime(stack):
        assert await retrain("mon") == "score of model 3 of mon"


async def test_a_pipeline_that_decides_is_refreshed(rt: Runtime) -> None:
    assert await decided("mon") == "score of model 1 of mon"
    assert await decided("mon") == "score of model 1 of mon"
    assert await decided("mon").refresh("fit") == "score of model 2 of mon"
    assert await decided("mon") == "score of model 2 of mon"


async def test_a_name_that_the_run_never_calls_is_told(rt: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GraphError, match=r"retrain has no step 'fti' to refresh.*fit"):
        await retrain("mon").refresh("fti")
    assert await decided("mon").refresh("fti") == "score of model 1 of mon"
    assert "fti" in "".join(capsys.readouterr())


async def test_only_a_whole_run_that_is_not_started_is_refreshed(rt: Runtime) -> None:
    @pipeline
    def inside(day: str) -> Handle[str]:
        return fit(kept(day)).refresh("kept")

    with pytest.raises(GraphError, match="only a whole run is refreshed"):
        await inside("mon")
    call = retrain("mon")
    await call
    with pytest.raises(GraphError, match="was started already"):
        call.refresh("fit")
    with pytest.raises(GraphError, match="that is no step"):
        await retrain("mon").refresh(3)  # type: ignore[arg-type]


async def test_a_run_that_is_taken_over_refreshes_what_is_left(rt: Runtime) -> None:
    await started(rt, retrain("mon").refresh("fit", "score"))
    (event,) = await recorded(rt, RunStarted)
    assert event.refresh == ("fit", "score")
    assert prepared_again(retrain, event).refresh == ("fit", "score")


# Several outputs of one key.


async def test_of_outputs_that_were_made_side_by_side_the_first_committed_is_served(clock: ManualClock) -> None:
    stack = MemoryStack(clock=clock)
    OUTSIDE.close()
    async with Runtime(stack) as one, Runtime(stack) as other:
        first = await one.start(retrain("mon"))
        await OUTSIDE.at(2)
        second = await other.start(retrain("mon"))
        await OUTSIDE.at(3)
        OUTSIDE.open()
        assert {await first, await second} == {"score of model 1 of mon", "score of model 2 of mon"}
    async with Runtime(stack) as third:
        served = await retrain("mon")
        fits = await outcomes(third, "fit")
        assert served == f"score of {load_output(fits[0].outputs[0], {})}"
        assert len({event.outputs for event in fits}) == 2
        assert not any(event.renews for event in fits)


async def test_why_tells_which_of_several_outputs_is_served(rt: Runtime) -> None:
    first = await started(rt, retrain("mon"))
    second = await started(rt, retrain("mon").refresh("fit"))
    third = await started(rt, retrain("mon"))
    (reason,) = (await third.why())["fit"]
    assert reason.cached_from == second.id
    (note,) = reason.notes
    assert f"2 different outputs (runs {first.id[:8]}, {second.id[:8]})" in note
    assert f"that of run {second.id[:8]} is served" in note


async def test_why_tells_of_a_refresh_and_of_what_was_too_old(rt: Runtime, clock: ManualClock) -> None:
    first = await started(rt, retrain("mon"))
    again = await started(rt, retrain("mon").refresh("fit"))
    assert (await again.why())["fit"][0].text == (
        f"ran: nothing changed since run {first.id[:8]}, but a refresh of it was asked for"
    )
    await started(rt, forecast("mon"))
    await clock.advance("2d")
    late = await started(rt, forecast("mon"))
    assert (await late.why())["weather"][0].text.endswith("what was made then is too old to be served, or not there any more")


# Secrets.


async def test_the_value_of_a_secret_is_in_no_key(clock: ManualClock) -> None:
    @step(cache=True)
    async def fetch(day: str, token: Secret = secret("TOKEN")) -> str:
        OUTSIDE.called("fetch")
        return f"{day} {len(token.value)}"

    stack = MemoryStack(clock=clock)
    for value in ("first", "another"):
        async with Runtime(stack, secrets={"TOKEN": value}):
            assert await fetch("mon") == "mon 5"
    assert OUTSIDE.taken() == ["fetch"]


# Early cut-off.


async def test_what_depends_on_an_output_that_stayed_the_same_does_not_run(rt: Runtime) -> None:
    assert await cut_off("mon") == 4
    assert OUTSIDE.taken() == ["constant", "late", "source"]
    assert await cut_off("tue") == 4
    assert OUTSIDE.taken() == ["constant", "source"]


# Single flight.


async def test_equal_calls_of_two_runs_are_made_once(rt: Runtime) -> None:
    OUTSIDE.close()
    first = await rt.start(retrain("mon"))
    await OUTSIDE.at(2)
    second = await rt.start(retrain("mon"))
    await until_waiting(rt, 1)
    OUTSIDE.open()
    assert await first == await second == "score of model 1 of mon"
    assert OUTSIDE.taken() == ["fit", "kept", "score"]
    reused = [event.reused_run for event in await recorded(rt, StepRan) if event.run == second.id]
    assert reused == [first.id] * 3


async def until_waiting(rt: Runtime, number: int) -> None:
    with anyio.fail_after(10):
        while f"{number} waiting" not in repr(rt.means.reuse.flights):
            await anyio.sleep(0.001)


async def test_if_the_one_under_way_fails_the_next_one_is_made(rt: Runtime) -> None:
    OUTSIDE.close()
    OUTSIDE.breaks(True)
    first = await rt.start(retrain("mon"))
    await OUTSIDE.at(2)
    second, third = await rt.start(retrain("mon")), await rt.start(retrain("mon"))
    await until_waiting(rt, 2)
    OUTSIDE.open()
    with pytest.raises(RunFailed):
        await first
    await OUTSIDE.at(3)
    assert {await second.wait(), await third.wait()} == {"failed"}
    assert OUTSIDE.taken() == ["fit", "fit", "fit", "kept"]


async def test_if_the_one_under_way_is_cancelled_the_next_one_is_made(rt: Runtime) -> None:
    OUTSIDE.close()
    first = await rt.start(retrain("mon"))
    await OUTSIDE.at(2)
    second = await rt.start(retrain("mon"))
    await until_waiting(rt, 1)
    await first.cancel()
    await OUTSIDE.at(3)
    OUTSIDE.open()
    assert await second == "score of model 2 of mon"
    assert await first.wait() == "cancelled"


async def test_a_run_that_is_cancelled_while_it_waits_waits_no_more(rt: Runtime) -> None:
    OUTSIDE.close()
    first = await rt.start(retrain("mon"))
    await OUTSIDE.at(2)
    second = await rt.start(retrain("mon"))
    await until_waiting(rt, 1)
    await second.cancel()
    assert await second.wait() == "cancelled"
    OUTSIDE.open()
    assert await first == "score of model 1 of mon"


async def test_equal_elements_of_one_fan_out_are_made_once(rt: Runtime) -> None:
    assert await many([1, 1, 2, 1]) == ["1 1", "1 1", "2 1", "1 1"]
    assert OUTSIDE.taken() == ["1", "2"]


async def test_steps_on_threads_are_made_once_too(rt: Runtime, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")

    @step
    def slow(file: File) -> str:
        OUTSIDE.called("slow")
        return Path(file.path).read_text()

    @pipeline
    def reading(file: File) -> Handle[str]:
        return slow(file)

    runs = [await rt.start(reading(File(str(tmp_path / "a")))) for _ in range(8)]
    assert [await run for run in runs] == ["text"] * 8
    assert OUTSIDE.taken() == ["slow"]


def test_whoever_comes_first_is_under_way_and_the_others_are_called_when_it_lands() -> None:
    flights, key, run = Flights(), CacheKey(b"k" * 16), RunId("run")
    landed: list[str] = []
    assert not flights.joins(key, "first", run, lambda: landed.append("first"))
    assert not flights.joins(key, "first", run, lambda: landed.append("first"))  # it asks again before it begins
    assert flights.joins(key, "second", run, lambda: landed.append("second"))
    assert flights.joins(key, "third", RunId("other"), lambda: landed.append("third"))
    flights.land(key, "second")  # not the one under way
    assert landed == []
    flights.land(key, "first")
    assert landed == ["second", "third"]
    assert repr(flights) == "<Flights 0 under way, 0 waiting>"


def test_a_run_that_leaves_lands_what_it_has_under_way_and_is_called_no_more() -> None:
    flights, key, other = Flights(), CacheKey(b"k" * 16), CacheKey(b"o" * 16)
    landed: list[str] = []
    flights.joins(key, "a", RunId("one"), lambda: landed.append("a"))
    flights.joins(other, "b", RunId("two"), lambda: landed.append("b"))
    flights.joins(key, "c", RunId("two"), lambda: landed.append("c"))
    flights.joins(other, "d", RunId("one"), lambda: landed.append("d"))
    flights.leave(RunId("one"))
    assert landed == ["c"]
    flights.land(other, "b")
    assert landed == ["c"]
