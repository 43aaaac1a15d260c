"""What the tests of misbehaving steps share: a sibling that must not suffer, and the ways in which a step's body can run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ashore import RunFailed, pipeline, step

BOUND = 10.0
"""Seconds in which whatever is tried here is over, or hangs."""


class Calls(list[Any]):
    """What was executed: a class of its own, so that it is no constant of a step's code."""


executed = Calls()


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

    await _in_a_body(bad, *arguments)
    executed.clear()
    with anyio.fail_after(BOUND):
        with pytest.raises(RunFailed) as caught:
            await mixed()
        assert sorted(executed) == [1, 2]
        assert await sibling(3) == 3
    (failure,) = caught.value.failures
    return failure


@step
async def quick(x: int) -> int:
    return x


async def _in_a_body(bad: Any, *arguments: Any) -> None:
    """The same in a body that waits for it: the body is told, nothing else happens to it, and it goes on."""
    told: list[Exception] = []

    @pipeline
    async def lonely() -> int:
        for x in range(3):
            await quick(x)
        try:
            await bad(*arguments)
        except Exception as error:  # noqa: BLE001  # whatever it is
            told.append(error)
        return await quick(7) + await sibling(8)

    with anyio.fail_after(BOUND):
        assert await lonely() == 15
    assert len(told) == 1


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
