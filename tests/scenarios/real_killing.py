"""Kills a real daemon at one of its own writes, flushes, renames and removals, and checks its home then and after a restart."""

from __future__ import annotations

import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
from tests.scenarios.real_checking import (
    Reading,
    damages_of_home,
    damages_of_log,
    doubled_in,
    index_differences,
    lost_of,
    misplaced_in,
    read_log,
    told_by_cli,
)
from tests.scenarios.real_project import Project
from tests.scenarios.real_serving import PATIENCE, Server
from tests.scenarios.real_switch import MODES, Switch, shimmed


@dataclass
class Figures:
    """What a campaign of kills saw."""

    kills: int = 0
    with_open_run: int = 0
    in_recovery: int = 0
    acknowledged: int = 0
    restarts: int = 0
    adopted: int = 0
    arrivals: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    """Calls that were died at, and where below the home."""

    def add_call(self, what: str, mode: str, home: str) -> None:
        call, _, path = what.partition(" ")
        below = path.removeprefix(home).strip("/").split("/")
        self.calls[f"{mode} {call} {'/'.join(below[:2]) if below[0] == 'log' else below[0]}"] += 1


class Life:
    """One home, from its making through a number of kills to its peaceful end. `problems` is to stay empty."""

    def __init__(self, project: Project, library: Path, figures: Figures, chance: random.Random) -> None:
        self.project = project
        self.figures = figures
        self.problems: list[str] = []
        self._chance = chance
        self._switch = Switch(project.root / "switch")
        self._environment = shimmed(library, project.home, self._switch)
        self._server: Server | None = None
        self._acknowledged: dict[int, str] = {}
        self._owners: set[int] = set()
        self._last = 0
        self._arrived: dict[str, int] = {}
        self._given = 0
        self._started: set[str] = set()
        self._ended: set[str] = set()
        self._open_at_kill: set[str] = set()
        self._has_torn_watermark = False

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    @contextmanager
    def _serving(self) -> Iterator[Server]:
        """A daemon, in a new interpreter unless that takes seconds."""
        self._switch.reset()
        if self._server is None or not self.project.preload:
            self.close()
            self._server = Server(self.project, self._environment)
        self._server.start(self._last)
        try:
            yield self._server
        finally:
            self._server.kill()

    # ------------------------------------------------------------------ what is done

    def measure(self, runs: int) -> int:
        """A dry run: how many calls there are from the start of a run to its end, on the average of so many in a row."""
        with self._serving() as serving:
            self._settle_or_fail(serving)
            begun = len(self._started)
            self.project.put_next()
            while len(self._started) == begun and self._feed(serving):
                pass
            base = self._switch.count
            while len(self._ended) < begun + runs and self._feed(serving):
                pass
            calls = (self._switch.count - base) // runs
            self._settle_or_fail(serving)
            self._stop(serving)
        return calls

    def kill(self, calls: int) -> None:
        """Restart, let what was left be done, check, and kill within so many calls of the start of a run.

        Now and then within so many of the arrival of its file instead, or on the way of the restart.
        """
        mode = self._chance.choice(MODES)
        with self._serving() as serving:
            if self._open_at_kill and self._chance.random() < 0.3:
                self._switch.arm(self._chance.randint(1, calls), mode)  # it has hardly begun
            if self._settle(serving):
                self._switch.disarm()
                self._check_restart()
                self._kill_at_work(serving, self._chance.randint(1, calls), mode)
            else:
                self.figures.in_recovery += 1
            self._killed(serving, mode)

    def _kill_at_work(self, serving: Server, ahead: int, mode: str) -> None:
        begun = len(self._started) + (self._chance.random() < 0.7)
        self.project.put_next()
        while len(self._started) < begun and self._feed(serving):
            pass
        self._switch.arm(ahead, mode)
        while self._feed(serving):
            pass

    def finish(self) -> None:
        """The last restart, in peace; and what the command line says of the home."""
        with self._serving() as serving:
            self._settle_or_fail(serving)
            self._check_restart()
            self._stop(serving)
        for command in (["log", "verify"], ["index", "rebuild"]):
            code, said = told_by_cli(self.project.home, *command)
            self._expect([] if code == 0 else [f"ashore {' '.join(command)}: exit code {code}: {said}"])
        self.figures.arrivals += len(self._arrived)

    # ------------------------------------------------------------------ listening to the daemon

    def _settle(self, serving: Server) -> bool:
        """Wait until it serves, every file has arrived and was given to a run, every run has ended; False if it ended first."""
        patience = monotonic() + PATIENCE
        while serving.pid not in self._owners or not self._is_settled():
            if not self._hear(serving, 0.3):
                return False
            if monotonic() > patience:
                raise TimeoutError(f"{self.project.root}: not settled; {self._state()}")
            for name in self.project.put_names:
                if name not in self._arrived:  # the scan at the start would take it after two looks: a hint saves that time
                    self.project.put_again(name)
        return True

    def _settle_or_fail(self, serving: Server) -> None:
        if not self._settle(serving):
            raise ChildProcessError(f"the daemon ended with {serving.code}; see {self.project.root / 'said'}")

    def _is_settled(self) -> bool:
        arrived = all(name in self._arrived for name in self.project.put_names)
        return arrived and self._started == self._ended and self._given >= max(self._arrived.values(), default=0)

    def _state(self) -> str:
        waiting = [name for name in self.project.put_names if name not in self._arrived]
        return f"not arrived {waiting}, open {self._started - self._ended}, given up to {self._given}, arrived {self._arrived}"

    def _feed(self, serving: Server) -> bool:
        """Hear what comes, and let a file arrive whenever no more is waiting; False at the end."""
        before = len(self._started)
        if not self._hear(serving, PATIENCE):
            return False
        if len(self._started) > before or self._is_settled():
            self.project.put_next()
        return True

    def _hear(self, serving: Server, seconds: float) -> bool:
        begun = monotonic()
        news = serving.news(seconds)
        for told in news or ():
            self._acknowledge(told)
        if news == [] and monotonic() - begun >= PATIENCE:
            raise TimeoutError(f"{self.project.root}: no news; {self._state()}")
        return news is not None

    def _acknowledge(self, told: dict[str, Any]) -> None:
        first, count = told["first"], told["count"]
        self._expect([] if first == self._last + 1 else [f"acknowledged {first} after {self._last}"])
        self._acknowledged[first] = told["digest"]
        self.figures.acknowledged += count
        self._last = first + count - 1
        self._owners.update(told.get("owners", ()))
        for position, name in told.get("arrived", ()):
            self._arrived[name] = position
        for run, upto in told.get("started", ()):
            self._started.add(run)
            self._given = max(self._given, upto)
        for run, state in told.get("ended", ()):
            self._ended.add(run)
            self._expect([] if state == "done" else [f"run {run} {state}"])

    # ------------------------------------------------------------------ checking

    def _expect(self, problems: list[str]) -> None:
        self.problems += problems

    def _killed(self, serving: Server, mode: str) -> None:
        code = serving.code
        self._expect([] if code == -signal.SIGKILL else [f"the daemon ended by itself: {code}; see {self.project.root / 'said'}"])
        self.figures.kills += 1
        self.figures.add_call(self._switch.what, mode, self.project.home)
        self._has_torn_watermark |= mode == "half" and self._switch.what.endswith("/log/watermark")
        self._expect([one for one in damages_of_log(f"{self.project.home}/log") if not self._is_torn_watermark(one)])
        copy = self.project.root / "copy"
        shutil.copytree(self.project.home, copy)
        try:
            reading = anyio.run(read_log, str(copy / "log"))
            self._check(reading, settled=False)
            self._open_at_kill = reading.open_runs
            self.figures.with_open_run += bool(self._open_at_kill)
        finally:
            shutil.rmtree(copy)

    def _is_torn_watermark(self, damage: str) -> bool:
        """Half of a watermark's part is told, until somebody flushes."""
        return self._has_torn_watermark and "/log/watermark at offset" in damage

    def _check_restart(self) -> None:
        """While the daemon lives, and after everything that was left is done."""
        home = self.project.home
        reading = anyio.run(read_log, f"{home}/log")
        self._check(reading, settled=True)
        self._expect([f"run {run} is not over" for run in reading.open_runs])
        self._expect([f"run {run} was not adopted" for run in self._open_at_kill - reading.adopted])
        self._expect(anyio.run(damages_of_home, home, reading))
        self._expect(anyio.run(index_differences, home))
        self._has_torn_watermark = False
        self.figures.restarts += 1
        self.figures.adopted += len(self._open_at_kill)
        self._open_at_kill = set()

    def _check(self, reading: Reading, *, settled: bool) -> None:
        self._expect(reading.problems)
        self._expect(lost_of(self._acknowledged, reading))
        self._expect(doubled_in(reading))
        self._expect(misplaced_in(reading, settled=settled))

    def _stop(self, serving: Server) -> None:
        serving.signal(signal.SIGTERM)
        while self._hear(serving, PATIENCE):
            pass
        self._expect([] if serving.code == 0 else [f"told to stop, the daemon ended with {serving.code}"])
