"""Files that land in real folders become arrivals: each version once, whoever watches, whatever happens to the file."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from ashore.events import ArrivalRefused, Arrived, text_path
from ashore.triggers.arrivals import Recorder
from ashore.triggers.ranges import arrivals_in
from ashore.triggers.scan import BadPattern, Found, parse_pattern
from ashore.triggers.watch import FolderMade, Hindered, Notice, TriggerWatch
from ashore_stores.errors import Unavailable
from ashore_stores.keys import digest_of
from ashore_stores.logs.base import Claim, EventLog, Judged
from ashore_stores.logs.segment import open_segment_log
from ashore_stores.ports import Change, DiskFile, Ports, Watch
from ashore_stores.system import SystemDisk, system_ports

pytestmark = pytest.mark.anyio

SPEED = 20
PATTERN = "inbox/*.csv"


class FastClock:
    """The system's clock, faster: two seconds pass in a tenth of one."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / SPEED)


class ScriptedWatcher:
    """Hints come from the test."""

    def __init__(self) -> None:
        self.hints: list[Change] = []
        self.watches = 0
        self._news = anyio.Event()

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[Watch]:
        self.watches += 1
        yield self

    def tell(self, *hints: Change) -> None:
        self.hints.extend(hints)
        self._news.set()

    async def changes(self) -> Sequence[Change]:
        await self._news.wait()
        self._news = anyio.Event()
        hints, self.hints = self.hints, []
        return hints


class NoWatcher:
    """A system that has no watches left."""

    def watch(self, path: str) -> AbstractAsyncContextManager[Watch]:
        raise Unavailable("no watch is left")


