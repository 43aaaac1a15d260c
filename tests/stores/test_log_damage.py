"""Damage on the disk: told or harmless, never another answer. And what is torn is cut, once, by who holds the lock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from zlib import crc32

import pytest

from ashore_stores.errors import Corrupt, Missing, NewerFormat, StoreError
from ashore_stores.keys import Position
from ashore_stores.logs.base import NO_MARK, Entry
from ashore_stores.logs.segment import SegmentEventLog, open_segment_log
from ashore_stores.logs.segments import LogSettings
from ashore_stores.logs.verify import Damage, verify_log
from ashore_stores.testing.disk import SimDisk
from ashore_stores.testing.logs import KEYS, REGISTERS, bodies, facts, mark, written
from ashore_stores.testing.loop import simulate
from ashore_stores.testing.world import sim_ports

FOLDER = "/home/log"
LAST = f"{FOLDER}/segments/00000003"
SETTINGS = LogSettings(segment_bytes=400)
COUNT = 9


def body(number: int) -> bytes:
    return b"event %d" % number


@asynccontextmanager
async def opened(disk: SimDisk, settings: LogSettings = SETTINGS) -> AsyncIterator[SegmentEventLog]:
    log = await open_segment_log(FOLDER, sim_ports(0, disk=disk), settings)
    try:
        yield log
    finally:
        await log.aclose()


def made() -> dict[str, bytes]:
    """The files of a log of three segments."""
    disk = SimDisk(0)

    async def main() -> None:
        async with opened(disk) as log:
            for number in range(1, COUNT + 1):
                entries = (Entry(REGISTERS, b"r", b"%d" % number), Entry(KEYS, b"%d" % number, b"x"))
                await written(log, facts(body(number), marks=mark(number), topics=(b"run",), entries=entries))

    simulate(main, 0)
    return {path: data for path, data in disk.tree().items() if "/owners/" not in path}


def placed(files: dict[str, bytes]) -> SimDisk:
    disk = SimDisk(0)
    for folder in ("segments", "owners"):
        disk.make_folder(f"{FOLDER}/{folder}")
    for path, data in files.items():
        disk.make_folder(path.rpartition("/")[0])
        file = disk.open(path, write=True, create=True)
        file.write(data, 0)
        file.close()
    return disk


FILES = made()


def test_the_log_under_test_has_what_it_should() -> None:
    assert sorted(path.rpartition("/")[2] for path in FILES) == ["00000001", "00000002", "00000003", "lock", "watermark"]
    assert damages(FILES) == []


def damages(files: dict[str, bytes]) -> list[Damage]:
    disk = placed(files)

    async def main() -> list[Damage]:
        return verify_log(FOLDER, sim_ports(0, disk=disk))

    return simulate(main, 0)


async def truth(log: SegmentEventLog) -> None:
    """Everything that can be asked is answered as it was written."""
    assert await bodies(log) == [body(number) for number in range(1, COUNT + 1)]
    assert log.registers(REGISTERS) == {b"r": b"%d" % COUNT}
    for number in range(1, COUNT + 1):
        assert log.register(KEYS, b"%d" % number) == b"x"
        assert list(log.marked(mark(number))) == [number]
        assert (await log.frame_at(Position(number))).batch.body == body(number)
    assert [frame.first for frame in await log.about(b"run")] == list(range(1, COUNT + 1))
    assert list(log.marked(NO_MARK)) == []


def answer(disk: SimDisk) -> str:
    """ "true", "told", or an assertion error: opens, asks, writes on, asks again."""

    async def main() -> str:
        try:
            async with opened(disk) as log:
                await log.refresh()
                await truth(log)
                assert await written(log, facts(b"more")) == COUNT + 1
                assert (await bodies(log))[-2:] == [body(COUNT), b"more"]
        except (Corrupt, NewerFormat):
            return "told"
        return "true"

    return simulate(main, 0)


def flipped(step: int = 1) -> Iterator[tuple[str, int, int]]:
    """Paths, offsets and bits."""
    for path, data in FILES.items():
        for at in range(0, len(data), step):
            yield path, at, 1 << (at * 5 + 3) % 8


def with_flip(path: str, at: int, bit: int) -> dict[str, bytes]:
    data = bytearray(FILES[path])
    data[at] ^= bit
    return {**FILES, path: bytes(data)}


def test_a_flipped_bit_is_told_or_harmless() -> None:
    outcomes = {path: set[str]() for path in FILES}
    for path, at, bit in flipped():
        outcomes[path].add(answer(placed(with_flip(path, at, bit))))
    assert outcomes[f"{FOLDER}/segments/00000001"] == {"told"}
    assert outcomes[f"{FOLDER}/segments/00000003"] == {"told"}
    assert outcomes[f"{FOLDER}/watermark"] <= {"true", "told"}


def test_verify_finds_every_flipped_bit() -> None:
    for path, at, bit in flipped():
        found = damages(with_flip(path, at, bit))
        assert found, (path, at, bit)
        assert found[0].path == path or path in found[0].what or path.rpartition("/")[2] > "00000001"


def test_a_shortened_file_is_told() -> None:
    for path in (path for path in FILES if "/segments/" in path):
        for length in range(0, len(FILES[path]), 3):
            files = {**FILES, path: FILES[path][:length]}
            assert answer(placed(files)) == "told", (path, length)
            assert damages(files), (path, length)


def test_a_missing_exchanged_or_doubled_segment_is_told() -> None:
    one, two, three = sorted(path for path in FILES if "/segments/" in path)
    for path in (one, two, three):
        without = {other: data for other, data in FILES.items() if other != path}
        assert answer(placed(without)) == "told"
        assert damages(without)
    for first, second in ((one, two), (two, three), (one, three)):
        for changed in ({first: FILES[second], second: FILES[first]}, {first: FILES[second]}, {second: FILES[first]}):
            assert answer(placed({**FILES, **changed})) == "told"
            assert damages({**FILES, **changed})


def test_without_its_watermark_the_log_is_what_it_was() -> None:
    without = {path: data for path, data in FILES.items() if not path.endswith("watermark")}
    assert answer(placed(without)) == "true"
    assert answer(placed({**FILES, f"{FOLDER}/watermark": b""})) == "true"


def test_the_error_names_segment_and_offset() -> None:
    disk = placed(with_flip(LAST, len(FILES[LAST]) - 3, 1))

    async def main() -> None:
        with pytest.raises(Corrupt, match="00000003 at offset") as caught:
            async with opened(disk):
                pass
        assert caught.value.path == LAST
        assert 0 < caught.value.offset < len(FILES[LAST])
        assert caught.value.position is not None

    before = disk.tree()
    simulate(main, 0)
    assert {path: data for path, data in disk.tree().items() if "/segments/" in path} == {
        path: data for path, data in before.items() if "/segments/" in path
    }, "nothing was changed"


def test_a_newer_format_is_not_taken_for_damage() -> None:
    """Frames of a later version, with a good checksum: refused before anything is written."""
    disk = SimDisk(0)

    async def main() -> None:
        async with opened(disk, LogSettings()) as log:
            await written(log, facts(b"a"))
        _add_newer_frame(disk)
        with pytest.raises(NewerFormat, match="update ashore"):
            async with opened(disk, LogSettings()) as log:
                await written(log, facts(b"b"))

    simulate(main, 0)


def _add_newer_frame(disk: SimDisk) -> None:
    path = f"{FOLDER}/segments/00000001"
    data = disk.tree()[path]
    last = data[data.rfind(b"ASHF") :][:60]
    fields = last[:4] + b"\x02" + last[5:60]
    file = disk.open(path, write=True)
    file.write(fields + crc32(fields).to_bytes(4, "little"), len(data))
    file.close()


def unflushed_end() -> tuple[dict[str, bytes], int]:
    """A log of which the last two frames were written and not flushed, and where these begin."""
    disk = SimDisk(0)

    async def main() -> int:
        async with opened(disk, LogSettings()) as log:
            await written(log, facts(b"kept"))
        size = len(disk.tree()[f"{FOLDER}/segments/00000001"])
        watermark = disk.tree()[f"{FOLDER}/watermark"]
        async with opened(disk, LogSettings()) as log:
            await log.durable([log.queue(facts(b"one")), log.queue(facts(b"two"))][-1])
        file = disk.open(f"{FOLDER}/watermark", write=True)
        file.write(watermark, 0)
        file.close()
        return size

    size = simulate(main, 0)
    return {path: data for path, data in disk.tree().items() if "/owners/" not in path}, size


UNFLUSHED, KEPT = unflushed_end()
ONLY = f"{FOLDER}/segments/00000001"


@pytest.mark.parametrize("zeros", [0, 700])
def test_a_torn_end_of_any_length_is_cut_by_the_next_writer(zeros: int) -> None:
    whole = UNFLUSHED[ONLY]
    ends = (KEPT, whole.find(b"two") - 64)
    for length in range(KEPT, len(whole)):
        disk = placed({**UNFLUSHED, ONLY: whole[:length] + bytes(zeros)})
        complete = sum(length >= end for end in ends[1:])
        simulate(partial(_cut_once, disk, complete), length)
        aside = b"".join(data for path, data in disk.tree().items() if "/cut/" in path)
        start = ends[complete]
        assert aside == whole[start:length].rstrip(b"\0")
        assert disk.tree()[ONLY].startswith(whole[:start])


async def _cut_once(disk: SimDisk, complete: int) -> None:
    expected = [b"kept", b"one"][: 1 + complete]
    async with opened(disk, LogSettings()) as log:
        before = disk.tree()
        await log.refresh()
        assert await bodies(log) == expected
        assert disk.tree()[ONLY] == before[ONLY], "reading cuts nothing"
        await written(log, facts(b"after"))
        notes = log.statistics().notes
    async with opened(disk, LogSettings()) as log:
        assert await bodies(log) == [*expected, b"after"]
        await written(log, facts(b"more"))
        assert log.statistics().notes == ()
        assert len(notes) <= 1
        assert all("torn" in note and "/cut/" in note for note in notes)


def test_a_hole_before_a_whole_frame_of_the_same_write_is_torn() -> None:
    """Sectors reach the disk in any order: the second frame is there, the first is not."""
    whole = UNFLUSHED[ONLY]
    disk = placed({**UNFLUSHED, ONLY: whole[:KEPT] + bytes(10) + whole[KEPT + 10 :]})
    simulate(partial(_cut_once, disk, 0), 0)
    assert [data for path, data in disk.tree().items() if "/cut/" in path] == [bytes(10) + whole[KEPT + 10 :]]


def test_a_whole_frame_in_the_wrong_place_is_torn() -> None:
    """What was taken back and came again, behind what was written in its stead."""
    whole = UNFLUSHED[ONLY]
    second = whole[whole.rfind(b"ASHF") :]
    disk = placed({**UNFLUSHED, ONLY: whole[:KEPT] + second})
    simulate(partial(_cut_once, disk, 0), 0)
    assert [data for path, data in disk.tree().items() if "/cut/" in path] == [second]


def test_damage_before_a_frame_that_vouches_for_it_is_no_torn_end() -> None:
    """Without a watermark (a power cut took it), later flushed frames still tell."""
    for name in ("one", "kept"):
        disk = SimDisk(0)

        async def main(disk: SimDisk = disk) -> None:
            async with opened(disk, LogSettings()) as log:
                for each in (b"kept", b"one", b"two"):
                    await written(log, facts(each))

        simulate(main, 0)
        files = {path: data for path, data in disk.tree().items() if "/owners/" not in path and "watermark" not in path}
        at = files[ONLY].find(name.encode())
        files[ONLY] = files[ONLY][:at] + b"?" + files[ONLY][at + 1 :]
        assert _told_on_writing(placed(files))
        assert damages(files)


def _told_on_writing(disk: SimDisk) -> bool:
    async def main() -> bool:
        before = disk.tree()[ONLY]
        with pytest.raises(Corrupt):
            async with opened(disk, LogSettings()) as log:
                await written(log, facts(b"x"))
        return disk.tree()[ONLY] == before

    return simulate(main, 0)


def test_an_empty_newest_segment_is_none() -> None:
    disk = placed({**FILES, f"{FOLDER}/segments/00000004": b""})
    assert answer(disk) == "true"


def test_damage_in_a_sealed_segment_leaves_the_others_readable() -> None:
    path = f"{FOLDER}/segments/00000001"
    disk = placed(with_flip(path, FILES[path].find(b"event 2"), 1))

    async def main() -> None:
        async with opened(disk) as log:
            assert (await log.frame_at(Position(COUNT))).batch.body == body(COUNT)
            found: list[bytes] = []
            with pytest.raises(Corrupt):
                await _collect(log, found)
            assert found in ([], [body(1)])
            with pytest.raises(Corrupt):
                await log.refresh()

    simulate(main, 0)


async def _collect(log: SegmentEventLog, found: list[bytes]) -> None:
    async for frame in log.read():
        found.append(frame.batch.body)


def test_key_files_are_rebuilt_when_absent_or_wrong() -> None:
    disk = placed(FILES)
    assert answer(disk) == "true"
    keys = [path for path in disk.tree() if "/keys/" in path]
    assert len(keys) >= 2
    for path in keys:
        for at in range(len(disk.tree()[path])):
            disk.damage(path, at)
            assert _asks(disk) == "true"
    size = len(disk.tree()[keys[0]])
    file = disk.open(keys[0], write=True)
    file.truncate(size - 1)
    file.close()
    assert _asks(disk) == "true"
    assert len(disk.tree()[keys[0]]) == size


def _asks(disk: SimDisk) -> str:
    async def main() -> str:
        try:
            async with opened(disk) as log:
                await log.refresh()
                assert list(log.marked(mark(1))) == [1]
                assert log.register(KEYS, b"2") == b"x"
                assert [frame.first for frame in await log.about(b"run")][:3] == [1, 2, 3]
        except StoreError as error:
            return repr(error)
        return "true"

    return simulate(main, 0)


def test_nothing_is_at_position_zero_or_behind_the_end() -> None:
    async def main() -> None:
        async with opened(placed(FILES)) as log:
            for nowhere in (0, COUNT + 1, 1 << 40):
                with pytest.raises(Missing):
                    await log.frame_at(Position(nowhere))

    simulate(main, 0)
