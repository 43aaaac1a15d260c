"""What a pipeline waits for that is no step: time, people and files. Durable: a wait goes on after a restart, and costs nothing.

In a body, each call counts by itself, per strand (`ashore.strands`): two sleeps of a second in one body are two sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from ashore.definitions import Definition
from ashore.durations import Duration, seconds_of
from ashore.errors import InternalError, WrongArgument, user_line
from ashore.files import File
from ashore.handles import Handle
from ashore.options import New
from ashore.works import Step


def _wait(fn: Callable[..., Coroutine[Any, Any, Any]]) -> Step[Any, Any]:
    definition = Definition(fn, "wait", {}, is_pipeline=False)
    return Step(definition, definition.options)


def _waits() -> tuple[Step[Any, Any], ...]:
    async def sleep(seconds: float) -> None:
        """Wait for a length of time."""
        raise InternalError(f"sleep({seconds}) was called: the engine waits for it by itself")

    async def until(at: float) -> None:
        """Wait for a moment."""
        raise InternalError(f"until({at}) was called: the engine waits for it by itself")

    async def approval(question: str, patience: float | None) -> bool:
        """Wait for somebody's answer."""
        raise InternalError(f"approval({question!r}, {patience}) was called: the engine waits for it by itself")

    async def arrival(pattern: str) -> File:
        """Wait for a file."""
        raise InternalError(f"arrival({pattern!r}) was called: the engine waits for it by itself")

    return _wait(sleep), _wait(until), _wait(approval), _wait(arrival)


_SLEEP, _UNTIL, _APPROVAL, _ARRIVAL = _waits()


def sleep(duration: Duration) -> Handle[None]:
    """Wait for a length of time: `await sleep("1d")`. It counts from when it was first waited for, restarts included."""
    handle: Handle[None] = _SLEEP(seconds_of(duration, "sleep: "))
    return handle


def timer(duration: Duration, handle: Handle[Any]) -> Handle[None]:
    """The time that is given to a handle: told apart from other sleeps by what it is for."""
    work: Any = _SLEEP.options(key=f"within {handle.node.invocation.hex() if handle.node is not None else ''}{handle.output}")
    alarm: Handle[None] = work(seconds_of(duration, "within: "))
    return alarm


def until(moment: datetime) -> Handle[None]:
    """Wait until a moment, by the wall clock. Raises `WrongArgument` for one without a time zone."""
    if getattr(moment, "tzinfo", None) is None:
        what = f"until({moment!r}) takes a datetime with a time zone"
        raise WrongArgument(what, where=user_line(), mend="Write datetime(..., tzinfo=UTC), or moment.astimezone()")
    handle: Handle[None] = _UNTIL(moment.timestamp())
    return handle


def approval(question: str, *, timeout: Duration | None = None) -> Handle[bool]:
    """Ask people: True once somebody approves, False if somebody denies or nobody answers in time.

    They answer by `ashore approve RUN [--deny]`, or from any process by `await (await rt.run(id)).approve()`.
    """
    handle: Handle[bool] = _APPROVAL(question, None if timeout is None else seconds_of(timeout, "approval: timeout="))
    return handle


def arrival(trigger: New | str) -> Handle[File]:
    """Wait for a file: `await arrival("labels/*.csv")`, or `arrival(new("labels/*.csv"))`, relative to the project's root.

    The first of those that arrived since the run began and that it has not been given yet, complete; each version once. What
    arrives while the process is down is found when it goes on. To wait for a limited time: `within("2d", arrival(...))`.
    """
    handle: Handle[File] = _ARRIVAL(trigger.pattern if isinstance(trigger, New) else trigger)
    return handle
