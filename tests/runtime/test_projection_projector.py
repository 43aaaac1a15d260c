"""Keeping the index up: slices, the one seat, bounded waits, and an index that is gone, damaged or of something else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs
from tests.runtime.histories import Frames
from tests.runtime.test_projection import RUN, A, called, logged, ran, started

from ashore.catalogue import Catalogue
from ashore.catalogue.projector import SLICE_EVENTS, Projector
from ashore.events import CancelAsked, Event, Invoked, encode
from ashore.projection import PROJECTION_VERSION
from ashore_stores import (
    Batch,
    Corrupt,
    Cursor,
    Frame,
    Full,
    MemoryArtifactStore,
    MemoryEventLog,
    Position,
    Unavailable,
    system_ports,
)
from ashore_stores.index.changes import Change
from ashore_stores.index.memory import MemoryIndex
from ashore_stores.index.sqlite import SqliteIndex
from ashore_stores.testing.index import dump

pytestmark = pytest.mark.anyio

PORTS = system_ports()
FRAMES: Frames = [[started()], [Invoked(RUN, (called(A),))], [ran(A)]]


class ManualClock:
    """Time passes when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await anyio.lowlevel.checkpoint()


class CountingIndex(MemoryIndex):
    """Counts what is applied, and fails on demand."""

    def __init__(self, fail_at: int = 0, error: Exception | None = None) -> None:
        super().__init__()
        self.upto: list[int] = []
        self.fail_at = fail_at
        self.error = error

    async def apply(self, changes: Sequence[Change], *, after: Cursor, upto: Cursor) -> None:
        if len(self.upto) + 1 == self.fail_at and self.error is not None:
            error, self.error = self.error, None
            raise error
        await super().apply(changes, after=after, upto=upto)
        self.upto.append(upto.position)


def cancels(count: int) -> list[Event]:
    return [CancelAsked(RUN, float(n)) for n in range(count)]


async def states(index: Any) -> list[tuple[Any, ...]]:
    return (await index.query("select step, state from steps")).rows  # type: ignore[no-any-return]


@pytest.fixture
async def sqlite(anyio_backend: str, tmp_path: Path) -> AsyncIterator[SqliteIndex]:
    index = SqliteIndex(PORTS.disk, PORTS.random, str(tmp_path / "index"), PROJECTION_VERSION)
    yield index
    await index.aclose()


def only_file(folder: Path) -> Path:
    (path,) = (path for path in folder.iterdir() if path.name.endswith(".sqlite"))
    return path


# --- slices ---


async def test_a_long_log_is_applied_in_slices_that_end_with_a_frame() -> None:
    frames: Frames = [[started()], *[cancels(1_800) for _ in range(7)]]
    index = CountingIndex()
    fresh = await Projector(await logged(frames), index, PORTS.clock).catch_up()
    assert fresh.position == 1 + 7 * 1_800
    assert index.upto == [1 + 3 * 1_800, 1 + 6 * 1_800, 1 + 7 * 1_800]
    assert 3 * 1_800 > SLICE_EVENTS > 2 * 1_800


async def test_a_slice_takes_no_longer_than_its_time() -> None:
    class SlowLog(MemoryEventLog):
        async def read(self, after: Cursor | Position = Cursor(), upto: Position | None = None) -> AsyncIterator[Frame]:  # noqa: B008
            async for frame in super().read(after, upto):
                await clock.sleep(0.15)
                yield frame

    clock, log = ManualClock(), SlowLog(PORTS)
    await log.own()
    for frame in FRAMES:
        log.queue(Batch(encode(frame), len(frame)))
    index = CountingIndex()
    await Projector(log, index, clock).catch_up()
    assert index.upto == [2, 3]


async def test_what_is_caught_up_is_not_read_again() -> None:
    log, index = await logged(FRAMES), CountingIndex()
    projector = Projector(log, index, PORTS.clock)
    await projector.catch_up()
    await projector.catch_up()
    await Projector(log, index, PORTS.clock).catch_up()
    assert index.upto == [3]


async def test_a_question_is_answered_up_to_the_position_that_it_asks_for() -> None:
    log, index = await logged(FRAMES), MemoryIndex()
    projector = Projector(log, index, PORTS.clock)
    assert (await projector.catch_up(Position(2))).position == 2
    assert await states(index) == [("fit", "waiting")]
    assert (await projector.catch_up()).position == 3
    assert await states(index) == [("fit", "done")]
    late = await projector.catch_up(Position(10))
    assert (late.position, late.behind, str(late)) == (3, 7, "index is 7 events behind")


async def test_an_interrupted_slice_is_done_again_whole() -> None:
    frames: Frames = [[started()], [Invoked(RUN, (called(A),))], *[cancels(SLICE_EVENTS) for _ in range(2)], [ran(A)]]
    index = CountingIndex(fail_at=2, error=RuntimeError("killed"))
    projector = Projector(await logged(frames), index, PORTS.clock)
    with pytest.raises(RuntimeError, match="killed"):
        await projector.catch_up()
    assert index.upto == [2 + SLICE_EVENTS]
    await projector.catch_up()
    expected = MemoryIndex()
    await Projector(await logged(frames), expected, PORTS.clock).catch_up()
    assert await dump(index) == await dump(expected)


