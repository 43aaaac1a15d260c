"""A run's decisions follow from its record; a record or a code that says otherwise is found out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ashore
from ashore import AshoreError, File, Handle, Run, Runtime, each, pipeline, step
from ashore.events import Event, RunEnded, StepRan
from ashore.faces.cli import main
from ashore.questions import Verified
from ashore.questions.deriving import verified
from ashore.questions.histories import read
from ashore.questions.reading import recorded_of
from ashore.questions.verifying import Recorded
from ashore.testing import replay

pytestmark = pytest.mark.anyio


class Calls(list[str]):
    """What was executed. A class of its own: a plain list would be a constant of the steps' code, part of their keys."""


executed = Calls()


@step
def load(file: File) -> list[int]:
    executed.append("load")
    return [int(word) for word in Path(file.path).read_text().split()]


@step
def square(x: int, offset: list[int]) -> int:
    executed.append("square")
    return x * x + len(offset)


@step(cache=True)
def fit(numbers: list[int], *, least: int = 0) -> int:
    executed.append("fit")
    if sum(numbers) < least:
        raise ValueError("too few")
    return sum(numbers)


@step
def told(score: int) -> str:
    executed.append("told")
    return str(score)


@pipeline
def train(file: File, least: int = 0) -> Handle[Any]:
    table = load(file)
    return [told(fit(square(each(table), table), least=least)), table]  # type: ignore[return-value]  # a list of handles


@pipeline
def train_other(file: File, least: int = 0) -> Handle[Any]:
    return told(fit(load(file), least=least))


@pipeline
async def train_live(file: File) -> str:
    return await told(fit(load(file)))


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "jan.csv"
    path.write_text("1 2 3")
    return path


async def ran(rt: Runtime, call: Handle[Any]) -> Run[Any]:
    run = await rt.start(call)
    await run.wait()
    executed.clear()
    return run


async def test_done_reused_and_failed_runs_are_as_recorded_and_nothing_executes(rt: Runtime, csv: Path) -> None:
    runs = [await ran(rt, train(File(csv))), await ran(rt, train(File(csv))), await ran(rt, train(File(csv), least=99))]
    found = [await run.verify() for run in runs]
    assert [one.findings for one in found] == [(), (), ()]
    assert found[0].checked == {"calls": 4, "keys": 3, "reuses": 0, "outcomes": 4}
    assert found[1].checked["reuses"] == 6, "three calls and three elements"
    assert executed == []
    assert str(found[0]) == f"run {runs[0].id[:8]} of train: as recorded (4 calls, 3 keys, 0 reuses, 4 outcomes)"


async def test_the_catalogue_derives_the_same(rt: Runtime, csv: Path, home: Path) -> None:
    run = await ran(rt, train(File(csv)))
    async with await ashore.open(home) as catalogue:
        past: Any = await catalogue.run(run.id)
        assert await past.verify() == await run.verify()


async def test_an_async_pipeline_is_taken_as_recorded_and_that_is_said(rt: Runtime, csv: Path) -> None:
    found = await (await ran(rt, train_live(File(csv)))).verify()
    assert found.is_sound
    assert "decides while it runs" in found.notes[0]
    assert executed == []


async def test_code_that_asks_for_other_calls_by_now(rt: Runtime, csv: Path) -> None:
    run = await ran(rt, train(File(csv)))
    found = await run.verify(train_other)
    assert not found.is_sound
    kinds = {(one.kind, one.step) for one in found.findings}
    assert ("call", "square") in kinds
    assert "square: was called, and the pipeline does not ask for that any more" in str(found)


async def test_a_pipeline_that_takes_other_arguments_by_now(rt: Runtime, csv: Path) -> None:
    @pipeline
    def renamed(path: File) -> Handle[Any]:
        return told(fit(load(path)))

    run = await ran(rt, train(File(csv)))
    (finding,) = (await run.verify(renamed)).findings
    assert finding.kind == "pipeline"
    assert "cannot be wired" in finding.text


Change = Callable[[list[Event]], list[Event]]


def changed(kind: type, index: int = 0, **values: Any) -> Change:
    def change(events: list[Event]) -> list[Event]:
        place = [place for place, event in enumerate(events) if isinstance(event, kind)][index]
        return [*events[:place], msgspec.structs.replace(events[place], **values), *events[place + 1 :]]

    return change


def reversed_outcomes(events: list[Event]) -> list[Event]:
    outcomes = iter([event for event in events if isinstance(event, StepRan)][::-1])
    return [next(outcomes) if isinstance(event, StepRan) else event for event in events]


