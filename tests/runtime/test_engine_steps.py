"""Steps that misbehave: each is a failed attempt with a clear error; its siblings, the loop and other runs go on."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from ashore import Handle, MaterializeError, Outputs, RunCancelled, RunFailed, Runtime, StepError, StepFailure, each, pipeline, step
from ashore.engine.failures import exception_of, failure_of
from ashore.events import ElementsRan, StepRan, decode

pytestmark = pytest.mark.anyio

BOUND = 10.0
"""Seconds in which whatever is tried here is over, or hangs."""


class Calls(list[Any]):
    """What was executed: a class of its own, so that it is no constant of a step's code."""


executed = Calls()


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


@step
async def sibling(x: int) -> int:
    await anyio.lowlevel.checkpoint()
    executed.append(x)
    return x


async def outcome_of(bad: Any, *arguments: Any) -> Exception:
    """The one failure of a run in which `bad` has a sibling, which must not suffer; another run must work afterwards."""

    @pipeline
    def mixed() -> Any:
        return bad(*arguments), sibling(1), sibling(2)

    executed.clear()
    with anyio.fail_after(BOUND):
        with pytest.raises(RunFailed) as caught:
            await mixed()
        assert sorted(executed) == [1, 2]
        assert await sibling(3) == 3
    (failure,) = caught.value.failures
    return failure


def both(body: Callable[[int], Any]) -> list[Any]:
    """A step that does this on the loop, one on the loop that has suspended, and one in a thread."""

    @step
    async def inline(x: int) -> Any:
        return body(x)

    @step
    async def suspended(x: int) -> Any:
        await anyio.sleep(0)
        return body(x)

    @step
    def threaded(x: int) -> Any:
        return body(x)

    return [inline, suspended, threaded]


# What they raise.


