"""Steps that misbehave: each is a failed attempt with a clear error; its siblings, the loop and other runs go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs
from tests.runtime.engine_misbehaving import BOUND, both, executed, outcome_of, sibling

from ashore import File, Handle, RunCancelled, RunFailed, Runtime, StepError, StepFailure, pipeline, step
from ashore.engine.failures import exception_of, failure_of
from ashore.engine.looking import holds_new_files

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


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


async def test_a_file_in_the_result_of_a_step_without_annotations_is_looked_at(rt: Runtime, tmp_path: Path) -> None:
    @step
    async def written(path: str):  # type: ignore[no-untyped-def]  # that it has no annotation is the point
        await anyio.Path(path).write_text("new")
        return {"file": [File(path)], "x": 1}

    found = await written(str(tmp_path / "new.txt"))
    assert found["x"] == 1
    assert found["file"][0].digest


def test_only_files_that_nobody_looked_at_cost_a_thread() -> None:
    assert not holds_new_files([1, {"x": ("y", File("a", digest=b"seen"))}])
    assert holds_new_files([1, {"x": ("y", File("a"))}])
