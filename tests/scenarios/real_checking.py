"""What must hold of a home on a real disk after real processes were ended on it, as a process reads it that had no part in that."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import ashore
from ashore.events import Adopted, Arrived, ElementsRan, Event, RunEnded, RunStarted, StepFailed, StepRan, decode, text_digest
from ashore.home import open_home
from ashore.stack import damages
from ashore_stores import Digest, LocalArtifactStore, StoreError, open_segment_log, system_ports, verify_log


@dataclass(repr=False)
class Reading:
    """A log, read from its beginning to its durable end."""

    frames: dict[int, str] = field(default_factory=dict)
    """The first position of each frame -> digest of its body."""
    events: list[tuple[int, Event]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Where it is not one contiguous order."""
    notes: tuple[str, ...] = ()
    """What had to be repaired to read it."""

    def of(self, *kinds: type[Event]) -> Iterator[Event]:
        return (event for _, event in self.events if isinstance(event, kinds))

    @property
    def started(self) -> dict[str, RunStarted]:
        return {event.run: event for event in self.of(RunStarted) if isinstance(event, RunStarted)}

    @property
    def ended(self) -> dict[str, RunEnded]:
        return {event.run: event for event in self.of(RunEnded) if isinstance(event, RunEnded)}

    @property
    def open_runs(self) -> set[str]:
        return self.started.keys() - self.ended.keys()

    @property
    def adopted(self) -> set[str]:
        return {event.run for event in self.of(Adopted) if isinstance(event, Adopted)}


async def read_log(folder: str) -> Reading:
    """Open the log as any process does, make durable what was only written, as the first to write would do, and read it."""
    reading = Reading()
    log = await open_segment_log(folder, system_ports())
    try:
        await log.durable(log.statistics().written)
        expected = 1
        async for frame in log.read():
            if frame.first != expected:
                reading.problems.append(f"position {frame.first} follows {expected - 1}")
            expected = frame.last + 1
            reading.frames[frame.first] = hashlib.sha256(frame.batch.body).hexdigest()
            reading.events += enumerate(decode(frame.batch.body, frame.count), start=frame.first)
        reading.notes = log.statistics().notes
    finally:
        await log.aclose()
    return reading


def damages_of_log(folder: str) -> list[str]:
    """What `verify_log` finds; changes nothing."""
    return [str(damage) for damage in verify_log(folder, system_ports())]


async def damages_of_home(home: str, reading: Reading) -> list[str]:
    """Damage in the log and in any artifact, and artifacts that the log says were made and that are not there."""
    ports = system_ports()
    found = [str(damage) async for damage in damages(open_home(ports, home, create=False), ports) if damage is not None]
    artifacts = LocalArtifactStore(f"{home}/artifacts", ports)
    try:
        for digest in named_blobs(reading):
            try:
                await artifacts.verify(digest)
            except StoreError as error:
                found.append(f"{digest}, named by the log: {error}")
    finally:
        await artifacts.aclose()
    return found


def named_blobs(reading: Reading) -> set[Digest]:
    """The artifacts that are files of their own, as the log names them."""
    found: set[Digest] = set()
    for event in reading.of(StepRan, ElementsRan):
        if isinstance(event, StepRan) and event.elements < 0:
            found |= {text_digest(output.digest) for output in event.outputs if output.data is None and output.digest}
        elif isinstance(event, ElementsRan):
            for column in event.columns:
                found |= {text_digest(column.digests[32 * n : 32 * n + 32]) for n, data in enumerate(column.data) if data is None}
    return found


def lost_of(acknowledged: Mapping[int, str], reading: Reading) -> list[str]:
    """Frames that were acknowledged and are not there, byte for byte."""
    return [
        f"the frame at {first} was acknowledged and is {'other bytes' if first in reading.frames else 'gone'}"
        for first, digest in acknowledged.items()
        if reading.frames.get(first) != digest
    ]


def doubled_in(reading: Reading) -> list[str]:
    """Starts, ends and outcomes that are recorded more than once, and ends without a start."""
    seen: Counter[tuple[str, ...]] = Counter()
    for event in reading.of(RunStarted, RunEnded, StepRan, StepFailed, ElementsRan):
        if isinstance(event, ElementsRan):
            indices = [*event.indices, *(index for index, _ in event.failed)]
            seen.update((event.run, event.invocation.hex(), str(index)) for index in indices)
        elif isinstance(event, StepRan | StepFailed):
            seen[event.run, event.invocation.hex()] += 1
        elif isinstance(event, RunStarted | RunEnded):
            seen[event.run, type(event).__name__] += 1
    found = [f"{number} times: {' '.join(what)}" for what, number in seen.items() if number > 1]
    return found + [f"run {run} ended and never started" for run in reading.ended.keys() - reading.started.keys()]


def failed_in(reading: Reading) -> list[str]:
    """Runs that ended in any other way than well."""
    return [f"run {run} {ended.state}" for run, ended in reading.ended.items() if ended.state != "done"]


def misplaced_in(reading: Reading, *, settled: bool) -> list[str]:
    """Arrivals that do not lie in exactly one run's range, for each pipeline; those of no run yet are allowed unless `settled`."""
    arrivals = [(position, event) for position, event in reading.events if isinstance(event, Arrived)]
    versions = Counter((event.trigger, event.path, event.version) for _, event in arrivals)
    found = [f"{number} times: {version}" for version, number in versions.items() if number > 1]
    ranges: dict[str, list[tuple[int, int]]] = {}
    for run in reading.started.values():
        if run.arrivals is not None:
            ranges.setdefault(run.pipeline, []).append((run.arrivals.after, run.arrivals.upto))
    for pipeline, given in ranges.items():
        if [after for after, _ in given] != [0, *(upto for _, upto in given[:-1])]:
            found.append(f"the ranges of {pipeline} do not join: {given}")
        for position, event in arrivals:
            number = sum(after < position <= upto for after, upto in given)
            if number > 1 or (settled and number != 1):
                found.append(f"{event.path} version {event.version} at {position} lies in {number} ranges of {pipeline}")
    return found


async def index_differences(home: str) -> list[str]:
    """Where the index, brought up to now from where it stood, differs from one that is made anew from the whole log."""
    async with await ashore.open(home) as catalogue:
        freshness = (await catalogue.sql("select 1")).freshness
    incremental = dump_of_index(home)
    async with await ashore.open(home) as catalogue:
        await catalogue.rebuild()
    rebuilt = dump_of_index(home)
    found = [f"the index is {freshness.behind} events behind"] if freshness.behind else []
    for name, one, other in (("kept up", incremental, rebuilt), ("made anew", rebuilt, incremental)):
        found += [f"only in the index that was {name}: {line}" for line in sorted(one - other)[:5]]
    return found


def dump_of_index(home: str) -> set[str]:
    """Every row of the index, its cursor among them."""
    (path,) = Path(home, "index").glob("index-*.sqlite")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return set(database.iterdump())


def told_by_cli(home: str, *command: str) -> tuple[int, str]:
    """The exit code and the output of `ashore --home HOME COMMAND`."""
    asked = [sys.executable, "-m", "ashore", "--home", home, *command]
    process = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
    return process.returncode, process.stdout + process.stderr
