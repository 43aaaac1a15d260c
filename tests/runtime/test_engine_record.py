"""What is put on record of a run: its parameters, and what became of its steps when it was cancelled."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.scenarios.graphs_process import events_of

from ashore import Handle, NotFound, RunCancelled, Runtime, each, pipeline, step
from ashore.catalogue import Catalogue
from ashore.codec import decode
from ashore.events import Invoked, StepSkipped
from ashore_stores.index.memory import MemoryIndex

pytestmark = pytest.mark.anyio


@pytest.fixture
async def rt(anyio_backend: str, tmp_path: Path) -> AsyncIterator[Runtime]:
    async with Runtime(home=tmp_path / ".ashore", threads=1, grace=0.05) as runtime:
        yield runtime


class Gate:
    """Steps that wait, and say that they do."""

    def __init__(self) -> None:
        self.begun = anyio.Event()


gates: list[Gate] = []


@step
async def number(x: int) -> int:
    return x


@step
async def stays(x: int) -> int:
    gates[-1].begun.set()
    await anyio.sleep_forever()
    return x


@step
async def total(parts: Any, factor: int, more: dict[str, Any]) -> int:
    return factor


@step
async def plus(x: int, y: int) -> int:
    return x + y


async def recorded_params(rt: Runtime, run: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for event in await events_of(rt.stack, run):
        if isinstance(event, Invoked):
            for call in event.calls:
                found.setdefault(call.step, []).append({name: decode(data) for name, data in call.params})
    return found


async def test_only_values_are_parameters_and_no_places_of_inputs(rt: Runtime) -> None:
    @pipeline
    def mixed() -> Handle[int]:
        one = number(1)
        plus(each([1, 2]), 10)
        plus(each([one, number(2)]), 20)
        return total([one, 5], 3, {"plain": [1]})

    run = await rt.start(mixed())
    await run.wait()
    params = await recorded_params(rt, run.id)
    assert params["total"] == [{"factor": 3, "more": {"plain": [1]}}]
    assert params["plus"] == [{"x": [1, 2], "y": 10}, {"y": 20}]


@pipeline
def waiting() -> Handle[int]:
    return plus(stays(number(1)), number(2))


async def cancelled(rt: Runtime) -> Any:
    gates.append(Gate())
    run = await rt.start(waiting())
    await gates[-1].begun.wait()
    await run.cancel()
    return run


async def test_a_step_that_ran_when_its_run_was_cancelled_is_cancelled_and_what_waited_is_skipped(rt: Runtime) -> None:
    run = await cancelled(rt)
    assert {state: count for state, count in run.counts().items() if count} == {"done": 2, "skipped": 1, "cancelled": 1}
    events = [event for event in await events_of(rt.stack, run.id) if isinstance(event, StepSkipped)]
    assert sorted(event.was_running for event in events) == [False, True]
    stack = rt.stack
    async with Catalogue(stack.log, stack.artifacts, MemoryIndex(), stack.ports) as catalogue:
        past = await catalogue.run(run.id)
        assert {one.step: one.state for one in past.invocations} == {
            "number": "done",
            "stays": "cancelled",
            "plus": "skipped",
        }


held = threading.Event()
begun = threading.Event()


@step
def holds(x: int) -> int:
    begun.set()
    held.wait()
    return x


async def test_a_step_that_waited_for_a_thread_never_ran(rt: Runtime) -> None:
    @pipeline
    def two() -> Any:
        return holds(1), holds(2)

    held.clear()
    begun.clear()
    try:
        run = await rt.start(two())
        while not begun.is_set():
            await anyio.lowlevel.checkpoint()
        await run.cancel()
    finally:
        held.set()
    assert {state: count for state, count in run.counts().items() if count} == {"skipped": 1, "cancelled": 1}


async def test_a_cancelled_run_has_its_error_without_being_awaited(rt: Runtime) -> None:
    run = await cancelled(rt)
    assert isinstance(run.error, RunCancelled)
    seen = await rt.run(run.id)
    assert isinstance(seen.error, RunCancelled)


async def test_a_run_that_nobody_knows_is_not_found(rt: Runtime) -> None:
    for error in (NotFound, LookupError):
        with pytest.raises(error, match="no run '0123456789abcdef0123' is on record"):
            await rt.run("0123456789abcdef0123")