@pytest.mark.parametrize("error", [Full("no room"), Unavailable("held by another program")])
async def test_an_index_that_cannot_be_written_answers_with_what_it_has(error: Exception) -> None:
    index = CountingIndex(fail_at=2, error=error)
    log = await logged(FRAMES[:2])
    projector = Projector(log, index, PORTS.clock)
    await projector.catch_up()
    log.queue(Batch(encode(FRAMES[2]), 1))
    fresh = await projector.catch_up()
    assert (fresh.position, fresh.behind, fresh.notes) == (2, 1, (str(error),))
    assert await states(index) == [("fit", "waiting")]
    assert (await projector.catch_up()).behind == 0
    assert await states(index) == [("fit", "done")]


# --- the seat ---


async def test_behind_another_projector_a_question_waits_two_seconds_and_says_how_far_it_is_behind() -> None:
    clock, index = ManualClock(), MemoryIndex()
    assert index.take_seat()
    fresh = await Projector(await logged(FRAMES), index, clock).catch_up()
    assert (fresh.position, fresh.behind) == (0, 3)
    assert 2.0 <= clock.time < 2.1


async def test_behind_another_projector_a_question_is_answered_as_soon_as_that_one_is_far_enough() -> None:
    log, index, clock = await logged(FRAMES), MemoryIndex(), ManualClock()
    assert index.take_seat()

    async def asks() -> None:
        assert (await Projector(log, index, clock).catch_up()).behind == 0

    async with anyio.create_task_group() as group:
        group.start_soon(asks)
        await clock.sleep(0.5)
        other = MemoryIndex()
        await Projector(log, other, PORTS.clock).catch_up()
        index.__dict__["_tables"], index.__dict__["_cursor"] = other.__dict__["_tables"], other.__dict__["_cursor"]
    assert clock.time < 2.0
    index.leave_seat()


async def test_the_seat_is_left_whatever_happens() -> None:
    index = CountingIndex(fail_at=1, error=RuntimeError("killed"))
    with pytest.raises(RuntimeError):
        await Projector(await logged(FRAMES), index, PORTS.clock).catch_up()
    assert index.take_seat()


# --- an index that does not belong to the log ---


async def test_an_index_of_a_longer_log_is_made_anew_and_that_is_said() -> None:
    index = MemoryIndex()
    await Projector(await logged([*FRAMES, [CancelAsked(RUN, 1.0)]]), index, PORTS.clock).catch_up()
    with capture_logs() as said:
        fresh = await Projector(await logged(FRAMES), index, PORTS.clock).catch_up()
    assert (fresh.position, fresh.behind) == (3, 0)
    assert "made anew" in fresh.notes[0]
    assert "ends at 3" in fresh.notes[0]
    assert [line["event"] for line in said] == ["index_rebuilt"]
    assert (await index.query("select cancel_asked from runs")).rows == [(None,)]


async def test_an_index_of_another_log_of_the_same_length_is_made_anew() -> None:
    index = MemoryIndex()
    await Projector(await logged([[started()], [CancelAsked(RUN, 1.0)], [CancelAsked(RUN, 2.0)]]), index, PORTS.clock).catch_up()
    fresh = await Projector(await logged(FRAMES), index, PORTS.clock).catch_up()
    assert "not what the log has" in fresh.notes[0]
    assert await states(index) == [("fit", "done")]


async def test_a_deleted_index_is_made_anew_and_answers_the_same(sqlite: SqliteIndex, tmp_path: Path) -> None:
    projector = Projector(await logged(FRAMES), sqlite, PORTS.clock)
    await projector.catch_up()
    before = await dump(sqlite)
    for path in (tmp_path / "index").iterdir():
        path.unlink()
    with capture_logs() as said:
        fresh = await projector.catch_up()
    assert (fresh.position, fresh.behind) == (3, 0)
    assert fresh.notes == ("the index was made anew from the log: it was removed",)
    assert [line["event"] for line in said] == ["index_rebuilt"]
    assert await dump(sqlite) == before


async def test_the_first_index_of_a_home_is_nothing_to_be_told_of(sqlite: SqliteIndex) -> None:
    with capture_logs() as said:
        fresh = await Projector(await logged(FRAMES), sqlite, PORTS.clock).catch_up()
    assert (fresh.position, fresh.notes, said) == (3, (), [])


