"""What every benchmark is made of: questions, paired rounds, rows."""

from __future__ import annotations

import gc
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Round: TypeAlias = tuple[float, float]  # limit, ours
Work: TypeAlias = Callable[[int], Awaitable[object]]  # one round of work, given the number of the round so that nothing repeats


@dataclass(frozen=True)
class Goals:
    """What we owe, what we want, and where we want to be remembered for."""

    must: float
    goal: float
    moonshot: float


@dataclass(frozen=True)
class Question:
    number: int
    text: str
    durable: str  # what of the measured work survives: "nothing", "process crash", "power cut"


@dataclass(frozen=True)
class Size:
    """How much is measured: `steps` a round, `rounds` of limit and candidate in turn."""

    steps: int
    rounds: int


CHECK = Size(steps=50, rounds=2)
SMALL = Size(steps=2_000, rounds=7)
FULL = Size(steps=10_000, rounds=15)


@dataclass(frozen=True)
class Row:
    """One measured pair of limit and candidate, and what it is held against."""

    what: str
    limit_name: str
    rounds: tuple[Round, ...]
    unit: str
    goals: Goals
    judged: Literal["ratio", "ours"] = "ratio"  # what the goals are about: ours / limit, or ours alone
    more_is_better: bool = False
    gate: bool = False  # missing the must fails the command

    @property
    def limit(self) -> float:
        return statistics.median(limit for limit, _ in self.rounds)

    @property
    def ours(self) -> float:
        return statistics.median(ours for _, ours in self.rounds)

    @property
    def ratios(self) -> list[float]:
        return sorted(ours / limit for limit, ours in self.rounds)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the ratio."""
        lower, _, upper = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return lower, upper

    @property
    def met(self) -> str:
        """The best of the goals that is met, or "no"."""
        value = self.ratio if self.judged == "ratio" else self.ours
        sign = -1 if self.more_is_better else 1
        for name in ("moonshot", "goal", "must"):
            if sign * value <= sign * float(getattr(self.goals, name)):
                return name
        return "no"


def paired(limit: Callable[[int], float], ours: Callable[[int], float], rounds: int) -> tuple[Round, ...]:
    """Limit and candidate in turn, after one uncounted round of each."""
    return tuple((limit(number), ours(number)) for number in range(rounds + 1))[1:]


async def paired_cpu(limit: Work, ours: Work, size: Size) -> tuple[Round, ...]:
    """As `paired`, in microseconds of CPU per step, of all threads of this process."""
    result = []
    for number in range(size.rounds + 1):
        result.append((await cpu(limit, number) / size.steps * 1e6, await cpu(ours, number) / size.steps * 1e6))
    return tuple(result[1:])


async def cpu(work: Work, number: int) -> float:
    """Seconds of CPU that one round takes, of all threads. The garbage of earlier rounds is not charged to it."""
    gc.collect()
    start = time.process_time()
    await work(number)
    return time.process_time() - start


@contextmanager
def empty_folder() -> Iterator[Path]:
    """A folder on a real disk where the system's temporary folder is one; the report names its file system."""
    folder = Path(tempfile.mkdtemp(prefix="ashore-benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
