"""Arrivals in a simulated world: several watching processes, one killed again and again, hints late, doubled or lost."""

from __future__ import annotations

import itertools
import random
from functools import partial

import anyio
import pytest

from ashore.triggers.ranges import Arrival, arrivals_in
from ashore.triggers.scan import parse_pattern
from ashore.triggers.watch import SCAN_EVERY, TriggerWatch
from ashore_stores.keys import Digest, digest_of
from ashore_stores.logs.segment import open_segment_log
from ashore_stores.ports import Ports
from ashore_stores.testing.disk import SimDisk
from ashore_stores.testing.loop import simulate
from ashore_stores.testing.world import SimProcess

PATTERN = parse_pattern("inbox/*.csv", "/project")
PATHS = [f"/project/inbox/{name}.csv" for name in "abc"]
KILLS = 3


class Writer:
    """Writes files in all the ways that people do, and remembers every content that a path ever had."""

    def __init__(self, seed: int, disk: SimDisk) -> None:
        self.chance = random.Random(f"writer-{seed}")
        self.disk = disk
        self.contents: dict[str, set[str]] = {path: set() for path in PATHS}

    async def write(self) -> None:
        for number in range(self.chance.randint(3, 12)):
            path, content = self.chance.choice(PATHS), self.chance.choice([b"A" * 7, b"B" * 7, f"{number}".encode() * 9])
            await self.chance.choice([self.rename, self.in_place, self.grow, self.remove])(path, content)
            await anyio.sleep(self.chance.choice([0.0, 0.01, 1.0, 3.0]))

    async def rename(self, path: str, content: bytes) -> None:
        self.put("/project/aside", content)
        self.note(path, content)
        self.disk.rename("/project/aside", path)

    async def in_place(self, path: str, content: bytes) -> None:
        self.note(path, content)
        self.put(path, content)

    async def grow(self, path: str, content: bytes) -> None:
        file = self.disk.open(path, write=True, create=True)
        file.truncate(0)
        for size in range(0, len(content), 2):
            self.note(path, content[:size])
            self.note(path, content[: size + 2])
            file.write(content[size : size + 2], size)
            await anyio.sleep(self.chance.choice([0.001, 0.5]))
        file.close()

    async def remove(self, path: str, content: bytes) -> None:
        self.disk.remove(path)

    def put(self, path: str, content: bytes) -> None:
        self.note(path, b"")
        file = self.disk.open(path, write=True, create=True)
        file.truncate(0)
        file.write(content, 0)
        file.close()

    def note(self, path: str, content: bytes) -> None:
        self.contents.setdefault(path, set()).add(digest_of(content))


async def watch(ports: Ports) -> None:
    log = await open_segment_log("/project/.ashore/log", ports)
    await log.own()
    await TriggerWatch(PATTERN, log, ports, lambda notice: None).run()


async def killed_again_and_again(disk: SimDisk, seed: int) -> None:
    chance = random.Random(f"kills-{seed}")
    for life in range(KILLS):
        mortal = disk.for_process(f"mortal-{life}")
        mortal.kill_at = chance.randint(20, 120)
        process = SimProcess(mortal, seed)
        process.start(watch)
        with anyio.move_on_after(chance.uniform(1.0, 10.0)):
            await process.ended()
        process.kill()


async def scenario(seed: int) -> tuple[Writer, dict[str, Digest], list[Arrival]]:
    """What was written, what lies there in the end, and what the log says arrived."""
    disk = SimDisk(seed)
    disk.make_folder("/project/inbox")
    writer = Writer(seed, disk.for_process("writer"))
    steady = SimProcess(disk.for_process("steady"), seed)
    async with anyio.create_task_group() as group:
        group.start_soon(writer.write)
        group.start_soon(killed_again_and_again, disk, seed)
        await anyio.sleep(random.Random(seed).uniform(0.0, 5.0))
        steady.start(watch)
    await anyio.sleep(2 * SCAN_EVERY)
    steady.kill()
    reader, arrivals = SimProcess(disk.for_process("reader"), seed), list[Arrival]()
    reader.start(partial(read_log, into=arrivals))
    await reader.ended()
    lying = {path: digest_of(content) for path, content in disk.tree().items() if path in PATHS}
    return writer, lying, arrivals


async def read_log(ports: Ports, into: list[Arrival]) -> None:
    log = await open_segment_log("/project/.ashore/log", ports)
    into += [arrival async for frame in log.read() for arrival in arrivals_in(frame)]
    await log.aclose()


@pytest.mark.parametrize("seed", range(25))
def test_every_version_arrives_once_and_none_is_missed(seed: int) -> None:
    writer, lying, arrivals = simulate(partial(scenario, seed), seed)
    by_path: dict[str, list[tuple[int, str]]] = {path: [] for path in PATHS}
    for arrival in arrivals:
        by_path[arrival.event.path].append((arrival.event.version, f"sha256-{arrival.event.digest.hex()}"))
    for path, versions in by_path.items():
        assert [version for version, _ in versions] == list(range(1, len(versions) + 1))
        digests = [digest for _, digest in versions]
        assert all(first != second for first, second in itertools.pairwise(digests))
        assert set(digests) <= writer.contents[path]
        if path in lying:
            assert digests[-1] == lying[path]
