"""Question 4: a step whose result is there already, looked up step by step."""

from __future__ import annotations

import asyncio

from ashore import Runtime
from benchmarks.bare import limit_chain
from benchmarks.harness import Goals, Question, Row, Size, empty_folder, paired_cpu
from benchmarks.pipelines import chain

QUESTION = Question(4, "a cached step, step by step", durable="power cut")


def measure(size: Size) -> list[Row]:
    with empty_folder() as folder:
        return [asyncio.run(_measure(str(folder), size))]


async def _measure(home: str, size: Size) -> Row:
    """The first step is a source and runs each time, so that the graph is not answered as a whole; the others are hits."""
    async with Runtime(home=home) as runtime:

        async def limit(number: int) -> None:
            await limit_chain(0, size.steps)

        async def ours(number: int) -> None:
            run = await runtime.start(chain(0, size.steps))
            await run

        return Row("chain", "bare task", await paired_cpu(limit, ours, size), "us", Goals(1.5, 0.5, 0.25))
