"""The daemon as people run it: a process of its own, real files, real signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import anyio
import pytest

from ashore.events import Arrived, Event, RunEnded, RunStarted, decode
from ashore_stores.logs.segment import open_segment_log
from ashore_stores.system import system_ports

pytestmark = pytest.mark.anyio

PATIENCE = 60.0
"""Seconds until a line that does not come fails the test."""

FLIGHTS = """
import time
from pathlib import Path
from ashore import File, Handle, each, new, pipeline, step

@step
def read(file: File) -> int:
    with open("executed", "a") as executed:
        executed.write(f"{Path(file.path).name}\\n")
    return int(Path(file.path).read_text())

@step
def total(numbers: list[int]) -> int:
    while Path("hold").exists():
        time.sleep(0.01)
    return sum(numbers)

@pipeline(on=new("inbox/*.csv"), limit=1)
def grow(files: list[File]) -> Handle[int]:
    return total(read(each(files, on_error="skip")))
"""

SINGLE = """
from pathlib import Path
from ashore import File, Handle, new, pipeline, step

@step
def size(file: File) -> int:
    return len(Path(file.path).read_bytes())

@pipeline(on=new("inbox/*.csv"), limit=2)
def single(file: File) -> Handle[int]:
    return size(file)
"""

RUN_DAEMON = """
import sys
from ashore.faces.daemon import main
sys.exit(main(sys.argv[3:], grace=float(sys.argv[1]), standby=sys.argv[2] == "standby"))
"""


class Daemon:
    """A daemon in a process of its own, and what it said."""

    def __init__(self, root: Path, files: list[str], grace: float, *, standby: bool) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN_DAEMON, str(grace), "standby" if standby else "alone", *files],
            cwd=root,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "ASHORE_HOME"},
        )
        self.said: list[str] = []
        self._lines: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _next(self) -> str | None:
        """The next line; None if none comes."""
        try:
            return self._lines.get(timeout=PATIENCE)
        except Empty:
            return None

    def has_said(self, pattern: str) -> bool:
        """Whether a line that came so far has this in it; those before it are passed over."""
        while not self._lines.empty():
            line = self._lines.get()
            if line is None:
                pytest.fail(f"it ended after {self.said}")
            self.said.append(line)
            if re.search(pattern, line):
                return True
        return False

    def until(self, pattern: str) -> str:
        """Wait for the next line that has this in it."""
        while True:
            line = self._next()
            if line is None:
                pytest.fail(f"no line with {pattern!r} in {self.said}")
            self.said.append(line)
            if re.search(pattern, line):
                return line

    def end(self, number: int) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join()
        while not self._lines.empty() and (line := self._lines.get()) is not None:
            self.said.append(line)
        return code


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "pyproject.toml").touch()
        (root / "inbox").mkdir()
        (root / "flights.py").write_text(FLIGHTS)
        (root / "single.py").write_text(SINGLE)

    @contextmanager
    def serving(self, *files: str, grace: float = 10.0, standby: bool = False) -> Iterator[Daemon]:
        daemon = Daemon(self.root, list(files or ("flights.py",)), grace, standby=standby)
        try:
            yield daemon
        finally:
            daemon.process.kill()
            daemon.wait()

    def put(self, name: str, content: object) -> None:
        (self.root / "aside").write_text(str(content))
        (self.root / "aside").rename(self.root / "inbox" / name)

    async def history(self) -> list[tuple[int, Event]]:
        """Every event of the home with its position, as a fresh process reads it."""
        log = await open_segment_log(str(self.root / ".ashore" / "log"), system_ports())
        events: list[tuple[int, Event]] = []
        async for frame in log.read():
            events += enumerate(decode(frame.batch.body, frame.count), start=frame.first)
        await log.aclose()
        return events

    async def until_settled(self, *pipelines: str) -> None:
        """Wait until every arrival has its run and every run has ended."""
        with anyio.fail_after(PATIENCE):
            while True:
                events = await self.history()
                if all(is_settled(events, pipeline) for pipeline in pipelines):
                    return
                await anyio.sleep(0.05)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def ranges_of(events: list[tuple[int, Event]], pipeline: str) -> list[tuple[int, int]]:
    return [
        (event.arrivals.after, event.arrivals.upto)
        for _, event in events
        if isinstance(event, RunStarted) and event.pipeline == pipeline and event.arrivals is not None
    ]


def is_settled(events: list[tuple[int, Event]], pipeline: str) -> bool:
    last = max((position for position, event in events if isinstance(event, Arrived)), default=0)
    started = {event.run for _, event in events if isinstance(event, RunStarted)}
    ended = {event.run for _, event in events if isinstance(event, RunEnded)}
    return started == ended and max((upto for _, upto in ranges_of(events, pipeline)), default=0) >= last


def check_ranges(events: list[tuple[int, Event]], pipeline: str) -> None:
    """Every arrival lies in the range of exactly one run of the pipeline."""
    ranges = ranges_of(events, pipeline)
    for position, event in events:
        if isinstance(event, Arrived):
            assert sum(after < position <= upto for after, upto in ranges) == 1, (position, ranges)


def versions(events: list[tuple[int, Event]]) -> list[tuple[str, int]]:
    return [("/".join(event.path.rsplit("/", 2)[1:]), event.version) for _, event in events if isinstance(event, Arrived)]


async def test_files_that_arrive_are_run_and_a_bad_one_is_named(project: Project) -> None:
    project.put("a.csv", 1)
    with project.serving() as daemon:
        daemon.until("serving grow on inbox/")
        daemon.until("arrived inbox/a.csv")
        daemon.until("done in .*: 2 fresh, 0 cached")
        project.put("bad.csv", "not a number")
        daemon.until("left out .*inbox/bad.csv: ValueError: invalid literal .*flights.py:10")
        daemon.until("done in .* 1 left out")
        project.put("b.csv", 2)
        daemon.until("left out .*inbox/bad.csv")
        daemon.until("done in")
        assert daemon.end(signal.SIGTERM) == 0
    events = await project.history()
    assert versions(events) == [("inbox/a.csv", 1), ("inbox/bad.csv", 1), ("inbox/b.csv", 1)]
    check_ranges(events, "grow")
    executed = (project.root / "executed").read_text().split()
    assert [executed.count(name) for name in ("a.csv", "b.csv")] == [1, 1]


async def test_a_burst_is_one_run_and_each_file_is_one_run_of_the_other_pipeline(project: Project) -> None:
    (project.root / "hold").touch()
    with project.serving("flights.py", "single.py") as daemon:
        daemon.until("serving grow, single on inbox/")
        project.put("0.csv", 0)
        daemon.until("grow started with 1 file")
        for number in range(1, 6):
            project.put(f"{number}.csv", number)
        for _ in range(6):
            daemon.until("single done")
        (project.root / "hold").unlink()
        daemon.until("grow started with 6 files")
        daemon.until("grow done")
        assert daemon.end(signal.SIGTERM) == 0
    events = await project.history()
    check_ranges(events, "grow")
    check_ranges(events, "single")
    assert sum(isinstance(event, RunStarted) for _, event in events) == 8


async def test_a_second_daemon_is_refused_and_told_who_serves(project: Project) -> None:
    with project.serving() as first:
        first.until("serving")
        with project.serving() as second:
            said = second.until("served already")
            assert second.wait() == 3
        assert f"by process {first.process.pid} on {os.uname().nodename} since 20" in said
        assert "Stop that daemon first" in said
        assert first.end(signal.SIGTERM) == 0
    with project.serving() as third:
        third.until("serving")
        assert third.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_one_that_stands_by_takes_over_when_the_other_is_gone(project: Project, number: int) -> None:
    with project.serving() as first:
        first.until("serving")
        with project.serving(standby=True) as second, project.serving(standby=True) as third:
            said = second.until("standing by: grow is served already in .* by process")
            assert f"by process {first.process.pid} on" in said
            third.until("standing by")
            if number == signal.SIGKILL:
                (project.root / "hold").touch()
            project.put("1.csv", 1)
            first.until("grow started with 1 file" if number == signal.SIGKILL else "grow done")
            first.end(number)
            taker, other = await gone_over(second, third)
            again = f"standing by: grow is served already in .* by process {taker.process.pid} on"
            if not any(re.search(again, line) for line in other.said):
                other.until(again)
            if number == signal.SIGKILL:
                taker.until("grow goes on: its owner is gone")
                (project.root / "hold").unlink()
                taker.until("grow done")
            project.put("2.csv", 2)
            taker.until("grow started with 2 files")
            taker.until("grow done")
            assert other.end(signal.SIGTERM) == 0
            assert taker.end(signal.SIGTERM) == 0
    check_ranges(await project.history(), "grow")


async def gone_over(one: Daemon, other: Daemon) -> tuple[Daemon, Daemon]:
    """Which of two took over, and the other."""
    with anyio.fail_after(PATIENCE):
        while True:
            for taker, waiting in ((one, other), (other, one)):
                if taker.has_said("taking over"):
                    taker.until("serving grow")
                    return taker, waiting
            await anyio.sleep(0.02)


async def test_one_that_stands_by_ends_when_it_is_told_to(project: Project) -> None:
    with project.serving() as first:
        first.until("serving")
        with project.serving(standby=True) as second:
            second.until("standing by")
            assert second.end(signal.SIGINT) == 130
        assert first.end(signal.SIGTERM) == 0


async def test_one_that_may_stand_by_serves_at_once_if_nobody_does(project: Project) -> None:
    with project.serving(standby=True) as daemon:
        daemon.until("serving grow")
        assert daemon.end(signal.SIGTERM) == 0
        assert not any("standing by" in line for line in daemon.said)


async def test_a_killed_daemon_loses_and_doubles_nothing(project: Project) -> None:
    moments = ["serving", "arrived", "started", "left out|done", "started", "done"]
    for number, moment in enumerate(moments):
        with project.serving("flights.py", "single.py") as daemon:
            project.put(f"{number}.csv", number)
            project.put("same.csv", "again")
            daemon.until(moment)
            daemon.end(signal.SIGKILL)
        project.put(f"{number}-while-down.csv", number)
    with project.serving("flights.py", "single.py") as daemon:
        daemon.until("serving")
        project.put("last.csv", 100)
        daemon.until("arrived inbox/last.csv")
        await project.until_settled("grow", "single")
        assert daemon.end(signal.SIGTERM) == 0
    events = await project.history()
    count = len(moments)
    names = [f"inbox/{number}{suffix}.csv" for number in range(count) for suffix in ("", "-while-down")]
    assert sorted(versions(events)) == sorted([*((name, 1) for name in names), ("inbox/last.csv", 1), ("inbox/same.csv", 1)])
    check_ranges(events, "grow")
    check_ranges(events, "single")
    started = {event.run for _, event in events if isinstance(event, RunStarted)}
    ended = [event.run for _, event in events if isinstance(event, RunEnded)]
    assert sorted(ended) == sorted(started)


async def test_ctrl_c_with_nothing_under_way(project: Project) -> None:
    with project.serving() as daemon:
        daemon.until("serving")
        assert daemon.end(signal.SIGINT) == 130
    assert daemon.said[-1] == "stopping: nothing is under way"


async def test_a_run_under_way_ends_within_the_grace_time(project: Project) -> None:
    (project.root / "hold").touch()
    with project.serving() as daemon:
        project.put("a.csv", 7)
        daemon.until("started with 1 file")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.until("stopping: waiting up to 10 s for 1 run")
        project.put("late.csv", 8)  # not taken in any more
        (project.root / "hold").unlink()
        daemon.until("grow done")
        assert daemon.wait() == 0
    assert versions(await project.history()) == [("inbox/a.csv", 1)]


async def test_what_does_not_end_in_time_goes_on_with_the_next_daemon(project: Project) -> None:
    (project.root / "hold").touch()
    with project.serving(grace=0.2) as daemon:
        project.put("a.csv", 7)
        daemon.until("started with 1 file")
        assert daemon.end(signal.SIGTERM) == 0
    assert any("is left as it is" in line for line in daemon.said)
    (project.root / "hold").unlink()
    with project.serving() as daemon:
        daemon.until("goes on: its owner is gone")
        daemon.until("grow done")
        assert daemon.end(signal.SIGTERM) == 0
    events = await project.history()
    check_ranges(events, "grow")
    assert [event.state for _, event in events if isinstance(event, RunEnded)] == ["done"]


async def test_told_twice_it_ends_at_once(project: Project) -> None:
    (project.root / "hold").touch()
    with project.serving(grace=600.0) as daemon:
        project.put("a.csv", 7)
        daemon.until("started with 1 file")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.until("stopping")
        assert daemon.end(signal.SIGTERM) == 128 + signal.SIGTERM


async def test_a_name_that_is_not_utf_8_is_run(project: Project) -> None:
    with project.serving("single.py") as daemon:
        daemon.until("serving")
        project.put(os.fsdecode(b"\xff two\nlines.csv"), 12345)
        daemon.until(r"arrived inbox/\\udcff two\\nlines.csv")
        daemon.until("single done")
        assert daemon.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        (["absent.py"], 4, "there is no file"),
        (["plain.py"], 2, "has no pipeline with a trigger"),
        (["wild.py"], 2, "has a wildcard in its folder"),
    ],
)
async def test_what_cannot_be_served_is_said(project: Project, files: list[str], code: int, said: str) -> None:
    (project.root / "plain.py").write_text(SINGLE.replace('@pipeline(on=new("inbox/*.csv"), limit=2)', "@pipeline"))
    (project.root / "wild.py").write_text(SINGLE.replace("inbox/", "in*/"))
    with project.serving(*files) as daemon:
        daemon.until(f"ashore serve: .*{said}")
        assert daemon.wait() == code
