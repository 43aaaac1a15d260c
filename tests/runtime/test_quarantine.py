"""A run that ends the process that drives it: after three deaths in a row nobody goes on with it by itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from textwrap import dedent

import anyio
import pytest

from ashore import RunHeld, Runtime
from ashore.events import Adopted, Event, Held, Released, RunStarted, StepRan, StepStarted
from ashore.ids import NO_KEY, InvocationId, RunId
from ashore.quarantine import is_poisonous
from ashore.targets import load_module

pytestmark = pytest.mark.anyio

RUN = RunId("r")
STARTED = RunStarted(RUN, "p", "p.py:p", (), (), b"1", b"", 0.0)
ADOPTED = Adopted(RUN, b"2", b"1", 0.0)
BEGAN = StepStarted(RUN, InvocationId(b"i"), 0.0, 1)
RAN = StepRan(RUN, InvocationId(b"i"), NO_KEY, (), 0.0, 0.0, 0.0)
LEFT = Released(RUN, b"1", 0.0)
HELD = Held(RUN, InvocationId(b""), "", "", 0.0)


@pytest.mark.parametrize(
    ("events", "is_one"),
    [
        ([STARTED], False),
        ([STARTED, BEGAN, ADOPTED, BEGAN], False),
        ([STARTED, BEGAN, ADOPTED, BEGAN, ADOPTED, BEGAN], True),
        ([STARTED, BEGAN, ADOPTED, BEGAN, ADOPTED], False),
        ([STARTED, ADOPTED, ADOPTED, ADOPTED], False),
        ([STARTED, BEGAN, ADOPTED, ADOPTED, BEGAN, ADOPTED, BEGAN], True),
        ([STARTED, BEGAN, ADOPTED, BEGAN, ADOPTED, BEGAN, RAN], False),
        ([STARTED, RAN, BEGAN, ADOPTED, BEGAN, ADOPTED, BEGAN], True),
        ([STARTED, BEGAN, ADOPTED, RAN, BEGAN, ADOPTED, BEGAN], False),
        ([STARTED, BEGAN, LEFT, ADOPTED, BEGAN, LEFT, ADOPTED, BEGAN, LEFT, ADOPTED, BEGAN], False),
        ([STARTED, BEGAN, ADOPTED, BEGAN, ADOPTED, BEGAN, ADOPTED, HELD, ADOPTED, BEGAN], False),
    ],
)
def test_deaths_in_a_row_without_progress_count(events: list[Event], is_one: bool) -> None:
    assert is_poisonous(events) is is_one


PROGRAM = """
    import os, sys, time
    from pathlib import Path
    from ashore import Handle, Runtime, pipeline, step

    HERE = Path(__file__).parent

    @step
    def first(n: int) -> int:
        return n

    @step
    def deadly(n: int) -> int:
        if not (HERE / "mended").exists():
            time.sleep(0.5)  # so that its start is on record
            os._exit(66)
        return n + 1

    @pipeline
    def doomed(n: int) -> Handle[int]:
        return deadly(first(n))

    async def main(key: str) -> None:
        async with Runtime(home=HERE / ".ashore") as rt:
            print(await (await rt.start(doomed(1), key=key)))
"""


async def test_a_run_that_ends_its_process_is_held_and_goes_on_when_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    program = tmp_path / "doomed_program.py"
    program.write_text(dedent(PROGRAM))
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", "import anyio, doomed_program as p; anyio.run(p.main, 'k')"]
    for _ in range(3):
        ended = await anyio.run_process(command, cwd=tmp_path, env=environ, check=False)
        assert ended.returncode == 66, ended.stderr
    doomed = load_module(str(program)).doomed
    try:
        async with Runtime(home=tmp_path / ".ashore", resume=[doomed]) as rt:
            run = await rt.start(doomed(1), key="k")
            with pytest.raises(
                RunHeld, match=r"died 3 times in a row after deadly began, and nothing was done in between.*ashore resume"
            ) as caught:
                await run
            assert run.state == "held"
            assert run.id[:8] in caught.value.mend
        show = [sys.executable, "-m", "ashore", "show", "--home", str(tmp_path / ".ashore")]
        shown = (await anyio.run_process(show, env=environ)).stdout.decode()
        assert "held" in shown
        assert "died 3 times in a row" in " ".join(shown.split())
        (tmp_path / "mended").touch()
        async with Runtime(home=tmp_path / ".ashore") as rt:
            assert await (await rt.resume(doomed, run.id)) == 2
    finally:
        del sys.modules["doomed_program"]
