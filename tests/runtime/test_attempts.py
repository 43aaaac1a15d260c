"""Attempts: again after a failure, in time, within limits, and what is on record of them over restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ashore import (
    Capacity,
    GraphError,
    Limit,
    NotOnThisMachine,
    Retry,
    Run,
    RunCancelled,
    RunFailed,
    Runtime,
    StepError,
    StepTimeout,
    each,
    pipeline,
    step,
)
from ashore.events import AttemptFailed, Event, StepFailed, StepRan, StepStarted
from ashore_stores.system import system_ports

pytestmark = pytest.mark.anyio

BOUND = 30.0
"""Seconds in which whatever is tried here is over, or hangs."""


class Clock:
    """Wall and monotonic time that go on when somebody sleeps: at once, noting how long."""

    def __init__(self) -> None:
        self.at = 1_000_000.0
        self.slept: list[float] = []
        self.stops = False
        """Whether sleepers do not wake."""

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.slept.append(seconds)
        if self.stops or seconds == 1.0:  # 1.0: the runtime's own looks
            await anyio.sleep_forever()
        self.at += seconds


class Left(Exception):
    """A runtime's block is left by it: its runs stay as they are."""


class Calls(list[Any]):
    """What was executed: a class of its own, so that it is no constant of a step's code."""


class State:
    """What steps of these tests do."""

    def __init__(self) -> None:
        self.fails = 0
        self.error: Callable[[], Exception] = lambda: OSError("no line")
        self.inside = self.most = 0


calls, state = Calls(), State()


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    calls.clear()
    state.__init__()  # type: ignore[misc]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def rt(home: Path, clock: Clock) -> AsyncIterator[Runtime]:
    async with runtime(home, clock) as opened:
        yield opened


def runtime(home: Path, clock: Clock, **settings: Any) -> Runtime:
    return Runtime(home=home, grace=2.0, ports=replace(system_ports(), clock=clock), **settings)


def worked(x: Any) -> Any:
    calls.append(x)
    if len(calls) <= state.fails:
        raise state.error()
    return x


@step(retry=Retry(3, wait="2s", jitter=False))
async def shaky(x: int) -> int:
    return worked(x)  # type: ignore[no-any-return]


@step(retry=Retry(3, wait="2s", jitter=False))
def shaky_thread(x: int) -> int:
    return worked(x)  # type: ignore[no-any-return]


@pipeline
def shaken(x: int) -> Any:
    return shaky(x)


@pipeline
def shaken_thread(x: int) -> Any:
    return shaky_thread(x)


async def events_of(run: Run[Any], *kinds: type[Event]) -> list[Any]:
    return [happened.event async for happened in run.events() if isinstance(happened.event, kinds)]


# Again.


@pytest.mark.parametrize("made", [shaken, shaken_thread], ids=["async", "thread"])
async def test_a_failure_is_tried_again_with_growing_waits_and_all_is_on_record(rt: Runtime, clock: Clock, made: Any) -> None:
    state.fails = 2
    run = await rt.start(made(7))
    assert await run == 7
    assert calls == [7, 7, 7]
    assert [wait for wait in clock.slept if wait != 1.0] == [2.0, 4.0]
    story = await events_of(run, StepStarted, AttemptFailed, StepRan)
    assert [(type(event).__name__, event.attempt) for event in story] == [
        ("StepStarted", 1),
        ("AttemptFailed", 1),
        ("StepStarted", 2),
        ("AttemptFailed", 2),
        ("StepStarted", 3),
        ("StepRan", 3),
    ]
    assert [(event.wait, event.failure.message) for event in story if isinstance(event, AttemptFailed)] == [
        (2.0, "no line"),
        (4.0, "no line"),
    ]


async def test_after_the_last_retry_the_steps_own_exception_fails_the_run(rt: Runtime) -> None:
    state.fails = 100
    run = await rt.start(shaken(7))
    with pytest.raises(RunFailed) as caught:
        await run
    assert calls == [7] * 4
    assert isinstance(caught.value.failures[0], OSError)
    (failed,) = await events_of(run, StepFailed)
    assert failed.attempt == 4