class Frozen(Exception):
    """Refuses every attribute."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class Demanding(Exception):
    def __init__(self, a: int, b: int, *, c: int) -> None:
        super().__init__(f"{a} {b} {c}")


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not this one")


class Cyclic(Exception):
    def __init__(self) -> None:
        super().__init__([])
        self.args[0].append(self.args[0])


class OddNotes(Exception):
    __notes__ = 7  # type: ignore[assignment]  # add_note refuses then


class Deadly(Exception):
    def __init__(self, text: str) -> None:
        if text == "again":
            raise SystemExit
        super().__init__("again")


def raised(error: BaseException) -> Callable[[int], Any]:
    def body(x: int) -> Any:
        raise error

    return body


EVIL: dict[str, Callable[[], Exception]] = {
    "frozen": lambda: Frozen("x"),
    "unprintable": lambda: Unprintable("x"),
    "demanding": lambda: Demanding(1, 2, c=3),
    "unpicklable": lambda: Unpicklable("x"),
    "cyclic": Cyclic,
    "odd notes": lambda: OddNotes("x"),
    "deadly to make": lambda: Deadly("first"),
    "unencodable": lambda: ValueError(object()),
    "surrogates": lambda: ValueError("\ud800"),
    "a group": lambda: ExceptionGroup("two", [ValueError("a"), ExceptionGroup("more", [KeyError("b")])]),
    "huge": lambda: ValueError("x" * 3_000_000),
    "stop iteration": lambda: StopIteration(3),
    "stop async iteration": lambda: StopAsyncIteration(),
    "a timeout": lambda: TimeoutError(),
    "recursion": lambda: RecursionError("deep"),
    "memory": lambda: MemoryError(),
}


@pytest.mark.parametrize("kind", EVIL)
async def test_whatever_a_step_raises_is_its_failure_and_on_record(rt: Runtime, kind: str) -> None:
    for bad in both(raised(EVIL[kind]())):
        failure = await outcome_of(bad, 1)
        assert type(failure) in (type(EVIL[kind]()), RuntimeError)  # Python itself turns a StopIteration into a RuntimeError
        again = exception_of(failure_of(failure))
        assert type(again) in (type(failure), StepFailure)


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError("mine")])
async def test_what_ends_a_task_or_a_process_ends_an_attempt(rt: Runtime, error: BaseException) -> None:
    for bad in both(raised(error)):
        failure = await outcome_of(bad, 1)
        assert isinstance(failure, StepError)
        assert type(error).__name__ in str(failure)


async def test_a_keyboard_interrupt_cancels_its_run_only(rt: Runtime) -> None:
    for bad in both(raised(KeyboardInterrupt())):

        @pipeline
        def interrupted() -> Any:
            return sibling(bad(1))  # noqa: B023  # used within this turn of the loop

        with anyio.fail_after(BOUND), pytest.raises(RunCancelled):
            await interrupted()
        assert executed == []
        assert await sibling(3) == 3
        executed.clear()


async def test_the_same_exception_object_may_fail_many_steps(rt: Runtime) -> None:
    error = ValueError("one for all")

    @step
    async def bad(x: int) -> int:
        raise error

    @pipeline
    def several() -> Any:
        return [bad(n) for n in range(5)]

    with pytest.raises(RunFailed) as caught:
        await several()
    assert len(caught.value.failures) == 5


# What they do to their task and to others.


async def test_a_step_that_cancels_every_other_task_fails_what_it_hit_and_no_more(rt: Runtime) -> None:
    me = asyncio.current_task()

    @step
    async def killer(x: int) -> int:
        await anyio.sleep(0)
        own = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task not in (own, me) and task in steps:
                task.cancel()
        return x

    @step
    async def victim(x: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        steps.append(task)
        await anyio.sleep(0.05)
        return x

    steps: list[asyncio.Task[Any]] = []

    @pipeline
    def mixed() -> Any:
        return [victim(n) for n in range(4)] + [killer(1), sibling(1)]

    with anyio.fail_after(BOUND), pytest.raises(RunFailed) as caught:
        await mixed()
    assert executed == [1]
    assert {type(failure) for failure in caught.value.failures} == {StepError}
    assert await sibling(2) == 2


async def test_cancelling_the_pump_while_it_gives_the_loop_a_turn_stops_nobody(rt: Runtime) -> None:
    def hit() -> None:
        for task in run._course.drive._pumps._tasks:  # type: ignore[attr-defined]
            task.cancel()

    @step
    async def quick(x: int) -> int:
        if x == 100:  # a callback that hits the pump in its own pause
            asyncio.get_running_loop().call_soon(hit)
        return x

    @pipeline
    def many() -> Any:
        return [quick(n) for n in range(300)]

    with anyio.fail_after(BOUND):
        run = await rt.start_soon(many())
        await run.wait()
    counts = run.counts()
    assert counts["done"] + counts["failed"] == 300
    assert counts["failed"] <= 1


async def test_a_step_that_swallows_its_cancellation_is_left_after_the_grace_time(home: Any) -> None:
    began, go_on, ended = anyio.Event(), anyio.Event(), anyio.Event()

    @step
    async def stubborn(x: int) -> int:
        began.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except BaseException:  # noqa: BLE001  # the sin that is tried here
                continue
        ended.set()
        return x

    @pipeline
    def stuck() -> Handle[int]:
        return sibling(stubborn(1))

    async with Runtime(home=home, grace=0.2) as rt:
        run = await rt.start(stuck())
        await began.wait()
        with anyio.fail_after(BOUND), capture_logs() as lines:
            await run.cancel()
        assert run.state == "cancelled"
        assert [line for line in lines if "abandoned" in line["event"]]
        go_on.set()
        await ended.wait()
        await anyio.lowlevel.checkpoint()
        assert run.counts()["done"] == 0
        assert await sibling(2) == 2


async def test_what_a_step_makes_of_its_runs_end_is_no_outcome(home: Any) -> None:
    began = anyio.Event()

    @step
    async def translating(x: int) -> int:
        if not began.is_set():
            began.set()
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                raise ValueError("what a library makes of it") from None
        return x

    @pipeline
    def translated(x: int) -> Handle[int]:
        return translating(x)

    async def leave() -> None:
        async with Runtime(home=home) as rt:
            await rt.start(translated(5), key="k")
            await began.wait()
            raise KeyError

    with pytest.raises(KeyError):
        await leave()
    async with Runtime(home=home) as rt:
        with anyio.fail_after(BOUND):
            assert await (await rt.start(translated(5), key="k")) == 5


async def test_a_task_that_a_step_leaves_behind_is_not_waited_for(rt: Runtime) -> None:
    left: list[asyncio.Task[None]] = []

    @step
    async def leaking(x: int) -> int:
        left.append(asyncio.get_running_loop().create_task(asyncio.sleep(3600)))
        return x

    with anyio.fail_after(BOUND):
        assert await leaking(1) == 1
    left[0].cancel()


async def test_context_variables_whose_values_cannot_be_compared_do_not_leak(rt: Runtime) -> None:
    @dataclass
    class Incomparable:
        x: int

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("like an array")

    variable: ContextVar[Any] = ContextVar("variable", default=None)

    @step
    async def setting(x: int) -> bool:
        is_clean = variable.get() is None
        variable.set(Incomparable(x))
        return is_clean

    @pipeline
    def several() -> Any:
        return [setting(n) for n in range(6)]

    with anyio.fail_after(BOUND):
        assert await several() == [True] * 6


@pytest.mark.parametrize("suspends", [False, True])
async def test_a_step_that_blocks_the_loop_is_named_and_one_that_waits_is_not(rt: Runtime, suspends: bool) -> None:
    @step
    async def blocking(x: int) -> int:
        if suspends:
            await anyio.sleep(1.1)
        else:
            time.sleep(1.1)  # noqa: ASYNC251  # the sin that is tried here
        return x

    with capture_logs() as lines:
        assert await blocking(1) == 1
    named = [line for line in lines if "blocked" in line["event"]]
    assert bool(named) is not suspends
    if named:
        assert named[0]["step"] == "blocking"
        assert named[0]["where"] == f"{blocking.file}:{blocking.line}"


# What they return.


class Opaque:
    """Has no stored form."""


class EvilEqual:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparing")

    __hash__ = None  # type: ignore[assignment]


def cyclic(x: int) -> Any:
    found: list[Any] = [x]
    found.append(found)
    return found


def deep(x: int) -> Any:
    found: Any = x
    for _ in range(50_000):
        found = [found]
    return found


UNSTORABLE: dict[str, Callable[[int], Any]] = {
    "an object": lambda x: Opaque(),
    "evil equality": lambda x: EvilEqual(),
    "evil equality in a list": lambda x: [EvilEqual()],
    "a cycle": cyclic,
    "a deep list": deep,
    "a coroutine function": lambda x: raised,
    "a generator": lambda x: (n for n in range(x)),
    "a lock": lambda x: __import__("threading").Lock(),
    "a module": lambda x: asyncio,
}


@pytest.mark.parametrize("kind", UNSTORABLE)
async def test_what_cannot_be_stored_fails_the_attempt_and_is_kept_on_the_error(rt: Runtime, kind: str) -> None:
    for bad in both(UNSTORABLE[kind]):
        failure = await outcome_of(bad, 1)
        assert isinstance(failure, MaterializeError), repr(failure)
        assert hasattr(failure, "value")
    gc.collect()


async def test_a_handle_that_a_step_returns_is_refused(rt: Runtime) -> None:
    inner = sibling(1)

    def body(x: int) -> Any:
        return inner

    for bad in both(body):
        assert isinstance(await outcome_of(bad, 1), Exception)
    assert await inner == 1


LIES: dict[str, tuple[Any, Any]] = {
    "str for int": (int, "one"),
    "None for int": (int, None),
    "list[str] for list[int]": (list[int], ["a"]),
    "one output too few": (tuple[int, int], (1,)),
    "no tuple at all": (tuple[int, int], 5),
    "a tuple of wrong ones": (tuple[int, int], (1, "b")),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_step_that_lies_about_its_result_fails_naming_both(rt: Runtime, lie: str) -> None:
    annotation, value = LIES[lie]

    def liar(x: int) -> Any:
        return value

    liar.__annotations__["return"] = annotation
    failure = await outcome_of(step(liar), 1)
    assert isinstance(failure, StepError)
    assert "liar" in str(failure)
    assert failure.value == value  # type: ignore[attr-defined]  # what was computed is not thrown away


async def test_outputs_by_name_must_be_what_they_say(rt: Runtime) -> None:
    class Halves(Outputs):
        left: int
        right: int

    @step
    async def wrong(x: int) -> Halves:
        return (x, x)  # type: ignore[return-value]  # the lie that is tried here

    assert isinstance(await outcome_of(wrong, 1), StepError)


async def test_a_huge_result_is_a_blob_and_the_loop_lives(rt: Runtime) -> None:
    @step
    def huge(x: int) -> bytes:
        return bytes(30_000_000)

    @step
    def size(data: bytes) -> int:
        return len(data)

    @pipeline
    def sized() -> Handle[int]:
        return size(huge(1))

    with anyio.fail_after(60):
        assert await sized() == 30_000_000


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
        return [sibling(1), Opaque()]

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
    go_on = __import__("threading").Event()

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
