"""Going on with a run that has ended: what is done is final, what failed is done again, and what is named as well."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import ashore
from ashore import GraphError, Handle, NotFound, Run, Runtime, WrongArgument, each, pipeline, step
from ashore.catalogue import PastRun
from ashore.events import Redone
from ashore.faces.cli import main

pytestmark = pytest.mark.anyio


class Calls(list[str]):
    """What was executed. A class of its own: a plain list would be a constant of the steps' code, part of their keys."""


class Outside(dict[str, Any]):
    """What the steps meet: it changes, and is no constant of their code."""


executed, outside = Calls(), Outside()


@pytest.fixture(autouse=True)
def _anew() -> None:
    executed.clear()
    outside.clear()
    outside["broken"] = {2}
    outside["value"] = 1


@step
def source(count: int) -> list[int]:
    executed.append("source")
    return list(range(count))


@step
def half(x: int) -> int:
    executed.append(f"half {x}")
    if x in outside["broken"]:
        raise ValueError(f"{x} is broken")
    return x * 2


@step
def fit(numbers: list[int]) -> int:
    executed.append("fit")
    if "fit" in outside["broken"]:
        raise ValueError("no fit")
    return sum(numbers) + int(outside["value"])


@step
def told(score: int) -> str:
    executed.append("told")
    return f"score {score}"


@step(effects=True)
def charge(score: int) -> int:
    executed.append("charge")
    return score


@pipeline
def train(count: int = 4) -> Handle[str]:
    return told(fit(half(each(source(count)))))


@pipeline
def paid(count: int = 2) -> Handle[int]:
    return charge(fit(source(count)))


@pipeline
async def live(count: int = 2) -> str:
    return await told(fit(await source(count)))


class Left(Exception):
    """A runtime is left before its runs have ended."""


@step
async def slow(score: int) -> int:
    executed.append("slow")
    if outside.get("hangs"):
        outside["hanging"].set()
        await anyio.sleep_forever()
    return score


@pipeline
def crashing(count: int = 2) -> Handle[int]:
    return slow(fit(source(count)))


async def ended(run: Run[Any]) -> Run[Any]:
    await run.wait()
    return run


async def test_a_failed_run_goes_on_where_it_failed(rt: Runtime, home: Path) -> None:
    run = await ended(await rt.start(train()))
    assert run.state == "failed"
    made = {name for name in executed if name.startswith("half") and name != "half 2"}
    executed.clear()
    outside["broken"] = set()
    again = await run.resume()
    assert again.id == run.id
    assert await again == "score 13"
    assert not made & set(executed), "elements that are done are final"
    assert {"half 2", "fit", "told"} <= set(executed)
    assert "source" not in executed
    async with await ashore.open(home) as catalogue:
        past: PastRun[Any] = await catalogue.run(run.id)
        assert (past.state, past.trouble, await past) == ("done", None, "score 13")
        assert {one.step: one.state for one in past.invocations} == dict.fromkeys(("source", "half", "fit", "told"), "done")
        elements = past["half"].one.elements
        assert elements is not None
        assert (elements.done, elements.failed) == (4, 0)
        assert (await past.verify()).findings == ()
        before = str(await past.why())
        await catalogue.rebuild()
        again_past: PastRun[Any] = await catalogue.run(run.id)
        assert str(await again_past.why()) == before
        assert again_past["half"].one.elements == elements


async def test_it_may_fail_again_and_go_on_again(rt: Runtime) -> None:
    run = await ended(await rt.start(train()))
    again = await ended(await run.resume())
    assert again.state == "failed"
    outside["broken"] = {"fit"}
    once_more = await ended(await again.resume())
    assert [str(error) for error in once_more.error.failures] == ["no fit"]  # type: ignore[union-attr]
    outside["broken"] = set()
    assert await (await once_more.resume()) == "score 13"
    kinds = [type(happened.event) async for happened in run.events()]
    assert kinds.count(Redone) == 3, "the events go on to the last end"
    assert kinds[-1].__name__ == "RunEnded"


async def test_under_its_key_with_again(home: Path) -> None:
    async with Runtime(home=home, grace=2.0) as rt:
        failed = await ended(await rt.start(train(), key="monday"))
        assert (await rt.start(train(), key="monday")).state == "failed", "a failure is an outcome, unless it is to be tried again"
    outside["broken"] = set()
    async with Runtime(home=home, grace=2.0) as rt:
        again = await rt.start(train(), key="monday", again="failed")
        assert again.id == failed.id
        assert await again == "score 13"
        assert await (await rt.start(train(), key="monday", again="failed")) == "score 13", "done is done"
        with pytest.raises(WrongArgument, match="without a key"):
            await rt.start(train(), again="failed")


async def test_a_cancelled_run_goes_on(rt: Runtime) -> None:
    outside.update(broken=set(), hangs=True, hanging=anyio.Event())
    run = await rt.start(crashing())
    await outside["hanging"].wait()
    await run.cancel()
    assert run.state == "cancelled"
    outside["hangs"] = False
    assert await (await run.resume()) == 2
    assert executed == ["source", "fit", "slow", "slow"]


