"""Why a step ran: the named reason is the change that was made, whatever it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ashore
from ashore import File, Handle, NotFound, Run, Runtime, each, pipeline, step
from ashore.faces.cli import main
from ashore.ids import CodeId
from ashore.questions import Change, Reason
from ashore.questions.changes import code_changes
from ashore.questions.facts import Definition

pytestmark = pytest.mark.anyio

RATE = 2


@step
def days(count: int) -> list[int]:
    return list(range(count))


@step
def read(file: File) -> list[int]:
    return [int(word) for word in Path(file.path).read_text().split()]


@step
def square(x: int, offset: list[int]) -> int:
    return x * x + len(offset)


@step
def fit(train: list[int], *, lr: float = 0.1) -> float:
    return sum(train) * lr * RATE


@step
def check(score: float, least: float) -> float:
    if score < least:
        raise ValueError("too low")
    return score


@step
def publish(score: float) -> float:
    return score


@step(cache=False)
def tell(score: float) -> float:
    return score


@pipeline
def retrain(file: File, count: int = 3, lr: float = 0.1, least: float = 0.0) -> Handle[Any]:
    found = days(count)
    table = read(file)
    score = fit(table, lr=lr)
    return (square(each(found), table), fit(found), tell(score), publish(check(score, least)))  # type: ignore[return-value]  # several


@pipeline
def read_all(files: list[File], shift: int = 0) -> Handle[list[int]]:
    return fit(total(each(files), shift))  # type: ignore[return-value]  # a list of lists, for the sake of the example


@step
def total(file: File, shift: int) -> int:
    return len(file.name) + shift


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "jan.csv"
    path.write_text("1 2 3")
    return path


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def ran(rt: Runtime, call: Handle[Any]) -> Run[Any]:
    run = await rt.start(call)
    await run.wait()
    return run


async def reasons(rt: Runtime, call: Handle[Any]) -> dict[str, Reason]:
    """Of a run of this call, by step; of several calls of a step the first."""
    found: dict[str, Reason] = {}
    for reason in await (await ran(rt, call)).why():
        found.setdefault(reason.step, reason)
    return found


async def test_a_first_run_has_nothing_to_be_compared_with(rt: Runtime, csv: Path) -> None:
    why = await reasons(rt, retrain(File(csv)))
    assert why["days"].verdict == "source"
    assert why["days"].text == "ran: a source (only plain parameters), runs in every run; cache=True would reuse it"
    assert (why["read"].verdict, why["read"].text) == ("first", "ran: no earlier run of retrain on record has called it")
    assert why["tell"].verdict == "uncached"


async def test_what_did_not_change_is_cached_and_a_source_that_gives_the_same_says_so(rt: Runtime, csv: Path) -> None:
    first = await ran(rt, retrain(File(csv)))
    why = await reasons(rt, retrain(File(csv)))
    assert why["fit"].verdict == why["publish"].verdict == why["square"].verdict == "cached"
    assert why["fit"].cached_from == first.id
    assert why["fit"].text == f"cached from run {first.id[:8]}"
    assert why["square"].text == f"cached from run {first.id[:8]}: all 3 elements"
    assert why["days"].notes == (f"its output is the same as in run {first.id[:8]}: what only depends on it need not run",)
    assert why["tell"].text == "ran: it says cache=False"


async def test_a_parameter(rt: Runtime, csv: Path) -> None:
    first = await ran(rt, retrain(File(csv)))
    why = await reasons(rt, retrain(File(csv), lr=0.01))
    assert why["fit"].text == f"ran: param lr: 0.1 -> 0.01 (since run {first.id[:8]})"
    assert why["fit"].changes == (Change("param", "lr", 0.1, 0.01, "param lr: 0.1 -> 0.01"),)
    assert why["fit"].against == first.id
    assert why["check"].text == f"ran: input `score`: new content, from fit (since run {first.id[:8]})"
    assert why["read"].verdict == "cached"


async def test_a_file_with_new_content_and_one_of_another_name(rt: Runtime, csv: Path) -> None:
    await ran(rt, retrain(File(csv)))
    write(csv, "1 2 3 4")
    why = await reasons(rt, retrain(File(csv)))
    (change,) = why["read"].changes
    assert str(change) == f"file {csv}: new content"
    other = csv.with_name("feb.csv")
    write(other, "1 2 3 4")
    why = await reasons(rt, retrain(File(other)))
    (change,) = why["read"].changes
    assert str(change) == f"file `file`: {csv} -> {other}"
    assert change.before == change.after is not None, "the content is the same: the name is what changed"


async def test_the_nearest_earlier_call_is_the_one_compared_with(rt: Runtime, csv: Path) -> None:
    far = await ran(rt, retrain(File(csv), lr=0.5))
    write(csv, "4 5 6")
    near = await ran(rt, retrain(File(csv), lr=0.2))
    write(csv, "1 2 3")
    why = await reasons(rt, retrain(File(csv), lr=0.3))
    assert why["fit"].against == far.id != near.id, "only lr differs from it"
    assert [change.kind for change in why["fit"].changes] == ["param"]


async def test_a_constant_of_the_code(rt: Runtime, csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await ran(rt, retrain(File(csv)))
    monkeypatch.setitem(globals(), "RATE", 3)
    why = await reasons(rt, retrain(File(csv)))
    (change,) = why["fit"].changes
    assert (change.kind, change.name, change.before, change.after) == ("constant", "RATE", "2", "3")
    assert str(change) == "constant `RATE`: 2 -> 3"
    assert why["read"].verdict == "cached"


async def test_a_source_runs_anyway_and_says_what_changed(rt: Runtime, csv: Path) -> None:
    first = await ran(rt, retrain(File(csv)))
    why = await reasons(rt, retrain(File(csv), count=4))
    assert (why["days"].verdict, why["days"].against) == ("source", first.id)
    assert why["days"].notes == (f"param count: 3 -> 4 (since run {first.id[:8]})",)


async def test_elements_of_a_fan_out(rt: Runtime, tmp_path: Path) -> None:
    files = [tmp_path / f"{month}.csv" for month in ("jan", "feb", "mar", "apr")]
    for file in files:
        write(file, "1")
    first = await ran(rt, read_all([File(file) for file in files]))
    write(files[1], "2")
    why = await reasons(rt, read_all([File(file) for file in files]))
    assert why["total"].verdict == "changed"
    assert why["total"].text == (
        f"ran for 1 of 4 elements, the others are cached: files `file`: 1 of 4 elements new ({files[1]}) (since run {first.id[:8]})"
    )
    assert why["fit"].verdict == "cached", "the new element gave what the old one had given"
    why = await reasons(rt, read_all([File(file) for file in files], shift=1))
    assert [str(change) for change in why["total"].changes] == ["param shift: 0 -> 1"]
    assert str(why["fit"].changes[0]) == "input `train`: 4 of 4 elements new, from total"


async def test_failed_and_skipped_steps(rt: Runtime, csv: Path) -> None:
    done = await ran(rt, retrain(File(csv)))
    failed = await ran(rt, retrain(File(csv), least=100.0))
    why = await failed.why()
    assert why["check"][0].text == f"ran: param least: 0.0 -> 100.0 (since run {done.id[:8]})"
    assert why["publish"][0].text == f"skipped: check failed; nothing changed since run {done.id[:8]}"
    again = await reasons(rt, retrain(File(csv), least=100.0))
    assert again["check"].text == f"ran: nothing changed since run {failed.id[:8]}, where it failed"
    assert again["check"].verdict == "again"


async def test_one_step_by_itself_or_by_name_and_one_that_is_not_there(rt: Runtime, csv: Path) -> None:
    run = await ran(rt, retrain(File(csv)))
    assert [reason.step for reason in await run.why(fit)] == ["fit", "fit"]
    assert [reason.step for reason in await run.why("read")] == ["read"]
    with pytest.raises(NotFound, match="Did you mean `read`"):
        await run.why("reed")


async def test_the_catalogue_says_the_same_and_so_does_the_command_line(
    rt: Runtime, csv: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await ran(rt, retrain(File(csv)))
    run = await ran(rt, retrain(File(csv), lr=0.3))
    own = await run.why()
    async with await ashore.open(home) as catalogue:
        past = await catalogue.run(run.id)
        assert str(await past.why()) == str(own)
        assert str(await past["check"].why()) == str(own["check"][0])
        assert str(await past[check][0].why()) == str(own["check"][0])
    assert str(own).splitlines()[0] == f"run {run.id[:8]} of retrain"
    assert "fit      ran: param lr: 0.1 -> 0.3" in str(own)


def test_at_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    Path("asked_flow.py").write_text(
        "from ashore import pipeline, step\n"
        "@step(cache=True)\ndef fit(lr: float) -> float:\n    return lr\n"
        "@pipeline\ndef train(lr: float = 0.1):\n    return fit(lr)\n"
    )
    assert main(["run", "asked_flow.py:train"]) == 0
    assert main(["run", "asked_flow.py:train", "lr=0.2"]) == 0
    capsys.readouterr()
    assert main(["why"]) == 0
    assert "fit  ran: param lr: 0.1 -> 0.2 (since run" in capsys.readouterr().out
    assert main(["why", "@last", "fit", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["steps"]
    assert (told["verdict"], told["changes"][0]["before"], told["changes"][0]["after"]) == ("changed", 0.1, 0.2)
    assert main(["why", "@last", "fitt"]) == 4
    assert "Did you mean `fit`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "before", "after", "text"),
    [
        ("code", "a" * 32, "b" * 32, "its own code, lines 3-9 of clean.py, changed"),
        ("helper clean.normalize", "a" * 32, "b" * 32, "helper `clean.normalize`, lines 3-9 of clean.py, changed"),
        ("class Model", "a" * 32, "b" * 32, "class `Model`, lines 3-9 of clean.py, changed"),
        ("helper clean.normalize", None, "b" * 32, "helper `clean.normalize` is new"),
        ("helper clean.normalize", "a" * 32, None, "helper `clean.normalize` is no longer used"),
        ("distribution pandas", "3.0.1 (abc)", "3.1.0 (def)", "pandas 3.0.1 -> 3.1.0"),
        ("distribution pandas", "3.0.1 (abc)", "3.0.1 (def)", "pandas 3.0.1: installed with other content"),
        ("python", "3.11", "3.12", "Python 3.11 -> 3.12"),
        ("constant RATE", "2", "3", "constant `RATE`: 2 -> 3"),
        ("constant NAMES", "function " + "a" * 32, "function " + "b" * 32, "constant `NAMES`, lines 3-9 of clean.py, changed"),
        ("default lr", "0.1", "0.01", "default `lr`: 0.1 -> 0.01"),
    ],
)
def test_each_kind_of_part_is_told_by_its_name(name: str, before: str | None, after: str | None, text: str) -> None:
    def definition(value: str | None) -> Definition:
        parts = {"role": "step"} | ({name: value} if value is not None else {})
        return Definition(CodeId(str(value).encode()), "fit", parts=parts, places={name: "clean.py:3-9"})

    (change,) = code_changes(definition(before), definition(after))
    assert (str(change), change.before, change.after) == (text, before, after)
    assert f"{change.kind} {change.name}".strip() == name


def test_equal_code_has_no_changes() -> None:
    one = Definition(CodeId(b"1"), "fit", parts={"code": "a"})
    assert list(code_changes(one, one)) == []
