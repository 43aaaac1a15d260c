"""Triggered runs of a pipeline have one owner per home: the daemon that serves it, by a claim on the pipeline's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ashore.events import Event, OwnerSeen, RunSpace, ServingStarted, decode, encode
from ashore_stores.logs.base import Batch, Claim, Entry, EventLog


@dataclass(frozen=True, slots=True)
class Holder:
    """The living daemon that serves a pipeline already."""

    pipeline: str
    pid: int
    host: str
    command: str
    since: float
    """Wall time, seconds."""
    owner: bytes = field(default=b"", compare=False)


async def claim_serving(log: EventLog, me: OwnerSeen, pipelines: Sequence[tuple[str, str]]) -> Holder | None:
    """Serve these pipelines, given as (name, target), from now until this process ends; or say who serves one of them already.

    `me` is this owner. All are asked for before one is claimed. A daemon that is dead is taken over from; one that is only
    stopped is alive. Durable when this returns None.
    """
    await log.refresh()
    for name, _ in pipelines:
        holder = await _living_holder(log, name)
        if holder is not None:
            return holder
    for name, target in pipelines:
        if not await _claim(log, me, name, target):
            return await _living_holder(log, name) or await claim_serving(log, me, pipelines)
    return None


async def _claim(log: EventLog, me: OwnerSeen, name: str, target: str) -> bool:
    key = name.encode()
    events: list[Event] = [me, ServingStarted(me.owner, (name,), (target,), me.at)]
    batch = Batch(encode(events), len(events), entries=(Entry(RunSpace.SERVING, key, me.owner),), topics=(_topic(name),))
    (judged,) = await log.append([Claim(RunSpace.SERVING, key, log.register(RunSpace.SERVING, key), batch)])
    if judged.position is not None:
        await log.durable(judged.position)
    return judged.won


async def _living_holder(log: EventLog, name: str) -> Holder | None:
    owner = log.register(RunSpace.SERVING, name.encode())
    if owner is None or owner == log.owner or not await log.is_alive(owner):
        return None
    seen = OwnerSeen(owner, 0, "?", "", "", 0.0)
    since = 0.0
    for frame in await log.about(_topic(name)):
        for event in decode(frame.batch.body, frame.count):
            if isinstance(event, OwnerSeen) and event.owner == owner:
                seen = event
            elif isinstance(event, ServingStarted) and event.owner == owner:
                since = event.at
    return Holder(name, seen.pid, seen.host, seen.command, since, owner)


def _topic(name: str) -> bytes:
    return b"serving " + name.encode()
