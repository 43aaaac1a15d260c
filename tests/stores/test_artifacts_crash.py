"""Local files on the simulated disk: power cuts and failed flushes at every operation, and what a reboot finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import anyio
import pytest

from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.errors import Full, ReadOnly, StoreError
from ashore_stores.keys import Digest, digest_of
from ashore_stores.ports import Ports
from ashore_stores.system import SystemClock, SystemWatcher, ThreadWorkers
from ashore_stores.testing.artifacts import put, stored
from ashore_stores.testing.disk import Faults, PowerCut, SimDisk
from ashore_stores.testing.world import SimRandomness

T = TypeVar("T")

FOLDER = "/home/artifacts"
CONTENTS = (b"first", b"second" * 50_000, b"first", b"third")


class InlineWorkers(ThreadWorkers):
    """Work is done where it is asked for: one operation after the other, so that the k-th is the same each time."""

    async def run(self, work: Callable[..., T], *args: object) -> T:
        return work(*args)


def opened(disk: SimDisk, seed: int = 0) -> LocalArtifactStore:
    return LocalArtifactStore(FOLDER, Ports(SystemClock(), SimRandomness(seed), disk, InlineWorkers(), SystemWatcher()))


def outcome(main: Callable[[], Awaitable[T]]) -> T:
    return anyio.run(main)


def put_all(disk: SimDisk, contents: tuple[bytes, ...], seed: int = 0) -> list[Digest]:
    """What was acknowledged before the power failed, or until all is done."""
    acknowledged: list[Digest] = []

    async def main() -> None:
        store = opened(disk, seed)
        try:
            for content in contents:
                try:
                    acknowledged.append((await put(store, content)).digest)
                except StoreError:
                    continue
        except PowerCut:
            return

    outcome(main)
    return acknowledged


def found_after(disk: SimDisk, acknowledged: list[Digest], seed: int) -> None:
    """Acknowledged blobs are there and whole, and every name stands for its content; after one more put no draft is left."""

    async def main() -> None:
        store = opened(disk, seed)
        there = await stored(store)
        assert set(acknowledged) <= there
        for digest in acknowledged:
            await store.verify(digest)
        for digest in there:
            assert digest_of(bytes(await store.load(digest))) == digest
        await put(store, b"after")
        await store.aclose()

    outcome(main)
    assert [path for path in disk.tree() if "/tmp/" in path] == []


def operations() -> Iterator[int]:
    """The numbers of all operations of an undisturbed run."""
    disk = SimDisk(0)
    put_all(disk, CONTENTS)
    return iter(range(1, len(disk.machine.operations) + 2))


def test_a_power_cut_at_any_operation_loses_nothing_acknowledged() -> None:
    for number in operations():
        for seed in range(3):
            disk = SimDisk(seed, Faults(crash_at=number))
            acknowledged = put_all(disk, CONTENTS)
            found_after(disk.after_crash(seed), acknowledged, seed + 100)


def test_a_blob_found_after_a_crash_is_flushed_before_it_is_acknowledged() -> None:
    """The first process dies unflushed, the second puts the same content and is told yes: then the power fails."""
    for number in operations():
        first = SimDisk(number)
        first.kill_at = number
        put_all(first, CONTENTS)
        second = first.after_kill()
        acknowledged = put_all(second, CONTENTS, seed=1)
        assert len(acknowledged) == len(CONTENTS)
        for seed in range(3):
            found_after(second.after_crash(seed), acknowledged, seed + 100)


def test_a_flush_that_fails_acknowledges_nothing_that_a_power_cut_takes() -> None:
    for number in range(1, 8):
        disk = SimDisk(number, Faults(flush_error_at=number))
        acknowledged = put_all(disk, CONTENTS + CONTENTS)
        assert len(acknowledged) >= len(CONTENTS)
        for seed in range(3):
            found_after(disk.after_crash(seed), acknowledged, seed + 100)


@pytest.mark.parametrize("failing", [None, 1], ids=["flushed", "its flush fails"])
def test_a_blob_that_somebody_copied_there_is_made_durable_before_it_is_acknowledged(failing: int | None) -> None:
    content = b"content" * 1000
    digest = digest_of(content)
    for seed in range(20):
        disk = SimDisk(seed, Faults(flush_error_at=failing))
        disk.make_folder(f"{FOLDER}/{digest[7:9]}")
        disk.open(f"{FOLDER}/{digest[7:9]}/{digest}", write=True, create=True).write(content, 0)
        acknowledged = put_all(disk, (content,))
        assert acknowledged == [digest]
        assert disk.machine.flushes == (1 if failing is None else 2)
        found_after(disk.after_crash(seed), acknowledged, seed + 100)


def test_a_full_disk_leaves_no_draft() -> None:
    disk = SimDisk(0, Faults(room=100_000))

    async def main() -> None:
        store = opened(disk)
        with pytest.raises(Full):
            await put(store, b"large" * 50_000)
        assert [path for path in disk.tree() if not path.endswith(".lock")] == []
        await put(store, b"small")
        await store.verify(digest_of(b"small"))

    outcome(main)


def test_a_disk_that_became_read_only_says_so_and_stays_readable() -> None:
    disk = SimDisk(0)

    async def main() -> None:
        store = opened(disk)
        blob = await put(store, b"here")
        disk.machine.read_only = True
        for attempt in (put(store, b"new"), put(opened(disk), b"new")):
            with pytest.raises(ReadOnly, match="read-only"):
                await attempt
        assert bytes(await store.load(blob.digest)) == b"here"

    outcome(main)
