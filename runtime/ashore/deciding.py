"""What a body asks for that is no step: which came first, within a time; the time, chance and ids, the same after a crash."""

from __future__ import annotations

import uuid as uuids  # noqa: TID251  # the type: the bytes come from the port
from datetime import UTC, datetime
from typing import Any, TypeVar

from ashore.calls import current_scope
from ashore.durations import Duration
from ashore.engine.live.body import Body
from ashore.errors import GraphError, user_line
from ashore.handles import Handle
from ashore.waiting import timer

T = TypeVar("T")
_FRACTION = 53


def _body(name: str, instead: str) -> Body:
    scope = current_scope.get()
    if not isinstance(scope, Body):
        what = f"ashore.{name}(...) was called outside the body of an `async def` pipeline, where nothing remembers it"
        raise GraphError(what, where=user_line(), mend=f"Use {instead} there")
    return scope


async def first(*handles: Handle[T]) -> tuple[int, T]:
    """Which of the handles has an outcome first, and its value; on record, so that a resumed body sees the same one.

    Raises what that one failed with. The others go on.
    """
    for handle in handles:
        handle.claim()
    body = _body("first", "asyncio.wait")
    if not handles:
        raise GraphError("first() has nothing to wait for", where=user_line(), mend="Give it handles: first(a, b)")
    place = await body.first(handles)
    return place, await body.wait(handles[place])


async def within(limit: Duration, handle: Handle[T]) -> T:
    """The value of the handle if it comes in time, else `TimeoutError`; on record, so that a resumed body decides the same.

    The step that comes too late goes on.
    """
    handle.claim()
    body = _body("within", "asyncio.wait_for")
    alarm = timer(limit, handle)
    if await body.first((handle, alarm)):
        raise TimeoutError(f"{handle!r} had no outcome within {limit}")
    body.let_go(alarm)
    return await body.wait(handle)  # type: ignore[no-any-return]  # a handle's own value


def now() -> datetime:
    """The time, in UTC. A resumed body is told the same."""
    seconds: float = _body("now", "datetime.now(UTC)").state("now", lambda ports: ports.clock.now())
    return datetime.fromtimestamp(seconds, UTC)


def random() -> float:
    """A number from 0 up to but not including 1. A resumed body is told the same."""
    found: float = _body("random", "random.random()").state("random", lambda ports: _fraction(ports.random.token(8)))
    return found


def uuid() -> uuids.UUID:
    """A new random id. A resumed body is told the same."""
    found: bytes = _body("uuid", "uuid.uuid4()").state("uuid", lambda ports: ports.random.token(16))
    return uuids.UUID(bytes=found, version=4)


def _fraction(token: bytes) -> Any:
    return (int.from_bytes(token, "big") >> (64 - _FRACTION)) / (1 << _FRACTION)