async def test_what_is_not_worth_it_is_not_tried_again(rt: Runtime, clock: Clock) -> None:
    state.fails = 100
    state.error = lambda: ValueError("wrong")

    @step(retry=Retry(3, wait="2s", on=(OSError, TimeoutError)))
    async def picky(x: int) -> int:
        return worked(x)  # type: ignore[no-any-return]

    @step(retry=lambda error: "soon" in str(error))
    async def asking(x: int) -> int:
        return worked(x)  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match="wrong"):
        await picky(1)
    assert calls == [1]
    with pytest.raises(ValueError, match="wrong"):
        await asking(2)
    assert calls == [1, 2]
    state.error = lambda: ValueError("soon")
    with pytest.raises(ValueError, match="soon"):
        await asking(3)
    assert calls == [1, 2, 3, 3, 3, 3]


async def test_a_predicate_that_raises_fails_the_attempt_by_name(rt: Runtime) -> None:
    state.fails = 1

    def confused(error: Exception) -> bool:
        raise KeyError("what now")

    @step(retry=Retry(3, on=confused))
    async def asking(x: int) -> int:
        return worked(x)  # type: ignore[no-any-return]

    with pytest.raises(StepError, match=r"confused.*after OSError, raised KeyError: 'what now'"):
        await asking(1)
    assert calls == [1]


async def test_options_of_one_call(rt: Runtime) -> None:
    state.fails = 1
    with pytest.raises(OSError, match="no line"):
        await shaky.options(retry=0)(1)
    calls.clear()
    assert await shaky.options(key="again", retry=Retry(1, wait=0))(1) == 1
    assert shaky.options.policy is not None


async def test_elements_of_a_fan_out_are_tried_again_one_by_one(rt: Runtime) -> None:
    tried: dict[int, int] = {}

    @step(retry=Retry(2, wait="2s", jitter=False))
    async def odd(x: int) -> int:
        tried[x] = tried.get(x, 0) + 1
        if x % 2 and tried[x] < 3:
            raise OSError(f"odd {x}")
        return x * 10

    @pipeline
    def fanned() -> Any:
        return odd(each([0, 1, 2, 3]))

    run = await rt.start(fanned())
    assert await run == [0, 10, 20, 30]
    assert tried == {0: 1, 1: 3, 2: 1, 3: 3}
    failures = await events_of(run, AttemptFailed)
    assert sorted((event.element, event.attempt) for event in failures) == [(1, 1), (1, 2), (3, 1), (3, 2)]
    assert "element 1" in failures[0].failure.notes[0]


async def test_a_cancelled_run_sleeps_no_longer(rt: Runtime, clock: Clock) -> None:
    state.fails = 100
    clock.stops = True
    run = await rt.start(shaken(7))
    with anyio.fail_after(BOUND):
        while 2.0 not in clock.slept:
            await anyio.lowlevel.checkpoint()
        await run.cancel()
    assert run.state == "cancelled"
    assert calls == [7]
    with pytest.raises(RunCancelled):
        await run


async def test_attempts_count_over_restarts_and_the_wait_is_resumed(home: Path) -> None:
    before, after = Clock(), Clock()
    before.stops, state.fails = True, 100
    run: Run[Any] | None = None
    with anyio.fail_after(BOUND), suppress(Left):
        async with runtime(home, before) as first:
            run = await first.start(shaken(7), key="k")
            while 2.0 not in before.slept:
                await anyio.lowlevel.checkpoint()
            raise Left
    assert run is not None
    after.at = before.at + 0.5
    async with runtime(home, after) as second:
        again = await second.start(shaken(7), key="k")
        assert again.id == run.id
        with pytest.raises(RunFailed):
            await again
        story = await events_of(again, StepStarted, AttemptFailed, StepFailed)
    assert [wait for wait in after.slept if wait != 1.0] == [1.5, 4.0, 8.0]
    assert [event.attempt for event in story] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert len(calls) == 4


# In time.


@step(timeout="20ms")
async def slow(x: int) -> int:
    calls.append(x)
    await anyio.sleep_forever()
    return x


async def test_an_attempt_is_ended_when_its_time_is_over(home: Path) -> None:
    async with Runtime(home=home) as opened:
        with pytest.raises(StepTimeout, match=r"slow was ended after 20ms, its timeout=") as caught:
            await slow(1)
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(StepTimeout):
            await slow.options(retry=Retry(2, wait=0))(2)
        assert calls == [1, 2, 2, 2]
        assert opened.running() == []


async def test_what_a_step_makes_of_the_end_of_its_time_is_no_outcome(home: Path) -> None:
    @step(timeout="20ms")
    async def stubborn(x: int) -> int:
        try:
            await anyio.sleep_forever()
        except BaseException:  # noqa: BLE001
            return x
        return x

    @step(timeout="20ms")
    async def translating(x: int) -> int:
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            raise ValueError("mine") from error
        return x

    async with Runtime(home=home):
        with pytest.raises(StepTimeout):
            await stubborn(1)
        with pytest.raises(StepTimeout) as caught:
            await translating(1)
        assert isinstance(caught.value.__cause__, ValueError)


