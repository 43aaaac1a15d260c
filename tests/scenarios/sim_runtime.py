"""The real runtime in a simulated world: random graphs are run and files arrive, the power fails or the process is killed at the
k-th operation of the disk, the next life takes over (and may be cut off, too), until everything has ended; and what is found must
keep every promise made.

One seed decides everything. `python -m tests.scenarios.sim_runtime --seed N` replays a seed; `--count N` runs seeds until N of them
had acknowledged something before they were first cut off.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import dataclass

import structlog
from tests.scenarios.sim_runtime_checks import (
    Recorded,
    check_arrivals,
    check_executions,
    check_index,
    check_order,
    check_outputs,
    check_result,
    recorded_in,
)
from tests.scenarios.sim_runtime_history import History
from tests.scenarios.sim_runtime_life import HOME, Life, People, Request, open_here
from tests.scenarios.sim_runtime_plan import End, Plan, plan_for
from tests.scenarios.sim_runtime_program import Asked, asked_for
from tests.scenarios.sim_runtime_world import damaged, forget_process, listening, new_machine, whole
from tests.scenarios.sim_stores_history import Violation

from ashore.events import RunStarted, decode
from ashore.ids import RunId
from ashore_stores.artifacts.local import LocalArtifactStore
from ashore_stores.keys import digest_of
from ashore_stores.logs.base import Batch, Frame
from ashore_stores.logs.segment import open_segment_log
from ashore_stores.testing.disk import PowerCut, SimDisk
from ashore_stores.testing.loop import current_loop
from ashore_stores.testing.world import sim_ports

MENDED: dict[str, float | None] = {"flush_error_at": None, "write_error_at": None, "room": None}

COMMAND = "python -m tests.scenarios.sim_runtime --seed"


@dataclass(slots=True)
class Report:
    """What a seed came to."""

    seed: int
    told: int = 0
    """Acknowledgements before it was first cut off."""
    lives: int = 0
    runs: int = 0
    frames: int = 0
    executions: int = 0
    operations: int = 0
    arrivals: int = 0
    trace: str = ""


class Seed:
    """One seed from start to end."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.history = History()
        self.people = People(list(plan.deeds))
        self.requests = [Request(*asked[:4], other=asked[4]) for asked in plan.requests]
        self.lines: list[str] = []
        self.traces: list[str] = []
        self.report = Report(plan.seed)
        self.asked: dict[RunId, Asked] = {}
        self.lives_of: dict[RunId, set[int]] = {}
        self._read = 0

    def run(self) -> Report:
        disk = new_machine(self.plan.seed, self.plan.faults)
        before: list[Frame] | None = []
        for number, end in enumerate(self.plan.ends):
            disk, before = self._life_to(end, disk, before, number)
            if number == 0:
                self.report.told = self.history.told.total()
        last = self._last(disk, before, "last")
        self._check_end(last, disk)
        again = self._last(disk.after_kill(), last.frames, "again")
        if [frame.batch.body for frame in again.frames if _is_about_runs(frame)] != [
            frame.batch.body for frame in last.frames if _is_about_runs(frame)
        ]:
            raise Violation("I30", "opened once more, with nothing left to be done, runs were given new events")
        if self.plan.has_damage:
            damaged(self.plan.seed, self.plan.settings, again.disk, last)
        self.report.trace = digest_of(*(trace.encode() for trace in self.traces))
        return self.report

    # Lives.

    def _life_to(self, end: End, disk: SimDisk, before: list[Frame] | None, number: int) -> tuple[SimDisk, list[Frame] | None]:
        """A life that is cut off; the disk that the next one finds, and what was surely recorded before it."""
        life = self._life(disk, str(number))
        machine = disk.machine
        already = self._count(end)
        if number:
            disk.set_faults(**MENDED)
        if end.manner == "cut":
            disk.set_faults(crash_at=len(machine.operations) + end.at)
        elif end.manner == "kill":
            disk.kill_at = end.at
        else:
            self.history.on_told = lambda: _cut(disk, self._count(end) - already == end.at)
        is_whole = self._simulate(life, has_faults=number == 0 and self.plan.has_faults)
        self.history.on_told = lambda: None
        self._check_life(before, life)
        self.report.operations += len(machine.operations)
        if is_whole and disk.is_alive:
            machine.cut("at rest")
        if machine.is_on:
            machine.hints.clear()
            return disk.after_kill(), None
        found = self._inspect(disk.after_crash(self.plan.seed + number))
        return disk.after_crash(self.plan.seed + number), found

    def _count(self, end: End) -> int:
        told = self.history.told
        return told.total() if end.manner == "told" else told[end.manner]

    def _last(self, disk: SimDisk, before: list[Frame] | None, name: str) -> Life:
        disk.set_faults(crash_at=None, **MENDED)
        life = self._life(disk, name)
        if not self._simulate(life, has_faults=False):
            raise Violation("error", "a life without faults was cut off")
        self._check_life(before, life)
        return life

    def _life(self, disk: SimDisk, name: str) -> Life:
        forget_process()
        self.history.begin_life()
        self.report.lives += 1
        return Life(disk, f"{self.plan.seed}-{name}", self.plan.settings, self.plan.preempt)

    def _simulate(self, life: Life, *, has_faults: bool) -> bool:
        """Whether it came to its end by itself. A store that refuses ends a life, too, where it has faults."""

        async def main() -> None:
            loop = current_loop()
            loop.at_end(lambda: self.traces.append(f"{loop.trace} {life.disk.machine.operations}"))
            await life.main(self.history, self.people, self.requests)

        try:
            whole(main, self.plan.seed + self.history.life, has_faults=has_faults)
        except PowerCut:
            return False
        return True

    # Checks.

    def _check_life(self, before: list[Frame] | None, life: Life) -> None:
        """What this life executed was right. After a kill (None) it may have found more than was durable."""
        recorded = recorded_in(life.before if before is None else before)
        self._learn()
        number = self.history.life
        driven = {
            run: asked for run, asked in self.asked.items() if before is None or number in self.lives_of[run] or run in recorded
        }
        former, lines, self._read = self.lines[: self._read], self.lines[self._read :], len(self.lines)
        self.report.executions += sum(line.startswith("start ") for line in lines)
        if self.plan.has_faults:  # what a full disk did not take is left out of fan-outs: what follows gets other inputs
            known = {unit.said for asked in self.asked.values() for _, unit in asked.units}
            lines = [line for line in lines if line.partition(" ")[2] in known]
        check_executions(lines, recorded, driven, former if before is None else ())

    def _learn(self) -> None:
        """Which runs were asked for, by what was handed in."""
        for submission in self.history.submissions:
            if submission.is_lost or not submission.batch.topics:
                continue
            for event in decode(submission.batch.body, submission.batch.count):
                if isinstance(event, RunStarted):
                    self.lives_of.setdefault(event.run, set()).add(submission.life)
                    if event.run not in self.asked:
                        self.asked[event.run] = asked_for(event, self.people.contents)

    def _inspect(self, disk: SimDisk) -> list[Frame]:
        """What a power cut left, looked at on a copy: everything that was told is there, and its outputs are."""

        async def main() -> list[Frame]:
            ports = sim_ports(self.plan.seed, disk=disk)
            log = await open_segment_log(f"{HOME}/log", ports, self.plan.settings)
            await log.own()
            await log.durable(log.queue(Batch(b"inspected", 1)))
            frames = [frame async for frame in log.read()][:-1]
            await check_outputs(frames, LocalArtifactStore(f"{HOME}/artifacts", ports))
            await log.aclose()
            return frames

        frames = whole(main, self.plan.seed) or []
        self.history.check(frames)
        recorded_in(frames)
        return frames

    def _check_end(self, last: Life, disk: SimDisk) -> None:
        frames = last.frames
        self.history.check(frames)
        recorded = recorded_in(frames)
        check_order(self.asked, recorded)
        cancelled = {request.run for request in self.requests if request.twist == "cancel"}
        for run, found in recorded.items():
            asked = self.asked[run]
            steady = not any(use.path in self.people.restless for use in asked.started.files)
            check_result(
                asked, found, last.told[run], was_cancelled=run in cancelled, is_steady=steady and not self.plan.has_faults
            )
        if last.open_runs:
            raise Violation("I9", f"runs {last.open_runs} are called open, though all have ended")
        _check_keys(recorded)
        newest = check_arrivals(frames)
        for path, digest in self.people.look(disk).items():
            if newest.get(path) != digest:
                raise Violation("I11", f"{path} lies there, its newest arrival has other content")
        self.report.runs, self.report.frames = len(recorded), len(frames)
        self.report.arrivals = len(newest)
        whole(lambda: self._check_stores(frames, disk.for_process("checker")), self.plan.seed)

    async def _check_stores(self, frames: list[Frame], disk: SimDisk) -> None:
        ports = sim_ports(self.plan.seed, disk=disk)
        stack = await open_here(ports, self.plan.settings)
        await check_outputs(frames, stack.artifacts)
        await check_index(stack.log, ports.clock, frames[-1].last, self.plan.seed)
        await stack.aclose()


