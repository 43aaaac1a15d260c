"""The hunt: seeds of the simulation of the stores, one after the other, until one reports a broken promise."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.museum.planting import Bug, planted
from tests.scenarios.sim_stores import run_seed
from tests.scenarios.sim_stores_history import Violation


@dataclass(frozen=True, slots=True)
class Caught:
    """A seed that caught a bug, the CPU seconds that the hunt took, and what was reported."""

    seed: int
    seconds: float
    invariant: str
    message: str


def hunt(bug: Bug) -> Caught | None:
    """The first seed that catches this bug; None if it escapes."""
    began = time.process_time()
    with planted(bug):
        for seed in range(bug.seeds):
            try:
                run_seed(seed)
            except Violation as violation:
                return Caught(seed, time.process_time() - began, violation.invariant, str(violation))
    return None
