"""Cuts the power of a real file system while two processes write a home on it, and looks at what is left. Needs root.

    unshare --mount --propagation private python -m tests.scenarios.real_power FOLDER CUTS SEED [PLANTED_BUG]

The home lies on ext4, in an image file on a tmpfs. A cut: the writers are killed, the image is copied, the copy is mounted; what
was written and not flushed is in the page cache of the first mount only. The next writers go on there. Nothing that is mounted is
seen, or left, outside: it goes with the mount namespace of this process, however that ends. Prints a report as JSON.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
from tests.scenarios.real_checking import Reading, damages_of_home, damages_of_log, doubled_in, lost_of, read_log

ROOT = Path(__file__).parents[2]
IMAGE_BYTES = 64 << 20
SEGMENT = 16 << 10
WRITERS = 2
PATIENCE = 120.0
"""Seconds without any news after which a writer is taken to hang."""


@dataclass
class Report:
    """What came of it. `problems` are broken promises; the first of them ends it."""

    cuts: int = 0
    frames: int = 0
    """Acknowledged in all, and so the runs."""
    runs: int = 0
    segments: int = 0
    repaired: int = 0
    """Cuts after which the log had an end to cut off, or something to write again."""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class Machine:
    """A file system whose power can be cut."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self.mounted: Path | None = None
        self._called("truncate", "-s", str(IMAGE_BYTES), str(self._image))
        self._called("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()

    @property
    def _image(self) -> Path:
        return self._folder / f"image-{self._number}"

    @property
    def home(self) -> str:
        return f"{self.mounted}/.ashore"

    def cut(self) -> None:
        """Nobody may be writing. What was not flushed is lost."""
        before = self._image
        self._number += 1
        self._called("cp", "--sparse=always", str(before), str(self._image))
        self.unmount()
        before.unlink()
        self._mount()

    def _mount(self) -> None:
        where = self._folder / f"mounted-{self._number}"
        where.mkdir()
        # no commit by the clock: only what a process flushes is to survive, also on a slow machine
        self._called("mount", "-t", "ext4", "-o", "loop,noatime,commit=3600", str(self._image), str(where))
        self.mounted = where

    def unmount(self) -> None:
        mounted, self.mounted = self.mounted, None
        if mounted is not None:
            self._called("umount", str(mounted))
            mounted.rmdir()

    def _called(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, text=True)


class Writers:
    """The processes that write, and what they acknowledged."""

    def __init__(self, home: str, plan: list[tuple[str, int, int]], bug: str, said: Path) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._rests: dict[int, bytes] = {}
        environment = {name: value for name, value in os.environ.items() if name != "ASHORE_HOME"} | {"ASHORE_PLANTED_BUG": bug}
        command = [sys.executable, "-m", "tests.scenarios.real_worker", "busy", home, str(SEGMENT)]
        with said.open("ab") as aside:
            for name, first, last in plan:
                asked = [*command, name, str(first), str(last)]
                process = subprocess.Popen(asked, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=aside)
                assert process.stdout is not None
                self.processes.append(process)
                self._rests[process.stdout.fileno()] = b""

    def news(self) -> list[dict[str, Any]] | None:
        """What was acknowledged since; None once all of them have ended."""
        if not self._rests:
            return None
        ready, _, _ = select.select(list(self._rests), [], [], PATIENCE)
        if not ready:
            raise TimeoutError("the writers hang")
        found = []
        for pipe in ready:
            data = os.read(pipe, 1 << 16)
            *lines, rest = (self._rests[pipe] + data).split(b"\n")
            self._rests[pipe] = rest
            if not data:
                del self._rests[pipe]
            found += [json.loads(line) for line in lines]
        return found

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait(PATIENCE)  # whatever the kernel was doing for it is done then

    def close(self) -> None:
        self.kill()
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.close()


class Campaign:
    """A number of cuts in the life of one home."""

    def __init__(self, folder: Path, chance: random.Random, bug: str) -> None:
        self._folder = folder
        self._chance = chance
        self._bug = bug
        self._acknowledged: dict[int, str] = {}
        self._ended: set[str] = set()
        self._next = 0
        self.report = Report()

    def run(self, cuts: int) -> None:
        machine = Machine(self._folder)
        try:
            while self.report.cuts < cuts and not self.report.problems:
                self._write(machine)
                machine.cut()
                self.report.cuts += 1
                self._check(machine, settled=False)
            if not self.report.problems:
                self._settle(machine)
        finally:
            machine.unmount()
            self.report.frames, self.report.runs = len(self._acknowledged), len(self._ended)

    @contextmanager
    def _writing(self, machine: Machine, plan: list[tuple[str, int, int]]) -> Iterator[Writers]:
        writers = Writers(machine.home, plan, self._bug, self._folder / "said")
        try:
            yield writers
        finally:
            writers.close()

    def _write(self, machine: Machine) -> None:
        """Until some more runs were acknowledged by all writers together; then they are killed, and the rest is read."""
        first, self._next = self._next, self._next + 10_000
        plan = [(f"writer-{number}", first, self._next) for number in range(WRITERS)]
        enough = len(self._ended) + self._chance.randint(1, 40)
        with self._writing(machine, plan) as writers:
            while len(self._ended) < enough and (news := writers.news()) is not None:
                self._acknowledge(news)
            writers.kill()
            while (news := writers.news()) is not None:
                self._acknowledge(news)
        ended = [process.returncode for process in writers.processes if process.returncode != -9]
        self.report.problems += [f"a writer ended by itself: {code}; see {self._folder / 'said'}" for code in ended]

    def _settle(self, machine: Machine) -> None:
        """In peace: what was left is done."""
        with self._writing(machine, [("last", 0, 0)]) as writers:
            while (news := writers.news()) is not None:
                self._acknowledge(news)
            code = writers.processes[0].wait(PATIENCE)
        self.report.problems += [f"the last one ended with {code}; see {self._folder / 'said'}"] if code else []
        self._check(machine, settled=True)

    def _acknowledge(self, news: list[dict[str, Any]]) -> None:
        for told in news:
            if "first" in told:
                if self._acknowledged.setdefault(told["first"], told["digest"]) != told["digest"]:
                    self.report.problems.append(f"the frame at {told['first']} was acknowledged with two contents")
            else:
                self._ended.add(told["run"])

    def _check(self, machine: Machine, *, settled: bool) -> None:
        problems = self.report.problems
        problems += damages_of_log(f"{machine.home}/log")
        reading = anyio.run(read_log, f"{machine.home}/log")
        problems += reading.problems + lost_of(self._acknowledged, reading) + doubled_in(reading)
        problems += [f"the end of run {run} was told and is gone" for run in self._ended - reading.ended.keys()]
        problems += anyio.run(damages_of_home, machine.home, reading)
        if settled:
            problems += [f"run {run} is not over" for run in reading.open_runs] + _failed(reading)
        self.report.repaired += bool(reading.notes)
        self.report.segments = len(os.listdir(f"{machine.home}/log/segments"))


def _failed(reading: Reading) -> list[str]:
    return [f"run {run} {ended.state}" for run, ended in reading.ended.items() if ended.state != "done"]


def main(folder: str, cuts: str, seed: str, bug: str = "") -> None:
    begun = monotonic()
    campaign = Campaign(Path(folder), random.Random(int(seed)), bug)
    try:
        campaign.run(int(cuts))
    except Exception as error:  # noqa: BLE001  # a home that does not open, with a planted bug, is a find like others
        campaign.report.problems.append(f"{type(error).__name__}: {error}")
    campaign.report.seconds = monotonic() - begun
    print(json.dumps(asdict(campaign.report)))


if __name__ == "__main__":
    main(*sys.argv[1:])