async def test_a_deadline_bounds_all_attempts(home: Path) -> None:
    @step(retry=Retry(100, wait="10ms", factor=1, jitter=False), deadline="100ms")
    async def patient(x: int) -> int:
        calls.append(x)
        if len(calls) > 2:
            await anyio.sleep_forever()
        raise OSError("not yet")

    async with Runtime(home=home):
        with pytest.raises(StepTimeout, match=r"all its attempts together have taken 100ms, its deadline="):
            await patient(1)
    assert len(calls) == 3


async def test_no_attempt_is_waited_for_that_the_deadline_leaves_no_time_for(rt: Runtime, clock: Clock) -> None:
    state.fails = 100
    with pytest.raises(OSError, match="no line"):
        await shaky.options(deadline="5s")(1)
    assert calls == [1, 1]


# Within limits.


@step(limit=2)
async def narrow(x: int) -> int:
    state.inside += 1
    state.most = max(state.most, state.inside)
    await anyio.sleep(0.001)
    state.inside -= 1
    return x


@step(limit=Limit(1, key="{tenant}"))
async def of_tenant(tenant: str, x: int) -> int:
    state.inside += 1
    state.most = max(state.most, state.inside)
    calls.append((tenant, x))
    await anyio.sleep(0.001)
    state.inside -= 1
    return x


@pipeline
def many(count: int, start: int = 0) -> Any:
    return narrow(each(list(range(start, start + count))))


async def test_a_limit_holds_over_elements_and_runs(home: Path) -> None:
    async with Runtime(home=home) as opened:
        first, second = await opened.start(many(8)), await opened.start(many(8, 100))
        with anyio.fail_after(BOUND):
            assert await first == list(range(8))
            assert await second == list(range(100, 108))
    assert state.most == 2


async def test_a_limit_by_key_holds_for_each_value_by_itself(home: Path) -> None:
    @pipeline
    def tenants() -> Any:
        return [of_tenant(tenant, x) for x in range(4) for tenant in ("a", "b", "c")]

    async with Runtime(home=home) as opened:
        with anyio.fail_after(BOUND):
            assert len(await (await opened.start(tenants()))) == 12
    assert state.most == 3
    assert [x for tenant, x in calls if tenant == "b"] == [0, 1, 2, 3]


async def test_a_rate_spreads_starts(rt: Runtime, clock: Clock) -> None:
    begun: list[float] = []

    @step(limit="2/10s")
    async def polite(x: int) -> int:
        begun.append(clock.now())
        return x

    @pipeline
    def asked() -> Any:
        return polite(each([0, 1, 2, 3, 4]))

    start = clock.at
    with anyio.fail_after(BOUND):
        assert await (await rt.start(asked())) == [0, 1, 2, 3, 4]
    assert [round(at - start) for at in begun] == [0, 0, 10, 10, 20]


async def test_priority_goes_first(home: Path) -> None:
    gate = anyio.Event()

    @step(limit=Limit(1), priority=0)
    async def queued(x: str) -> str:
        if x == "first":
            await gate.wait()
        calls.append(x)
        return x

    @pipeline
    def queue() -> Any:
        return [queued("first"), queued("low"), queued.options(priority=5)("high")]

    async with Runtime(home=home) as opened:
        run = await opened.start(queue())
        await anyio.wait_all_tasks_blocked()
        gate.set()
        await run
    assert calls == ["first", "high", "low"]


async def test_a_cancelled_run_leaves_the_queue(home: Path) -> None:
    gate = anyio.Event()

    @step(limit=1)
    async def waiting(x: int) -> int:
        calls.append(x)
        await gate.wait()
        return x

    @pipeline
    def queue(x: int) -> Any:
        return [waiting(x), waiting(x + 1)]

    async with Runtime(home=home) as opened:
        first = await opened.start(queue(0))
        await anyio.wait_all_tasks_blocked()
        second = await opened.start(queue(10))
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(BOUND):
            await first.cancel()
            gate.set()
            assert await second == [10, 11]
        assert "0 in, 0 waiting" in repr(opened.means.gate)
    assert calls == [0, 10, 11]


async def test_a_key_that_cannot_be_made_fails_the_attempt(rt: Runtime) -> None:
    @step(limit=Limit(1, key=lambda x: x.tenant))
    async def wrong(x: int) -> int:
        return x

    with pytest.raises(StepError, match=r"the key of its limit.*AttributeError"):
        await wrong(1)


