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
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic

import anyio
from tests.scenarios.real_checking import damages_of_home, damages_of_log, doubled_in, failed_in, lost_of, read_log
from tests.scenarios.real_switch import MODES, Switch, compiled, shimmed
from tests.scenarios.real_writers import PATIENCE, Acknowledged, Writers

IMAGE_BYTES = 64 << 20
SEGMENT = 16 << 10
WRITERS = 2
CALLS = 300
"""Within so many of its calls a writer is stopped, and the power cut."""


@dataclass
class Report:
    """What came of it. `problems` are broken promises; the first of them ends it."""

    cuts: int = 0
    frames: int = 0
    """Acknowledged in all, and so the runs."""
    runs: int = 0
    at_call: int = 0
    """Cuts that came when a writer had reached a certain one of its own calls; the others came at any moment."""
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


class Campaign:
    """A number of cuts in the life of one home."""

    def __init__(self, folder: Path, chance: random.Random, bug: str) -> None:
        self._folder = folder
        self._chance = chance
        self._bug = bug
        self._told = Acknowledged()
        self._next = 0
        self._library = compiled(folder) if shutil.which("gcc") else None
        self._switch = Switch(folder / "switch")
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
            self.report.frames, self.report.runs = len(self._told.frames), len(self._told.ended)

    @contextmanager
    def _writing(self, machine: Machine, plan: list[tuple[str, int, int]]) -> Iterator[Writers]:
        writers = Writers(machine.home, SEGMENT, self._folder / "said")
        try:
            for name, first, last in plan:
                writers.hire(name, first, last, ASHORE_PLANTED_BUG=self._bug)
            yield writers
        finally:
            writers.close()

    def _write(self, machine: Machine) -> None:
        """Until some more runs were acknowledged, or one writer came to a certain call; then all are killed, the rest is read."""
        first, self._next = self._next, self._next + 10_000
        plan = [(f"writer-{number}", first, self._next) for number in range(WRITERS)]
        enough = len(self._told.ended) + self._chance.randint(1, 40)
        with self._writing(machine, plan) as writers:
            if self._library is not None and self._chance.random() < 0.5:
                enough += self._chance.randint(100, 1_000)  # as good as never: the call comes first
                writers.hire("victim", first, self._next, ASHORE_PLANTED_BUG=self._bug, **self._armed(machine))
            victim = writers.processes[-1]
            while len(self._told.ended) < enough and victim.poll() is None and self._told.hear(writers):
                pass
            writers.kill()
            while self._told.hear(writers):
                pass
        ended = [process.returncode for process in writers.processes if process.returncode != -9]
        self.report.problems += [f"a writer ended by itself: {code}; see {self._folder / 'said'}" for code in ended]

    def _armed(self, machine: Machine) -> dict[str, str]:
        """The environment of a process that dies at one of its next calls."""
        self._switch.reset()
        self._switch.arm(self._chance.randint(1, CALLS), self._chance.choice(MODES))
        self.report.at_call += 1
        assert self._library is not None
        return shimmed(self._library, machine.home, self._switch)

    def _settle(self, machine: Machine) -> None:
        """In peace: what was left is done."""
        with self._writing(machine, [("last", 0, 0)]) as writers:
            while self._told.hear(writers):
                pass
            code = writers.processes[0].wait(PATIENCE)
        self.report.problems += [f"the last one ended with {code}; see {self._folder / 'said'}"] if code else []
        self._check(machine, settled=True)

    def _check(self, machine: Machine, *, settled: bool) -> None:
        problems = self.report.problems
        problems += damages_of_log(f"{machine.home}/log")
        reading = anyio.run(read_log, f"{machine.home}/log")
        problems += self._told.problems + reading.problems + lost_of(self._told.frames, reading) + doubled_in(reading)
        problems += [f"the end of run {run} was told and is gone" for run in self._told.ended - reading.ended.keys()]
        problems += anyio.run(damages_of_home, machine.home, reading)
        if settled:
            problems += [f"run {run} is not over" for run in reading.open_runs] + failed_in(reading)
        self.report.repaired += bool(reading.notes)
        self.report.segments = len(os.listdir(f"{machine.home}/log/segments"))


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
