"""The hunt: seeds of a simulation, one after the other, until one reports a broken promise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.museum.planting import Bug, planted
from tests.scenarios import sim_runtime, sim_stores
from tests.scenarios.sim_stores_history import Violation

HARNESSES: dict[str, Callable[[int], object]] = {"sim_stores": sim_stores.run_seed, "sim_runtime": sim_runtime.run_seed}


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
                HARNESSES[bug.harness](seed)
            except Violation as violation:
                return Caught(seed, time.process_time() - began, violation.invariant, str(violation))
    return None
