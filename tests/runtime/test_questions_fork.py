"""Forks: a run once more with one thing changed, and only what that affects is done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ashore
from ashore import AshoreError, File, GraphError, Handle, RunFailed, Runtime, TargetError, WrongArgument, pipeline, step
from ashore.faces.cli import main

pytestmark = pytest.mark.anyio


class Calls(list[str]):
    """What was executed. A class of its own: a plain list would be a constant of the steps' code, part of their keys."""


executed = Calls()


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


@step
def read(file: File) -> str:
    executed.append("read")
    return Path(file.path).read_text()


@step
def fit(text: str, *, lr: float) -> float:
    executed.append(f"fit {lr}")
    return len(text) * lr


@step(effects=True)
def charge(score: float) -> float:
    executed.append("charge")
    return score


@pipeline
def train(file: File, lr: float = 0.5, pay: bool = False) -> Handle[float]:
    score = fit(read(file), lr=lr)
    return charge(score) if pay else score


@pipeline
async def train_live(file: File, lr: float = 0.5) -> float:
    return await charge(fit(read(file), lr=lr))


def write(file: Path, text: str) -> None:
    file.write_text(text)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "jan.csv"
    path.write_text("1 2 3 4")
    return path


async def test_only_what_is_affected_runs_and_the_parent_is_named(rt: Runtime, csv: Path, home: Path) -> None:
    first = await rt.start(train(File(csv)))
    assert await first == 3.5
    executed.clear()
    forked = await first.fork(lr=2.0)
    assert await forked == 14.0
    assert executed == ["fit 2.0"]
    async with await ashore.open(home) as catalogue:
        past = await catalogue.run(forked.id)
        assert past.parent == first.id
        assert past.params["lr"] == 2.0
    assert [str(change) for change in (await forked.why("fit"))[0].changes] == ["param lr: 0.5 -> 2.0"]


async def test_files_stay_the_contents_that_they_were(rt: Runtime, csv: Path) -> None:
    first = await rt.start(train(File(csv)))
    await first
    write(csv, "other, and longer")
    executed.clear()
    assert await (await first.fork(lr=2.0)) == 14.0, "what was read is reused: nobody looks at the file"
    assert await (await first.fork(file=File(csv))) == 8.5, "a file that is given is looked at"
    assert executed == ["fit 2.0", "read", "fit 0.5"]


async def test_arguments_that_the_pipeline_does_not_take(rt: Runtime, csv: Path) -> None:
    first = await rt.start(train(File(csv)))
    await first
    with pytest.raises(WrongArgument, match=r"no parameter `lrr`.*Did you mean `lr`"):
        await first.fork(lrr=1.0)
    with pytest.raises(WrongArgument):
        await first.fork(lr="fast")


async def test_a_fork_does_not_act_on_the_world_unless_it_is_told_to(rt: Runtime, csv: Path) -> None:
    first = await rt.start(train(File(csv), pay=True))
    assert await first == 3.5
    executed.clear()
    with pytest.raises(GraphError, match=r"charge acts on the world.*effects=\"run\""):
        await first.fork(lr=2.0)
    assert executed == []
    assert await (await first.fork(effects="run", lr=2.0)) == 14.0
    assert executed == ["fit 2.0", "charge"]
    with pytest.raises(WrongArgument, match="effects='skip'"):
        await first.fork(effects="skip")  # type: ignore[arg-type]


async def test_in_an_async_pipeline_the_call_of_the_step_is_refused(rt: Runtime, csv: Path) -> None:
    first = await rt.start(train_live(File(csv)))
    assert await first == 3.5
    executed.clear()
    forked = await first.fork(lr=2.0)
    with pytest.raises(RunFailed) as failed:
        await forked
    assert "charge acts on the world" in str(failed.value.failures[0])
    assert "charge" not in executed
    assert await (await first.fork(effects="run", lr=2.0)) == 14.0


async def test_from_the_catalogue_in_the_runtime_that_is_open(home: Path, csv: Path, tmp_path: Path) -> None:
    async with Runtime(home=home) as rt:
        first = await rt.start(train(File(csv)))
        await first
        async with await ashore.open(home) as catalogue:
            past: Any = await catalogue.run(first.id)
            forked = await past.fork(lr=2.0)
            assert await forked == 14.0
    async with Runtime(home=tmp_path / "another"), await ashore.open(home) as catalogue:
        past = await catalogue.run(first.id)
        with pytest.raises(AshoreError, match="is of the home"):
            await past.fork(lr=3.0)


async def test_a_pipeline_that_cannot_be_imported_is_passed(home: Path) -> None:
    @step
    def one(x: int) -> int:
        return x

    @pipeline
    def inner(x: int) -> Handle[int]:
        return one(x)

    async with Runtime(home=home) as rt:
        first = await rt.start(inner(1))
        await first
    async with Runtime(home=home) as rt:
        run = await rt.run(first.id)
        with pytest.raises(TargetError, match="inside a function"):
            await run.fork(x=2)
        assert await (await run.fork(inner, x=2)) == 2


def test_at_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    Path("forked_flow.py").write_text(
        "from ashore import pipeline, step\n@step\ndef fit(lr: float) -> float:\n    return lr\n"
        "@pipeline\ndef train(lr: float = 0.1, n: int = 1):\n    return fit(lr)\n"
    )
    assert main(["run", "forked_flow.py:train", "n=2"]) == 0
    capsys.readouterr()
    assert main(["fork", "@last", "lr=0.25"]) == 0
    assert capsys.readouterr().out == "0.25\n"
    assert main(["runs", "--json", "-n", "1"]) == 0
    forked = json.loads(capsys.readouterr().out)
    assert forked["params"] == {"lr": 0.25, "n": 2}
    assert main(["fork", "@last", "rate=1"]) == 2
    assert "no parameter `rate`" in capsys.readouterr().err
