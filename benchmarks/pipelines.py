"""The steps and pipelines that are measured: they do as little as a step can, an argument in and a dict out."""

from __future__ import annotations

from ashore import Handle, pipeline, step

STRIDE = 1_000_000  # between the values of two rounds, so that no round finds what an earlier one made


@step
async def first(x: dict[str, int]) -> dict[str, int]:
    return {"n": x["n"]}


@step
async def following(x: dict[str, int]) -> dict[str, int]:
    return {"n": x["n"] + 1}


@step
async def branch(x: dict[str, int], index: int) -> dict[str, int]:
    return {"n": x["n"] + index}


@pipeline
def chain(start: int, steps: int) -> Handle[dict[str, int]]:
    """Each step waits for the one before."""
    last = first({"n": start})
    for _ in range(steps - 1):
        last = following(last)
    return last


@pipeline
def fan(start: int, steps: int) -> Handle[dict[str, int]]:
    """All steps but the first are ready at once. The run ends when the last of them has, whichever is returned."""
    root = first({"n": start})
    branches = [branch(root, index) for index in range(steps - 1)]
    return branches[-1]


@pipeline
async def dynamic(start: int, steps: int) -> int:
    """A body that awaits each call before it makes the next."""
    last = await first({"n": start})
    for _ in range(steps - 1):
        last = await following(last)
    return last["n"]


@pipeline
async def passed_on(start: int, steps: int) -> Handle[dict[str, int]]:
    """A body that passes handles on: the data goes from step to step without it."""
    last = first({"n": start})
    for _ in range(steps - 1):
        last = following(last)
    return last
