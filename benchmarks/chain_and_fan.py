"""Question 1: what a step costs that is recorded for good, against one that is not recorded at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ashore import Handle, Runtime
from benchmarks.bare import limit_chain, limit_fan, limits
from benchmarks.harness import Goals, Question, Row, Size, empty_folder, paired_cpu
from benchmarks.pipelines import STRIDE, chain, fan

QUESTION = Question(1, "a no-op step, durable, hashed, with lineage and cache key", durable="power cut")
GOALS = Goals(2.5, 1.0, 0.5)

SHAPES: dict[str, tuple[Callable[[int, int], Handle[Any]], Callable[..., Any]]] = {
    "chain": (chain, limit_chain),
    "fan": (fan, limit_fan),
}


def measure(size: Size) -> list[Row]:
    with empty_folder() as folder:
        return asyncio.run(_measure(str(folder), size))


async def _measure(home: str, size: Size) -> list[Row]:
    rows = []
    async with Runtime(home=home) as runtime:
        for offset, (name, spawn) in enumerate(limits().items()):
            for shape, (wired, bare) in SHAPES.items():

                async def limit(number: int, bare: Callable[..., Any] = bare, spawn: Any = spawn) -> None:
                    await bare(number, size.steps, spawn)

                async def ours(number: int, wired: Callable[[int, int], Handle[Any]] = wired, offset: int = offset) -> None:
                    run = await runtime.start(wired((1 + number + 1000 * offset) * STRIDE, size.steps))
                    await run

                rows.append(Row(shape, name, await paired_cpu(limit, ours, size), "us", GOALS))
    return rows
