"""Two runs side by side: what was changed between them is what differs, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ashore
from ashore import Handle, NotFound, Run, Runtime, current, each, pipeline, step
from ashore.events import Call as Asked
from ashore.events import Event, Invoked, Output, RunEnded, RunStarted, StepRan
from ashore.faces.cli import main
from ashore.ids import CacheKey, CodeId, InvocationId, RunId
from ashore.questions import Diff
from ashore.questions.diffing import Side, diff
from ashore.questions.facts import Definition, Facts

pytestmark = pytest.mark.anyio

FACTOR = 2


@step
def count(upto: int) -> list[int]:
    return list(range(upto))


@step
def twice(x: int) -> int:
    return x * FACTOR


@step
def total(numbers: list[int], *, weight: float = 1.0) -> float:
    return sum(numbers) * weight


@step
def report(score: float) -> str:
    return f"{score:.0f}"


@step
def measured(x: float) -> float:
    current().metric("loss", x)
    current().metric("loss", x / 2)
    current().metric("rate", 3)
    return x


@pipeline
def score(upto: int = 3, weight: float = 1.0, told: bool = False) -> Handle[Any]:
    found = total(twice(each(count(upto))), weight=weight)
    return report(found) if told else found


async def ran(rt: Runtime, call: Handle[Any]) -> Run[Any]:
    run = await rt.start(call)
    await run.wait()
    return run


def told(answer: Diff) -> list[tuple[str, str, str, Any, Any]]:
    return [(row.step, row.kind, row.name, row.left, row.right) for row in answer]


async def test_equal_runs_do_not_differ(rt: Runtime) -> None:
    first, second = await ran(rt, score()), await ran(rt, score())
    answer = await first.diff(second)
    assert list(answer) == []
    assert str(answer).splitlines()[-1] == "nothing differs"


async def test_everything_is_shown_if_it_is_asked_for(rt: Runtime) -> None:
    first, second = await ran(rt, score()), await ran(rt, score())
    answer = await first.diff(second, all=True)
    assert all(row.is_equal for row in answer)
    kinds = {row.kind for row in answer}
    assert {"run", "param", "version", "code", "output", "state", "duration"} <= kinds
    assert [row.left for row in answer if row.name == "Python"] == [row.right for row in answer if row.name == "Python"]


async def test_a_parameter_and_what_comes_of_it(rt: Runtime) -> None:
    first, second = await ran(rt, score()), await ran(rt, score(weight=2.0))
    answer = await first.diff(second)
    assert told(answer)[:2] == [("", "param", "weight", 1.0, 2.0), ("total", "param", "weight", 1.0, 2.0)]
    (output,) = answer["total"][1:]
    assert (output.kind, output.left != output.right) == ("output", True)
    assert [row.step for row in answer] == ["", "total", "total"], "the other steps do not differ"


async def test_elements_that_differ_are_counted(rt: Runtime) -> None:
    first, second = await ran(rt, score()), await ran(rt, score(upto=4))
    texts = [row.text for row in (await first.diff(second))]
    assert "output: 1 of 4 differ" in texts
    assert "input `numbers`: 1 of 4 elements new, from twice" in texts


async def test_code_that_differs_is_named(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await ran(rt, score())
    monkeypatch.setitem(globals(), "FACTOR", 3)
    second = await ran(rt, score())
    answer = await first.diff(second)
    assert [row.text for row in answer if row.kind == "code"] == ["constant `FACTOR`: 2 -> 3"]


async def test_numbers_that_steps_reported(rt: Runtime) -> None:
    first, second = await ran(rt, measured(1.0)), await ran(rt, measured(2.0))
    metrics = [row for row in told(await first.diff(second)) if row[1] == "metric"]
    assert metrics == [("measured", "metric", "loss", 0.5, 1.0)]
    both = [row for row in told(await first.diff(second, all=True)) if row[1] == "metric"]
    assert ("measured", "metric", "rate", 3.0, 3.0) in both


async def test_calls_that_only_one_run_made(rt: Runtime) -> None:
    first, second = await ran(rt, score()), await ran(rt, score(told=True))
    assert told((await first.diff(second))["report"]) == [("report", "calls", "", 0, 1)]
    assert told((await second.diff(first))["report"]) == [("report", "calls", "", 1, 0)]


async def test_from_the_catalogue_and_by_the_beginning_of_an_id(rt: Runtime, home: Path) -> None:
    first, second = await ran(rt, score()), await ran(rt, score(weight=2.0))
    own = str(await first.diff(second))
    async with await ashore.open(home) as catalogue:
        past = await catalogue.run(first.id)
        assert str(await past.diff(second.id[:10])) == own
        with pytest.raises(NotFound):
            await past.diff("ffff")


def test_at_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    Path("differing_flow.py").write_text("from ashore import step\n@step\ndef fit(lr: float) -> float:\n    return lr\n")
    assert main(["run", "differing_flow.py:fit", "lr=0.1"]) == 0
    assert main(["runs", "--json"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])["run"]
    assert main(["run", "differing_flow.py:fit", "lr=0.2"]) == 0
    capsys.readouterr()
    assert main(["diff", first, "@last"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["param", "lr", "0.1", "0.2"]
    assert not [line for line in lines if "Python" in line]
    assert main(["diff", first, "@last", "--all"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("Python ")]
    assert main(["diff", first, "@last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"][0]["right"] == 0.2


def side(run: str, seconds: float, versions: dict[str, str]) -> Side:
    call, id = InvocationId(b"i" * 16), RunId(run)
    events: list[Event] = [
        RunStarted(id, "p", "p.py:p", (), (), b"", b"", 0.0),
        Invoked(id, (Asked(call, "fit", CodeId(run.encode())),)),
        StepRan(id, call, CacheKey(b""), (Output(b"d" * 32, 1, "value/1", "int", b""),), 0.0, 1.0, 1.0 + seconds),
        RunEnded(id, "done", seconds),
    ]
    return Side(run, "done", Facts(events), versions)


def test_versions_and_durations() -> None:
    definitions = {b"a": Definition(CodeId(b"a"), "fit"), b"b": Definition(CodeId(b"b"), "fit", parts={"code": "1"})}
    left, right = side("a", 1.0, {"Python": "3.11.7", "pandas": "3.0.1"}), side("b", 2.0, {"Python": "3.11.7", "pandas": "3.1.0"})
    answer = diff(left, right, definitions)
    assert ("", "version", "pandas", "3.0.1", "3.1.0") in told(answer)
    assert ("fit", "duration", "took", 1.0, 2.0) in told(answer)
    nearly = diff(left, side("b", 1.2, {}), definitions)
    assert not [row for row in nearly if row.kind == "duration"], "no two runs take equally long: that is no difference"
