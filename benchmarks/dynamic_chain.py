"""Question 3: what a step costs that plain Python asks for while the run goes."""

from __future__ import annotations

import asyncio
from typing import Any

from ashore import Runtime
from benchmarks.bare import limit_chain, limits
from benchmarks.harness import Goals, Question, Row, Size, empty_folder, paired_cpu
from benchmarks.pipelines import STRIDE, dynamic, passed_on

QUESTION = Question(3, "a step that an `async def` pipeline calls", durable="power cut")
GOALS = Goals(5, 2, 1)

BODIES = {"awaited one by one": dynamic, "handles passed on": passed_on}


def measure(size: Size) -> list[Row]:
    with empty_folder() as folder:
        return asyncio.run(_measure(str(folder), size))


async def _measure(home: str, size: Size) -> list[Row]:
    rows = []
    async with Runtime(home=home) as runtime:
        for offset, (name, spawn) in enumerate(limits().items()):
            for place, (what, body) in enumerate(BODIES.items()):

                async def limit(number: int, spawn: Any = spawn) -> None:
                    await limit_chain(number, size.steps, spawn)

                async def ours(number: int, body: Any = body, offset: int = 2 * offset + place) -> None:
                    run = await runtime.start(body((1 + number + 1000 * offset) * STRIDE, size.steps))
                    await run

                rows.append(Row(what, name, await paired_cpu(limit, ours, size), "us", GOALS))
    return rows
