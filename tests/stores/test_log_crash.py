"""The segment log on a simulated disk: power cuts, kills and failed flushes at every operation, and what is found afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from ashore_stores.errors import StoreError
from ashore_stores.keys import Position
from ashore_stores.logs.segment import SegmentEventLog, open_segment_log
from ashore_stores.logs.segments import LogSettings
from ashore_stores.logs.verify import verify_log
from ashore_stores.testing.disk import Faults, PowerCut, SimDisk
from ashore_stores.testing.logs import bodies, claim, facts, frames
from ashore_stores.testing.loop import simulate
from ashore_stores.testing.world import sim_ports

FOLDER = "/home/log"
LARGE, TINY = LogSettings(), LogSettings(segment_bytes=900)
ROUNDS = 4


@dataclass
class Story:
    """What one process handed in, in order, and how much of that it was told is durable."""

    told: int = 0
    handed_in: list[bytes] = field(default_factory=list)
    error: BaseException | None = None

    async def write(self, log: SegmentEventLog) -> None:
        for number in range(ROUNDS):
            for letter in b"abc":
                body = b"%d%c" % (number, letter) * (90 if letter == b"b"[0] else 5)
                ticket = log.queue(facts(body))
                self.handed_in.append(body)
            self.handed_in.append(b"k%d=v" % number)
            judged = await log.append([claim(b"k%d" % number, b"v"), claim(b"k%d" % number, b"w")])
            assert [each.won for each in judged] == [True, False]
            await log.durable(ticket)
            self.told = len(self.handed_in) - 1
            assert judged[0].position is not None
            await log.durable(judged[0].position)
            self.told = len(self.handed_in)


def live(disk: SimDisk, settings: LogSettings, seed: int = 0) -> Story:
    """One process's life, up to its end or the power's."""
    story = Story()

    async def main() -> None:
        log = await open_segment_log(FOLDER, sim_ports(seed, disk=disk), settings)
        await story.write(log)
        await log.aclose()

    try:
        simulate(main, seed)
    except (PowerCut, StoreError) as error:
        story.error = error
    return story


def check(disk: SimDisk, story: Story, settings: LogSettings, seed: int = 0) -> None:
    """All that was told is there, in one order without holes; the log goes on, and is sound."""

    async def main() -> None:
        ports = sim_ports(seed, disk=disk)
        log = await open_segment_log(FOLDER, ports, settings)
        await log.refresh()
        found = await read_written(log)
        assert (await bodies(log)) == found[: log.durable_position]
        assert found == story.handed_in[: len(found)]
        assert len(found) >= story.told
        await log.durable(log.queue(facts(b"afterwards")))
        assert await bodies(log) == [*found, b"afterwards"]
        positions = [(frame.first, frame.last) for frame in await frames(log)]
        assert positions == [(number, number) for number in range(1, len(found) + 2)]
        assert log.registers(40) == {body[:-2]: b"v" for body in found if body.endswith(b"=v")}
        await log.aclose()
        assert verify_log(FOLDER, ports) == []

    simulate(main, seed)


def operations(settings: LogSettings) -> int:
    disk = SimDisk(0)
    story = live(disk, settings)
    assert story.error is None
    assert story.told == ROUNDS * 4
    return len(disk.machine.operations)


each_size = pytest.mark.parametrize("settings", [LARGE, TINY], ids=["large", "tiny"])


@each_size
def test_a_power_cut_at_any_operation_loses_nothing_that_was_told(settings: LogSettings) -> None:
    for number in range(1, operations(settings) + 1):
        disk = SimDisk(number, Faults(crash_at=number))
        story = live(disk, settings)
        for seed in range(6):
            check(disk.after_crash(seed), story, settings, seed)


@each_size
def test_a_kill_at_any_operation_loses_nothing_that_was_written(settings: LogSettings) -> None:
    for number in range(1, operations(settings) + 1):
        disk = SimDisk(number)
        disk.kill_at = number
        story = live(disk, settings)
        check(disk.after_kill(), story, settings)


@each_size
def test_what_a_killed_process_left_is_not_told_onwards_before_it_is_durable(settings: LogSettings) -> None:
    """The second process builds on what the first wrote and did not flush; then the power fails."""
    for number in range(1, operations(settings) + 1, 2):
        disk = SimDisk(number)
        disk.kill_at = number
        first = live(disk, settings)
        after = disk.after_kill()
        second = live_on(after, settings)
        for seed in range(3):
            check_both(after.after_crash(seed), first, second, settings, seed)


def live_on(disk: SimDisk, settings: LogSettings) -> Story:
    story = Story()

    async def main() -> None:
        log = await open_segment_log(FOLDER, sim_ports(1, disk=disk), settings)
        story.handed_in = await read_written(log)
        body = b"second"
        story.handed_in.append(body)
        await log.durable(log.queue(facts(body)))
        story.told = len(story.handed_in)

    simulate(main, 1)
    return story


async def read_written(log: SegmentEventLog) -> list[bytes]:
    last = log.statistics().written
    return [(await log.frame_at(Position(position))).batch.body for position in range(1, last + 1)]


def check_both(disk: SimDisk, first: Story, second: Story, settings: LogSettings, seed: int) -> None:
    assert second.handed_in[:-1] == first.handed_in[: len(second.handed_in) - 1]
    assert len(second.handed_in) - 1 >= first.told
    check(disk, second, settings, seed)


@each_size
def test_a_failed_flush_at_any_time_is_never_taken_for_durable(settings: LogSettings) -> None:
    disk = SimDisk(0)
    live(disk, settings)
    for number in range(1, disk.machine.flushes + 1):
        disk = SimDisk(number, Faults(flush_error_at=number))
        story = live(disk, settings)
        for seed in range(6):
            check(disk.after_crash(seed), story, settings, seed)
        after = SimDisk(number, Faults(flush_error_at=number))
        story = live(after, settings)
        check(after.after_kill(), story, settings)


@each_size
def test_a_failed_write_at_any_time_leaves_nothing_half(settings: LogSettings) -> None:
    disk = SimDisk(0)
    live(disk, settings)
    for number in range(1, disk.machine.writes + 1):
        disk = SimDisk(number, Faults(write_error_at=number))
        story = live(disk, settings)
        check(disk.after_kill(), story, settings)


@each_size
def test_recovery_may_be_interrupted_anywhere(settings: LogSettings) -> None:
    """Crash, recover, crash at the k-th operation of that, recover: as if recovered once."""
    total = operations(settings)
    for number in range(3, total, 7):
        disk = SimDisk(number, Faults(crash_at=number))
        story = live(disk, settings)
        crashed = 0
        for again in range(1, 40):
            second = disk.after_crash(number, Faults(crash_at=again))
            recovered = Story()
            if not _survives(partial(recover, second, recovered, settings)):
                crashed += 1
            check_after_recovery(second.after_crash(again) if crashed else second.after_kill(), story, recovered, settings)
        assert crashed


def recover(disk: SimDisk, story: Story, settings: LogSettings) -> None:
    async def main() -> None:
        log = await open_segment_log(FOLDER, sim_ports(1, disk=disk), settings)
        story.handed_in = [*await read_written(log), b"recovered"]
        await log.durable(log.queue(facts(b"recovered")))
        story.told = len(story.handed_in)
        await log.aclose()

    simulate(main, 1)


def _survives(work: Callable[[], None]) -> bool:
    try:
        work()
    except PowerCut:
        return False
    return True


def check_after_recovery(disk: SimDisk, first: Story, second: Story, settings: LogSettings) -> None:
    if second.told:
        check(disk, second, settings)
    else:

        async def main() -> None:
            log = await open_segment_log(FOLDER, sim_ports(2, disk=disk), settings)
            await log.refresh()
            found = await read_written(log)
            assert len(found) >= first.told
            assert found in (first.handed_in[: len(found)], [*first.handed_in[: len(found) - 1], b"recovered"])
            await log.durable(log.queue(facts(b"afterwards")))
            await log.aclose()
            assert verify_log(FOLDER, sim_ports(2, disk=disk)) == []

        simulate(main, 2)
