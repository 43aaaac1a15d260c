"""The stores in a simulated world. `SIM_SEEDS` asks for more seeds than CI runs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.museum.planting import planted
from tests.museum.stores import BUGS
from tests.scenarios.sim_stores import main, run_seed

SEEDS = int(os.environ.get("SIM_SEEDS", "200"))
SLICE = 25


@pytest.mark.parametrize("start", range(0, SEEDS, SLICE))
def test_every_promise_is_kept_over_crashes(start: int) -> None:
    reports = [run_seed(seed) for seed in range(start, start + SLICE)]
    assert sum(report.was_cut and report.acked > 0 for report in reports) > SLICE // 3  # else the seeds prove little


def traces() -> str:
    return " ".join(run_seed(seed).trace for seed in range(6))


def test_a_seed_is_the_same_in_another_process_under_another_hash_seed() -> None:
    expected = traces()
    assert traces() == expected
    code = "import tests.scenarios.test_sim_stores as t; print(); print(t.traces())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "4711"}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines()[-1] == expected


def test_a_broken_promise_is_one_line_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    bug = next(bug for bug in BUGS if bug.name == "acknowledged-before-flush")
    with planted(bug):
        assert main(["--count", "3"]) == 1
        line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("python -m"))
        seed = line.split()[3]
        assert main([seed]) == 1
    assert f"sim_stores {seed} " in capsys.readouterr().out
    assert main([seed]) == 0