def _check_keys(recorded: dict[RunId, Recorded]) -> None:
    keys: dict[str, RunId] = {}
    for run, found in recorded.items():
        key = found.started.key if found.started is not None else ""
        if key and keys.setdefault(key, run) != run:
            raise Violation("I33", f"key {key!r} has two runs, {keys[key]} and {run}")


def _cut(disk: SimDisk, is_due: bool) -> None:
    if is_due and disk.machine.is_on:
        disk.machine.cut("just after something was told")


def _is_about_runs(frame: Frame) -> bool:
    return bool(frame.batch.topics)


def run_seed(seed: int) -> Report:
    """One seed from start to end. Raises `Violation`."""
    one = Seed(plan_for(seed))
    with listening(one.lines):
        return one.run()


def try_seed(seed: int) -> Report | None:
    """Run a seed; a broken promise is one line that says how to see it again."""
    try:
        return run_seed(seed)
    except Violation as error:
        print(f"{COMMAND} {seed}   # {error}", flush=True)
        return None


def run_until(wanted: int) -> list[Report | None]:
    """Seeds from 0 on, until so many of them had told something before they were first cut off."""
    reports: list[Report | None] = []
    while sum(report is None or report.told > 0 for report in reports) < wanted:
        reports.append(try_seed(len(reports)))
    return reports


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="sim_runtime")
    parser.add_argument("--seed", type=int, nargs="*", default=[])
    parser.add_argument("--count", type=int, default=0)
    asked = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    began = time.process_time()
    reports = [try_seed(seed) for seed in asked.seed] + run_until(asked.count)
    good = [report for report in reports if report is not None]
    print(
        f"{len(good)} of {len(reports)} seeds kept every promise; {sum(report.told > 0 for report in good)} had told something "
        f"before they were cut off; {sum(report.lives for report in good)} lives, {sum(report.runs for report in good)} runs, "
        f"{sum(report.executions for report in good)} executions, {sum(report.arrivals for report in good)} files, "
        f"{sum(report.frames for report in good)} frames, {time.process_time() - began:.1f} CPU seconds"
    )
    return 0 if len(good) == len(reports) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
