"""Question 30: whether processes that share a home get in one another's way."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from benchmarks.harness import Goals, Question, Row, Size, empty_folder, paired

QUESTION = Question(30, "four processes on one home, steps a second in all", durable="power cut")
STRIDE = 1_000_000


class Worker:
    """A process that waits for work; see `benchmarks.worker`."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", str(home)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
        )

    def wait(self, for_: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != for_:
            raise RuntimeError(f"a worker said {said!r} instead of {for_!r}")

    def send(self, start: int, steps: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{start} {steps}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """The end of its input is the end of its work."""
        self._process.communicate()


@contextmanager
def workers(home: Path, number: int) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        started = [Worker(home) for _ in range(number)]
        for worker in started:
            stack.callback(worker.close)
        for worker in started:
            worker.wait("ready")
        yield started


def steps_per_second(team: Sequence[Worker], starts: Iterator[int], steps: int) -> float:
    """From the first line sent to the last answer, over the steps of all."""
    begin = time.monotonic()
    for worker in team:
        worker.send(next(starts) * STRIDE, steps)
    for worker in team:
        worker.wait("done")
    return len(team) * steps / (time.monotonic() - begin)


def measure(size: Size) -> list[Row]:
    """The one process has a home of its own: beside three idle ones it would be a slower limit."""
    starts = count(1)
    with empty_folder() as folder, workers(folder / "one", 1) as one, workers(folder / "four", 4) as four:
        rounds = paired(
            lambda _: steps_per_second(one, starts, size.steps), lambda _: steps_per_second(four, starts, size.steps), size.rounds
        )
    return [Row("chains", "one process", rounds, "steps/s", Goals(0.7, 1.0, 1.5), more_is_better=True)]
