"""Question 26: a `def` step in a warm worker process, against the standard library's pool, which pickles."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from typing import Any

from ashore import Handle, Runtime, pipeline, step
from benchmarks.harness import Goals, Question, Round, Row, Size, empty_folder

QUESTION = Question(26, "a def step in a warm worker process", durable="power cut")

WORKERS = 2
ARRAY_BYTES = 100_000_000
SMALLEST = 100
"""Steps a round below which it is only tried whether everything runs."""


def nothing(number: int) -> int:
    return number


def raised(array: Any, number: int) -> Any:
    return array + number


@step(process=True)
def number_of(number: int) -> int:
    return number


@step(process=True)
def array_of(array: Any, number: int) -> Any:
    return array + number


@step(cache=True)
def zeros(length: int) -> Any:
    import numpy as np  # noqa: PLC0415  # not everywhere

    return np.zeros(length)


@step
def last(numbers: list[int]) -> int:
    return numbers[-1]


@pipeline
def fan(start: int, steps: int) -> Handle[int]:
    return last([number_of(number) for number in range(start, start + steps)])


@pipeline
def through(length: int, number: int) -> Handle[Any]:
    made: Handle[Any] = array_of(zeros(length), number)
    return made


def measure(size: Size) -> list[Row]:
    with empty_folder() as folder:
        return asyncio.run(_measure(str(folder), size))


async def _measure(home: str, size: Size) -> list[Row]:
    """The garbage of one round is not the next one's: each makes values of its own."""
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(WORKERS, mp_context=context) as pool:
        async with Runtime(home=home, processes=WORKERS) as runtime:
            rows = [await _of_nothing(pool, runtime, size)]
            if find_spec("numpy") is not None:
                rows.append(await _of_arrays(pool, runtime, size))
            return rows


async def _of_nothing(pool: ProcessPoolExecutor, runtime: Runtime, size: Size) -> Row:
    steps = max(50, size.steps // 10)

    async def limit(number: int) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(pool, nothing, count) for count in range(steps)))

    async def ours(number: int) -> None:
        await (await runtime.start(fan(number * steps, steps)))

    rounds = await _alternating(limit, ours, size.rounds, 1e6 / steps)
    return Row("no-op, many at once", "ProcessPoolExecutor", rounds, "us", Goals(1.5, 1.0, 0.7))


async def _of_arrays(pool: ProcessPoolExecutor, runtime: Runtime, size: Size) -> Row:
    """The array is stored before: it comes from an earlier step. Its successor is flushed to the disk before the run ends."""
    length = (ARRAY_BYTES if size.steps > SMALLEST else ARRAY_BYTES // 100) // 8
    array = await zeros(length)

    async def limit(number: int) -> None:
        result = await asyncio.get_running_loop().run_in_executor(pool, raised, array, number)
        assert result[-1] == number

    async def ours(number: int) -> None:
        result = await (await runtime.start(through(length, number)))
        assert result[-1] == number

    rounds = await _alternating(limit, ours, size.rounds, 1e3)
    return Row("100 MB array in and out", "the same, pickled", rounds, "ms", Goals(0.5, 0.1, 0.02))


async def _alternating(
    limit: Callable[[int], Awaitable[None]], ours: Callable[[int], Awaitable[None]], rounds: int, scale: float
) -> tuple[Round, ...]:
    """As `harness.paired`, in wall time: the work is that of several processes."""
    return tuple([(await _wall(limit, number) * scale, await _wall(ours, number) * scale) for number in range(rounds + 1)][1:])


async def _wall(work: Callable[[int], Awaitable[None]], number: int) -> float:
    start = time.perf_counter()
    await work(number)
    return time.perf_counter() - start
