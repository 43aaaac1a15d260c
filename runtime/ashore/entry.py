"""The entry points: `ashore.run`, `ashore.start`, and what awaiting a call outside a runtime does.

A call that is awaited where no runtime is open uses one that belongs to the event loop: it is opened by the first such call
and closed when the loop cancels its tasks at its end, as `asyncio.run` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from importlib import import_module
from typing import Any, Literal, TypeVar, cast
from weakref import WeakKeyDictionary

import anyio

from ashore.calls import current_scope
from ashore.engine.live.body import Body
from ashore.errors import GraphError, InsideLoop, WrongArgument
from ashore.handles import Handle, set_awaiter
from ashore.runs import Run
from ashore.runtime import Runtime, current_runtime
from ashore.works import Step, Work

T = TypeVar("T")


class _LoopRuntime:
    """The runtime of one event loop, with the task that holds it open."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.runtime: Runtime | None = None
        self.error: Exception | None = None
        self.task = asyncio.get_running_loop().create_task(self._hold(), name="ashore runtime of this loop")

    async def _hold(self) -> None:
        try:
            async with Runtime() as runtime:
                self.runtime = runtime
                self.opened.set()
                await anyio.sleep_forever()
        except Exception as error:  # noqa: BLE001  # told to whoever waits for the runtime; there is nobody else to tell
            self.error = error
        finally:
            self.opened.set()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopRuntime] = WeakKeyDictionary()


async def runtime_here() -> Runtime:
    """The runtime whose block we are in, else the one of this loop."""
    runtime = current_runtime.get()
    if runtime is not None:
        return runtime
    loop = asyncio.get_running_loop()
    held = _by_loop.get(loop)
    if held is None or held.task.done():
        held = _by_loop[loop] = _LoopRuntime()
    await held.opened.wait()
    if held.runtime is None or held.error is not None:
        _by_loop.pop(loop, None)
        raise held.error or RuntimeError("the loop is closing: nothing new is started")
    return held.runtime


async def start(call: Handle[T], /, *, key: str | None = None, again: Literal["failed"] | None = None) -> Run[T]:
    """Start a run of a call in the runtime that is open here; returns when its start is durable. See `Runtime.start`."""
    return await (await runtime_here()).start(call, key=key, again=again)


async def awaited(call: Handle[T]) -> T:
    """What `await call` does outside a pipeline: a run, and its result (a step's own exception, for a single step)."""
    run = await (await runtime_here()).start_soon(call)
    if isinstance(call.bound.work, Step):
        return await run.value_or_own_error()
    return await run


def awaiting(handle: Handle[T]) -> Coroutine[Any, Any, T]:
    """What an await of a handle does: in a pipeline's body it waits for the invocation, else it is a run of its own."""
    scope = current_scope.get()
    if isinstance(scope, Body):
        return scope.wait(handle if handle.node is not None else scope.called(handle.bound))
    if handle.node is not None:
        raise GraphError(
            f"{handle!r} belongs to a pipeline that is wired, or to a run that is over, and was awaited outside it",
            mend="Make the pipeline an `async def` to await in it; outside, await the run",
        )
    return awaited(handle)


def run(call: Coroutine[Any, Any, T], /, *, debug: bool = False) -> T:
    """Run a call (or any awaitable of ashore's) to its end and return its result: the one synchronous front.

    Raises `InsideLoop` where an event loop is running: there one writes `await`; `WrongArgument` for what cannot be awaited.
    Ctrl-C cancels the run and leaves the home sound. `debug`: when a step fails, pdb opens at the failing frame once the run has
    ended; then the error is raised. What fails in another process has no frames here: `ashore debug RUN STEP` calls it once more.
    """
    _check(call)
    if _is_inside_loop():
        raise InsideLoop("ashore.run(...) was called inside a running event loop", mend="Write `await ...` instead")
    try:
        result: T = anyio.run(_main, call)
    except Exception as error:
        if debug:
            import_module("ashore.postmortem").look_at(error)
        raise
    return result


def _check(call: object) -> None:
    """What is given to be run counts as started, whatever comes of it; it has to be something that can be."""
    if isinstance(call, Handle):
        call.claim()
    elif not isinstance(call, Awaitable):
        name, shown = "train", f"a value of type {type(call).__name__}"
        if isinstance(call, Work):
            name, shown = call.name, f"the {type(call).__name__.lower()} {call.name}"
        what = f"ashore.run(...) takes a call of a step or of a pipeline, not {shown}"
        raise WrongArgument(what, mend=f"Write ashore.run({name}(...))")


async def _main(call: Coroutine[Any, Any, T]) -> T:
    async with Runtime():
        if not isinstance(call, Handle):
            return await call
        runtime = await runtime_here()
        whole: Handle[Any] = call if call.parent is None else call.parent
        run = await runtime.start_soon(whole)
        try:
            value = await (run.value_or_own_error() if isinstance(whole.bound.work, Step) else run._value())
            return cast("T", _part(whole, call.output, value))
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await run.cancel()
            raise


def _part(whole: Handle[Any], output: int | None, value: Any) -> Any:
    """One output of the value of a call; None: all of it."""
    outputs = whole.bound.work.outputs
    if output is None:
        return value
    return getattr(value, outputs[output]) if isinstance(outputs, tuple) else value[output]


def _is_inside_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _current_task() -> object | None:
    return asyncio.current_task() if _is_inside_loop() else None


set_awaiter(awaiting, _current_task)