async def test_steps_that_are_named_are_called_again_and_what_that_changes(rt: Runtime) -> None:
    outside["broken"] = set()
    run = await ended(await rt.start(train()))
    executed.clear()
    assert await (await run.resume(redo=[fit])) == "score 13"
    assert executed == ["fit"], "it gave the same: what comes after it is reused"
    executed.clear()
    outside["value"] = 5
    again = await run.resume(redo=["fit"])
    assert await again == "score 17"
    assert executed == ["fit", "told"]
    assert (await again.why("source"))[0].verdict == "source"
    with pytest.raises(NotFound, match="Did you mean `fit`"):
        await run.resume(redo=["fitt"])


async def test_all_elements_of_a_fan_out_that_is_named(rt: Runtime, home: Path) -> None:
    outside["broken"] = set()
    run = await ended(await rt.start(train()))
    executed.clear()
    assert await (await run.resume(redo=["half"])) == "score 13"
    assert sorted(executed) == ["half 0", "half 1", "half 2", "half 3"]
    async with await ashore.open(home) as catalogue:
        past: PastRun[Any] = await catalogue.run(run.id)
        elements = past["half"].one.elements
        assert elements is not None
        assert (elements.done, elements.cached, elements.failed) == (4, 0, 0)


async def test_what_acts_on_the_world_is_not_done_again_unless_it_is_named(rt: Runtime) -> None:
    outside["broken"] = set()
    run = await ended(await rt.start(paid()))
    with pytest.raises(GraphError, match=r"charge acts on the world.*redo=\[\"charge\"\]"):
        await run.resume(redo=["fit"])
    assert executed.count("charge") == 1
    await (await run.resume(redo=["fit", "charge"]))
    assert executed.count("charge") == 2


async def test_one_that_has_not_failed_is_left_as_it_is(rt: Runtime) -> None:
    outside["broken"] = set()
    run = await ended(await rt.start(train()))
    executed.clear()
    assert await (await run.resume()) == "score 13"
    assert executed == []


async def test_an_async_pipeline_does_again_what_failed(rt: Runtime) -> None:
    outside["broken"] = {"fit"}
    run = await ended(await rt.start(live()))
    assert run.state == "failed"
    executed.clear()
    outside["broken"] = set()
    assert await (await run.resume()) == "score 2"
    assert executed == ["fit", "told"]
    with pytest.raises(GraphError, match="decides while it runs"):
        await run.resume(redo=["fit"])


async def test_one_that_goes_on_is_taken_over_when_its_process_dies(home: Path) -> None:
    outside["broken"] = {"fit"}
    async with Runtime(home=home, grace=2.0) as rt:
        failed = await ended(await rt.start(crashing()))
        before = executed.count("source")
    outside.update(broken=set(), hangs=True, hanging=anyio.Event())
    with suppress(Left):
        async with Runtime(home=home, grace=2.0) as rt:
            await rt.redo(crashing, failed.id)
            await outside["hanging"].wait()
            raise Left
    outside["hangs"] = False
    async with Runtime(home=home, grace=2.0, resume=[crashing]) as rt:
        assert await (await rt.run(failed.id)) == 2
    assert (executed.count("source"), executed.count("fit"), executed.count("slow")) == (before, 2, 2)


async def test_of_two_who_go_on_with_it_one_does(home: Path) -> None:
    async with Runtime(home=home, grace=2.0) as one, Runtime(home=home, grace=2.0) as other:
        run = await ended(await one.start(train()))
        outside["broken"] = set()
        executed.clear()
        first = await one.redo(train, run)
        second = await other.redo(train, run.id) if first.state != "running" else await other.run(run.id)
        assert (await first, await second) == ("score 13", "score 13")
        assert executed.count("told") <= 1


def test_at_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    Path("resumed_flow.py").write_text(
        "from pathlib import Path\nfrom ashore import pipeline, step\n"
        "@step\ndef found(n: int) -> int:\n    return n\n"
        "@step(cache=False)\ndef fit(n: int) -> str:\n    return Path('model.txt').read_text()\n"
        "@pipeline\ndef train(n: int = 1):\n    return fit(found(n))\n"
    )
    assert main(["run", "resumed_flow.py:train"]) == 1
    Path("model.txt").write_text("good")
    capsys.readouterr()
    assert main(["resume"]) == 0
    assert "good" in capsys.readouterr().out
    Path("model.txt").write_text("better")
    assert main(["resume", "@last"]) == 0
    assert "good" in capsys.readouterr().out
    assert main(["resume", "@last", "--redo", "fit"]) == 0
    assert "better" in capsys.readouterr().out
    assert main(["runs", "--json"]) == 0
    assert len([json.loads(line) for line in capsys.readouterr().out.splitlines()]) == 1
    assert main(["log", "@last"]) == 0
    assert "goes on after its end: 1 call to be done again" in capsys.readouterr().out
