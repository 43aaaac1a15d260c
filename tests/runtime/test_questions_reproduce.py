"""A run made again: the same contents, or the step that makes others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ashore import GraphError, Handle, Run, Runtime, each, pipeline, step
from ashore.faces.cli import main

pytestmark = pytest.mark.anyio


class Calls(list[str]):
    """What was executed. A class of its own: a plain list would be a constant of the steps' code, part of their keys."""


class Outside(dict[str, int]):
    """What the steps meet: it changes, and is no constant of their code."""


executed, outside = Calls(), Outside()


@pytest.fixture(autouse=True)
def _anew() -> None:
    executed.clear()
    outside.clear()
    outside.update(source=3, noise=0)


@step
def source(n: int) -> list[int]:
    executed.append("source")
    return list(range(outside["source"] + n))


@step
def square(x: int) -> int:
    executed.append("square")
    return x * x + (outside["noise"] if x == 2 else 0)


@step
def total(numbers: list[int]) -> int:
    executed.append("total")
    return sum(numbers)


@step(effects=True)
def send(score: int) -> int:
    executed.append("send")
    return score


@pipeline
def score(n: int = 1) -> Handle[int]:
    return send(total(square(each(source(n)))))


@pipeline
async def live(n: int = 1) -> int:
    return await total(square(each(await source(n))))


@pipeline
async def live_source(n: int = 1) -> int:
    return await total(source(n))


async def ran(rt: Runtime, call: Handle[Any]) -> Run[Any]:
    run = await rt.start(call)
    await run.wait()
    executed.clear()
    return run


async def test_the_same_sources_give_the_same_and_nothing_is_reused(rt: Runtime) -> None:
    run = await ran(rt, score())
    outside["source"] = 99
    found = await run.reproduce()
    assert found.is_same
    assert (found.same, found.state, found.original) == (4, "done", run.id)
    assert executed.count("square") == 4
    assert "total" in executed
    assert "source" not in executed, "it gives what is recorded"
    assert "send" not in executed, "nobody acts on the world"
    assert str(found) == f"run {found.run[:8]} reproduces run {run.id[:8]} of score: 4 calls made the same"
    again = await rt.run(found.run)
    assert (await again.verify(score)).findings == ()


async def test_the_step_that_differs_is_named_and_what_comes_of_it(rt: Runtime) -> None:
    run = await ran(rt, score())
    outside["noise"] = 7
    found = await run.reproduce()
    assert not found.is_same
    roots = [one for one in found.differing if one.is_root]
    assert [one.step for one in roots] == ["square"]
    assert str(roots[0]) == "square: made other content from the same inputs"
    assert [one.step for one in found.differing] == ["square", "total"], "what acts on the world is as recorded"
    assert "total: made other content: input `numbers`: 1 of 4 elements new, from square" in str(found)


async def test_an_async_pipeline(rt: Runtime) -> None:
    run = await ran(rt, live_source())
    outside["source"] = 99
    found = await run.reproduce()
    assert found.is_same
    assert executed == ["total"]


async def test_a_run_that_has_not_ended(rt: Runtime) -> None:
    run = await rt.start(score())
    if run.state == "running":
        with pytest.raises(GraphError, match="has not ended"):
            await run.reproduce()
    await run.wait()


def test_at_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    Path("noise.txt").write_text("1")
    Path("reproduced_flow.py").write_text(
        "from pathlib import Path\nfrom ashore import pipeline, step\n"
        "@step\ndef found(n: int) -> int:\n    return n\n"
        "@step\ndef fit(n: int) -> str:\n    return Path('noise.txt').read_text()\n"
        "@pipeline\ndef train(n: int = 1):\n    return fit(found(n))\n"
    )
    assert main(["run", "reproduced_flow.py:train"]) == 0
    assert main(["reproduce"]) == 0
    capsys.readouterr()
    Path("noise.txt").write_text("2")
    assert main(["reproduce", "@last"]) == 1
    assert "fit: made other content from the same inputs" in capsys.readouterr().out
    assert main(["reproduce", "@last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_same"] is True
