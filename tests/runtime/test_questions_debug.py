"""A call that failed, once more: the recorded inputs, the plain function, and pdb at the frame that raised."""

from __future__ import annotations

import io
import pdb
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, assert_type

import pytest

import ashore
from ashore import (
    File,
    GraphError,
    Handle,
    NotFound,
    Resource,
    Run,
    RunFailed,
    Runtime,
    WrongArgument,
    each,
    pipeline,
    resource,
    step,
)
from ashore.faces.cli import main

pytestmark = pytest.mark.anyio


class Calls(list[Any]):
    """What was executed, with what. A class of its own: a plain list would be a constant of the steps' code."""


executed = Calls()


class Looked(list[str]):
    """The functions whose frames pdb was opened at."""


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    found = Looked()

    def post_mortem(frames: TracebackType) -> None:
        last = frames
        while last.tb_next is not None:
            last = last.tb_next
        found.append(last.tb_frame.f_code.co_name)

    monkeypatch.setattr(pdb, "post_mortem", post_mortem)
    executed.clear()
    return found


@step
def load(file: File) -> list[int]:
    return [int(word) for word in Path(file.path).read_text().split()]


def divided(x: int, y: int) -> float:
    return x / y


@step
def ratio(numbers: list[int], *, by: int, extra: dict[str, list[int]]) -> float:
    executed.append((numbers, by, extra, threading.current_thread() is threading.main_thread()))
    return divided(sum(numbers), by)


@step
def inverse(x: int, numbers: list[int]) -> float:
    executed.append((x, numbers))
    return divided(1, x)


@step
async def told(x: float, by: int) -> str:
    executed.append(x)
    return f"{divided(1, by)} {x}"


@step(effects=True)
def charge(score: float) -> float:
    executed.append("charged")
    return divided(1, 0)


@step
def stored(x: float, db: Resource[str] = resource()) -> float:  # so it is written
    executed.append(db)
    return divided(1, 0)


@pipeline
def train(file: File, by: int = 1) -> Handle[Any]:
    numbers = load(file)
    return [ratio(numbers, by=by, extra={"all": [1]}), told(ratio(numbers, by=1, extra={"all": [2]}), by)]  # type: ignore[return-value]


@pipeline
def spread(file: File, shift: int = 0) -> Handle[Any]:
    numbers = load(file)
    return inverse(each(numbers), numbers)


@pipeline
def pay(x: float) -> Handle[float]:
    return charge(x)


@pipeline
def keep(x: float) -> Handle[float]:
    return stored(x)


@pipeline
async def live(file: File, by: int) -> float:
    return await ratio(load(file), by=by, extra={"all": [1]})


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "jan.csv"
    path.write_text("3 0 6")
    return path


async def ran(rt: Runtime, call: Handle[Any]) -> Run[Any]:
    run = await rt.start(call)
    await run.wait()
    executed.clear()
    return run


async def test_the_call_that_failed_with_its_inputs_in_this_thread(rt: Runtime, csv: Path, looked: Looked) -> None:
    run = await ran(rt, train(File(csv), by=0))
    with pytest.raises(ZeroDivisionError):
        await run["ratio"].debug()
    assert executed == [([3, 0, 6], 0, {"all": [1]}, True)]
    assert looked == ["divided"]


async def test_an_async_step_and_one_that_does_not_fail(rt: Runtime, csv: Path, looked: Looked) -> None:
    run = await ran(rt, train(File(csv), by=0))
    with pytest.raises(ZeroDivisionError):
        await run[told].debug()
    assert (executed, looked) == ([9.0], ["divided"])
    assert await run[load].debug() == [3, 0, 6]
    assert looked == ["divided"], "nothing failed: there is nothing to look at"


