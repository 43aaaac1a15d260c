"""The contract of event logs: a store's own tests subclass these and supply the fixtures.

`EventLogContract` wants a fixture `log` (opened, empty, closed by the fixture). `SharedEventLogContract` wants `processes`, too: a
`Processes`, which opens the same home as further processes would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import anyio
import pytest

from ashore_stores.errors import Closed, Fenced, Missing
from ashore_stores.keys import START, Cursor, Position
from ashore_stores.logs.base import LASTING, MARK_SIZE, NO_MARK, Batch, Claim, Entry, EventLog, Frame, Space

REGISTERS = 40
"""A space that the log does not read itself."""

KEYS = LASTING + 1


def facts(*bodies: bytes, **fields: object) -> Batch:
    """One batch with these bodies as its events."""
    return Batch(b"".join(bodies), len(bodies), **fields)  # type: ignore[arg-type]


def setting(key: bytes, value: bytes, space: int = REGISTERS) -> Batch:
    return Batch(key + b"=" + value, 1, entries=(Entry(space, key, value),))


def claim(key: bytes, value: bytes, expected: bytes | None = None, space: int = REGISTERS) -> Claim:
    """Set a register, provided that it holds `expected`."""
    return Claim(space, key, expected, setting(key, value, space))


def mark(number: int) -> bytes:
    return number.to_bytes(MARK_SIZE, "big")


async def written(log: EventLog, *batches: Batch) -> Position:
    """Queue these and wait until they are durable."""
    tickets = [log.queue(batch) for batch in batches]
    return await log.durable(tickets[-1])


async def frames(log: EventLog, after: Cursor | Position = START, upto: Position | None = None) -> list[Frame]:
    return [frame async for frame in log.read(after, upto)]


async def bodies(log: EventLog, after: Cursor | Position = START, upto: Position | None = None) -> list[bytes]:
    return [frame.batch.body for frame in await frames(log, after, upto)]


class Processes(Protocol):
    """Further processes on the same home."""

    async def another(self) -> EventLog: ...

    async def kill(self, log: EventLog) -> None:
        """What kill -9 of that log's process does."""
        ...


