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
    found = {(dump_value(value, limit=LIMIT).format, type(value)): name for name, value in samples(kind).items()}
    return {name: value for name, value in samples(kind).items() if name in found.values()}


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
def made(kind: str, name: str) -> Any:
    return sampled(kind)[name]


@step(cache=True, process=True)
def made_there(kind: str, name: str) -> Any:
    return sampled(kind)[name]


@step
def told(value: Any, is_open: bool, round: int) -> list[str]:
    return told_of(value)


@step(process=True)
def told_there(value: Any, is_open: bool, round: int) -> list[str]:
    return told_of(value)


@pipeline
def all_ways(kind: str, names: list[str], gate: str, round: int) -> dict[str, list[Handle[list[str]]]]:
    """Each sample made here or there, told here or there."""
    is_open = opened(gate)
    return {
        f"{maker.name} {teller.name}": [teller(maker(kind, name), is_open, round) for name in names]
        for maker in (made, made_there)
        for teller in (told, told_there)
    }