class Inbox:
    """A project's inbox, what its watches told, and what the log holds."""

    def __init__(self, root: Path, log: EventLog, ports: Ports) -> None:
        self.root = root
        self.folder = root / "inbox"
        self.log = log
        self.ports = ports
        self.told: list[Notice] = []

    @asynccontextmanager
    async def watched(self, *, by: int = 1, ports: Ports | None = None) -> AsyncIterator[None]:
        """Watched by so many watches at once, until the block ends."""
        async with anyio.create_task_group() as group:
            for _ in range(by):
                watch = TriggerWatch(parse_pattern(PATTERN, str(self.root)), self.log, ports or self.ports, self.told.append)
                group.start_soon(watch.run)
            await anyio.wait_all_tasks_blocked()
            yield
            group.cancel_scope.cancel()

    def put(self, name: str, content: str) -> None:
        """Write it aside and rename it into place."""
        aside = self.root / "aside"
        aside.write_text(content)
        aside.rename(os.path.join(self.folder, name))

    async def versions(self) -> list[tuple[str, int, str]]:
        """Path, version and content's digest of each arrival in the log, in order."""
        frames = [frame async for frame in self.log.read()]
        events = [arrival.event for frame in frames for arrival in arrivals_in(frame)]
        return [(self.short(event.path), event.version, event.digest.hex()) for event in events]

    def short(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    async def until(self, is_so: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not is_so():
                await anyio.sleep(0.005)

    async def until_arrived(self, count: int) -> None:
        """Wait until the watches recorded so many arrivals."""
        await self.until(lambda: sum(isinstance(notice, Arrived) for notice in self.told) >= count)

    def refusals(self) -> dict[str, str]:
        return {self.short(notice.path): notice.reason for notice in self.told if isinstance(notice, ArrivalRefused)}


def sha(content: str | bytes) -> str:
    return digest_of(content.encode() if isinstance(content, str) else content).removeprefix("sha256-")


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[Inbox]:
    log = await open_segment_log(str(tmp_path / "log"), system_ports())
    await log.own()
    (tmp_path / "inbox").mkdir()
    yield Inbox(tmp_path, log, replace(system_ports(), clock=FastClock()))
    await log.aclose()


async def test_a_file_renamed_into_place_arrives(inbox: Inbox) -> None:
    async with inbox.watched():
        inbox.put("a.csv", "one")
        await inbox.until_arrived(1)
    assert await inbox.versions() == [("inbox/a.csv", 1, sha("one"))]


async def test_a_file_that_is_closed_arrives_with_its_size_and_time(inbox: Inbox) -> None:
    async with inbox.watched():
        (inbox.folder / "a.csv").write_text("one")
        await inbox.until_arrived(1)
    (event,) = inbox.told
    stat = (inbox.folder / "a.csv").stat()
    assert isinstance(event, Arrived)
    assert (event.trigger, event.size, event.mtime_ns) == (PATTERN, 3, stat.st_mtime_ns)


async def test_files_that_came_while_nobody_watched_arrive(inbox: Inbox) -> None:
    for name in "abc":
        inbox.put(f"{name}.csv", name)
    async with inbox.watched():
        await inbox.until_arrived(3)
    assert sorted(await inbox.versions()) == [(f"inbox/{name}.csv", 1, sha(name)) for name in "abc"]


async def test_a_restart_doubles_nothing_and_finds_what_changed(inbox: Inbox) -> None:
    inbox.put("a.csv", "one")
    inbox.put("b.csv", "two")
    async with inbox.watched():
        await inbox.until_arrived(2)
    inbox.put("b.csv", "three")
    async with inbox.watched():
        await inbox.until_arrived(3)
        inbox.put("c.csv", "four")
        await inbox.until_arrived(4)
    assert sorted(await inbox.versions()) == [
        ("inbox/a.csv", 1, sha("one")),
        ("inbox/b.csv", 1, sha("two")),
        ("inbox/b.csv", 2, sha("three")),
        ("inbox/c.csv", 1, sha("four")),
    ]


async def test_content_that_returns_is_a_new_version(inbox: Inbox) -> None:
    async with inbox.watched():
        for count, content in enumerate("ABA", start=1):
            (inbox.folder / "a.csv").write_text(content)
            await inbox.until_arrived(count)
    assert await inbox.versions() == [("inbox/a.csv", 1, sha("A")), ("inbox/a.csv", 2, sha("B")), ("inbox/a.csv", 3, sha("A"))]


async def test_the_same_content_written_again_is_no_arrival(inbox: Inbox) -> None:
    async with inbox.watched():
        inbox.put("a.csv", "one")
        await inbox.until_arrived(1)
        inbox.put("a.csv", "one")
        inbox.put("b.csv", "marker")
        await inbox.until_arrived(2)
    async with inbox.watched():  # and not after a restart either, where the times differ
        inbox.put("c.csv", "marker")
        await inbox.until_arrived(3)
    assert [path for path, _, _ in await inbox.versions()] == ["inbox/a.csv", "inbox/b.csv", "inbox/c.csv"]


async def test_several_watches_record_each_version_once(inbox: Inbox) -> None:
    for number in range(20):
        inbox.put(f"{number:02}.csv", "before")
    async with inbox.watched(by=4):
        await inbox.until_arrived(20)
        for number in range(20):
            inbox.put(f"{number:02}.csv", "after")
        await inbox.until_arrived(40)
        inbox.put("last.csv", "marker")
        await inbox.until_arrived(41)
    versions = await inbox.versions()
    assert len(versions) == 41
    assert {(path, version) for path, version, _ in versions if path != "inbox/last.csv"} == {
        (f"inbox/{number:02}.csv", version) for number in range(20) for version in (1, 2)
    }


async def test_a_file_that_is_still_written_does_not_arrive(inbox: Inbox) -> None:
    async with inbox.watched():
        with (inbox.folder / "a.csv").open("w") as file:
            inbox.put("b.csv", "marker")

            def is_marker_there_after_more() -> bool:
                file.write("more\n")
                file.flush()
                return len(inbox.told) > 0 and file.tell() > 100

            await inbox.until(is_marker_there_after_more)
            size = file.tell()
        await inbox.until_arrived(2)
    assert await inbox.versions() == [("inbox/b.csv", 1, sha("marker")), ("inbox/a.csv", 1, sha("more\n" * (size // 5)))]


ODD_NAMES = [b"two words.csv", b"two\nlines.csv", b"\xff\xfe.csv", b"100%.csv", b"%FF.csv", b"-rf.csv", b"n" * 251 + b".csv"]


async def test_odd_names_survive(inbox: Inbox) -> None:
    twins = ["café.csv".encode(), "cafe\u0301.csv".encode(), b"A.csv", b"a.csv"]
    for name in [*ODD_NAMES, *twins]:
        inbox.put(os.fsdecode(name), name.hex())
    async with inbox.watched():
        await inbox.until_arrived(len(ODD_NAMES) + len(twins))
        inbox.put(os.fsdecode(ODD_NAMES[2]), "again")  # a hint about a name that is not UTF-8
        await inbox.until_arrived(len(ODD_NAMES) + len(twins) + 1)
    arrived = {os.fsencode(text_path(path).removeprefix("inbox/")) for path, _, _ in await inbox.versions()}
    assert arrived == {*ODD_NAMES, *twins}


async def test_what_is_no_regular_file_is_refused_once_with_the_reason(inbox: Inbox) -> None:
    (inbox.folder / "folder.csv").mkdir()
    os.mkfifo(inbox.folder / "pipe.csv")
    (inbox.folder / "broken.csv").symlink_to("nowhere")
    (inbox.root / "outside").write_text("secret")
    (inbox.folder / "link.csv").symlink_to(inbox.root / "outside")
    for count, name in enumerate("ab", start=1):
        async with inbox.watched():
            inbox.put(f"{name}.csv", name)
            await inbox.until_arrived(count)
    reasons = inbox.refusals()
    assert {path: reason.split(":")[0].split(",")[0] for path, reason in reasons.items()} == {
        "inbox/folder.csv": "a folder",
        "inbox/pipe.csv": "not a regular file (a pipe",
        "inbox/broken.csv": "a symbolic link",
        "inbox/link.csv": "a symbolic link",
    }
    assert sum(isinstance(notice, ArrivalRefused) for notice in inbox.told) == 4
    assert len(await inbox.versions()) == 2


async def test_a_file_in_the_place_of_something_refused_arrives(inbox: Inbox) -> None:
    os.mkfifo(inbox.folder / "a.csv")
    async with inbox.watched():
        await inbox.until(lambda: len(inbox.refusals()) == 1)
        inbox.put("a.csv", "a file at last")
        await inbox.until_arrived(1)
        (inbox.folder / "a.csv").unlink()
        os.mkfifo(inbox.folder / "a.csv")
        await inbox.until(lambda: sum(isinstance(notice, ArrivalRefused) for notice in inbox.told) == 2)


async def test_a_folder_that_is_not_there_is_made_and_said_so(inbox: Inbox) -> None:
    inbox.folder.rmdir()
    async with inbox.watched():
        await inbox.until(lambda: inbox.told == [FolderMade(str(inbox.folder))])
        inbox.put("a.csv", "one")
        await inbox.until_arrived(1)
        (inbox.folder / "a.csv").unlink()
        inbox.folder.rmdir()  # and again, while it is watched
        await inbox.until(inbox.folder.exists)
        inbox.put("a.csv", "two")
        await inbox.until_arrived(2)
    assert [version for _, version, _ in await inbox.versions()] == [1, 2]


async def test_a_file_in_the_place_of_the_folder_is_an_error(inbox: Inbox) -> None:
    inbox.folder.rmdir()
    inbox.folder.write_text("")
    with pytest.raises(BadPattern, match="is not a folder"):
        await TriggerWatch(parse_pattern(PATTERN, str(inbox.root)), inbox.log, inbox.ports, inbox.told.append).run()


class MeddledDisk(SystemDisk):
    """Something happens to a file while it is being read."""

    def __init__(self, meddle: Callable[[], None]) -> None:
        self.meddle: Callable[[], None] | None = meddle

    def open(self, path: str, *, write: bool = False, create: bool = False, exclusive: bool = False) -> DiskFile:
        file = super().open(path, write=write, create=create, exclusive=exclusive)
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            meddle()
        return file


async def test_a_file_replaced_while_it_is_read_arrives_as_what_replaced_it(inbox: Inbox) -> None:
    disk = MeddledDisk(lambda: inbox.put("a.csv", "after"))
    async with inbox.watched(ports=replace(inbox.ports, disk=disk)):
        inbox.put("a.csv", "before")
        await inbox.until_arrived(1)
    assert await inbox.versions() == [("inbox/a.csv", 1, sha("after"))]


async def test_a_file_removed_while_it_is_read_is_forgotten(inbox: Inbox) -> None:
    disk = MeddledDisk((inbox.folder / "a.csv").unlink)
    async with inbox.watched(ports=replace(inbox.ports, disk=disk)):
        inbox.put("a.csv", "before")
        await inbox.until(lambda: disk.meddle is None)
        inbox.put("b.csv", "marker")
        await inbox.until_arrived(1)
    assert [path for path, _, _ in await inbox.versions()] == ["inbox/b.csv"]


class Meanwhile:
    """A log where something happens between the reading of a file and the claim of its arrival."""

    def __init__(self, log: EventLog, happens: Callable[[], Awaitable[object]]) -> None:
        self._log = log
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, claims: Sequence[Claim]) -> list[Judged]:
        await self._happens()
        return await self._log.append(claims)


async def test_a_slow_reader_never_records_old_content_as_new(inbox: Inbox) -> None:
    """While one watch holds what it read, the file is replaced and another watch records what came after."""
    pattern = parse_pattern(PATTERN, str(inbox.root))
    stat = inbox.ports.disk.stat

    def found() -> list[Found]:
        seen = stat(pattern.path("a.csv"))
        assert seen is not None
        return [Found("a.csv", seen)]

    async def replaced_and_recorded() -> None:
        inbox.put("a.csv", "after")
        await Recorder(pattern, inbox.log, inbox.ports).take(found())

    inbox.put("a.csv", "before")
    slow_log: Any = Meanwhile(inbox.log, replaced_and_recorded)
    taken = await Recorder(pattern, slow_log, inbox.ports).take(found())
    assert await inbox.versions() == [("inbox/a.csv", 1, sha("after"))]
    assert (taken.arrived, taken.again) == ((), ("a.csv",))  # looked at again: it may have changed once more


async def test_an_overflow_leads_to_a_scan(inbox: Inbox) -> None:
    watcher = ScriptedWatcher()
    async with inbox.watched(ports=replace(inbox.ports, watcher=watcher)):
        await inbox.until(lambda: watcher.watches == 1)
        for number in range(100):
            inbox.put(f"{number}.csv", f"{number}")
        watcher.tell(Change("0.csv", True), Change("", False))  # the rest was lost
        await inbox.until_arrived(100)
        assert watcher.watches == 2
    assert len(await inbox.versions()) == 100


async def test_without_watches_the_scan_does_it_alone(inbox: Inbox) -> None:
    async with inbox.watched(ports=replace(inbox.ports, watcher=NoWatcher())):
        inbox.put("a.csv", "one")
        await inbox.until_arrived(1)
    hindered = inbox.told[0]
    assert isinstance(hindered, Hindered)
    assert hindered.reason == "no watch is left; looking every 60 s only"


async def test_a_project_that_was_moved_finds_its_arrivals_again(inbox: Inbox) -> None:
    inbox.put("a.csv", "one")
    async with inbox.watched():
        await inbox.until_arrived(1)
    inbox.folder.rename(inbox.root / "elsewhere")
    moved = Inbox(inbox.root / "moved", inbox.log, inbox.ports)
    moved.root.mkdir()
    (inbox.root / "elsewhere").rename(moved.folder)
    async with moved.watched():
        moved.put("b.csv", "two")
        await moved.until_arrived(1)
    assert [path for path, _, _ in await moved.versions()] == ["../inbox/a.csv", "inbox/b.csv"]
