"""Kills one of two writers of a home at one of its own calls, while segments are small, and checks the home."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio
from tests.scenarios.real_checking import Reading, damages_of_home, damages_of_log, doubled_in, failed_in, lost_of, read_log
from tests.scenarios.real_switch import MODES, Switch, compiled, shimmed
from tests.scenarios.real_writers import PATIENCE, Acknowledged, Writers

SEGMENT: Final = 8 << 10
CALLS: Final = 400
"""Within so many calls a writer is killed: its opening, its adoptions, some tens of runs and some changes of the segment."""
RUNS_AFTER: Final = 5
"""So many runs of the survivor are waited for after the kill."""


class Writing:
    """One home, and what its writers acknowledged. `problems` is to stay empty."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        folder.mkdir()
        self._folder = folder.resolve()
        self._chance = chance
        self._library = compiled(folder)
        self._switch = Switch(folder / "switch")
        self._home = str(self._folder / ".ashore")
        self._next = 0
        self.problems: list[str] = []
        self.told = Acknowledged()

    @property
    def segments(self) -> int:
        return len(os.listdir(f"{self._home}/log/segments"))

    @contextmanager
    def _writers(self) -> Iterator[Writers]:
        writers = Writers(self._home, SEGMENT, self._folder / "said")
        try:
            yield writers
        finally:
            writers.close()

    def kill(self) -> None:
        """One is killed at a call, the other goes on and is killed later, whatever it does then."""
        mode = self._chance.choice(MODES)
        self._switch.reset()
        self._switch.arm(self._chance.randint(1, CALLS), mode)
        first, self._next = self._next, self._next + 10_000
        with self._writers() as writers:
            victim = writers.hire("victim", first, self._next, **shimmed(self._library, self._home, self._switch))
            writers.hire("survivor", first, self._next)
            while victim.poll() is None:
                self.told.hear(writers)
            enough = len(self.told.ended) + RUNS_AFTER
            while len(self.told.ended) < enough and self.told.hear(writers):
                pass
            writers.kill()
            while self.told.hear(writers):
                pass
        codes = [process.returncode for process in writers.processes]
        if codes != [-signal.SIGKILL, -signal.SIGKILL]:
            self.problems.append(f"a writer ended by itself: {codes}; see {self._folder / 'said'}")
        self._check(f"{mode} {self._switch.what}")

    def finish(self) -> None:
        """In peace: what was left is done."""
        with self._writers() as writers:
            last = writers.hire("last", 0, 0)
            while self.told.hear(writers):
                pass
            code = last.wait(PATIENCE)
        self.problems += [f"the last one ended with {code}; see {self._folder / 'said'}"] if code else []
        reading = self._check("the end")
        self.problems += [f"run {run} is not over" for run in reading.open_runs] + failed_in(reading)
        self.problems += anyio.run(damages_of_home, self._home, reading)

    def _check(self, after: str) -> Reading:
        found = damages_of_log(f"{self._home}/log")
        reading = anyio.run(read_log, f"{self._home}/log")
        found += self.told.problems + reading.problems + lost_of(self.told.frames, reading) + doubled_in(reading)
        found += [f"the end of run {run} was told and is gone" for run in self.told.ended - reading.ended.keys()]
        self.problems += [f"after {after}: {one}" for one in found]
        return reading