async def test_code_that_was_mended_meanwhile(rt: Runtime, csv: Path, looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await ran(rt, train(File(csv), by=0))
    monkeypatch.setitem(globals(), "divided", lambda x, y: x / (y or 1))
    assert await run["ratio"].debug() == 9.0


async def test_an_element_of_a_fan_out(rt: Runtime, csv: Path, looked: Looked) -> None:
    run = await ran(rt, spread(File(csv)))
    with pytest.raises(ZeroDivisionError):
        await run["inverse"].debug()
    assert executed == [(0, [3, 0, 6])]
    assert await run["inverse"].debug(element=0) == 1 / 3
    with pytest.raises(NotFound, match="no element 7"):
        await run["inverse"].debug(element=7)


async def test_from_the_catalogue_one_of_several_calls(rt: Runtime, csv: Path, home: Path, looked: Looked) -> None:
    run = await ran(rt, train(File(csv), by=2))
    with pytest.raises(NotFound, match="was called 2 times"):
        await run["ratio"].debug()
    async with await ashore.open(home) as catalogue:
        past: Any = await catalogue.run(run.id)
        assert await past["ratio"].where(by=2)[0].debug() == 4.5
        assert await past[load].debug() == [3, 0, 6]


async def test_of_an_async_pipeline_by_its_record(rt: Runtime, csv: Path, looked: Looked) -> None:
    run = await ran(rt, live(File(csv), by=0))
    with pytest.raises(ZeroDivisionError):
        await run["ratio"].debug()
    assert executed == [([3, 0, 6], 0, {"all": [1]}, True)]


async def test_a_step_that_acts_on_the_world_is_refused(rt: Runtime, looked: Looked) -> None:
    run = await ran(rt, pay(1.0))
    with pytest.raises(GraphError, match="charge acts on the world"):
        await run["charge"].debug()
    assert executed == []
    with pytest.raises(WrongArgument):
        await run["charge"].debug(effects="skip")  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        await run["charge"].debug(effects="run")
    assert executed == ["charged"]


async def test_a_step_with_resources(home: Path, looked: Looked) -> None:
    async with Runtime(home=home, resources={"db": "pool"}) as rt:
        run = await ran(rt, keep(1.0))
        with pytest.raises(ZeroDivisionError):
            await run["stored"].debug()
    assert executed == ["pool"]


async def test_what_a_run_holds_of_a_step_is_typed(rt: Runtime, csv: Path) -> None:
    run: Run[Any] = await ran(rt, train(File(csv), by=2))
    numbers = await run[load].out.load()
    assert_type(numbers, list[int])
    assert numbers == [3, 0, 6]
    assert (await run["load"].why()).step == "load"
    assert repr(run[load]) == f"<load of run {run.id[:8]}>"
    with pytest.raises(NotFound, match="Did you mean `load`"):
        await run["loaf"].out.load()


def test_ashore_run_looks_at_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked: Looked) -> None:
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    (tmp_path / "jan.csv").write_text("3 0 6")
    with pytest.raises(RunFailed):
        ashore.run(train(File(tmp_path / "jan.csv"), by=0), debug=True)
    assert looked == ["divided"]
    with pytest.raises(RunFailed):
        ashore.run(train(File(tmp_path / "jan.csv"), by=0))
    assert looked == ["divided"]


def test_at_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    Path("debugged_flow.py").write_text(
        "from ashore import step\n@step\ndef fit(lr: float) -> float:\n    rate = lr * 3\n    return 1 / (rate - 3)\n"
    )
    assert main(["run", "debugged_flow.py:fit", "lr=1.0"]) == 1
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.StringIO("p 'rate is', rate\nq\n"))
    assert main(["debug", "@last", "fit"]) == 1
    said = capsys.readouterr()
    assert "('rate is', 3.0)" in said.out
    assert "ZeroDivisionError" in said.err
    assert main(["run", "debugged_flow.py:fit", "lr=2.0"]) == 0
    capsys.readouterr()
    assert main(["debug", "@last", "fit"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == "0.3333333333333333"
    assert "fit did not fail this time" in said.err
