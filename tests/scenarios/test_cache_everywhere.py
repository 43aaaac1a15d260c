"""One home, the same code everywhere: in other processes, under other hash seeds, from other folders and checkouts, in a module, a
script and a notebook's cell. What one of them made is served to all others; a change of a helper is seen by all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FLOW = """
from pathlib import Path
from ashore import Cache, File, Handle, each, pipeline, step
from clean import tidy

FACTOR = 3
ORDER = {"b", "a", "c"}

def scaled(number: int) -> int:
    return number * FACTOR

@step(cache=Cache(ignore="ledger"))
def read(file: File, ledger: str) -> int:
    with open(ledger, "a") as lines:
        lines.write("read " + file.name + chr(10))
    return len(tidy(Path(file.path).read_text()))

@step(cache=Cache(ignore="ledger"))
async def total(numbers: list[int], ledger: str) -> dict[str, int]:
    with open(ledger, "a") as lines:
        lines.write("total" + chr(10))
    return {name: scaled(sum(numbers)) for name in sorted(ORDER)}

@pipeline
def count(files: list[File], ledger: str) -> Handle[dict[str, int]]:
    return total(read(each(files), ledger), ledger)
"""
CLEAN = '''
import re
WORD = re.compile("[a-z]+")

def tidy(text):
    """Words only."""
    return WORD.findall(text)
'''
RUN = """
import ashore, sys
from ashore import File
files = [File(f"{folder}/{name}") for name in ("a.txt", "b.txt")]
print(ashore.run(count(files, ledger)))
"""
MODULE = "import sys; folder, ledger = sys.argv[1:]; sys.path.insert(0, folder); from flow import count\n" + RUN
SCRIPT = "import sys; folder, ledger = sys.argv[1:]\n" + FLOW + RUN
CELL = """
import sys
folder, ledger = sys.argv[1:]
sys.path.insert(0, folder)
del __file__
for number, cell in enumerate([open(folder + "/flow.py").read(), open(folder + "/run.py").read()]):
    exec(compile(cell, f"<cell {number}>", "exec", dont_inherit=True), globals())
"""
EXPECTED = "{'a': 15, 'b': 15, 'c': 15}"


class Checkout:
    """A folder with the project in it."""

    def __init__(self, folder: Path, home: Path, ledger: Path) -> None:
        self.folder, self.home, self.ledger = folder, home, ledger
        folder.mkdir(parents=True)
        texts = {"flow.py": FLOW, "clean.py": CLEAN, "run.py": RUN, "a.txt": "one two 3", "b.txt": "four five six"}
        for name, text in {**texts, "module.py": MODULE, "script.py": SCRIPT, "cell.py": CELL}.items():
            (folder / name).write_text(text)

    def command(self, *arguments: str) -> str:
        """What the command line prints."""
        environment = {**os.environ, "ASHORE_HOME": str(self.home), "PYTHONPATH": os.pathsep.join([*sys.path, str(self.folder)])}
        command = [sys.executable, "-m", "ashore", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def run(self, how: str, *, seed: str, cwd: Path | str) -> tuple[str, list[str]]:
        """What it prints, and the calls that were made for it."""
        before = len(self.calls())
        environment = {**os.environ, "PYTHONHASHSEED": seed, "ASHORE_HOME": str(self.home)}
        environment["PYTHONPATH"] = os.pathsep.join([*sys.path, str(self.folder)])
        command = [sys.executable, str(self.folder / how), str(self.folder), str(self.ledger)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.splitlines()[-1], sorted(self.calls()[before:])

    def calls(self) -> list[str]:
        return self.ledger.read_text().splitlines() if self.ledger.exists() else []

    def change(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert text.count(old) == 1
        (self.folder / name).write_text(text.replace(old, new))


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Checkout, Checkout]:
    home, ledger = tmp_path / "home" / ".ashore", tmp_path / "ledger"
    return Checkout(tmp_path / "one", home, ledger), Checkout(tmp_path / "a" / "deeper" / "other", home, ledger)


def test_what_one_made_is_served_to_all(checkouts: tuple[Checkout, Checkout], tmp_path: Path) -> None:
    one, other = checkouts
    assert one.run("module.py", seed="1", cwd=one.folder) == (EXPECTED, ["read a.txt", "read b.txt", "total"])
    assert one.run("module.py", seed="2", cwd="/") == (EXPECTED, [])
    assert other.run("module.py", seed="3", cwd=tmp_path) == (EXPECTED, [])
    assert other.run("script.py", seed="4", cwd=other.folder) == (EXPECTED, [])
    assert one.run("cell.py", seed="5", cwd=tmp_path) == (EXPECTED, [])


def test_a_change_of_what_a_step_reaches_is_seen_and_one_of_anything_else_is_not(checkouts: tuple[Checkout, Checkout]) -> None:
    one, other = checkouts
    one.run("module.py", seed="1", cwd=one.folder)
    other.change("clean.py", "Words only.", "Words, and nothing else.")
    other.change("flow.py", "FACTOR = 3", "FACTOR = 3  # by hand\nUNUSED = 1")
    assert other.run("cell.py", seed="2", cwd=other.folder) == (EXPECTED, [])
    other.change("flow.py", "FACTOR = 3", "FACTOR = 4")
    assert other.run("cell.py", seed="3", cwd=other.folder) == (EXPECTED.replace("15", "20"), ["total"])
    other.change("clean.py", "[a-z]+", "[a-z]+|3")
    assert other.run("module.py", seed="4", cwd=other.folder) == (
        EXPECTED.replace("15", "24"),
        ["read a.txt", "read b.txt", "total"],
    )
    assert one.run("cell.py", seed="5", cwd="/") == (EXPECTED, [])


def test_the_command_line_refreshes_and_shows_what_was_not_followed(checkouts: tuple[Checkout, Checkout]) -> None:
    one, _ = checkouts
    one.change("flow.py", "return len(tidy(", "return int(eval('1')) * len(tidy(")
    arguments = ("flow.py:count", "files=*.txt", f"ledger={one.ledger}")
    one.command("run", *arguments)
    one.command("run", *arguments)
    assert sorted(one.calls()) == ["read a.txt", "read b.txt", "total"]
    one.command("run", *arguments, "--refresh", "total")
    assert sorted(one.calls()) == ["read a.txt", "read b.txt", "total", "total"]
    shown = one.command("show", "@last")
    assert "not followed, so that a change there is not seen:\n  read: " in shown
    assert "eval" in shown
    (record,) = [json.loads(line) for line in one.command("show", "@last", "--json").splitlines()]
    assert [(told["step"], "eval" in told["what"]) for told in record["unfollowed"]] == [("read", True)]
