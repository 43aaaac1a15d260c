"""Question 9: what memory a step of a long run takes, at most."""

from __future__ import annotations

from benchmarks.child import cost_of
from benchmarks.harness import Goals, Question, Row, Size, empty_folder

QUESTION = Question(9, "peak memory of a step in a long run", durable="power cut")
GOALS = Goals(2_000, 1_000, 700)

TIMES_LONGER = 100
MOST_ROUNDS = 3

PROGRAM = """
import sys
import ashore
from ashore import Handle, pipeline, step

@step
async def first(x: dict[str, int]) -> dict[str, int]:
    return {{"n": x["n"]}}

@step
async def following(x: dict[str, int]) -> dict[str, int]:
    return {{"n": x["n"] + 1}}

@pipeline
def wired(steps: int) -> Handle[dict[str, int]]:
    last = first({{"n": 0}})
    for _ in range(steps - 1):
        last = following(last)
    return last

@pipeline
async def dynamic(steps: int) -> int:
    last = await first({{"n": 0}})
    for _ in range(steps - 1):
        last = await following(last)
    return last["n"]

ashore.run({name}({steps}))
"""

PIPELINES = {"chain": "wired", "body that awaits one by one": "dynamic"}


def measure(size: Size) -> list[Row]:
    return [_row(what, name, size) for what, name in PIPELINES.items()]


def _row(what: str, name: str, size: Size) -> Row:
    steps = size.steps * TIMES_LONGER
    rounds = [(1.0, (_peak(name, steps) - _peak(name, 1)) / steps) for _ in range(min(size.rounds, MOST_ROUNDS))]
    return Row(f"{what}, {steps:,} steps", "a byte", tuple(rounds), "B", GOALS, judged="ours")


def _peak(name: str, steps: int) -> float:
    """Bytes that the program has at most."""
    with empty_folder() as folder:
        return cost_of(PROGRAM.format(name=name, steps=steps), folder).memory * 1e6
