"""The simulated world keeps its own promises: it loses what it may lose, nothing else, and the same way each time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore_stores.errors import Conflict, Full, Missing, ReadOnly, Unavailable
from ashore_stores.ports import Change, Ports
from ashore_stores.testing.disk import Faults, PowerCut, SimDisk
from ashore_stores.testing.loop import Deadlock, Runaway, SimLoop, current_loop, simulate
from ashore_stores.testing.media import SECTOR
from ashore_stores.testing.world import QUICK, SimProcess, sim_ports

FILE = "/home/log"
NO_FAULTS = Faults()


def disk_with_home(seed: int = 0, faults: Faults = NO_FAULTS) -> SimDisk:
    disk = SimDisk(seed)
    disk.make_folder("/home")
    disk.flush_folder("/")
    disk.machine.operations.clear()
    disk.set_faults(
        crash_at=faults.crash_at,
        flush_error_at=faults.flush_error_at,
        write_error_at=faults.write_error_at,
        room=faults.room,
        short_writes=faults.short_writes,
    )
    return disk


def read_all(disk: SimDisk, path: str = FILE) -> bytes:
    return disk.tree()[path]


# The disk: bytes.

writes = st.tuples(st.just("write"), st.integers(0, 3000), st.binary(min_size=1, max_size=1500))
changes = st.one_of(
    writes,
    st.tuples(st.just("truncate"), st.integers(0, 3000), st.just(b"")),
    st.tuples(st.just("flush"), st.just(0), st.just(b"")),
)


def apply(model: bytearray, what: str, number: int, data: bytes) -> None:
    if what == "write":
        model.extend(bytes(max(0, number + len(data) - len(model))))
        model[number : number + len(data)] = data
    elif what == "truncate":
        model.extend(bytes(max(0, number - len(model))))
        del model[number:]


@given(st.lists(changes, max_size=12), st.integers(0, 2**32))
def test_after_a_crash_every_sector_is_one_that_was_written_since_the_last_flush(
    done: list[tuple[str, int, bytes]], seed: int
) -> None:
    disk = disk_with_home()
    file = disk.open(FILE, write=True, create=True)
    disk.flush_folder("/home")
    model = bytearray()
    possible = [b""]  # what the whole file held at the last flush, and after each change since
    for what, number, data in done:
        if what == "write":
            file.write(data, number)
        elif what == "truncate":
            file.truncate(number)
        else:
            file.flush()
        apply(model, what, number, data)
        assert read_all(disk) == bytes(model)
        possible = [bytes(model)] if what == "flush" else [*possible, bytes(model)]
    left = read_all(disk.after_crash(seed))
    assert min(map(len, possible)) <= len(left) <= max(map(len, possible))
    for start in range(0, len(left), SECTOR):
        sector = left[start : start + SECTOR]
        versions = [content[start : start + SECTOR].ljust(SECTOR, b"\0")[: len(sector)] for content in possible]
        assert sector in [*versions, bytes(len(sector))]
    if len(possible) == 1:
        assert left == possible[0]


def outcomes(disk: SimDisk, look: Callable[[SimDisk], object], seeds: int = 60) -> set[object]:
    return {look(disk.after_crash(seed)) for seed in range(seeds)}


def test_unflushed_bytes_are_lost_kept_torn_or_full_of_holes() -> None:
    disk = disk_with_home()
    file = disk.open(FILE, write=True, create=True)
    disk.flush_folder("/home")
    file.write(b"x" * 2000, 0)
    left = {bytes(content) for content in outcomes(disk, read_all) if isinstance(content, bytes)}
    assert b"" in left
    assert b"x" * 2000 in left
    assert any(content and len(content) < 2000 and set(content) == {ord("x")} for content in left)
    assert any(len(content) == 2000 and content.startswith(bytes(SECTOR)) and b"x" in content for content in left)


def test_a_failed_flush_forgets_and_the_next_one_proves_nothing() -> None:
    disk = disk_with_home(faults=Faults(flush_error_at=1))
    file = disk.open(FILE, write=True, create=True)
    disk.flush_folder("/home")
    file.write(b"x" * SECTOR, 0)
    with pytest.raises(Unavailable):
        file.flush()
    file.write(b"y" * SECTOR, SECTOR)
    file.flush()
    assert read_all(disk) == b"x" * SECTOR + b"y" * SECTOR  # the page cache still shows it
    disks = [disk_with_home(seed, Faults(flush_error_at=1)) for seed in range(20)]
    left = set()
    for disk in disks:
        file = disk.open(FILE, write=True, create=True)
        disk.flush_folder("/home")
        file.write(b"x" * SECTOR, 0)
        with pytest.raises(Unavailable):
            file.flush()
        file.flush()
        left.add(read_all(disk.after_crash(1)))
    assert b"x" * SECTOR in left
    assert bytes(SECTOR) in left


def test_a_full_disk_takes_what_fits_and_says_so() -> None:
    disk = disk_with_home(faults=Faults(room=10))
    file = disk.open(FILE, write=True, create=True)
    file.write(b"12345678", 0)
    with pytest.raises(Full):
        file.write(b"abcd", 8)
    assert read_all(disk) == b"12345678ab"
    file.write(b"AB", 8)  # no more room needed
    file.truncate(0)
    file.write(b"0123456789", 0)
    with pytest.raises(Full):
        file.truncate(11)


def test_errors_of_the_port() -> None:
    disk = disk_with_home(faults=Faults(write_error_at=1))
    file = disk.open(FILE, write=True, create=True, exclusive=True)
    with pytest.raises(Unavailable):
        file.write(b"abc", 0)
    with pytest.raises(Conflict):
        disk.open(FILE, create=True, exclusive=True)
    with pytest.raises(Missing):
        disk.open("/home/absent")
    with pytest.raises(Missing):
        disk.open("/absent/x", create=True)
    with pytest.raises(Missing):
        disk.open("/home")
    with pytest.raises(ValueError, match="reading only"):
        disk.open(FILE).write(b"x", 0)
    disk.machine.read_only = True
    with pytest.raises(ReadOnly):
        file.write(b"abc", 0)
    assert disk.names("/home") == ["log"]
    assert disk.names("/absent") == []
    assert disk.stat("/home/absent") is None


# The disk: names.


def test_names_are_safe_once_their_folder_was_flushed_and_not_before() -> None:
    disk = disk_with_home()
    file = disk.open(FILE, write=True, create=True)
    file.write(b"x", 0)
    file.flush()
    assert outcomes(disk, lambda d: tuple(d.tree())) == {(), (FILE,)}
    again = disk_with_home()
    again.open(FILE, write=True, create=True)
    again.flush_folder("/home")
    assert outcomes(again, lambda d: tuple(d.tree())) == {(FILE,)}


def test_a_rename_happened_or_not_and_a_folder_alone_does_not_keep_its_own_name() -> None:
    disk = disk_with_home()
    disk.open("/home/a", write=True, create=True)
    disk.flush_folder("/home")
    disk.rename("/home/a", "/home/b")
    assert outcomes(disk, lambda d: tuple(d.names("/home"))) == {("a",), ("b",)}
    disk = disk_with_home()
    disk.make_folder("/home/deep")
    disk.open("/home/deep/a", create=True)
    disk.flush_folder("/home/deep")
    assert outcomes(disk, lambda d: tuple(d.tree())) == {(), ("/home/deep/a",)}


def test_changes_of_names_are_reordered() -> None:
    disk = disk_with_home()
    for name in "abc":
        disk.open(f"/home/{name}", create=True)
    disk.remove("/home/a")
    found = outcomes(disk, lambda d: "".join(d.names("/home")), seeds=300)
    assert found == {"", "a", "b", "c", "ab", "ac", "bc", "abc"}


# Death.


def scenario(disk: SimDisk) -> None:
    file = disk.open(FILE, write=True, create=True)
    disk.flush_folder("/home")
    file.write(b"x" * 1000, 0)
    file.flush()
    disk.rename(FILE, "/home/done")
    disk.flush_folder("/home")
    file.truncate(10)


def test_the_power_fails_at_every_operation_and_then_nothing_works() -> None:
    whole = disk_with_home()
    scenario(whole)
    assert [line.split()[0] for line in whole.machine.operations] == [
        f"p0:{what}" for what in ("create", "flush_folder", "write", "flush", "rename", "flush_folder", "truncate")
    ]
    for at in range(1, len(whole.machine.operations) + 1):
        disk = disk_with_home(at, Faults(crash_at=at))
        with pytest.raises(PowerCut, match=f"operation {at}"):
            scenario(disk)
        for attempt in (lambda: disk.names("/home"), lambda: disk.open(FILE), lambda: disk.make_folder("/x")):  # noqa: B023
            with pytest.raises(PowerCut):
                attempt()
        left = disk.after_crash(at)
        if at > 4:
            assert set(left.tree().values()) <= {b"x" * 1000, b"x" * 10}
        scenario(left)


def test_a_kill_keeps_what_was_written_and_releases_the_locks() -> None:
    disk = disk_with_home()
    other = disk.for_process("other")
    file = disk.open(FILE, write=True, create=True)
    file.write(b"abc", 0)
    theirs = other.open(FILE, write=True)
    assert file.lock(1, wait=False)
    assert file.lock(1, wait=True)
    assert theirs.is_locked_elsewhere(1)
    assert not file.is_locked_elsewhere(1)
    assert not theirs.lock(1, wait=False)
    assert theirs.lock(2, wait=False)
    next_one = disk.after_kill()
    with pytest.raises(PowerCut):
        file.size()
    assert theirs.lock(1, wait=False)
    assert next_one.open(FILE).read(10, 0) == b"abc"
    assert outcomes(next_one, lambda d: d.tree().get(FILE)) > {None, b"abc"}


def test_closing_any_handle_of_a_file_drops_its_locks() -> None:
    disk = disk_with_home()
    first, second = disk.open(FILE, create=True), disk.open(FILE)
    other = disk.for_process("other").open(FILE)
    first.lock(0, wait=False)
    second.close()
    assert other.lock(0, wait=False)


# The loop.


async def crowd() -> str:
    """Tasks that race, cancel each other and wait on events; returns who came when."""
    loop, came = current_loop(), []
    turn = anyio.Event()

    async def racer(name: str) -> None:
        for lap in range(3):
            await anyio.sleep(0.001 * (len(name) + lap % 2))
            came.append(name)
        await turn.wait()
        came.append(name.upper())

    async def sleeper(name: str) -> None:
        try:
            await anyio.sleep(60)
        finally:
            came.append(f"-{name}")

    async with anyio.create_task_group() as group:
        for name in ("ada", "bob", "cyd", "dan", "eve"):
            group.start_soon(racer, name)
        await anyio.sleep(0.1)
        turn.set()
        with anyio.move_on_after(1):
            async with anyio.create_task_group() as inner:
                for number in range(5):
                    inner.start_soon(sleeper, str(number))
    loop.note(" ".join(came))
    return " ".join(came)


def test_time_jumps_and_the_seed_decides_the_order() -> None:
    orders = {simulate(crowd, seed) for seed in range(12)}
    assert len(orders) > 8
    assert simulate(crowd, 3) == simulate(crowd, 3)


def test_plain_callbacks_keep_their_order() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        for number in range(20):
            current_loop().call_soon(seen.append, number)
        await anyio.sleep(1)
        return seen

    for seed in range(5):
        assert simulate(main, seed) == list(range(20))


def test_waiting_for_nothing_is_an_error_that_names_who_waits() -> None:
    async def main() -> None:
        await anyio.Event().wait()

    with pytest.raises(Deadlock, match="wait"):
        simulate(main, 1)


def test_going_in_circles_is_an_error() -> None:
    async def main() -> None:
        while True:
            await anyio.sleep(1)

    with pytest.raises(Runaway):
        simulate(main, 1, max_turns=1000)


def test_what_is_left_of_a_halted_machine_is_not_heard() -> None:
    died: list[str] = []

    async def main() -> None:
        ports = sim_ports(1, disk=disk_with_home(faults=Faults(crash_at=4)))

        async def writer() -> None:
            try:
                await anyio.sleep(1)
                died.append("went on")
            finally:
                ports.disk.open(FILE, create=True)
                died.append("wrote after death")

        async with anyio.create_task_group() as group:
            group.start_soon(writer)
            await ports.workers.run(scenario, ports.disk)  # type: ignore[arg-type]

    with pytest.raises(PowerCut):
        simulate(main, 1)
    assert died == []


# Determinism, over processes and hash seeds.


async def everything(seed: int, preempt: float) -> str:
    """Three processes race for a lock and a file; returns the trace."""
    loop, disk = current_loop(), disk_with_home(seed, Faults(short_writes=0.3))
    disk.open(FILE, create=True)

    async def main(ports: Ports) -> None:
        def append(what: bytes) -> None:
            held.lock(0, wait=True)
            held.write(what, held.size())
            held.unlock(0)

        held = ports.disk.open(FILE, write=True)
        async with ports.watcher.watch("/home") as watch, anyio.create_task_group() as group:
            for number in range(4):
                await ports.clock.sleep(0.001)
                group.start_soon(ports.clock.sleep, 0.001 * number)
                await ports.workers.run(append, ports.random.token(3) + bytes([number]))
            with anyio.move_on_after(5):
                await watch.changes()

    processes = [SimProcess(disk.for_process(name), seed, preempt=preempt) for name in ("a", "b", "c")]
    await run_all(processes, main)
    assert len(read_all(disk)) == 3 * 4 * 4
    loop.note(read_all(disk).hex() + " ".join(disk.machine.operations))
    return loop.trace


def traces() -> str:
    return " ".join(simulate(lambda: everything(seed, 0.3), seed) for seed in range(8)) + simulate(crowd, 1)  # noqa: B023


def test_one_seed_is_one_order_in_any_process_under_any_hash_seed() -> None:
    expected = traces()
    assert traces() == expected
    code = "from tests.stores.test_simulation_kit import traces; print(traces())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "77"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == expected
    assert len(set(expected.split())) > 8


# Workers, servants, processes.


@pytest.mark.parametrize("preempt", [0.0, 0.5])
def test_work_returns_raises_and_is_left_behind_when_cancelled(preempt: float) -> None:
    async def main() -> list[str]:
        ports, seen = sim_ports(5, disk=disk_with_home(), preempt=preempt), []

        def work(name: str) -> str:
            ports.disk.names("/home")
            ports.disk.names("/home")
            seen.append(name)
            return name

        def fail() -> None:
            raise Missing("gone")

        assert await ports.workers.run(work, "one") == "one"
        with pytest.raises(Missing):
            await ports.workers.run(fail)
        with anyio.move_on_after(0):
            await ports.workers.run(work, "cancelled")
        await ports.clock.sleep(10)
        return seen

    assert simulate(main, 5) == ["one", "cancelled"]


@pytest.mark.parametrize("preempt", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(10))
def test_a_servant_never_misses_a_ring_and_does_a_last_round(seed: int, preempt: float) -> None:
    async def main() -> None:
        ports = sim_ports(seed, disk=disk_with_home(), preempt=preempt)
        asked, served, at_work = [0], [0], [False]

        def round_() -> None:
            assert not at_work[0]
            at_work[0] = True
            wanted = asked[0]
            ports.disk.names("/home")
            served[0] = wanted
            at_work[0] = False

        servant = ports.workers.servant(round_, "counter")
        for _ in range(20):
            asked[0] += 1
            servant.ring()
            await ports.clock.sleep(random.Random(seed).choice((0, 0.0001, 0.01)))
        await ports.clock.sleep(5)
        assert served == asked
        asked[0] += 1
        servant.ring()
        if seed % 2:
            await ports.clock.sleep(0.0003)
        if seed % 3:
            servant.close()
        else:
            await ports.workers.run(servant.close)
        assert served == asked

    simulate(main, seed)


def test_a_servant_that_fails_stops_the_simulation() -> None:
    async def main() -> None:
        ports = sim_ports(1)

        def broken() -> None:
            raise Missing("a bug")

        ports.workers.servant(broken, "broken").ring()
        await ports.clock.sleep(10)

    with pytest.raises(Missing):
        simulate(main, 1)


async def counted(seed: int, *, locked: bool) -> int:
    """Three processes add one to the same byte, five times each; what it comes to."""
    disk = disk_with_home(seed)
    disk.open(FILE, write=True, create=True).write(b"\0", 0)

    async def count(ports: Ports) -> None:
        file = ports.disk.open(FILE, write=True)

        def add() -> None:
            if locked:
                file.lock(0, wait=True)
            file.write(bytes([file.read(1, 0)[0] + 1]), 0)
            if locked:
                file.unlock(0)

        for _ in range(5):
            await ports.workers.run(add)

    await run_all([SimProcess(disk.for_process(name), seed, preempt=0.5) for name in ("a", "b", "c")], count)
    return read_all(disk)[0]


async def run_all(processes: list[SimProcess], main: Callable[[Ports], Coroutine[Any, Any, None]]) -> None:
    for process in processes:
        process.start(main)
    for process in processes:
        await process.ended()


def test_processes_overlap_inside_of_blocking_work_and_locks_keep_them_apart() -> None:
    assert {simulate(lambda: counted(seed, locked=True), seed) for seed in range(10)} == {15}  # noqa: B023
    assert any(simulate(lambda: counted(seed, locked=False), seed) < 15 for seed in range(10))  # noqa: B023


def test_a_killed_process_does_nothing_more_and_the_others_go_on() -> None:
    async def main() -> tuple[int, int]:
        disk = disk_with_home()
        beats = {"a": 0, "b": 0}

        async def beat(ports: Ports, name: str) -> None:
            file = ports.disk.open(FILE, write=True, create=True)
            for _ in range(100):
                await ports.workers.run(file.write, b"x", 0)
                beats[name] += 1

        a, b = (SimProcess(disk.for_process(name), 1) for name in ("a", "b"))
        a.disk.kill_at = 10
        a.start(lambda ports: beat(ports, "a"))
        b.start(lambda ports: beat(ports, "b"))
        await a.ended()
        await b.ended()
        return beats["a"], beats["b"]

    a, b = simulate(main, 4)
    assert 7 <= a <= 9
    assert b == 100


def test_hints_come_late_doubled_or_not_at_all() -> None:
    async def hints_of_one_write(seed: int) -> tuple[int, bool]:
        """How many hints came, and whether one was late."""
        ports = sim_ports(seed, disk=disk_with_home())
        file = ports.disk.open(FILE, write=True, create=True)
        async with ports.watcher.watch("/home") as watch, ports.watcher.watch(FILE) as of_file:
            file.write(b"x", 0)
            file.close()
            soon, later = list[Change](), list[Change]()
            with anyio.move_on_after(QUICK):
                soon.extend(await watch.changes())
            with anyio.move_on_after(3):
                later.extend(await watch.changes())
            with anyio.move_on_after(3):
                assert {change.name for change in await of_file.changes()} == {""}
        assert {change.name for change in [*soon, *later]} <= {"log", ""}
        return len(soon) + len(later), bool(later)

    seen = {simulate(lambda: hints_of_one_write(seed), seed) for seed in range(200)}  # noqa: B023
    assert {(0, False), (1, False), (1, True), (2, True)} <= seen


def test_a_loop_of_another_kind_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="not in a simulation"):
            current_loop()

    anyio.run(main)
    loop = SimLoop(4)
    assert "seed=4" in repr(loop)
    loop.close()