async def test_a_limit_of_a_pipeline_holds_over_its_runs(home: Path) -> None:
    gate = anyio.Event()

    @step
    async def inside(tenant: str, x: int) -> int:
        calls.append((tenant, x))
        await gate.wait()
        return x

    @pipeline(limit=Limit(1, key="{tenant}"))
    def serve(tenant: str, x: int) -> Any:
        return inside(tenant, x)

    async with Runtime(home=home) as opened:
        runs = [await opened.start(serve(tenant, x)) for x in range(3) for tenant in ("a", "b")]
        await anyio.wait_all_tasks_blocked()
        assert calls == [("a", 0), ("b", 0)]
        with anyio.fail_after(BOUND):
            await runs[2].cancel()  # it waits, and leaves
            gate.set()
            assert [await run.wait() for run in runs] == ["done", "done", "cancelled", "done", "done", "done"]
        assert "0 in, 0 waiting" in repr(opened.means.gate)
    assert sorted(calls) == [("a", 0), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]


# A share of the machine.


async def test_the_machine_is_shared(home: Path) -> None:
    @step(cpus=2, memory="3GB")
    async def heavy(x: int) -> int:
        state.inside += 1
        state.most = max(state.most, state.inside)
        await anyio.sleep(0.001)
        state.inside -= 1
        return x

    @pipeline
    def weights() -> Any:
        return heavy(each(list(range(6))))

    async with Runtime(home=home, machine=Capacity(cpus=8, memory="7GB")) as opened:
        assert await (await opened.start(weights())) == list(range(6))
    assert state.most == 2


async def test_what_the_machine_has_not_is_refused_when_the_run_starts(home: Path) -> None:
    @step(gpus=1)
    async def fit(x: int) -> int:
        return x

    @pipeline
    def fitted() -> Any:
        return fit(fit(1))

    async with Runtime(home=home, machine=Capacity(4, "8GB")) as opened:
        with pytest.raises(NotOnThisMachine, match="fit wants gpus=1, this machine has none") as caught:
            await opened.start(fitted())
        assert caught.value.where.startswith(__file__)
        with pytest.raises(NotOnThisMachine, match="wants memory=9GB, this machine has 8GB"):
            await opened.start(shaky.options(memory="9GB")(1))
    async with Runtime(home=home, machine=Capacity(4, "8GB", gpus=1)) as opened:
        assert await (await opened.start(fitted())) == 1


# What is wrong is said at decoration.


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"retry": -1}, "no number of retries"),
        ({"retry": "3"}, "no number of retries"),
        ({"retry": ValueError}, "no number of retries"),
        ({"timeout": "soon"}, "no length of time"),
        ({"timeout": 0}, "leaves no time"),
        ({"limit": 0}, "is no limit"),
        ({"limit": "fast"}, "is no limit"),
        ({"limit": "0/s"}, "is no rate"),
        ({"limit": Limit(1, key="{tennant}")}, r"names no parameter `tennant`.*Did you mean `tenant`"),
        ({"priority": "high"}, "no number"),
        ({"cpus": -1}, "no number"),
        ({"memory": "lots"}, "no size"),
        ({"effects": 1}, "neither True nor False"),
        ({"effects": True, "cache": True}, "Take one of them out"),
        ({"on_lost": "retry"}, "effects=True"),
        ({"on_lost": "again", "effects": True}, "hold"),
        ({"check": 3, "effects": True}, "no function"),
    ],
)
def test_options_that_make_no_sense(asked: dict[str, Any], says: str) -> None:
    async def work(tenant: str) -> str:
        return tenant

    with pytest.raises(GraphError, match=says):
        step(**asked)(work)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Retry(times=-1), "number of retries"),
        (lambda: Retry(wait="x"), "no length of time"),
        (lambda: Retry(factor=0.5), "factor"),
        (lambda: Retry(on=()), "exceptions"),
        (lambda: Retry(on=int), "exceptions"),  # type: ignore[arg-type]
        (lambda: Limit(), "limits nothing"),
        (lambda: Limit(0), "number of attempts"),
        (lambda: Limit(rate="quick"), "no rate"),
        (lambda: Limit(1, key="{"), "Limit"),
        (lambda: Capacity(1, "much"), "no size"),
    ],
)
def test_policies_that_make_no_sense(made: Callable[[], Any], says: str) -> None:
    with pytest.raises(GraphError, match=says):
        made()
