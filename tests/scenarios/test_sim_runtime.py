"""The runtime in a simulated world. `ASHORE_SEEDS` asks for more seeds than CI runs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from tests.museum.planting import planted
from tests.museum.runtime import BUGS
from tests.scenarios.sim_runtime import main, run_seed

SEEDS = int(os.environ.get("ASHORE_SEEDS", "60"))
SLICE = 20


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A simulated process says a lot when it comes up again."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("start", range(0, SEEDS, SLICE))
def test_every_promise_is_kept_over_crashes(start: int) -> None:
    reports = [run_seed(seed) for seed in range(start, start + SLICE)]
    assert sum(report.told > 0 for report in reports) > SLICE // 2  # else the seeds prove little
    assert sum(report.executions for report in reports) > SLICE


def traces() -> str:
    return " ".join(run_seed(seed).trace for seed in range(5))


def test_a_seed_is_the_same_in_another_process_under_another_hash_seed() -> None:
    expected = traces()
    assert traces() == expected
    code = "import tests.scenarios.test_sim_runtime as t; print(); print(t.traces())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "4711"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines()[-1] == expected


def test_a_broken_promise_is_one_line_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    bug = next(bug for bug in BUGS if bug.name == "cursor-not-claimed")
    with planted(bug):
        assert main(["--count", "15"]) == 1
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("python -m"))
        seed = line.split()[4]
        assert main(["--seed", seed]) == 1
    assert f"--seed {seed} " in capsys.readouterr().out
    assert main(["--seed", seed]) == 0
