"""Question 22: two steps as a whole program, for the first time in an empty folder."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.child import Cost, cost_of
from benchmarks.harness import Goals, Question, Row, Size, empty_folder

QUESTION = Question(22, "hello, the first time in an empty folder", durable="power cut")

LIMIT = """
import asyncio

async def greet(name):
    return {"text": "hello " + name["name"]}

async def shout(greeting):
    return {"text": greeting["text"].upper()}

async def main():
    greeting = await asyncio.create_task(greet({"name": "world"}))
    print(await asyncio.create_task(shout(greeting)))

asyncio.run(main())
"""

OURS = """
import ashore

@ashore.step
async def greet(name: dict[str, str]) -> dict[str, str]:
    return {"text": "hello " + name["name"]}

@ashore.step
async def shout(greeting: dict[str, str]) -> dict[str, str]:
    return {"text": greeting["text"].upper()}

@ashore.pipeline
def hello(name: str):
    return shout(greet({"name": name}))

print(ashore.run(hello("world")))
"""


def limit_bare_program() -> Cost:
    with empty_folder() as folder:
        return cost_of(LIMIT, folder)


def ours_program() -> Cost:
    with empty_folder() as folder:
        return cost_of(OURS, folder)


def measure(size: Size) -> Iterator[Row]:
    rounds = [(limit_bare_program(), ours_program()) for _ in range(size.rounds + 1)][1:]
    name = "bare asyncio program"
    walls = tuple((limit.wall, ours.wall) for limit, ours in rounds)
    memory = tuple((limit.memory, ours.memory) for limit, ours in rounds)
    yield Row("wall time", name, walls, "s", Goals(0.6, 0.3, 0.15), judged="ours")
    yield Row("peak memory", name, memory, "MB", Goals(45, 32, 28), judged="ours")
