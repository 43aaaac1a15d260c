"""`ashore check`: what is wrong with a file is said, with its line, and nothing of it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from ashore.checks import Checked, Problem, check_file
from ashore.errors import TargetError
from ashore.faces.cli import main
from ashore_stores.system import system_ports

HEAD = """\
from __future__ import annotations
import threading
from ashore import File, Handle, each, new, pipeline, step

@step
def read(file: File) -> list[int]:
    raise SystemExit("a step ran")

@step
def fit(rows: list[int], *, lr: float = 0.1) -> dict[str, float]:
    raise SystemExit("a step ran")

"""
LINES = HEAD.count("\n")

Check = Callable[[str], Checked]
_numbers = count()


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Check]:
    names: list[str] = []

    def run(source: str) -> Checked:
        name = f"checked_{next(_numbers)}"
        names.append(name)
        (tmp_path / f"{name}.py").write_text(HEAD + source)
        return check_file(str(tmp_path / f"{name}.py"), system_ports().disk)

    yield run
    for name in names:
        sys.modules.pop(name, None)
    sys.path[:] = [folder for folder in sys.path if folder != str(tmp_path)]


def only(checked: Checked) -> tuple[str, int, str]:
    """Level, line below the head, and text of the one problem."""
    (problem,) = checked.problems
    return problem.level, line(problem), f"{problem.what}. {problem.mend}"


def line(problem: Problem) -> int:
    return int(problem.where.rpartition(":")[2]) - LINES


def test_what_is_well_is_said_to_be_so(check: Check) -> None:
    source = """
@pipeline(on=new("inbox/*.csv"))
def retrain(files: list[File], lr: float = 0.1) -> Handle[dict[str, float]]:
    return fit(read(each(files)), lr=lr)

@pipeline
async def search(day: str) -> dict[str, float]:
    return await fit([1], **{"lr": 1.0})
"""
    checked = check(source)
    assert checked.problems == []
    assert (checked.steps, checked.pipelines) == (2, 2)


WRONG_CALLS = [
    ("fit([1], lrr=1)", "fit has no parameter `lrr`. Did you mean `lr`?"),
    ("fit([1], 0.5)", "fit takes 1 argument by position, 2 were given. It takes (rows, *, lr=0.1)"),
    ("fit(lr=0.5)", "fit(...) lacks `rows`. It takes (rows, *, lr=0.1)"),
    ("fit.options(key='a')([1], lrr=1)", "fit has no parameter `lrr`. Did you mean `lr`?"),
    ("fit(*[[1]], lrr=1)", "fit has no parameter `lrr`. Did you mean `lr`?"),
]


@pytest.mark.parametrize(("call", "said"), WRONG_CALLS)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_calls_are_checked_in_every_branch_and_in_bodies_that_do_not_run(check: Check, kind: str, call: str, said: str) -> None:
    source = f"""
@pipeline
{kind} go(n: int = 1):
    if n > 100:
        return {call}
    return fit([1])
"""
    assert only(check(source)) == ("problem", 5, said)


def test_a_wrong_call_that_is_wired_is_told_once(check: Check) -> None:
    assert only(check("\n@pipeline\ndef go():\n    return fit([1], lrr=1)\n"))[:2] == ("problem", 4)


def test_types_that_do_not_fit_are_found_by_wiring(check: Check) -> None:
    level, place, said = only(check("\n@pipeline\ndef go(file: File):\n    return fit(fit(read(file)))\n"))
    assert (level, place) == ("problem", 4)
    assert "fit(rows=...) takes list" in said


def test_names_that_the_body_binds_itself_are_not_taken_for_steps(check: Check) -> None:
    source = """
@pipeline
def go(n: int = 1):
    fit = len
    return read(File(str(fit([1]))))
"""
    assert check(source).problems == []


@pytest.mark.parametrize(
    ("source", "level", "place", "said"),
    [
        ("@step\ndef f(x: int = 'a') -> int: ...", "problem", 1, "f(x=...) takes int, and got 'a'"),
        ("@step\ndef f(x: object = threading.Lock()) -> int: ...", "problem", 1, "a default cannot be recorded: f(x=...) is a"),
        ("class M: ...\n@step\ndef f(x: int) -> list[M]: ...", "note", 2, "which has no stored form. Make it a dataclass"),
        ("@step\ndef f(x: int) -> int:\n    return read(x)", "problem", 3, "read is called inside the step f. Write read.fn(...)"),
        ("@step(retyr=3)\ndef f(x: int) -> int: ...", "problem", 1, "retyr"),
        ("@pipeline(on=new('in*/x'))\ndef f(file: File): ...", "problem", 1, "has a wildcard in its folder"),
        ("@pipeline(on=new('in/*'))\ndef f(n: int): ...", "problem", 1, "File"),
        ("@pipeline\ndef f(n: int = 2):\n    return [1][n]", "problem", 3, "the wiring of f raises IndexError: list index"),
        ("@pipeline\ndef f(n: int):\n    return [0][n]", "note", 3, "with stand-ins for `n` it raises IndexError"),
        ("class M: ...\n@pipeline\ndef f(m: M): ...", "note", 2, "nothing stands in for its parameter `m`"),
        ("@step\ndef read(x: int) -> int: ...\nr = read\n@step\ndef read(x: int) -> int: ...", "problem", 4, "two of this file"),
        ("x = 1 / 0", "problem", 1, "the file cannot be imported: ZeroDivisionError: division by zero"),
        ("def f(:", "problem", 1, "the file cannot be imported: SyntaxError"),
        ("raise SystemExit(3)", "problem", 1, "the file cannot be imported: SystemExit: 3"),
    ],
)
def test_what_would_go_wrong_is_said_with_its_line(check: Check, source: str, level: str, place: int, said: str) -> None:
    found = only(check(source))
    assert found[:2] == (level, place)
    assert said in found[2]


def test_stand_ins_are_there_for_what_parameters_usually_are(check: Check) -> None:
    source = """
import datetime as dt, enum, pathlib
from typing import Literal
class Colour(enum.Enum):
    RED = 1

@pipeline
def go(a: int, b: str | None, c: list[File], d: dict[str, int], e: Literal["x", "y"], f: Colour, g: dt.datetime,
       h: tuple[int, str], i: pathlib.Path, j: set[int], k, *rest: int, **more: int):
    return [fit(read(each(c))), h[1], e, f.name, g.year, i.name, k]
"""
    assert check(source).problems == []


def test_no_such_file() -> None:
    with pytest.raises(TargetError, match="there is no file"):
        check_file("gone.py", system_ports().disk)


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ill.py").write_text(f"{HEAD}print('loud')\n@pipeline\ndef go():\n    return fit([1], lrr=1)\n")
    (tmp_path / "well.py").write_text(HEAD)
    try:
        assert main(["check", "well.py", "ill.py"]) == 1
        said = capsys.readouterr()
        assert said.out.splitlines()[0] == f"ill.py:{LINES + 4}: problem: fit has no parameter `lrr`"
        assert said.err.splitlines() == [
            "loud",
            "well.py: 2 steps, 0 pipelines: no problem",
            "ill.py: 2 steps, 1 pipeline: 1 problem",
        ]
        assert main(["check", "well.py", "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record == {"file": "well.py", "steps": 2, "pipelines": 0, "well": True, "problems": []}
        assert main(["check", "gone.py"]) == 2
        assert not (tmp_path / ".ashore").exists()
    finally:
        for name in ("ill", "well"):
            sys.modules.pop(name, None)