@pytest.mark.anyio
class EventLogContract:
    """What every event log does for one process."""

    async def test_a_new_log_is_empty(self, log: EventLog) -> None:
        assert log.durable_position == START
        assert await frames(log) == []
        assert log.owner is None
        assert await log.append([]) == []

    async def test_what_is_durable_is_read_back_as_it_was_queued(self, log: EventLog) -> None:
        batches = [facts(b"a", b"bb", marks=mark(1) + mark(2), topics=(b"run",)), facts(b""), facts(b"c" * 70_000)]
        assert await written(log, *batches) == 4
        found = await frames(log)
        assert [(frame.first, frame.last) for frame in found] == [(1, 2), (3, 3), (4, 4)]
        assert [frame.batch.body for frame in found] == [batch.body for batch in batches]
        assert [frame.batch.marks for frame in found] == [batch.marks for batch in batches]
        assert [frame.batch.topics for frame in found] == [batch.topics for batch in batches]
        assert {frame.owner for frame in found} == {log.owner}

    async def test_a_ticket_learns_its_position(self, log: EventLog) -> None:
        first, second = log.queue(facts(b"a", b"b")), log.queue(facts(b"c"))
        assert await log.durable(second) >= 3
        assert (first.position, second.position) == (2, 3)
        assert first.error is None
        assert log.durable_position >= 3

    async def test_the_order_is_that_of_queueing_claims_included(self, log: EventLog) -> None:
        log.queue(facts(b"1"))
        judged = await log.append([claim(b"2", b"")])
        last = log.queue(facts(b"3"))
        await log.durable(last)
        assert judged[0].position == 2
        assert await bodies(log) == [b"1", b"2=", b"3"]

    async def test_a_claim_is_won_once(self, log: EventLog) -> None:
        assert (await log.append([claim(b"k", b"me")]))[0].won
        lost = (await log.append([claim(b"k", b"you")]))[0]
        assert (lost.won, lost.position, lost.current) == (False, None, b"me")
        assert log.register(REGISTERS, b"k") == b"me"

    async def test_a_claim_may_expect_a_value_and_clear_it(self, log: EventLog) -> None:
        await log.append([claim(b"k", b"1")])
        assert (await log.append([claim(b"k", b"2", expected=b"1"), claim(b"k", b"", expected=b"2")]))[1].won
        assert log.register(REGISTERS, b"k") is None
        assert b"k" not in log.registers(REGISTERS)
        assert (await log.append([claim(b"k", b"3")]))[0].won

    async def test_a_lost_claim_is_taken_out_alone(self, log: EventLog) -> None:
        judged = await log.append([claim(b"a", b"1"), claim(b"a", b"2"), claim(b"b", b"3")])
        assert [each.won for each in judged] == [True, False, True]
        assert [each.position for each in judged] == [1, None, 2]
        await log.durable(Position(2))
        assert await bodies(log) == [b"a=1", b"b=3"]

    async def test_a_claim_sees_what_was_queued_before_it(self, log: EventLog) -> None:
        log.queue(setting(b"k", b"mine"))
        assert (await log.append([claim(b"k", b"no")]))[0].current == b"mine"

    async def test_lasting_registers_are_claimed_alike(self, log: EventLog) -> None:
        assert (await log.append([claim(b"k", b"1", space=KEYS)]))[0].won
        assert (await log.append([claim(b"k", b"2", space=KEYS)]))[0].current == b"1"
        assert log.register(KEYS, b"k") == b"1"
        assert log.register(KEYS, b"other") is None

    async def test_the_last_value_of_a_register_wins(self, log: EventLog) -> None:
        entries = (Entry(REGISTERS, b"a", b"1"), Entry(REGISTERS, b"b", b"2"), Entry(REGISTERS, b"a", b"3"))
        await written(log, facts(b"x", entries=entries), setting(b"c", b"4"), setting(b"c", b""))
        assert log.registers(REGISTERS) == {b"a": b"3", b"b": b"2"}
        assert log.register(REGISTERS, b"c") is None
        assert log.register(REGISTERS + 1, b"a") is None

    async def test_marks_find_their_events(self, log: EventLog) -> None:
        await written(log, facts(b"a", b"b", b"c", marks=mark(1) + NO_MARK + mark(2)), facts(b"d", marks=mark(1)))
        assert list(log.marked(mark(1))) == [1, 4]
        assert list(log.marked(mark(2))) == [3]
        assert list(log.marked(mark(3))) == []
        assert list(log.marked(NO_MARK)) == []
        await written(log, facts(b"e", marks=mark(3)))
        assert list(log.marked(mark(3))) == [5]

    async def test_further_marks_belong_to_the_last_event(self, log: EventLog) -> None:
        await written(log, facts(b"a", b"b", marks=mark(1) + mark(2) + mark(3) + mark(4)))
        assert [list(log.marked(mark(number))) for number in (1, 2, 3, 4)] == [[1], [2], [2], [2]]

    async def test_topics_find_their_frames(self, log: EventLog) -> None:
        batches = [facts(b"a", topics=(b"x",)), facts(b"b", topics=(b"y",)), facts(b"c", topics=(b"x", b"y"))]
        await written(log, *batches)
        assert [frame.batch.body for frame in await log.about(b"x")] == [b"a", b"c"]
        assert [frame.batch.body for frame in await log.about(b"y")] == [b"b", b"c"]
        assert await log.about(b"z") == []

    async def test_each_event_has_its_frame(self, log: EventLog) -> None:
        await written(log, facts(b"a", b"b"), facts(b"c"))
        assert [(await log.frame_at(Position(at))).batch.body for at in (1, 2, 3)] == [b"ab", b"ab", b"c"]
        for nowhere in (0, 4, 99):
            with pytest.raises(Missing):
                await log.frame_at(Position(nowhere))

    async def test_reading_begins_after_a_place(self, log: EventLog) -> None:
        await written(log, facts(b"a", b"b"), facts(b"c"), facts(b"d"))
        first, second, third = await frames(log)
        assert await bodies(log, first.cursor) == [b"c", b"d"]
        assert await bodies(log, third.cursor) == []
        assert await bodies(log, Cursor()) == [b"ab", b"c", b"d"]
        assert await bodies(log, Position(2)) == [b"c", b"d"]
        assert await bodies(log, Position(1)) == [b"ab", b"c", b"d"], "the frame holds an event after 1"
        assert await bodies(log, first.cursor, second.last) == [b"c"]
        assert await bodies(log, START, Position(3)) == [b"ab", b"c"]

    async def test_a_cursor_that_is_not_in_the_log_is_missing(self, log: EventLog) -> None:
        await written(log, facts(b"a", b"b"), facts(b"c"))
        first = (await frames(log))[0]
        wrong: list[Cursor | Position] = [
            Cursor(first.last, first.checksum ^ 1),
            Cursor(Position(1), first.checksum),
            Cursor(Position(9), 0),
            Position(9),
        ]
        for nowhere in wrong:
            with pytest.raises(Missing):
                await frames(log, nowhere)

    async def test_following_waits_for_more(self, log: EventLog) -> None:
        await written(log, facts(b"a"))
        follower = Follower(log)
        async with anyio.create_task_group() as group:
            group.start_soon(follower.run)
            await follower.wait_for(1)
            for body in (b"b", b"c", b"d"):
                await written(log, facts(body))
            await follower.wait_for(4)
            group.cancel_scope.cancel()
        assert [frame.batch.body for frame in follower.frames] == [b"a", b"b", b"c", b"d"]

    async def test_a_cancelled_follower_goes_on_where_it_was(self, log: EventLog) -> None:
        await written(log, facts(b"a"), facts(b"b"))
        cursor = Cursor()
        async for frame in log.follow():
            cursor = frame.cursor
            break
        await written(log, facts(b"c"))
        follower = Follower(log, cursor)
        async with anyio.create_task_group() as group:
            group.start_soon(follower.run)
            await follower.wait_for(2)
            group.cancel_scope.cancel()
        assert [frame.batch.body for frame in follower.frames] == [b"b", b"c"]

    async def test_owning_is_done_once(self, log: EventLog) -> None:
        owner = await log.own()
        assert await log.own() == owner == log.owner
        assert await log.is_alive(owner)
        assert not await log.is_alive(bytes(8))

    async def test_the_first_batch_names_its_owner(self, log: EventLog) -> None:
        assert not (await log.append([claim(b"k", b"", expected=b"absent")]))[0].won
        await written(log, facts(b"a"), facts(b"b"))
        assert log.registers(Space.OWNERS) == {log.owner: b"live"}

    async def test_a_batch_without_events_is_refused(self, log: EventLog) -> None:
        with pytest.raises(ValueError, match="at least one event"):
            log.queue(Batch(b"", 0))

    async def test_there_is_room(self, log: EventLog) -> None:
        for number in range(200):
            log.queue(facts(b"%d" % number))
            await log.room()
        assert await written(log, facts(b"end")) == 201

    async def test_statistics_count(self, log: EventLog) -> None:
        await written(log, facts(b"a", b"b"), facts(b"c"))
        numbers = log.statistics()
        assert (numbers.written, numbers.durable, numbers.queued, numbers.frames) == (3, 3, 0, 2)

    async def test_a_closed_log_says_so(self, log: EventLog) -> None:
        ticket = log.queue(facts(b"a"))
        await log.aclose()
        await log.aclose()
        assert ticket.position == 1, "what was queued is written first"
        assert isinstance(log.queue(facts(b"b")).error, Closed)
        for attempt in (log.own, log.refresh, log.room):
            with pytest.raises(Closed):
                await attempt()
        with pytest.raises(Closed):
            await log.append([claim(b"k", b"v")])
        with pytest.raises(Closed):
            await frames(log)


