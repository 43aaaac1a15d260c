"""Question 7: a fan-out run again after ten of its elements changed, against one walk over all of them in plain Python."""

from __future__ import annotations

import asyncio

from ashore import Handle, Runtime, each, pipeline, step
from benchmarks.harness import Goals, Question, Row, Size, empty_folder, paired_cpu

QUESTION = Question(7, "each(...) run again, ten elements changed", durable="power cut")
TIMES = 10  # elements for each step of the size; the goal is stated for a million
CHANGED = 10


@step
async def numbers(count: int, number: int) -> list[int]:
    """All as in every round, but for ten of them."""
    found = list(range(count))
    for place in range(CHANGED):
        found[place * (count // CHANGED)] = -(number * CHANGED + place) - 1
    return found


@step
async def plus(x: int) -> int:
    return x + 1


@step
async def done(number: int) -> int:
    return number


@pipeline
def over(count: int, number: int) -> Handle[int]:
    """The elements are what another step gave: they are looked up by their content."""
    plus(each(numbers(count, number)))
    return done(number)


async def limit_walk(elements: list[int]) -> int:
    total = 0
    for element in elements:
        total += element
    return total


def measure(size: Size) -> list[Row]:
    with empty_folder() as folder:
        return [asyncio.run(_measure(str(folder), Size(size.steps * TIMES, size.rounds)))]


async def _measure(home: str, size: Size) -> Row:
    elements = list(range(size.steps))
    async with Runtime(home=home) as runtime:
        await (await runtime.start(over(size.steps, 0)))

        async def limit(number: int) -> None:
            await limit_walk(elements)

        async def ours(number: int) -> None:
            await (await runtime.start(over(size.steps, 1 + number)))

        return Row("each, ten changed", "plain walk", await paired_cpu(limit, ours, size), "us", Goals(20, 5, 2))
