"""A handle: what asyncio and anyio may do with it, and what nobody may: use it as its value."""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib
import math
import operator
import os
import pickle
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import anyio
import pytest

from ashore import handles
from ashore.calls import current_scope
from ashore.elements import each, fixed
from ashore.errors import GraphError, InternalError, NotAValue, NotStarted
from ashore.handles import Handle, set_awaiter
from ashore.outputs import Outputs
from ashore.steps import pipeline, step

pytestmark = pytest.mark.anyio


class Parts(Outputs):
    train: int
    test: str


@step
def add(a: int, b: int = 1) -> int:
    return a + b


@step
def split(a: int) -> tuple[int, str]:
    return a, "x"


@step
def parts(a: int) -> Parts:
    return Parts(a, "x")


@step
def many(*items: int, **more: int) -> tuple[int, ...]:
    return items


@step
def gather_all(values: list[int]) -> int:
    return sum(values)


@step
def anything(value: Any) -> Any:
    return value


class Waiters:
    """Stands for the runtime: a handle of `add` is worth a + b, once somebody opens the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.under_way = 0
        self.awaits = 0

    async def await_handle(self, handle: Handle[Any]) -> Any:
        self.awaits += 1
        self.under_way += 1
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        arguments = handle.bound.arguments
        if arguments["a"] < 0:
            raise ValueError("negative")
        assert handle.output is None
        return handle.bound.work.fn(**arguments)


@pytest.fixture
def awaiter_back() -> Iterator[None]:
    before = handles._awaiter, handles._current_task
    yield
    set_awaiter(*before)


@pytest.fixture
def waiters(awaiter_back: None) -> Waiters:
    made = Waiters()
    set_awaiter(made.await_handle, asyncio.current_task)
    return made


@pytest.fixture
def opened(waiters: Waiters) -> Waiters:
    waiters.gate.set()
    return waiters


@pytest.fixture
def handle() -> Handle[int]:
    call = add(1)
    call.claim()
    return call


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


# --- Awaiting, from everywhere that takes a coroutine.


async def test_awaiting_gives_the_value_any_number_of_times(opened: Waiters, handle: Handle[int]) -> None:
    assert [await handle, await handle] == [2, 2]


async def test_asyncio_takes_it_wherever_it_takes_a_coroutine(opened: Waiters, handle: Handle[int]) -> None:
    assert list(await asyncio.gather(handle, handle, add(2))) == [2, 2, 3]
    assert await asyncio.wait_for(handle, 10) == 2
    assert await asyncio.shield(handle) == 2
    assert [await done for done in asyncio.as_completed([add(1), add(1)])] == [2, 2]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(handle)
    assert task.result() == 2
    done, _ = await asyncio.wait({asyncio.ensure_future(handle)})
    assert done.pop().result() == 2


async def test_anyio_takes_it_wherever_it_takes_a_coroutine(opened: Waiters) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(add, 1)
        group.start_soon(add, 2)
    assert opened.awaits == 2
    with anyio.CancelScope(shield=True):
        assert await add(1) == 2


def test_a_loop_runs_it_as_its_main_coroutine(awaiter_back: None) -> None:
    async def at_once(handle: Handle[Any]) -> Any:
        return handle.bound.work.fn(**handle.bound.arguments)

    set_awaiter(at_once, asyncio.current_task)
    assert asyncio.run(add(3)) == 4
    assert anyio.run(add, 3) == 4


async def test_two_tasks_drive_one_handle_each_at_its_own_pace(waiters: Waiters, handle: Handle[int]) -> None:
    first, second = asyncio.create_task(handle), asyncio.create_task(handle)
    await until(lambda: waiters.under_way == 2)
    first.cancel()
    await until(first.done)
    assert first.cancelled()
    assert waiters.under_way == 1
    waiters.gate.set()
    assert await second == 2


async def test_a_timeout_ends_the_waiting_and_the_handle_can_be_awaited_again(waiters: Waiters, handle: Handle[int]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(handle, 0.001)
    waiters.gate.set()
    assert await handle == 2


async def test_a_task_that_is_cancelled_before_it_began_asks_for_nothing(waiters: Waiters, handle: Handle[int]) -> None:
    task = asyncio.create_task(handle)
    task.cancel()
    await until(task.done)
    assert task.cancelled()
    assert waiters.awaits == 0


@pytest.mark.parametrize("use", [lambda h: h, lambda h: asyncio.gather(h), asyncio.create_task], ids=["await", "gather", "task"])
async def test_the_exception_of_the_awaiting_comes_through(opened: Waiters, use: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="negative"):
        await use(add(-1))


async def test_a_task_shows_whose_handle_it_drives(opened: Waiters, handle: Handle[int]) -> None:
    task = asyncio.create_task(handle)
    assert "add" in repr(task)
    await task


async def test_what_asyncio_and_inspect_take_it_for(handle: Handle[int]) -> None:
    assert asyncio.iscoroutine(handle)
    assert isinstance(handle, Coroutine)
    assert handle.__name__ == "add"  # type: ignore[attr-defined]
    assert handle.cr_frame is None


async def test_driven_by_hand_outside_any_task(opened: Waiters, handle: Handle[int]) -> None:
    set_awaiter(opened.await_handle, lambda: None)
    for _ in range(2):
        with pytest.raises(StopIteration) as stop:
            handle.send(None)
        assert stop.value.value == 2
    handle.close()


async def test_close_lets_go_of_the_waiter_only(waiters: Waiters, handle: Handle[int]) -> None:
    set_awaiter(waiters.await_handle, lambda: None)
    handle.send(None)
    assert waiters.under_way == 1
    handle.close()
    assert waiters.under_way == 0


async def test_without_a_runtime_it_says_so(awaiter_back: None, handle: Handle[int]) -> None:
    importlib.import_module("ashore.entry")  # it tells when it is imported: here it has told already
    set_awaiter(handles._unknown, asyncio.current_task)
    with pytest.raises(InternalError, match="add"):
        await handle


# --- Several outputs.


async def test_a_tuple_of_outputs_unpacks_into_handles(opened: Waiters) -> None:
    pair = split(3)
    number, text = pair
    assert await number == 3
    assert await text == "x"
    assert await pair == (3, "x")
    assert len(pair) == 2
    assert [pair[0].output, pair[1].output, pair[-1].output] == [0, 1, 1]
    assert [handle.annotation for handle in pair] == [int, str]
    assert [part.parent for part in (number, text)] == [pair, pair]
    assert repr(text) == "split(a=3)[1]"
    with pytest.raises(IndexError, match="2 outputs"):
        pair[2]  # type: ignore[misc]


async def test_outputs_by_name_are_attributes(opened: Waiters) -> None:
    whole = parts(3)
    assert [await whole.train, await whole.test] == [3, "x"]
    assert whole.test.output == 1
    assert whole.test.annotation is str
    assert whole.annotation is Parts
    assert repr(whole.train) == "parts(a=3).train"
    assert [part.output for part in whole] == [0, 1]
    with pytest.raises(NotAValue, match=r"`\.valid`"):
        _ = whole.valid


async def test_a_tuple_of_any_length_is_one_value() -> None:
    whole: Any = many(1, 2)
    whole.claim()
    with pytest.raises(NotAValue, match="one value"):
        _, _ = whole


async def test_too_many_names_for_the_outputs() -> None:
    pair: Any = split(1)
    pair.claim()
    with pytest.raises(ValueError, match="expected 3"):
        _, _, _ = pair


# --- A handle is not its value.

MISUSES: dict[str, Callable[[Any], Any]] = {
    "truth": bool,
    "if": lambda h: 1 if h else 2,
    "not": operator.not_,
    "item by name": lambda h: h["x"],
    "item by number": lambda h: h[0],
    "slice": lambda h: h[1:],
    "set item": lambda h: operator.setitem(h, 0, 1),
    "length": len,
    "iteration": list,
    "in": lambda h: 1 in h,
    "+": lambda h: h + 1,
    "reflected +": lambda h: 1 + h,
    "@": lambda h: h @ h,
    "divmod": lambda h: divmod(h, 2),
    "-": operator.neg,
    "<": lambda h: h < 1,
    ">=": lambda h: h >= h,
    "==": lambda h: h == 2,
    "!=": lambda h: h != 2,
    "value ==": lambda h: h == 2,
    "attribute": lambda h: h.real,
    "method": lambda h: h.mean(),
    "format": lambda h: f"{h}",
    "format with a width": lambda h: f"{h:10}",
    "int": int,
    "float": float,
    "round": round,
    "floor": math.floor,
    "range": range,
    "path": os.fspath,
    "bytes": bytes,
    "sum": lambda h: sum([1, h]),
    "max": lambda h: max(h, 2),
    "sorted": lambda h: sorted([h, h]),
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("name", MISUSES)
async def test_every_use_as_a_value_says_what_where_and_how_to_mend_it(handle: Handle[int], name: str) -> None:
    with pytest.raises(NotAValue) as caught:
        MISUSES[name](handle)
    text = str(caught.value)
    assert "add(a=1) is a handle, not its value" in text
    assert "await it" in text
    assert "@step" in text
    if name not in ("pickle",):
        assert caught.value.where.startswith(f"{__file__}:")


def test_the_function_that_misuses_it_is_named_as_a_step_without_its_decorator(handle: Handle[int]) -> None:
    def cleaned(value: Any) -> Any:
        return value.dropna()

    with pytest.raises(NotAValue, match="in cleaned; if that should be a step, it lacks its @step"):
        cleaned(handle)


def test_numpy_neither_swallows_nor_computes_with_it(handle: Handle[int]) -> None:
    numpy = pytest.importorskip("numpy")
    for use in (numpy.asarray, lambda h: numpy.float64(3) + h, lambda h: numpy.ones(3) * h, lambda h: h * numpy.ones(3)):
        with pytest.raises(NotAValue, match="add"):
            use(handle)


def test_pandas_refuses_it(handle: Handle[int]) -> None:
    pandas = pytest.importorskip("pandas")
    for use in (pandas.read_csv, pandas.DataFrame, pandas.Series):
        with pytest.raises((NotAValue, ValueError)):
            use(handle)


async def test_what_a_handle_may_be_used_for(handle: Handle[int]) -> None:
    other = add(1)
    other.claim()
    same = handle
    assert handle == same
    assert handle != other
    assert handle in {handle, other}
    assert {handle: 1}[handle] == 1
    assert handle in [other, handle]
    assert copy.copy(handle) is handle
    assert copy.deepcopy([handle])[0] is handle
    assert not hasattr(handle, "foo")
    assert not hasattr(handle, "_repr_html_")
    assert str(handle) == repr(handle) == "add(a=1)"


# --- A call outside a pipeline that nobody starts.


def dropped(make: Callable[[], Any]) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        make()
        gc.collect()
    return seen


def test_a_dropped_call_warns_with_its_line_and_what_to_write() -> None:
    (seen,) = dropped(lambda: add(7, b=2))
    assert seen.category is NotStarted
    assert seen.filename == __file__
    text = str(seen.message)
    assert text.startswith("add(a=7, b=2) was not started: ")
    assert "`await" in text
    assert "ashore.run(...)" in text


def test_outputs_of_a_dropped_call_warn_once() -> None:
    def drop() -> None:
        _one, _two = split(1)

    assert [str(one.message)[:10] for one in dropped(drop)] == ["split(a=1)"]


def test_a_call_that_is_an_argument_of_another_is_not_the_dropped_one() -> None:
    assert [str(one.message)[:4] for one in dropped(lambda: gather_all([add(1), add(2)]))] == ["gath"]
    assert len(dropped(lambda: anything({"x": (add(1), {"y": [add(2)]})}))) == 1
    assert len(dropped(lambda: add(split(1)[0]))) == 1
    assert len(dropped(lambda: add(each([add(1), add(2)])))) == 1


def test_awaiting_an_output_starts_the_call(awaiter_back: None) -> None:
    async def at_once(handle: Handle[Any]) -> Any:
        return handle.bound.work.fn(**handle.bound.arguments)

    set_awaiter(at_once, asyncio.current_task)

    async def awaiting() -> None:
        one, _ = split(1)
        assert await one == 1

    assert dropped(lambda: asyncio.run(awaiting())) == []


def test_handles_made_in_a_pipeline_never_warn() -> None:
    class Quiet:
        def called(self, bound: Any) -> Any:
            return Handle(bound, node=object())

    token = current_scope.set(Quiet())
    try:
        assert dropped(lambda: add(1)) == []
    finally:
        current_scope.reset(token)


def test_large_arguments_are_not_asked_how_they_look() -> None:
    class Loud:
        def __repr__(self) -> str:
            raise AssertionError("asked")

    (seen,) = dropped(lambda: anything(Loud()))
    assert "anything(value=<Loud>)" in str(seen.message)
    (seen,) = dropped(lambda: anything("x" * 1000))
    assert len(str(seen.message)) < 200
    (seen,) = dropped(lambda: anything([1, 2, 3]))
    assert "<list of 3>" in str(seen.message)


# --- fixed and each.


def test_fixed_is_the_handle_itself(handle: Handle[int]) -> None:
    whole: Any = fixed(handle)
    assert whole is handle
    whole = fixed(handle, int)
    assert whole is handle
    by_name: Any = fixed({"a": handle})
    assert by_name["a"] is handle
    listed: Any = [fixed([handle, handle]), fixed(iter([handle]))]
    assert listed == [[handle, handle], [handle]]
    assert fixed(3) == 3
    assert fixed("text") == "text"
    with pytest.raises(GraphError, match="by position") as caught:
        fixed(each([1]))
    assert __file__ in str(caught.value)


def test_each_keeps_its_source_and_how_it_goes_over_it(handle: Handle[int]) -> None:
    of_list, of_handle = each([1, 2]), each(anything([1]))
    assert of_list.source == (1, 2)
    assert of_list.on_error == "stop"
    assert isinstance(of_handle.source, Handle)
    assert each([handle], on_error="skip").on_error == "skip"
    assert each(range(10**9)).source == range(10**9)
    assert each(n for n in (1, 2)).source == (1, 2)


def test_each_of_several_belongs_together() -> None:
    one, other = each([1, 2], ["a", "b"])
    assert one.group is other.group
    assert one.group.how == "zip"
    left, right = each.product([1, 2], ["a", "b"])
    assert left.group is right.group
    assert left.group.how == "product"
    assert each([1]).group is not each([1]).group


@pytest.mark.parametrize("source", [3, None, "abc", b"abc", object(), {"a": 1}, {1, 2}, frozenset()])
def test_each_of_what_is_no_list_is_refused(source: Any) -> None:
    with pytest.raises(GraphError, match="takes a list, or a handle of a list") as caught:
        each(source)
    assert caught.value.where.startswith(__file__)


def test_each_refuses_what_it_does_not_know() -> None:
    wrong: Any = "colect"
    with pytest.raises(GraphError, match='"stop", "skip" and "collect"'):
        each([1], on_error=wrong)
    limits: list[Any] = [0, True, "8"]
    for limit in limits:
        with pytest.raises(GraphError, match="limit=8"):
            each([1], limit=limit)
    nothing: Any = each
    with pytest.raises(GraphError, match="nothing to go over"):
        nothing()
    with pytest.raises(NotAValue, match="by position"):
        list(each([1]))  # type: ignore[call-overload]


def test_a_pipeline_call_is_the_same_kind_of_thing() -> None:
    @pipeline
    def wired(a: int) -> Handle[int]:
        return add(a)

    (seen,) = dropped(lambda: wired(1))
    assert str(seen.message).startswith("wired(a=1) was not started")
