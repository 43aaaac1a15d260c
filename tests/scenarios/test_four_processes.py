"""Four processes start the same keys in one home at the same time, while its log changes segments and processes are killed.

pytest tests/scenarios/test_four_processes.py                              a few keys
ASHORE_KEYS=1000 pytest -s tests/scenarios/test_four_processes.py          1,000 of them, and 100 segments
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
from tests.scenarios.real_checking import Reading, damages_of_log, doubled_in, index_differences, read_log

from ashore.codec import decode

ROOT = Path(__file__).parents[2]
KEYS = int(os.environ.get("ASHORE_KEYS", "80"))
SEED = int(os.environ.get("ASHORE_KEYS_SEED", "1"))
PROCESSES = 4
SEGMENT = 64 << 10
SIZE = 6_000
"""Bytes of the value that each run makes: a segment holds about ten runs."""
KILL_EVERY = 50 if KEYS >= 500 else 20
OTHERS = 0.1
"""The share of starts with other arguments."""


class Worker:
    """A process, asked line by line."""

    def __init__(self, home: str, errors: Path) -> None:
        self.said_aside = errors
        self._peeked: dict[str, Any] | None = None
        with errors.open("wb") as aside:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.scenarios.real_worker", "asked", home, str(SEGMENT)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=aside,
            )

    def ask(self, key: str, number: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps({'key': key, 'number': number, 'size': SIZE})}\n".encode())
        self.process.stdin.flush()

    def peek(self) -> dict[str, Any] | None:
        """The next line, which stays the next one: it may be the last about what was asked."""
        if self._peeked is None:
            self._peeked = self.answer()
        return self._peeked

    def answer(self) -> dict[str, Any] | None:
        """The next line; None once it is dead."""
        peeked, self._peeked = self._peeked, None
        if peeked is not None:
            return peeked
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        told: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
        return told

    def outcome(self) -> dict[str, Any] | None:
        """The last line about what was asked."""
        told = self.answer()
        while told is not None and "started" in told:
            told = self.answer()
        return told

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@dataclass
class Story:
    """What was asked and answered."""

    asked: dict[str, list[int]] = field(default_factory=dict)
    answers: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, int] = field(default_factory=dict)


class Crew:
    """The four, and those who take the places of the killed."""

    def __init__(self, home: str, folder: Path, chance: random.Random) -> None:
        self._home = home
        self._folder = folder
        self._chance = chance
        self._count = 0
        self.aside: list[Path] = []
        self.workers: list[Worker] = []
        self.story = Story()

    def hire(self) -> None:
        self._count += 1
        self.aside.append(self._folder / f"aside-{self._count}")
        self.workers.append(Worker(self._home, self.aside[-1]))

    def key(self, key: str, number: int, *, kill: bool) -> None:
        """All are asked for this key at once; one of them may be killed over it."""
        self._chance.shuffle(self.workers)
        numbers = [number + 1_000_000 * (self._chance.random() < OTHERS) for _ in self.workers]
        self.story.asked[key] = numbers
        for worker, asked in zip(self.workers, numbers, strict=True):
            worker.ask(key, asked)
        victim = self._chance.choice(self.workers) if kill else None
        if victim is not None:
            self._kill(victim)
        for worker, asked in zip(self.workers, numbers, strict=True):
            told = worker.outcome()
            if told is not None:
                self.story.answers.append((key, asked, told))
        if victim is not None:
            self._replace(victim)

    def _kill(self, victim: Worker) -> None:
        """While it starts, or as soon as it says that it has started (or that it may not)."""
        moment = self._chance.choice(("at once", "after its first line", "after another's"))
        other = next(worker for worker in self.workers if worker is not victim)
        if moment != "at once":
            told = (victim if moment == "after its first line" else other).peek()
            assert told is not None
        victim.process.kill()
        self.story.kills[moment] += 1

    def _replace(self, dead: Worker) -> None:
        """Somebody new, who is asked for old keys first: their answers lie in sealed segments."""
        dead.close()
        self.workers.remove(dead)
        self.hire()
        assert self.workers[-1].answer() == {"ready": True}
        for key in self._chance.sample(sorted(self.story.asked), 3):
            number = self.story.asked[key][0]
            self.workers[-1].ask(key, number)
            told = self.workers[-1].outcome()
            assert told is not None
            self.story.answers.append((key, number, told))


@contextmanager
def crew_of(home: str, folder: Path) -> Iterator[Crew]:
    crew = Crew(home, folder, random.Random(SEED))
    try:
        for _ in range(PROCESSES):
            crew.hire()
        for worker in crew.workers:
            assert worker.answer() == {"ready": True}
        yield crew
    finally:
        for worker in crew.workers:
            worker.close()


def misanswered(story: Story, reading: Reading) -> list[str]:
    """Answers that are not those of the one run of their key."""
    runs = {run.key: run for run in reading.started.values()}
    found = [f"{key} has no run" for key in story.asked.keys() - runs.keys()]
    for key, asked, told in story.answers:
        run = runs[key]
        number = decode(dict(run.params)["number"])
        expected = {"done": number + SIZE, "run": run.run} if asked == number else {"conflict": run.run}
        if told != expected:
            found.append(f"{key} with {asked}: {told}, expected {expected}")
    return found


def test_equal_keys_of_four_processes_make_one_run_each(tmp_path: Path) -> None:
    home, begun = str(tmp_path / ".ashore"), monotonic()
    with crew_of(home, tmp_path) as crew:
        for number in range(KEYS):
            crew.key(f"key-{number}", number, kill=number % KILL_EVERY == KILL_EVERY - 1)
    story = crew.story
    reading = anyio.run(read_log, f"{home}/log")
    segments = len(os.listdir(f"{home}/log/segments"))
    conflicts = sum("conflict" in told for _, _, told in story.answers)
    told = f"{KEYS} keys, {len(story.answers)} answers, {conflicts} conflicts, {segments} segments, {dict(story.kills)}"
    print(f"{monotonic() - begun:.0f} s: {told}", flush=True)
    assert not reading.problems + doubled_in(reading) + misanswered(story, reading)
    assert len(reading.started) == len(reading.ended) == KEYS
    assert {ended.state for ended in reading.ended.values()} == {"done"}
    assert damages_of_log(f"{home}/log") == []
    assert anyio.run(index_differences, home) == []
    assert segments >= KEYS / 10
    assert conflicts >= KEYS * PROCESSES * OTHERS / 2
    assert all(not aside.read_text() or "Traceback" not in aside.read_text() for aside in crew.aside)
