"""What is particular to segment files: full disks, what others lost, rotation, bounds, owners' leftovers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from ashore_stores.errors import Full, NotDurable, Unavailable
from ashore_stores.keys import Position
from ashore_stores.logs.base import Batch, Entry, Space
from ashore_stores.logs.segment import SegmentEventLog, open_segment_log
from ashore_stores.logs.segments import LogSettings, Place
from ashore_stores.logs.verify import verify_log
from ashore_stores.logs.watermark import PART, SIZE, Watermark, damages_in
from ashore_stores.testing.disk import Faults, SimDisk
from ashore_stores.testing.logs import KEYS, REGISTERS, Follower, bodies, claim, facts, frames, mark, written
from ashore_stores.testing.loop import simulate
from ashore_stores.testing.world import sim_ports

FOLDER = "/home/log"
FIRST = f"{FOLDER}/segments/00000001"
DEFAULTS = LogSettings()
NO_FAULTS = Faults()


async def opened(disk: SimDisk, settings: LogSettings = DEFAULTS) -> SegmentEventLog:
    return await open_segment_log(FOLDER, sim_ports(0, disk=disk), settings)


def simulated(main: Callable[[SimDisk], Awaitable[None]], faults: Faults = NO_FAULTS) -> SimDisk:
    disk = SimDisk(0, faults)

    async def run() -> None:
        await main(disk)

    simulate(run, 0)
    return disk


def test_a_full_disk_refuses_and_goes_on_when_there_is_room() -> None:
    async def main(disk: SimDisk) -> None:
        log = await opened(disk)
        await written(log, facts(b"a", topics=(b"run",)))
        size = len(disk.tree()[FIRST])
        disk.set_faults(room=100)
        tickets = [log.queue(facts(b"b" * 50, topics=(b"run",))), log.queue(facts(b"c" * 500, topics=(b"other",)))]
        for ticket in tickets:
            with pytest.raises(Full):
                await log.durable(ticket)
            assert isinstance(ticket.error, Full)
            assert ticket.position is None
        with pytest.raises(Full):
            await log.append([claim(b"k", b"v" * 200)])
        assert len(disk.tree()[FIRST]) == size, "nothing half-written was left"
        disk.set_faults(room=None)
        assert await written(log, facts(b"d", topics=(b"third",))) == 2
        assert await bodies(log) == [b"a", b"d"]
        assert await log.append([claim(b"k", b"v")])
        await log.aclose()
        assert verify_log(FOLDER, sim_ports(0, disk=disk)) == []

    simulated(main)


def test_what_builds_on_a_refused_batch_is_refused_until_its_history_is_read_again() -> None:
    async def main(disk: SimDisk) -> None:
        log = await opened(disk)
        await written(log, facts(b"run-1", topics=(b"run",)))
        disk.set_faults(room=0)
        with pytest.raises(Full):
            await log.durable(log.queue(facts(b"run-2", topics=(b"run",))))
        disk.set_faults(room=None)
        unrelated, related = log.queue(facts(b"other", topics=(b"other",))), log.queue(facts(b"run-3", topics=(b"other", b"run")))
        await log.durable(unrelated)
        with pytest.raises(Full):
            await log.durable(related)
        assert [frame.batch.body for frame in await log.about(b"run")] == [b"run-1"]
        await written(log, facts(b"run-2 again", topics=(b"run",)))
        assert await bodies(log) == [b"run-1", b"other", b"run-2 again"]
        await log.aclose()

    simulated(main)


@pytest.mark.parametrize("number", range(1, 12))
def test_after_a_failed_write_the_same_process_goes_on(number: int) -> None:
    async def main(disk: SimDisk) -> None:
        log, told = await opened(disk, LogSettings(segment_bytes=500)), list[bytes]()
        for at in range(6):
            tickets = [log.queue(facts(b"%d-%d" % (at, part) * 20)) for part in range(2)]
            try:
                await log.durable(tickets[-1])
            except Unavailable:
                assert [ticket.position is None or ticket.error is None for ticket in tickets] == [True, True]
            told += [b"%d-%d" % (at, part) * 20 for part in range(2) if tickets[part].error is None]
        assert len(told) >= 10
        await written(log, facts(b"end"))
        assert await bodies(log) == [*told, b"end"]
        assert log.statistics().notes == () or "flush" in log.statistics().notes[0]
        await log.aclose()
        assert not [path for path in disk.tree() if "/cut/" in path]
        assert verify_log(FOLDER, sim_ports(0, disk=disk)) == []

    simulated(main, Faults(write_error_at=number))


def test_a_batch_that_does_not_fit_the_format_is_refused_alone_with_its_round() -> None:
    async def main(disk: SimDisk) -> None:
        log = await opened(disk)
        with pytest.raises(ValueError, match="does not fit"):
            await log.durable(log.queue(facts(b"a", entries=(Entry(REGISTERS, b"k" * 70_000, b""),))))
        assert await written(log, facts(b"b")) == 1
        await log.aclose()

    simulated(main)


async def _lost_by_another(disk: SimDisk, others: list[bytes]) -> None:
    """A process reads what was written and not flushed; that is lost, and others write on."""
    log = await opened(disk)
    await written(log, facts(b"kept"))
    await log.aclose()
    watermark = disk.tree()[f"{FOLDER}/watermark"]
    log = await opened(disk.for_process("writer"))
    await written(log, facts(b"one"), facts(b"two"))
    await log.aclose()
    file = disk.open(f"{FOLDER}/watermark", write=True)
    file.write(watermark, 0)
    Watermark(file).mark(b"somebody", Place(1, 0, 1, 3, 0))
    witness = await opened(disk.for_process("witness"))
    assert witness.statistics().written == 3
    assert await bodies(witness) == [b"kept"]
    disk.damage(FIRST, disk.tree()[FIRST].find(b"one"))
    other = await opened(disk.for_process("other"))
    await written(other, *(facts(body) for body in others))
    assert await bodies(other) == [b"kept", *others]
    for attempt in (partial(written, witness, facts(b"x")), partial(witness.append, [claim(b"k", b"v")]), witness.refresh):
        with pytest.raises(NotDurable, match="start this process again"):
            await attempt()
    again = await opened(disk.for_process("again"))
    assert await bodies(again) == [b"kept", *others]
    for each in (witness, other, again):
        await each.aclose()


@pytest.mark.parametrize("others", [[b"x"], [b"x", b"y"], [b"one", b"y", b"z"]])
def test_who_read_what_was_then_lost_stops(others: list[bytes]) -> None:
    simulated(partial(_lost_by_another, others=others))


def test_who_read_what_was_then_rescued_goes_on() -> None:
    async def main(disk: SimDisk) -> None:
        writer = await opened(disk)
        await written(writer, facts(b"kept"))
        witness = await opened(disk.for_process("witness"))
        disk.set_faults(flush_error_at=disk.machine.flushes + 1)
        assert await written(writer, facts(b"one", marks=mark(1)), facts(b"two")) == 3
        assert writer.statistics().segments == 2
        assert "a flush was not completed" in writer.statistics().notes[-1]
        assert await witness.refresh() == 3
        assert await written(witness, facts(b"three")) == 4
        assert list(witness.marked(mark(1))) == [2]
        for log in (writer, witness):
            await log.refresh()
            assert await bodies(log) == [b"kept", b"one", b"two", b"three"]
            assert [(await log.frame_at(Position(at))).batch.body for at in (1, 2, 3, 4)] == [b"kept", b"one", b"two", b"three"]
            cursors = [frame.cursor for frame in await frames(log)]
            assert [await bodies(log, cursor) for cursor in cursors][1] == [b"two", b"three"]
        await writer.aclose()
        await witness.aclose()
        assert verify_log(FOLDER, sim_ports(0, disk=disk)) == []

    simulated(main)


def test_when_even_the_rescue_fails_nothing_is_acknowledged_any_more() -> None:
    async def main(disk: SimDisk) -> None:
        log = await opened(disk)
        await written(log, facts(b"kept"))
        disk.set_faults(flush_error_at=disk.machine.flushes + 1, write_error_at=disk.machine.writes + 4)
        with pytest.raises(NotDurable, match="could not be written again"):
            await written(log, facts(b"lost"))
        with pytest.raises(NotDurable):
            await written(log, facts(b"more"))
        assert await bodies(log) == [b"kept"], "what was durable stays readable"
        await log.aclose()

    simulated(main)


def test_opening_reads_the_last_segment_only() -> None:
    async def main(disk: SimDisk) -> None:
        log = await opened(disk, LogSettings(segment_bytes=2_000))
        for number in range(60):
            entries = (Entry(KEYS, b"%d" % number, b"v"), Entry(REGISTERS, b"r%d" % (number % 7), b"%d" % number))
            await written(log, facts(b"x" * 200, marks=mark(number), topics=(b"run",), entries=entries))
        registers = log.registers(REGISTERS)
        await log.aclose()
        assert len(registers) == 7
        sealed = sorted(path for path in disk.tree() if "/segments/" in path)[:-1]
        assert len(sealed) > 5
        for path in sealed:
            disk.damage(path, 700)
        log = await opened(disk)
        assert log.registers(REGISTERS) == registers
        assert log.durable_position == 60
        for path in sealed:
            disk.damage(path, 700)
        assert log.register(KEYS, b"3") == b"v"
        assert list(log.marked(mark(2))) == [3]
        assert len(await log.about(b"run")) == 60
        await log.aclose()

    simulated(main)


def test_room_waits_while_the_queue_is_full() -> None:
    async def main(disk: SimDisk) -> None:
        log = await opened(disk, LogSettings(queue_events=10))
        largest = 0
        for _ in range(200):
            log.queue(Batch(b"xy", 2))
            await log.room()
            largest = max(largest, log.statistics().queued)
        assert largest <= 10
        await log.aclose()
        log = await opened(disk, LogSettings(queue_bytes=1000))
        for _ in range(50):
            log.queue(facts(b"x" * 300))
            await log.room()
            largest = max(largest, log.statistics().queued)
        assert largest <= 10
        await log.aclose()

    simulated(main)


def test_what_gathers_during_a_flush_is_one_write() -> None:
    async def main(disk: SimDisk) -> None:
        log = await opened(disk)
        await written(log, facts(b"first"))
        before = log.statistics()
        await written(log, *(facts(b"%d" % number) for number in range(500)))
        after = log.statistics()
        assert after.frames - before.frames == 500
        assert after.writes - before.writes <= 3
        assert after.flushes - before.flushes <= 3
        await log.aclose()

    simulated(main)


def test_fenced_owners_that_are_dead_are_forgotten() -> None:
    async def main(disk: SimDisk) -> None:
        dead = await opened(disk.for_process("dead"))
        await written(dead, facts(b"a"))
        owner = await dead.own()
        heir = await opened(disk.for_process("heir"))
        await written(heir, facts(b"b", entries=(Entry(Space.OWNERS, owner, b"fenced"),)))
        await dead.aclose()
        assert heir.register(Space.OWNERS, owner) == b"fenced"
        newcomer = await opened(disk.for_process("newcomer"))
        await written(newcomer, facts(b"c"))
        assert newcomer.registers(Space.OWNERS) == {heir.owner: b"live", newcomer.owner: b"live"}
        await heir.aclose()
        await newcomer.aclose()

    simulated(main)


def test_a_follower_that_was_left_behind_leaves_nothing() -> None:
    async def main(disk: SimDisk) -> None:
        log = await opened(disk)
        await written(log, facts(b"a"))
        for _ in range(3):
            with anyio.move_on_after(1):
                async for _frame in log.follow():
                    pass
        assert disk.machine.hints == []
        await log.aclose()
        assert "closed" in repr(log)

    simulated(main)


def test_one_follower_looks_out_for_all_and_another_takes_its_place() -> None:
    async def main(disk: SimDisk) -> None:
        log, other = await opened(disk), await opened(disk.for_process("other"))
        followers = [Follower(log) for _ in range(4)]
        async with anyio.create_task_group() as group:
            scopes = [anyio.CancelScope() for _ in followers]

            async def run(follower: Follower, scope: anyio.CancelScope) -> None:
                with scope:
                    await follower.run()

            for follower, scope in zip(followers, scopes, strict=True):
                group.start_soon(run, follower, scope)
            for number, scope in enumerate(scopes):
                await written(other, facts(b"%d" % number))
                for follower in followers[number:]:
                    await follower.wait_for(number + 1)
                assert len(disk.machine.hints) <= 1
                scope.cancel()
        assert disk.machine.hints == []
        await log.aclose()
        await other.aclose()

    simulated(main)


def test_closing_the_log_ends_its_followers() -> None:
    async def main(disk: SimDisk) -> None:
        log = await opened(disk)
        await written(log, facts(b"a"))
        ended: list[str] = []

        async def follow() -> None:
            try:
                async for _frame in log.follow():
                    pass
            except Exception as error:  # noqa: BLE001
                ended.append(type(error).__name__)

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await anyio.sleep(1)
            await log.aclose()
        assert ended == ["Closed"]

    simulated(main)


def test_the_watermark_is_never_lowered_and_survives_half_a_write() -> None:
    disk = SimDisk(0)
    disk.make_folder("/w")
    file = disk.open("/w/watermark", write=True, create=True)
    watermark = Watermark(file)
    assert watermark.read().place.segment == 0
    low, high = Place(1, 10, 20, 3, 77), Place(1, 20, 90, 5, 78)
    watermark.publish(high)
    watermark.publish(low)
    assert watermark.read().place == high
    watermark.mark(b"somebody", high)
    assert watermark.read().is_marked
    watermark.publish(high)
    state = watermark.read()
    assert (state.place, state.is_marked) == (high, False)
    content = file.read(SIZE, 0)
    top = Place(2, 0, 5, 9, 79)
    watermark.publish(top)
    new = file.read(SIZE, 0)
    for length in range(SIZE):
        file.write(new[:length] + content[length:], 0)
        assert watermark.read().place in (high, top)
    file.write(content, 0)
    for at in range(SIZE):
        disk.damage("/w/watermark", at)
        assert watermark.read().place in (high, low)
        assert damages_in(file) or PART <= at < 2 * PART
        disk.damage("/w/watermark", at)
