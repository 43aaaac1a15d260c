"""Steps that make a sample of every kind and steps that tell what they were given, here and in a process of their own."""

from __future__ import annotations

from functools import cache
from typing import Any

import anyio
from tests.runtime.samples import samples

from ashore import Handle, pipeline, step
from ashore.materialize import dump_value

LIMIT = 1 << 30
gates: dict[str, anyio.Event] = {}
"""What `opened` waits for, by name."""


@cache
def sampled(kind: str) -> dict[str, Any]:
    """One value of each stored form and type."""
    values = samples(kind)
    names = {(dump_value(value, limit=LIMIT).format, type(value)): name for name, value in values.items()}
    return {name: values[name] for name in names.values()}


def told_of(value: Any) -> list[str]:
    """Its type, and what equal content has in common."""
    dumped = dump_value(value, limit=LIMIT)
    return [f"{type(value).__module__}.{type(value).__qualname__}", (dumped.content or dumped.data or b"").hex()]


@step
async def opened(gate: str) -> bool:
    if gate in gates:
        await gates[gate].wait()
    return True


@step(cache=True)
def made(kind: str, name: str, round: int) -> Any:
    return sampled(kind)[name]


@step(process=True)
def passed_on(value: Any, is_open: bool) -> Any:
    return value


@step
def told(value: Any, is_open: bool, which: tuple[str, int]) -> list[str]:
    return told_of(value)


@step(process=True)
def told_there(value: Any, is_open: bool, which: tuple[str, int]) -> list[str]:
    return told_of(value)


@pipeline
def all_ways(kind: str, names: list[str], gate: str, rounds: tuple[int, int]) -> dict[str, list[Handle[list[str]]]]:
    """Each sample as it was made here, and as it came back from another process; told of here, and there."""
    is_open = opened(gate)
    here = [made(kind, name, rounds[0]) for name in names]
    there = [passed_on(value, is_open) for value in here]
    return {
        "made here, told here": [told(value, is_open, ("here", rounds[1])) for value in here],
        "made here, told there": [told_there(value, is_open, ("here", rounds[1])) for value in here],
        "made there, told here": [told(value, is_open, ("there", rounds[1])) for value in there],
        "made there, told there": [told_there(value, is_open, ("there", rounds[1])) for value in there],
    }
