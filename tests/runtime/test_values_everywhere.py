"""Whatever a step makes, a consumer gets it with the same type and content: fresh, cached, resumed, here, in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.runtime.samples import PRESENT
from tests.runtime.values_steps import all_ways, gates, sampled, told_of

from ashore import Handle, Runtime

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", PRESENT)
async def test_every_kind_of_value_is_the_same_everywhere(kind: str, home: Path) -> None:
    values = sampled(kind)
    names = list(values)
    told = [told_of(value) for value in values.values()]
    expected = {f"made {maker}, told {teller}": told for maker in ("here", "there") for teller in ("here", "there")}

    def call(gate: str, rounds: tuple[int, int]) -> Handle[Any]:
        wired: Handle[Any] = all_ways(kind, names, gate, rounds)
        return wired

    await left_after(home, len(names), call("closed", (1, 1)))
    async with Runtime(home=home, processes=1) as runtime:
        resumed = await runtime.start(call("closed", (1, 1)), key="run")
        assert await resumed == expected
        cached = await runtime.start(call("open", (1, 2)))
        assert await cached == expected
        assert cached.counts()["cached"] == 2 * len(names)
        fresh = await runtime.start(call("open", (2, 3)))
        assert await fresh == expected


async def left_after(home: Path, steps: int, call: Any) -> None:
    """Start a run and leave it when so many of its steps are done: the rest waits at a closed gate."""

    class Enough(Exception):
        pass

    async def run() -> None:
        async with Runtime(home=home, processes=1) as runtime:
            run = await runtime.start(call, key="run")
            with anyio.fail_after(60):
                while run.counts()["done"] < steps:
                    await anyio.sleep(0.01)
            raise Enough

    gates["closed"] = anyio.Event()
    try:
        with pytest.raises(Enough):
            await run()
    finally:
        del gates["closed"]
