"""Question 29: what each recorded step costs when a body runs again after a crash."""

from __future__ import annotations

import asyncio

from ashore import Runtime, pipeline, step
from ashore.notices import silence
from benchmarks.bare import limit_chain
from benchmarks.harness import Goals, Question, Row, Size, empty_folder, paired_cpu
from benchmarks.pipelines import STRIDE, first, following

QUESTION = Question(29, "a recorded step, when its body runs again", durable="power cut")
GOALS = Goals(5, 2, 1)

TIMES_LONGER = 10


class _Gate:
    """Where the last step of a body waits in its first life."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.is_open = False


class _Crash(Exception):
    """The end of the first life."""


GATES: dict[int, _Gate] = {}


@step
async def last_one(x: dict[str, int], number: int) -> dict[str, int]:
    gate = GATES[number]
    gate.reached.set()
    if not gate.is_open:
        await asyncio.Event().wait()
    return x


@pipeline
async def interrupted(start: int, steps: int) -> int:
    last = await first({"n": start})
    for _ in range(steps - 1):
        last = await following(last)
    return (await last_one(last, start))["n"]


def measure(size: Size) -> list[Row]:
    with empty_folder() as folder, silence():
        return [asyncio.run(_measure(str(folder), size))]


async def _measure(home: str, size: Size) -> Row:
    longer = Size(size.steps * TIMES_LONGER, min(size.rounds, 5))
    starts = [(1 + number) * STRIDE * 10 for number in range(longer.rounds + 1)]

    async def limit(number: int) -> None:
        await limit_chain(0, longer.steps)

    async def ours(number: int) -> None:
        async with Runtime(home=f"{home}/{number}", resume=[interrupted]) as runtime:
            (run,) = runtime.adopted(interrupted)
            await run

    for number, start in enumerate(starts):
        await _first_life(f"{home}/{number}", start, longer.steps)
    return Row(f"{longer.steps:,} steps", "bare task", await paired_cpu(limit, ours, longer), "us", GOALS)


async def _first_life(home: str, start: int, steps: int) -> None:
    """Run up to the last step, and leave it there."""
    gate = GATES[start] = _Gate()
    try:
        async with Runtime(home=home, grace=0.1) as runtime:
            await runtime.start(interrupted(start, steps))
            await gate.reached.wait()
            raise _Crash
    except _Crash:
        gate.is_open = True
