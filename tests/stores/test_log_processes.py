"""The segment log of real processes: racing, killed, stopped, forked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest

from ashore_stores.errors import Closed, Corrupt, ReadOnly
from ashore_stores.keys import Position
from ashore_stores.logs.base import Frame
from ashore_stores.logs.segment import SegmentEventLog, open_segment_log
from ashore_stores.logs.segments import LogSettings
from ashore_stores.logs.verify import verify_log
from ashore_stores.ports import DiskFile
from ashore_stores.system import SystemDisk, system_ports
from ashore_stores.testing.logs import Follower, bodies, claim, facts, frames, written

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

pytestmark = pytest.mark.anyio


class Writer:
    """`log_process.py`, running."""

    def __init__(self, folder: str, name: str, rounds: int) -> None:
        path = os.pathsep.join([str(ROOT / "stores"), str(ROOT / "runtime")])
        command = [sys.executable, str(HERE / "log_process.py"), folder, name, str(rounds)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
        self.lines: list[list[str]] = []

    def read(self, number: int) -> None:
        """Read so many more lines."""
        assert self.process.stdout is not None
        for _ in range(number):
            line = self.process.stdout.readline()
            assert line, "it ended"
            self.lines.append(line.split())

    def finish(self) -> None:
        output, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        self.lines += [line.split() for line in output.splitlines()]

    def kill(self) -> None:
        """As kill -9 does; lines that came before count."""
        self.process.kill()
        output, _ = self.process.communicate(timeout=60)
        self.lines += [line.split() for line in output.splitlines() if line.endswith("\n") or len(line.split()) > 1]

    @property
    def told(self) -> dict[int, bytes]:
        return {int(line[1]): line[2].encode() for line in self.lines if line[0] == "told" and len(line) == 3}

    @property
    def won(self) -> list[int]:
        return [int(line[1]) for line in self.lines if line[0] == "won"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "home" / "log")


@pytest.fixture
def writers() -> Iterator[list[Writer]]:
    writers: list[Writer] = []
    yield writers
    for writer in writers:
        writer.process.kill()
        writer.process.communicate()


async def in_order(log: SegmentEventLog) -> list[Frame]:
    """All durable frames, which follow one another without holes."""
    await log.refresh()
    found = await frames(log)
    assert [frame.first for frame in found] == list(range(1, len(found) + 1))
    return found


async def test_three_processes_write_one_log(folder: str, writers: list[Writer]) -> None:
    rounds = 40
    writers += [Writer(folder, name, rounds) for name in "abc"]
    for writer in writers:
        await anyio.to_thread.run_sync(writer.finish)
    log = await open_segment_log(folder, system_ports())
    found = await in_order(log)
    assert len(found) == 3 * rounds * 2 + rounds
    for writer in writers:
        assert len(writer.told) == rounds
        assert {position: found[position - 1].batch.body for position in writer.told} == writer.told
    assert sorted(number for writer in writers for number in writer.won) == list(range(rounds))
    assert log.statistics().segments > 1
    await log.aclose()
    assert verify_log(folder, system_ports()) == []


async def test_kill_9_loses_nothing_that_was_told(folder: str, writers: list[Writer]) -> None:
    log = await open_segment_log(folder, system_ports())
    for number in range(5):
        writer = Writer(folder, f"w{number}", 10_000)
        writers.append(writer)
        await anyio.to_thread.run_sync(writer.read, 5 + 7 * number)
        await written(log, facts(b"beside"))
        await anyio.to_thread.run_sync(writer.kill)
    await written(log, facts(b"after"))
    found = await in_order(log)
    for writer in writers:
        assert writer.told
        assert {position: found[position - 1].batch.body for position in writer.told} == writer.told
    won = [number for writer in writers for number in writer.won]
    assert len(set(won)) == len(won)
    await log.aclose()
    assert verify_log(folder, system_ports()) == []


async def test_an_owner_is_dead_when_the_kernel_says_so(folder: str, writers: list[Writer]) -> None:
    log = await open_segment_log(folder, system_ports())
    writer = Writer(folder, "w", 0)
    writers.append(writer)
    await anyio.to_thread.run_sync(writer.read, 1)
    owner = bytes.fromhex(writer.lines[0][1])
    mine = await log.own()
    for _ in range(3):
        assert await log.is_alive(owner)
        assert await log.is_alive(mine)
    writer.process.send_signal(signal.SIGSTOP)
    assert await log.is_alive(owner), "a stopped process is alive"
    writer.process.kill()
    writer.process.wait()
    assert not await log.is_alive(owner)
    assert await log.is_alive(mine)
    await log.aclose()


async def test_a_follower_sees_what_another_process_writes(folder: str, writers: list[Writer]) -> None:
    log = await open_segment_log(folder, system_ports(), LogSettings(look_every=60.0))
    follower = Follower(log)
    async with anyio.create_task_group() as group:
        group.start_soon(follower.run)
        writer = Writer(folder, "w", 10)
        writers.append(writer)
        with anyio.fail_after(60):
            await follower.wait_for(30)
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(writer.finish)
    assert [frame.first for frame in follower.frames] == list(range(1, 31))
    await log.aclose()


async def test_openers_in_one_process_share_one_log(folder: str, tmp_path: Path) -> None:
    os.makedirs(folder)
    (tmp_path / "link").symlink_to(tmp_path / "home")
    ports = system_ports()
    first, second = await open_segment_log(folder, ports), await open_segment_log(str(tmp_path / "link" / "log"), ports)
    ticket = first.queue(facts(b"a"))
    await second.durable(ticket)
    assert first.owner == second.owner
    await first.aclose()
    await first.aclose()
    assert isinstance(first.queue(facts(b"x")).error, Closed)
    assert await written(second, facts(b"b")) == 2
    owner = second.owner
    await second.aclose()
    third = await open_segment_log(folder, ports)
    assert await bodies(third) == [b"a", b"b"]
    assert third.owner is None
    assert owner is not None
    assert not await third.is_alive(owner)
    await third.aclose()


async def test_loops_in_several_threads_share_one_log(folder: str) -> None:
    log = await open_segment_log(folder, system_ports())
    failures: list[BaseException] = []

    async def write(name: int) -> None:
        mine = await open_segment_log(folder, system_ports())
        for number in range(50):
            ticket = mine.queue(facts(b"%d-%d" % (name, number)))
            judged = await mine.append([claim(b"%d" % number, b"%d" % name)])
            assert ticket.position is not None
            assert await mine.durable(ticket) >= ticket.position
            assert judged[0].won or judged[0].current != b"%d" % name
        await mine.aclose()

    def run(name: int) -> None:
        try:
            anyio.run(write, name)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join)
    assert failures == []
    found = await in_order(log)
    assert len(found) == 3 * 50 + 50
    for name in range(3):
        mine = [frame.batch.body for frame in found if frame.batch.body.startswith(b"%d-" % name)]
        assert mine == [b"%d-%d" % (name, number) for number in range(50)]
    await log.aclose()


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # 3.12 warns of fork in a process with threads; that is what is tried here
async def test_a_forked_child_cannot_use_the_log_and_hurts_nobody(folder: str) -> None:
    log = await open_segment_log(folder, system_ports())
    await written(log, facts(b"before"))
    owner = await log.own()
    assert _forked(lambda: isinstance(log.queue(facts(b"child")).error, Closed))
    assert await written(log, facts(b"after")) == 2
    assert await bodies(log) == [b"before", b"after"]
    assert _is_alive_seen_from_outside(folder, owner)
    await log.aclose()


def _forked(claimed: Callable[[], bool]) -> bool:
    """What a forked child finds."""
    child = os.fork()
    if not child:
        os._exit(0 if claimed() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _is_alive_seen_from_outside(folder: str, owner: bytes) -> bool:
    code = (
        "import anyio, sys\n"
        "from ashore_stores import open_segment_log, system_ports\n"
        "async def main():\n"
        "    log = await open_segment_log(sys.argv[1], system_ports())\n"
        "    print(await log.is_alive(bytes.fromhex(sys.argv[2])))\n"
        "    await log.aclose()\n"
        "anyio.run(main)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "stores")}
    done = subprocess.run(
        [sys.executable, "-c", code, folder, owner.hex()], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.strip() == "True"


class LockedDisk(SystemDisk):
    """A disk on which this user may write nothing."""

    def open(self, path: str, *, write: bool = False, create: bool = False, exclusive: bool = False) -> DiskFile:
        if write or create:
            raise ReadOnly(f"cannot open {path}: permission denied")
        return super().open(path)

    def rename(self, source: str, target: str) -> None:
        raise ReadOnly(f"cannot rename {source}: permission denied")


async def test_a_place_that_cannot_be_written_can_be_read(folder: str) -> None:
    log = await open_segment_log(folder, system_ports(), LogSettings(segment_bytes=100))
    await written(log, facts(b"a"))
    await written(log, facts(b"b"))
    await log.aclose()
    log = await open_segment_log(folder, replace(system_ports(), disk=LockedDisk()))
    assert await bodies(log) == [b"a", b"b"]
    assert await log.refresh() == 2
    for attempt in (log.own, partial(log.append, [claim(b"k", b"v")]), partial(log.durable, log.queue(facts(b"c")))):
        with pytest.raises(ReadOnly):
            await attempt()
    await log.aclose()


class NetworkDisk(SystemDisk):
    def is_network(self, path: str) -> bool:
        return True


async def test_a_network_file_system_is_not_written_unless_allowed(folder: str) -> None:
    ports = replace(system_ports(), disk=NetworkDisk())
    log = await open_segment_log(folder, ports)
    with pytest.raises(ReadOnly, match="network file system"):
        await written(log, facts(b"a"))
    await log.aclose()
    log = await open_segment_log(folder, ports, LogSettings(allow_network=True))
    assert await written(log, facts(b"a")) == 1
    await log.aclose()


async def test_a_log_that_was_removed_under_us_is_not_written_on(folder: str) -> None:
    log = await open_segment_log(folder, system_ports())
    await written(log, facts(b"a"))
    os.rename(f"{folder}/segments", f"{folder}/elsewhere")
    ticket = log.queue(facts(b"b"))
    with pytest.raises(Corrupt, match="removed or replaced"):
        await log.durable(ticket)
    assert Position(1) == log.durable_position
    await log.aclose()
