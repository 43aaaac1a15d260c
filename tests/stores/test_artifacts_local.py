"""Local files as an artifact store: crashes, damage, several processes, full and forbidden disks, bounded memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from ashore_stores.artifacts import local
from ashore_stores.artifacts.base import Sink
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.errors import Corrupt, Full, Missing, ReadOnly, StoreError
from ashore_stores.keys import Digest, Span, digest_of
from ashore_stores.system import system_ports
from ashore_stores.testing.artifacts import put, read, stored

pytestmark = pytest.mark.anyio

STORES = str(Path(__file__).parents[2] / "stores")
MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def opened(folder: Path) -> LocalArtifactStore:
    return LocalArtifactStore(str(folder), system_ports())


def file_of(folder: Path, digest: Digest) -> Path:
    return folder / digest[7:9] / digest


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def drafts(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder / "tmp") if not name.endswith(".lock"))


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.001)


WRITER = """
import sys, anyio
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.system import system_ports

def produce(sink):
    for _ in range(3):
        sink.write(bytes(1 << 20))
    print("writing", flush=True)
    sys.stdin.readline()
    sink.write(b"the end")

async def main():
    blob = await LocalArtifactStore(sys.argv[1], system_ports()).put(produce)
    print(blob.digest, flush=True)

anyio.run(main)
"""
WRITTEN = bytes(3 * MIB) + b"the end"


@contextmanager
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of a put."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    environment = {**os.environ, "PYTHONPATH": STORES}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            yield process
        finally:
            process.kill()


async def test_what_a_killed_process_left_is_collected_and_a_living_one_is_left_alone(folder: Path) -> None:
    with writer(folder) as living:
        with writer(folder) as dead:
            assert len(drafts(folder)) == 2
            dead.kill()
            dead.wait()
            await put(opened(folder), b"x")
        assert len(drafts(folder)) == 1
        answer, _ = living.communicate("go on\n", timeout=60)
    assert answer.strip() == digest_of(WRITTEN)
    assert await read(opened(folder), digest_of(WRITTEN)) == WRITTEN


async def test_two_stores_of_one_process_do_not_collect_each_other(folder: Path) -> None:
    first, second = opened(folder), opened(folder)
    started, go_on = threading.Event(), threading.Event()

    def produce(sink: Sink) -> None:
        sink.write(bytes(2 * MIB))
        started.set()
        assert go_on.wait(60)

    async with anyio.create_task_group() as group:
        group.start_soon(first.put, produce)
        assert await system_ports().workers.run(started.wait, 60)
        await put(second, b"x")
        assert len(drafts(folder)) == 1
        go_on.set()
    assert await first.load(digest_of(bytes(2 * MIB))) == bytes(2 * MIB)


async def test_processes_that_put_the_same_content_agree(folder: Path) -> None:
    with writer(folder) as one, writer(folder) as two:
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("go on\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=60)[0].strip() for process in (one, two)]
    assert answers == [digest_of(WRITTEN)] * 2
    store = opened(folder)
    await store.verify(digest_of(WRITTEN))
    assert await stored(store) == {digest_of(WRITTEN)}
    assert drafts(folder) == []


async def test_a_closed_store_leaves_blobs_only(folder: Path) -> None:
    store = opened(folder)
    blob = await put(store, b"x")
    await store.aclose()
    assert files(folder) == [file_of(Path(), blob.digest)]


async def test_a_store_that_is_only_read_writes_nothing(folder: Path) -> None:
    store = opened(folder)
    with pytest.raises(Missing):
        await store.load(digest_of(b"x"))
    assert await stored(store) == set()
    await store.aclose()
    assert files(folder.parent) == []


async def test_each_flipped_byte_is_detected_by_a_fresh_process(folder: Path) -> None:
    content = b"some small blob"
    blob = await put(opened(folder), content)
    path = file_of(folder, blob.digest)
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x80]) + content[place + 1 :])
        with pytest.raises(Corrupt) as caught:
            await opened(folder).load(blob.digest)
        assert caught.value.path == str(path)
    for wrong in (b"", content[:-1], content + b"\0"):
        path.write_bytes(wrong)
        with pytest.raises(Corrupt):
            await read(opened(folder), blob.digest, Span(0, 1))


async def test_a_damaged_blob_is_replaced_by_the_next_put(folder: Path) -> None:
    blob = await put(opened(folder), b"content")
    file_of(folder, blob.digest).write_bytes(b"CONTENT")
    store = opened(folder)
    with pytest.raises(Corrupt):
        await store.load(blob.digest)
    await put(store, b"content")
    assert bytes(await store.load(blob.digest)) == b"content"
    await opened(folder).verify(blob.digest)


async def test_damage_found_by_verify_is_not_served_by_a_store_that_had_checked_it(folder: Path) -> None:
    store = opened(folder)
    blob = await put(store, bytes(MIB))
    await store.load(blob.digest)
    path = file_of(folder, blob.digest)
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"1")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # rot leaves no trace in the times
    for attempt in (store.verify(blob.digest), store.load(blob.digest)):
        with pytest.raises(Corrupt):
            await attempt
    await put(store, bytes(MIB))
    assert await store.load(blob.digest) == bytes(MIB)


async def test_a_link_or_a_folder_in_place_of_a_blob_is_not_followed(folder: Path) -> None:
    store = opened(folder)
    digest = digest_of(b"secret")
    path = file_of(folder, digest)
    path.parent.mkdir(parents=True)
    (folder / "secret").write_bytes(b"secret")
    path.symlink_to(folder / "secret")
    with pytest.raises(Corrupt, match="it is a link"):
        await store.load(digest)
    assert await store.size(digest) is None


async def test_names_that_are_no_blobs_are_passed_over(folder: Path) -> None:
    store = opened(folder)
    blob = await put(store, b"x")
    for stray in (file_of(folder, blob.digest).with_name("notes.txt"), folder / "README", folder / "zz" / blob.digest):
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"x")
    assert await stored(store) == {blob.digest}


async def test_later_loads_share_one_mapping_and_need_no_thread(folder: Path) -> None:
    store = opened(folder)
    blob = await put(store, bytes(2 * MIB))
    first = await store.load(blob.digest)
    file_of(folder, blob.digest).unlink()
    second = await store.load(blob.digest)
    assert second.obj is first.obj


async def test_what_is_not_kept_at_hand_is_still_known_to_be_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "AT_HAND", 2)
    store = opened(folder)
    blobs = [await put(store, bytes([number])) for number in range(5)]
    for _ in range(2):
        assert [(await store.load(blob.digest))[0] for blob in blobs] == list(range(5))
    assert repr(store) == f"<LocalArtifactStore {str(folder)!r} 5 checked, 5 flushed>"


@pytest.mark.parametrize("rest", [2 * MIB, 0], ids=["while it writes", "when all is written"])
async def test_a_cancelled_put_leaves_nothing(folder: Path, rest: int) -> None:
    store = opened(folder)
    await put(store, b"first")
    started, go_on = threading.Event(), threading.Event()

    def produce(sink: Sink) -> None:
        sink.write(bytes(2 * MIB))
        started.set()
        assert go_on.wait(60)
        sink.write(bytes(rest))

    async with anyio.create_task_group() as group:
        group.start_soon(store.put, produce)
        assert await system_ports().workers.run(started.wait, 60)
        group.cancel_scope.cancel()
    go_on.set()
    await until(lambda: drafts(folder) == [])
    assert await stored(store) == {digest_of(b"first")}


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_keeps_nothing_half_and_goes_on_once_there_is_room(folder: Path) -> None:
    store = opened(folder)
    with file_limit(MIB), pytest.raises(Full, match="free some room"):
        await put(store, bytes(3 * MIB))
    assert drafts(folder) == []
    assert await stored(store) == set()
    blob = await put(store, bytes(3 * MIB))
    await store.verify(blob.digest)


async def test_a_folder_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with pytest.raises(StoreError, match="plain"):
        await put(opened(tmp_path / "plain"), b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_forbidden_folder_is_read_only_and_what_is_there_stays_readable(folder: Path) -> None:
    blob = await put(opened(folder), b"x")
    (folder / "tmp").chmod(0o500)
    with pytest.raises(ReadOnly, match="stays readable"):
        await put(opened(folder), b"y")
    assert bytes(await opened(folder).load(blob.digest)) == b"x"


async def test_memory_is_bounded_whatever_the_size(folder: Path) -> None:
    size = 200 * MIB
    store = opened(folder)
    slab = os.urandom(MIB)

    def produce(sink: Sink) -> None:
        for _ in range(size // MIB):
            sink.write(slab)

    tracemalloc.start()
    try:
        blob = await store.put(produce)
        async for _ in opened(folder).read(blob.digest):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert blob.size == size
    assert peak < 16 * MIB