def twice(events: list[Event]) -> list[Event]:
    ran = next(event for event in events if isinstance(event, StepRan))
    return [*events[:-1], ran, events[-1]]


@pytest.mark.parametrize(
    ("kind", "text", "change"),
    [
        ("key", "its key is", changed(StepRan, 0, key=b"k" * 16)),
        ("key", "is not reused, and would be", changed(StepRan, 0, key=b"")),
        ("reuse", "has no such output under its key", changed(StepRan, 0, reused_run="f" * 20, reused_invocation=b"i" * 16)),
        ("order", "has an outcome before `", reversed_outcomes),
        ("order", "has two outcomes", twice),
        ("outcome", "it ended as failed, and its calls make that done", changed(RunEnded, state="failed")),
        ("outcome", "its result is not what its calls make", changed(RunEnded, result=b"\x92\xa1p\xc0")),
    ],
)
async def test_a_record_that_does_not_follow_is_found_out(rt: Runtime, csv: Path, kind: str, text: str, change: Change) -> None:
    run = await ran(rt, train(File(csv)))
    recorded = await recorded_of(rt.stack.log, run.id)
    assert verified(recorded, train).is_sound
    found = verified(Recorded(recorded.run, change(list(recorded.events)), recorded.made), train)
    assert [one for one in found.findings if one.kind == kind and text in one.text], str(found)


async def test_reuse_of_what_is_not_on_record_is_found_out(rt: Runtime, csv: Path) -> None:
    await ran(rt, train(File(csv)))
    recorded = await recorded_of(rt.stack.log, (await ran(rt, train(File(csv)))).id)
    found = verified(Recorded(recorded.run, recorded.events, {}), train)
    assert {one.step for one in found.findings} == {"load", "fit", "told", "square[0]", "square[1]", "square[2]"}


async def exported(rt: Runtime, csv: Path, to: Path) -> Run[Any]:
    run = await ran(rt, train(File(csv)))
    await run.export(to)
    return run


async def test_an_exported_history_is_replayed_against_the_code_that_is_here(rt: Runtime, csv: Path, tmp_path: Path) -> None:
    run = await exported(rt, csv, tmp_path / "train.history")
    found = replay(tmp_path / "train.history", train)
    assert isinstance(found, Verified)
    assert (found.run, found.is_sound, executed) == (run.id, True, [])
    assert replay(tmp_path / "train.history", root=rt.stack.home.root).is_sound, "imported from where it was"
    with pytest.raises(AssertionError, match="square: was called, and the pipeline does not ask for that any more"):
        replay(tmp_path / "train.history", train_other)
    async with await ashore.open(rt.stack.home.path) as catalogue:
        past: Any = await catalogue.run(run.id)
        await past.export(tmp_path / "again.history")
    assert same(tmp_path / "again.history", tmp_path / "train.history")


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def damaged(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


async def test_what_is_no_sound_history(rt: Runtime, csv: Path, tmp_path: Path) -> None:
    await exported(rt, csv, tmp_path / "train.history")
    _refuses(tmp_path / "train.history", len(range(0, 400, 40)))
    with pytest.raises(AshoreError, match="cannot be read"):
        replay(tmp_path / "none.history", train)


def _refuses(file: Path, count: int) -> None:
    content = file.read_bytes()
    assert read(content, "it").recorded.events
    for place in range(0, 40 * count, 40):
        with pytest.raises(AshoreError, match=r"is damaged|is no history|of version"):
            read(damaged(content, place), "it")
    with pytest.raises(AshoreError, match="is damaged"):
        read(content[:-1], "it")
    with pytest.raises(AshoreError, match="version 9"):
        read(content.replace(b"history 1", b"history 9", 1), "it")


def test_at_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    text = (
        "from ashore import pipeline, step\n@step(cache=True)\ndef fit(lr: float) -> float:\n    return lr\n"
        "@pipeline\ndef train(lr: float = 0.1):\n    return fit(lr)\n"
        "@pipeline\ndef more(lr: float = 0.1):\n    return fit(lr + 1)\n"
    )
    Path("verified_flow.py").write_text(text)
    assert main(["run", "verified_flow.py:train"]) == 0
    capsys.readouterr()
    assert main(["verify"]) == 0
    assert ": as recorded (1 calls, 1 keys, 0 reuses, 1 outcomes)" in capsys.readouterr().out
    assert main(["verify", "@last", "--target", "verified_flow.py:more"]) == 1
    assert "not as recorded" in capsys.readouterr().out
    assert main(["export", "@last", "train.history"]) == 0
    assert replay("train.history").is_sound