@pytest.mark.anyio
class SharedEventLogContract(EventLogContract):
    """What every event log does for several processes."""

    async def test_all_processes_agree_on_one_order(self, log: EventLog, processes: Processes) -> None:
        others = [log, await processes.another(), await processes.another()]
        async with anyio.create_task_group() as group:
            for number, each in enumerate(others):
                group.start_soon(queue_some, each, number)
        seen: list[list[Frame]] = []
        for each in others:
            await each.refresh()
            seen.append(await frames(each))
        assert seen[0] == seen[1] == seen[2]
        assert [frame.first for frame in seen[0]] == [1 + 2 * at for at in range(60)]
        for number in range(3):
            mine = [frame.batch.body for frame in seen[0] if frame.batch.topics == (b"%d" % number,)]
            assert mine == [b"%d-%02d" % (number, at) * 2 for at in range(20)]

    async def test_a_claim_is_won_by_one_process(self, log: EventLog, processes: Processes) -> None:
        others = [log, await processes.another(), await processes.another()]
        won: list[tuple[int, int]] = []

        async def race(each: EventLog, name: int) -> None:
            for number in range(10):
                key = b"key-%d" % number
                judged = await each.append([claim(key, b"%d" % name), claim(key, b"%d" % name, space=KEYS)])
                assert judged[0].won == judged[1].won
                if judged[0].won:
                    won.append((number, name))

        async with anyio.create_task_group() as group:
            for name, each in enumerate(others):
                group.start_soon(race, each, name)
        assert sorted(number for number, _ in won) == list(range(10))
        for each in others:
            await each.refresh()
            assert each.registers(REGISTERS) == {b"key-%d" % number: b"%d" % name for number, name in won}
            assert all(each.register(KEYS, b"key-%d" % number) == b"%d" % name for number, name in won)

    async def test_what_another_wrote_is_known_after_a_refresh(self, log: EventLog, processes: Processes) -> None:
        other = await processes.another()
        await written(other, facts(b"a", marks=mark(7), topics=(b"run",), entries=(Entry(REGISTERS, b"k", b"v"),)))
        assert await log.refresh() == 1
        assert log.register(REGISTERS, b"k") == b"v"
        assert list(log.marked(mark(7))) == [1]
        assert [frame.owner for frame in await log.about(b"run")] == [other.owner]
        assert await written(log, facts(b"b")) == 2

    async def test_a_follower_sees_what_another_writes(self, log: EventLog, processes: Processes) -> None:
        other = await processes.another()
        follower = Follower(log)
        async with anyio.create_task_group() as group:
            group.start_soon(follower.run)
            for number in range(5):
                await written(other, facts(b"%d" % number))
                await follower.wait_for(number + 1)
            group.cancel_scope.cancel()
        assert [frame.batch.body for frame in follower.frames] == [b"%d" % number for number in range(5)]

    async def test_waiting_for_what_another_will_write(self, log: EventLog, processes: Processes) -> None:
        other = await processes.another()
        async with anyio.create_task_group() as group:
            group.start_soon(log.durable, Position(3))
            await written(other, facts(b"a", b"b"))
            await written(other, facts(b"c"))
        assert log.durable_position == 3

    async def test_an_owner_lives_until_its_process_ends(self, log: EventLog, processes: Processes) -> None:
        other = await processes.another()
        owner = await other.own()
        assert await log.is_alive(owner)
        await processes.kill(other)
        assert not await log.is_alive(owner)

    async def test_the_end_of_another_process_is_waited_for(self, log: EventLog, processes: Processes) -> None:
        other = await processes.another()
        owner = await other.own()
        order: list[str] = []

        async def wait() -> None:
            await log.wait_gone(owner)
            order.append("gone")

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await written(log, facts(b"meanwhile"))
            order.append("killed")
            await processes.kill(other)
        assert order == ["killed", "gone"]
        await log.wait_gone(owner)
        await log.wait_gone(bytes(8))
        assert not await log.is_alive(owner)

    async def test_nothing_of_a_fenced_owner_is_accepted(self, log: EventLog, processes: Processes) -> None:
        other = await processes.another()
        await written(other, facts(b"before"))
        owner = await other.own()
        await written(log, facts(b"adopted", entries=(Entry(Space.OWNERS, owner, b"fenced"),)))
        await other.refresh()
        ticket = other.queue(facts(b"after"))
        with pytest.raises(Fenced):
            await other.durable(ticket)
        assert isinstance(ticket.error, Fenced)
        with pytest.raises(Fenced):
            await other.append([claim(b"k", b"v")])
        await written(log, facts(b"heir"))
        assert await bodies(log) == [b"before", b"adopted", b"heir"]
        await other.refresh()
        assert await bodies(other) == [b"before", b"adopted", b"heir"], "reading goes on"

    async def test_what_a_killed_process_wrote_stays(self, log: EventLog, processes: Processes) -> None:
        other = await processes.another()
        await written(other, facts(b"a"))
        await processes.kill(other)
        assert await written(log, facts(b"b")) == 2
        assert await bodies(log) == [b"a", b"b"]


async def queue_some(log: EventLog, name: int) -> None:
    for number in range(20):
        ticket = log.queue(facts(b"%d-%02d" % (name, number), b"%d-%02d" % (name, number), topics=(b"%d" % name,)))
        if number % 3 == 0:
            await log.durable(ticket)
    await log.durable(ticket)


class Follower:
    """Follows a log and keeps what it sees."""

    def __init__(self, log: EventLog, after: Cursor | Position = START) -> None:
        self.frames: list[Frame] = []
        self._source: AsyncIterator[Frame] = log.follow(after)
        self._news = anyio.Event()

    async def run(self) -> None:
        async for frame in self._source:
            self.frames.append(frame)
            self._news.set()

    async def wait_for(self, number: int) -> None:
        """Until it has seen so many frames."""
        while len(self.frames) < number:
            self._news = anyio.Event()
            await self._news.wait()
