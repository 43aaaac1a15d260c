"""Several simulated processes on one log: preempted anywhere, killed, with flushes that fail, and a power cut at the end."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import partial

import anyio
import pytest

from ashore_stores.errors import StoreError
from ashore_stores.keys import Position
from ashore_stores.logs.segment import SegmentEventLog, open_segment_log
from ashore_stores.logs.segments import LogSettings
from ashore_stores.logs.verify import verify_log
from ashore_stores.ports import Ports
from ashore_stores.testing.disk import Faults, PowerCut, SimDisk
from ashore_stores.testing.logs import KEYS, claim, facts
from ashore_stores.testing.loop import simulate
from ashore_stores.testing.world import SimProcess, sim_ports

FOLDER = "/home/log"
SETTINGS = LogSettings(segment_bytes=1500, look_every=0.5)
PROCESSES, ROUNDS, KEY_COUNT = 3, 6, 4


@dataclass
class Told:
    """What the processes were told."""

    durable: dict[int, bytes] = field(default_factory=dict)  # position -> body
    winners: dict[int, bytes] = field(default_factory=dict)  # key -> who, durably
    deaths: int = 0
    ends: int = 0
    errors: list[StoreError] = field(default_factory=list)


async def work(told: Told, name: bytes, ports: Ports) -> None:
    """One process: facts and claims in turn, each waited for."""
    log = await open_segment_log(FOLDER, ports, SETTINGS)
    for number in range(ROUNDS):
        await one_round(log, told, b"%s-%d" % (name, number), number % KEY_COUNT)
        await ports.clock.sleep(0.001 * number)
    told.ends += 1
    await log.aclose()


async def one_round(log: SegmentEventLog, told: Told, name: bytes, key: int) -> None:
    batches = [facts(name + b"/%d" % part, topics=(name,)) for part in range(3)]
    tickets = [log.queue(batch) for batch in batches]
    judged = await log.append([claim(b"%d" % key, name, space=KEYS)])
    assert all(ticket.position is not None for ticket in tickets)
    await log.durable(tickets[-1])
    for ticket, batch in zip(tickets, batches, strict=True):
        assert ticket.position is not None
        told.durable[ticket.position] = batch.body
    if judged[0].position is not None:
        await log.durable(judged[0].position)
        assert key not in told.winners
        told.winners[key] = name
        told.durable[judged[0].position] = b"%d=" % key + name


async def world(told: Told, disk: SimDisk, chance: random.Random) -> None:
    """Processes come; some are killed at some operation, and others come in their place."""
    number = 0

    async def one() -> None:
        nonlocal number
        left = 2
        while left:
            number += 1
            left -= 1
            view = disk.for_process(f"p{number}")
            if chance.random() < 0.6:
                view.kill_at = chance.randrange(1, 150)
            process = SimProcess(view, chance.randrange(1 << 30), preempt=chance.choice((0.02, 0.1, 0.3)))
            process.start(partial(work, told, b"%d" % number))
            try:
                await process.ended()
            except StoreError as error:
                told.errors.append(error)
            told.deaths += not view.is_alive

    async with anyio.create_task_group() as group:
        for _ in range(PROCESSES):
            group.start_soon(one)


async def check(told: Told, disk: SimDisk) -> None:
    ports = sim_ports(1, disk=disk)
    log = await open_segment_log(FOLDER, ports, SETTINGS)
    await log.refresh()
    last = log.statistics().written
    found = [(await log.frame_at(Position(position))) for position in range(1, last + 1)]
    assert [frame.first for frame in found] == list(range(1, last + 1))
    for position, body in told.durable.items():
        assert position <= last, f"{body!r} was told durable at {position}, the log ends at {last}"
        assert found[position - 1].batch.body == body
    bodies = [frame.batch.body for frame in found]
    assert len(set(bodies)) == len(bodies), "nothing is written twice"
    assert {body.partition(b"=")[0]: 1 for body in bodies if b"=" in body} == {b"%d" % key: 1 for key in _claimed(bodies)}
    for name in {body.partition(b"/")[0] for body in bodies if b"/" in body}:
        parts = [body for body in bodies if body.startswith(name + b"/")]
        assert parts == [name + b"/%d" % part for part in range(len(parts))], "a process's facts keep their order, without holes"
    await log.durable(log.queue(facts(b"afterwards")))
    assert [frame.batch.body async for frame in log.read()] == [*bodies, b"afterwards"]
    await log.aclose()
    assert verify_log(FOLDER, ports) == []


def _claimed(bodies: list[bytes]) -> set[int]:
    won = [body.partition(b"=")[0] for body in bodies if b"=" in body]
    assert len(set(won)) == len(won), "a claim is won once"
    return {int(key) for key in won}


def play(seed: int, faults: Faults) -> tuple[Told, SimDisk]:
    told, disk = Told(), SimDisk(seed, faults, name="machine")
    disk.make_folder("/home")
    disk.flush_folder("/")
    try:
        simulate(partial(world, told, disk, random.Random(f"world-{seed}")), seed)
    except PowerCut:
        assert faults.crash_at is not None
    return told, disk


@pytest.mark.parametrize("seed", range(24))
def test_kills(seed: int) -> None:
    told, disk = play(seed, Faults())
    assert told.errors == []
    simulate(partial(check, told, disk.for_process("last")), seed)
    simulate(partial(check, told, disk.after_crash(seed)), seed)


@pytest.mark.parametrize("seed", range(24))
def test_kills_and_a_power_cut(seed: int) -> None:
    told, disk = play(seed, Faults(crash_at=40 + 37 * seed % 900))
    for again in range(3):
        simulate(partial(check, told, disk.after_crash(again)), seed)


@pytest.mark.parametrize("seed", range(24))
def test_kills_and_a_failed_flush(seed: int) -> None:
    """Processes that read what is then lost may stop with `NotDurable`; nobody was told anything wrong."""
    told, disk = play(seed, Faults(flush_error_at=2 + seed))
    simulate(partial(check, told, disk.for_process("last")), seed)
    for again in range(3):
        simulate(partial(check, told, disk.after_crash(again)), seed)
