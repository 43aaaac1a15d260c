"""Steps that the tests of bodies share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from ashore import Handle, Outputs, RunFailed, Runtime, step


class Executed(list[str]):
    """What was executed: a class of its own, so that it is no constant of a step's code."""


executed = Executed()


@dataclass
class Point:
    x: int
    y: int


class Halves(Outputs):
    low: int
    high: int


@step
async def number(n: int) -> int:
    return n


@step
async def inc(n: int) -> int:
    return n + 1


@step
async def plus(numbers: list[int]) -> int:
    return sum(numbers)


@step
async def slow(n: int, seconds: float = 0.01) -> int:
    await anyio.sleep(seconds)
    executed.append(f"slow {n}")
    return n


@step
def threaded(n: int) -> int:
    return n * 10


@step
async def halves(n: int) -> Halves:
    return Halves(n // 2, n - n // 2)


@step
async def point(x: int, y: int) -> Point:
    return Point(x, y)


@step
async def fails(n: int = 0, seconds: float = 0.0) -> int:
    await anyio.sleep(seconds)
    raise ValueError(f"no {n}")


@step
async def forever() -> int:
    await anyio.sleep_forever()
    return 0


async def asked(handle: Handle[int]) -> None:
    """Await it, in a task of its own."""
    await handle


async def failures_of(rt: Runtime, call: Handle[Any]) -> list[str]:
    run = await rt.start(call)
    with pytest.raises(RunFailed) as failed:
        await run
    assert run.state == "failed"
    return [f"{type(error).__name__}: {error}" for error in failed.value.failures]
