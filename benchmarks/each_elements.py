"""Question 6: what an element of a fan-out costs that is recorded for good, against the bare await of the same function."""

from __future__ import annotations

import asyncio

from ashore import Handle, Items, Runtime, each, pipeline, step
from benchmarks.harness import Goals, Question, Row, Size, empty_folder, paired_cpu
from benchmarks.pipelines import STRIDE

QUESTION = Question(6, "an element of each(...): durable, hashed, in columns", durable="power cut")
GOALS = Goals(60, 20, 12)
TIMES = 10  # elements for each step of the size


@step
async def plus(x: int, offset: int) -> int:
    return x + offset


@step
async def count(values: list[int]) -> int:
    return len(values)


@pipeline
def over(offset: int, elements: int) -> Handle[Items[int]]:
    """The list of all results is what the run gives."""
    return plus(each(range(elements)), offset)


@pipeline
def counted(offset: int, elements: int) -> Handle[int]:
    """The list of all results is taken by a step."""
    return count(plus(each(range(elements)), offset))


async def limit_await(offset: int, elements: int) -> list[int]:
    return [await plus.fn(x, offset) for x in range(elements)]


def measure(size: Size) -> list[Row]:
    with empty_folder() as folder:
        return asyncio.run(_measure(str(folder), Size(size.steps * TIMES, size.rounds)))


async def _measure(home: str, size: Size) -> list[Row]:
    rows = []
    async with Runtime(home=home) as runtime:
        for name, wired in {"to a step": counted, "as result": over}.items():

            async def limit(number: int) -> None:
                await limit_await(number * STRIDE, size.steps)

            async def ours(number: int, wired: object = wired) -> None:
                await (await runtime.start(wired((1 + number) * STRIDE, size.steps)))  # type: ignore[operator]  # one of the two

            rows.append(Row(f"each, {name}", "bare await", await paired_cpu(limit, ours, size), "us", GOALS))
    return rows
