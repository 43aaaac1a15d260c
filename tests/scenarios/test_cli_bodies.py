"""From the shell: an `async def` pipeline is killed in the middle, gone on with, and shown for what it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0

SEARCH = """
import time
from pathlib import Path
from ashore import pipeline, step

@step
def draw(seed: int) -> list[int]:
    note(f"draw {seed}")
    return [seed, seed + 1]

@step
def fit(data: list[int], rate: int) -> int:
    note(f"fit {rate}")
    while rate == 3 and not Path("go").exists():
        time.sleep(0.01)
    return sum(data) * rate

@pipeline
async def trial(data: list[int], rate: int) -> int:
    return await fit(data, rate)

@pipeline
async def search(seed: int) -> dict[str, int]:
    data = draw(seed)
    best = 0
    for rate in (1, 2, 3):
        best = max(best, await trial(data, rate))
    return {"best": best}

def note(what: str) -> None:
    with Path("done").open("a") as file:
        file.write(what + "\\n")
"""


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "pyproject.toml").touch()
        (root / "search.py").write_text(SEARCH)
        self.environment = {name: value for name, value in os.environ.items() if name not in ("ASHORE_HOME", "FORCE_COLOR")}

    def begin(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ashore", *words]
        return subprocess.Popen(
            command, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ashore(self, *words: str) -> tuple[str, str]:
        process = self.begin(*words)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out + err
        return out, err

    def record(self, *words: str) -> Any:
        return json.loads(self.ashore(*words, "--json")[0])

    @property
    def done(self) -> list[str]:
        path = self.root / "done"
        return path.read_text().splitlines() if path.exists() else []

    def killed_in_the_last_trial(self) -> None:
        process = self.begin("run", "search.py:search", "seed=5")
        end = time.monotonic() + PATIENCE
        while "fit 3" not in self.done or self.ashore("log", "@last")[0].count("fit started") < 3:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
        (self.root / "go").touch()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_killed_in_the_middle_it_goes_on_and_is_shown_with_its_sub_runs(project: Project) -> None:
    project.killed_in_the_last_trial()
    out, err = project.ashore("resume")
    assert "33" in out
    assert "no more" not in err
    assert project.done == ["draw 5", "fit 1", "fit 2", "fit 3", "fit 3"]

    shown, _ = project.ashore("show")
    assert shown.count("/fit(") == 3
    assert shown.count("trial(") == 3
    run = project.record("show")
    assert run["state"] == "done"
    assert sorted(one["step"] for one in run["steps"]) == ["draw", "fit", "fit", "fit", "trial", "trial", "trial"]
    assert not any(one["is_orphan"] for one in run["steps"])
    assert "adopted by" in project.ashore("log", "@last")[0]
    assert project.record("sql", "select count(*) as n from steps where step = 'trial' and state = 'done'") == {"n": 3}


def test_what_a_sub_run_hands_on_comes_from_the_step_that_made_it(project: Project) -> None:
    (project.root / "go").touch()
    project.ashore("run", "search.py:search", "seed=5")
    run = project.record("show")
    trials = [one for one in run["steps"] if one["step"] == "trial"]
    assert all(one["made_from"] for one in trials)
    lineage, _ = project.ashore("lineage", "@last:trial[0]")
    assert "fit" in lineage
    assert "draw" in lineage


def test_code_that_changed_meanwhile_leaves_orphans_which_are_told(project: Project) -> None:
    project.killed_in_the_last_trial()
    (project.root / "search.py").write_text(SEARCH.replace("(1, 2, 3)", "(2, 4)"))
    out, err = project.ashore("resume")
    assert "44" in out
    assert (
        "2 recorded calls the code asks for no more: trial, fit" in err
        or "2 recorded calls the code asks for no more: fit, trial" in err
    )
    assert project.done == ["draw 5", "fit 1", "fit 2", "fit 3", "fit 4"]
    shown, _ = project.ashore("show")
    assert shown.count("orphan") == 2
    assert "2 orphans" in project.ashore("log", "@last")[0]
    assert sum(one["is_orphan"] for one in project.record("show")["steps"]) == 2


def test_two_processes_with_one_key_make_one_search(project: Project) -> None:
    both = [project.begin("run", "search.py:search", "seed=5", "--key", "one") for _ in range(2)]
    end = time.monotonic() + PATIENCE
    while "fit 3" not in project.done:
        assert time.monotonic() < end
        time.sleep(0.01)
    (project.root / "go").touch()
    for process in both:
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert json.loads(out) == {"best": 33}
    assert project.done == ["draw 5", "fit 1", "fit 2", "fit 3"]
    assert project.record("runs")["key"] == "one"
