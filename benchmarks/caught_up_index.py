"""Question 2: the same as question 1, until the index can answer for all of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import ashore
from ashore import Runtime
from benchmarks.bare import limit_chain
from benchmarks.harness import Goals, Question, Row, Size, empty_folder, paired_cpu
from benchmarks.pipelines import STRIDE, chain

QUESTION = Question(2, "a no-op step, and the index caught up", durable="power cut")


def measure(size: Size) -> list[Row]:
    with empty_folder() as folder:
        return [asyncio.run(_measure(folder, size))]


async def _measure(home: Path, size: Size) -> Row:
    async with Runtime(home=str(home)) as runtime, await ashore.open(home=str(home)) as catalogue:

        async def limit(number: int) -> None:
            await limit_chain(number, size.steps)

        async def ours(number: int) -> None:
            run = await runtime.start(chain((1 + number) * STRIDE, size.steps))
            await run
            answer = await catalogue.sql("select count(*) from steps where run = ? and state = 'done'", [run.id])
            assert answer.rows == [(size.steps,)], f"{answer.rows} of {size.steps} steps in the index, {answer.freshness}"

        return Row("chain", "bare task", await paired_cpu(limit, ours, size), "us", Goals(4, 1.5, 0.6))