class FullIndex(SqliteIndex):
    """An index for which the disk has no room: from its making on, or for a change."""

    def __init__(self, folder: Path, place: str) -> None:
        super().__init__(PORTS.disk, PORTS.random, str(folder / "index"), PROJECTION_VERSION)
        self.place = place

    def _fail(self, place: str) -> None:
        if place == self.place:
            raise Full("no room for the index")

    def take_seat(self) -> bool:
        self._fail("seat")
        return super().take_seat()

    async def cursor(self) -> Cursor:
        self._fail("cursor")
        return await super().cursor()

    async def apply(self, changes: Sequence[Change], *, after: Cursor, upto: Cursor) -> None:
        self._fail("apply")
        await super().apply(changes, after=after, upto=upto)


@pytest.mark.parametrize("place", ["seat", "cursor", "apply"])
async def test_what_is_on_record_stays_readable_when_the_disk_has_no_room_for_the_index(tmp_path: Path, place: str) -> None:
    log = await logged(FRAMES)
    index = FullIndex(tmp_path, place)
    async with Catalogue(log, MemoryArtifactStore(), index, PORTS, spare=MemoryIndex) as catalogue:
        (run,) = await catalogue.runs()
        assert run.id == RUN
        fresh = catalogue.freshness
        assert (fresh.position, fresh.behind) == (3, 0)
        assert fresh.notes == ("answered from the log, which takes longer: no room for the index",)
        log.queue(Batch(encode(cancels(1)), 1))
        assert list(await catalogue.sql("select cancel_asked from runs")) == [(0.0,)]


async def test_what_was_found_wrong_is_still_told_after_further_questions(sqlite: SqliteIndex, tmp_path: Path) -> None:
    async with Catalogue(await logged(FRAMES), MemoryArtifactStore(), sqlite, PORTS) as catalogue:
        await catalogue.runs()
        for path in (tmp_path / "index").iterdir():
            path.unlink()
        await catalogue.runs()
        await catalogue.runs()
        assert catalogue.freshness.notes == ("the index was made anew from the log: it was removed",)


async def test_a_damaged_index_is_made_anew_and_answers_the_same(tmp_path: Path) -> None:
    log = await logged(FRAMES)

    async def answer() -> tuple[Any, ...]:
        index = SqliteIndex(PORTS.disk, PORTS.random, str(tmp_path / "index"), PROJECTION_VERSION)
        try:
            return (await Projector(log, index, PORTS.clock).catch_up()).notes, await dump(index)
        finally:
            await index.aclose()

    notes, before = await answer()
    assert notes == ()
    path = only_file(tmp_path / "index")
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 300)
    with capture_logs():
        notes, after = await answer()
    assert "damaged" in notes[0]
    assert after == before
    assert not path.exists()


async def test_an_index_of_another_version_of_the_projection_is_made_anew(tmp_path: Path) -> None:
    log = await logged(FRAMES)
    for version in (PROJECTION_VERSION, PROJECTION_VERSION + 1):
        index = SqliteIndex(PORTS.disk, PORTS.random, str(tmp_path / "index"), version)
        assert (await Projector(log, index, PORTS.clock).catch_up()).behind == 0
        assert await states(index) == [("fit", "done")]
        await index.aclose()
    assert only_file(tmp_path / "index").name.startswith(f"index-{PROJECTION_VERSION + 1}.")


async def test_a_rebuild_tells_how_far_it_is() -> None:
    frames: Frames = [[started()], *[cancels(SLICE_EVENTS) for _ in range(3)]]
    told: list[tuple[int, int]] = []
    index = MemoryIndex()
    projector = Projector(await logged(frames), index, PORTS.clock)
    await projector.catch_up()
    await projector.rebuild(lambda position, target: told.append((position, target)))
    target = 1 + 3 * SLICE_EVENTS
    assert told == [(1 + n * SLICE_EVENTS, target) for n in (1, 2, 3)]


# --- a log that cannot be read to its end ---


class DamagedLog(MemoryEventLog):
    async def read(self, after: Cursor | Position = Cursor(), upto: Position | None = None) -> AsyncIterator[Frame]:  # noqa: B008
        async for frame in super().read(after, upto):
            if frame.first > 2:
                raise Corrupt("segment 1, offset 99: the checksum is wrong")
            yield frame


async def test_behind_damage_in_the_log_the_index_shows_what_comes_before_it() -> None:
    log, index = DamagedLog(PORTS), MemoryIndex()
    await log.own()
    for frame in FRAMES:
        log.queue(Batch(encode(frame), len(frame)))
    async with Catalogue(log, MemoryArtifactStore(), index, PORTS) as catalogue:
        answer = await catalogue.sql("select state from steps")
        assert answer.rows == [("waiting",)]
        assert answer.behind == 1
        assert "offset 99" in answer.notes[0]


async def test_events_of_a_newer_version_are_not_guessed_at() -> None:
    log = await logged(FRAMES[:2])
    log.queue(Batch(b"\x92\xcd\x03\xe7\x01", 1))
    fresh = await Projector(log, MemoryIndex(), PORTS.clock).catch_up()
    assert (fresh.position, fresh.behind) == (2, 1)
    assert "update ashore" in fresh.notes[0]
