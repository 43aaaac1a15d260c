"""Question 8: whether a step of a long run costs what one of a short run costs."""

from __future__ import annotations

import asyncio
from typing import Any

from ashore import Runtime
from benchmarks.harness import Goals, Question, Row, Size, cpu, empty_folder
from benchmarks.pipelines import STRIDE, chain, dynamic

QUESTION = Question(8, "CPU of a step in a long run", durable="power cut")
GOALS = Goals(1.5, 1.2, 1.0)

TIMES_LONGER = 100
"""In full size: a million steps against ten thousand, of which ten runs of a thousand are made."""
SHORT = 1_000
MOST_ROUNDS = 3

PIPELINES = {"chain": chain, "body that awaits one by one": dynamic}


def measure(size: Size) -> list[Row]:
    with empty_folder() as folder:
        return asyncio.run(_measure(str(folder), size))


async def _measure(home: str, size: Size) -> list[Row]:
    rows = []
    short = min(SHORT, size.steps)
    long = size.steps * TIMES_LONGER
    repeats = max(1, size.steps // short)
    rounds = min(size.rounds, MOST_ROUNDS)
    async with Runtime(home=home) as runtime:
        for place, (what, pipeline) in enumerate(PIPELINES.items()):
            values = iter(range(1 + 10_000 * place, 10_000 * (place + 1)))

            async def run(steps: int, times: int, pipeline: Any = pipeline, values: Any = values) -> float:
                async def work(_: int) -> None:
                    for _ in range(times):
                        await (await runtime.start(pipeline(next(values) * STRIDE, steps)))

                return await cpu(work, 0) / steps / times * 1e6

            await run(short, 1)
            pairs = tuple([(await run(short, repeats), await run(long, 1)) for _ in range(rounds)])
            rows.append(Row(f"{what}, {long:,} steps", f"{short:,} steps", pairs, "us", GOALS))
    return rows
