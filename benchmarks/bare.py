"""What the steps are divided by: the same functions as plain asyncio tasks. Nothing is recorded, hashed or durable."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

Value: TypeAlias = dict[str, int]
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, Value]], "asyncio.Task[Value]"]


async def following(x: Value) -> Value:
    return {"n": x["n"] + 1}


async def branch(x: Value, index: int) -> Value:
    return {"n": x["n"] + index}


async def limit_chain(start: int, steps: int, spawn: Spawn = asyncio.create_task) -> Value:
    last = {"n": start}
    for _ in range(steps):
        last = await spawn(following(last))
    return last


async def limit_fan(start: int, steps: int, spawn: Spawn = asyncio.create_task) -> list[Value]:
    root = {"n": start}
    return await asyncio.gather(*[spawn(branch(root, index)) for index in range(steps)])


def limits() -> dict[str, Spawn]:
    """A bare task, and where Python has it a task that starts at once: the harder limit."""
    found: dict[str, Spawn] = {"bare task": asyncio.create_task}
    if sys.version_info >= (3, 12):
        found["bare eager task"] = lambda coroutine: asyncio.Task(coroutine, eager_start=True)
    return found
