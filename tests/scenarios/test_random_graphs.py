"""Random graphs against a plain oracle, half of them killed and resumed. `ASHORE_GRAPHS` asks for more than CI runs (2000)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.scenarios.graphs_oracle import told_of
from tests.scenarios.graphs_program import Spec
from tests.scenarios.graphs_random import random_spec
from tests.scenarios.graphs_world import GRAPHS

WORLDS = max(1, int(os.environ.get("ASHORE_GRAPHS", "48")) // GRAPHS)
SLICE = 18
"""Worlds of one test: each is a server of its own, without threads, that forks a child for each process."""


@pytest.fixture
def folder() -> Iterator[str]:
    """In memory where there is such a folder: what is tried here is kill -9, not the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        yield folder


@pytest.mark.parametrize("first", range(0, WORLDS, SLICE))
def test_killed_or_not_a_graph_does_what_the_oracle_says(folder: str, first: int) -> None:
    count = min(SLICE, WORLDS - first)
    command = [sys.executable, "-m", "tests.scenarios.graphs_world", folder, str(first), str(count)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["runtime", "stores", *sys.path])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == count
    for report in reports:
        assert not report["problems"], f"{report['again']}\n" + "\n".join(report["problems"][:3])
    graphs = sum(report["graphs"] for report in reports)
    assert sum(report["killed_graphs"] for report in reports) > 0.25 * graphs  # else the seeds prove little
    assert sum(report["resumed"] for report in reports) > 0.1 * graphs


def test_the_graphs_are_of_all_kinds() -> None:
    """What the random graphs prove depends on what is in them."""
    seen: Counter[str] = Counter()
    for seed in range(100):
        spec = random_spec(random.Random(seed), 14)
        told = told_of(spec)
        seen.update(f"a run that is {'failed' if told.failures else 'done'}" for _ in range(1))
        seen.update(outcome.state for outcome in told.invocations.values())
        seen.update(kind for node in nodes_of(spec) for kind in kinds_of(node))
        seen.update((unit.is_optional and "an element that may be left out") or "a unit" for _, unit in told.units())
    wanted = "collect stream sub skip stop product zip thread suspend sleep inline kept fresh blob pair parts out dict done failed"
    assert not [kind for kind in wanted.split() if seen[kind] < 10]
    assert seen["a run that is done"] > 20
    assert seen["a run that is failed"] > 20
    assert seen["an element that may be left out"] > 10


def nodes_of(spec: Spec) -> Iterator[Spec]:
    for node in spec["nodes"]:
        yield node
        if node["do"] == "sub":
            yield from nodes_of(node["spec"])


def kinds_of(node: Spec) -> Iterator[str]:
    yield from node["do"].split("_")
    yield from (form[0] for form in node["args"])
    if node.get("over"):
        yield node["how"]
        yield node["on_error"]
