"""The code that ran is kept: with all that it reaches, as it was then."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ashore
from ashore import NotFound, Runtime
from ashore.events import StepDefined, decode
from ashore.faces.cli import main
from ashore.targets import load_module

pytestmark = pytest.mark.anyio

FLOW = """
from ashore import pipeline, step

RATE = 2

def scaled(x):
    return x * RATE

@step(cache=True)
def fit(x: int) -> int:
    return scaled(x)

@step
def told(x: int) -> str:
    return str(x)

@pipeline
def train(x: int = 1):
    return told(fit(x))
"""

Load = Callable[[str], ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Write the flow and import it, anew each time."""
    file = tmp_path / "kept_flow.py"

    def loaded(text: str) -> ModuleType:
        file.write_text(text)
        sys.modules.pop("kept_flow", None)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return load_module(str(file))

    yield loaded
    sys.modules.pop("kept_flow", None)


async def definitions(rt: Runtime) -> list[StepDefined]:
    await rt.stack.log.durable(rt.stack.log.statistics().written)
    frames = [frame async for frame in rt.stack.log.read()]
    return [event for frame in frames for event in decode(frame.batch.body, frame.count) if isinstance(event, StepDefined)]


async def test_the_code_of_a_run_stays_what_it_was(rt: Runtime, load: Load) -> None:
    first = await rt.start(load(FLOW).train())
    await first
    second = await rt.start(load(FLOW.replace("x * RATE", "x + RATE")).train())
    await second
    code = await first.code("fit")
    assert [one.step for one in code] == ["fit"]
    assert code["fit"].sources["helper scaled"] == "def scaled(x):\n    return x * RATE\n"
    assert code["fit"].sources["constant RATE"] == "RATE = 2\n"
    assert code["fit"].places["helper scaled"] == "kept_flow.py:6-7"
    assert (await second.code("fit"))["fit"].sources["helper scaled"] == "def scaled(x):\n    return x + RATE\n"
    reason = (await second.why("fit"))[0]
    assert str(reason.changes[0]) == "helper `scaled`, lines 6-7 of kept_flow.py, changed"
    assert sorted(one.step for one in await first.code()) == ["fit", "told"]
    with pytest.raises(NotFound, match="Did you mean `fit`"):
        await first.code("fitt")


async def test_sources_are_kept_once_in_a_home_and_large_ones_as_an_artifact(home: Path, load: Load) -> None:
    flow = FLOW.replace("RATE = 2", "RATE = 7")
    text = flow.replace("    return scaled(x)", f"    '''{'a story. ' * 5000}'''\n    return scaled(x)")
    for _ in range(2):
        async with Runtime(home=home) as rt:
            run = await rt.start(load(text).train())
            await run
            assert (await run.code("fit"))["fit"].sources["code"].count("a story") == 5000
            stated = [event for event in await definitions(rt) if event.step == "fit"]
    assert len(stated) == 2, "each process says what its steps are"
    assert [event.sources is not None for event in stated] == [True, False]
    assert stated[0].sources is not None
    assert stated[0].sources.data is None, "it is a blob"


async def test_from_the_catalogue(rt: Runtime, load: Load, home: Path) -> None:
    run = await rt.start(load(FLOW).train())
    await run
    async with await ashore.open(home) as catalogue:
        past: Any = await catalogue.run(run.id)
        assert str(await past.code()) == str(await run.code())


def test_at_the_command_line(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load(FLOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASHORE_HOME", str(tmp_path / "home"))
    assert main(["run", "kept_flow.py:train"]) == 0
    capsys.readouterr()
    assert main(["code", "@last", "fit"]) == 0
    shown = capsys.readouterr().out
    assert "# helper scaled (kept_flow.py:6-7)\ndef scaled(x):\n    return x * RATE\n" in shown
    assert "told" not in shown
    assert main(["code", "--json"]) == 0
    assert {one["step"] for one in json.loads(capsys.readouterr().out)["steps"]} == {"fit", "told"}
