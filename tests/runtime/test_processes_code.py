"""Which code a worker process runs: what its module says when it is imported there, or, where no import finds it, what was sent."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tests.runtime.test_processes_lost import pool_of

from ashore import Runtime, StepError, TargetError, pipeline, step
from ashore.targets import load_module

pytestmark = pytest.mark.anyio

STEPS = """
    import os, random, sys
    from dataclasses import dataclass
    from ashore import Handle, pipeline, step

    RATE = 3
    calls = []

    @dataclass
    class Point:
        x: int

    @step
    def rated(n: int) -> int:
        return n * RATE

    @step
    def where(n: int) -> tuple[int, str]:
        calls.append(n)
        return len(calls), __name__

    @step
    def point(n: int) -> Point:
        return Point(n)

    @step
    def moved(point: Point) -> Point:
        assert type(point) is Point
        return Point(point.x + 1)

    @pipeline
    def two(n: int) -> Handle[Point]:
        return moved(point(n))
"""


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file of steps, imported by its path."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "workshop.py"
    path.write_text(dedent(STEPS))
    module: Any = load_module(str(path))

    def on_disk(line: str | None) -> None:
        """Change its line about RATE, or remove it."""
        path.write_text(path.read_text().replace("RATE = 3", line)) if line else path.unlink()

    module.on_disk = on_disk
    yield module
    del sys.modules["workshop"]


@pytest.fixture
async def rt(home: Path) -> AsyncIterator[Runtime]:
    async with Runtime(home=home, executor="process", processes=1, grace=4.0) as runtime:
        yield runtime


async def test_a_file_is_imported_by_its_path_once(rt: Runtime, steps: Any) -> None:
    assert await steps.where(1) == (1, "workshop")
    assert await steps.where(1) == (2, "workshop")
    assert steps.calls == []
    assert await steps.two(1) == steps.Point(2)


async def test_a_file_that_changed_on_disk_is_refused(rt: Runtime, steps: Any) -> None:
    steps.on_disk("RATE = 4")
    with pytest.raises(
        StepError, match=r"rated is not the same in a worker process, which imports .*workshop.py anew.*RATE.*restart"
    ):
        await steps.rated(2)


async def test_what_this_program_changed_itself_is_refused(rt: Runtime, steps: Any) -> None:
    steps.RATE = 5
    with pytest.raises(StepError, match=r"RATE differs.*pass it as an argument"):
        await steps.rated(2)
    steps.RATE = 3
    assert await steps.rated(2) == 6


async def test_a_file_that_cannot_be_imported_there_says_so(rt: Runtime, steps: Any) -> None:
    steps.on_disk("raise RuntimeError('half written')")
    with pytest.raises(RuntimeError, match="half written"):
        await steps.rated(2)


async def test_a_file_that_is_gone_says_so(rt: Runtime, steps: Any) -> None:
    steps.on_disk(None)
    with pytest.raises(TargetError, match=r"the file .*workshop.py, from which workshop was imported, is gone"):
        await steps.rated(2)


async def test_a_step_within_a_function_takes_along_what_it_uses(rt: Runtime, steps: Any) -> None:
    offset = 10

    def helper(n: int) -> int:
        return n + offset

    @step
    def inner(n: int) -> int:
        rated: int = steps.rated.fn(n)
        return helper(n) + rated

    assert await inner(1) == 14
    offset = 20
    assert await inner(1) == 24


async def test_classes_that_only_this_process_has_imported_are_imported_there(rt: Runtime, steps: Any, tmp_path: Path) -> None:
    other = tmp_path / "other_workshop.py"
    other.write_text(
        "from ashore import step\n\n@step\ndef shown(value, x=1) -> str:\n    return f'{type(value).__module__} {value}'\n"
    )
    shown = load_module(str(other)).shown
    try:
        assert await shown(steps.Point(4)) == "workshop Point(x=4)"
        assert await pipeline(lambda_of(shown, steps.point))(5) == "workshop Point(x=5)"
    finally:
        del sys.modules["other_workshop"]


def lambda_of(shown: Any, point: Any) -> Any:
    def wired(n: int) -> Any:
        return shown(point(n))

    return wired


async def test_what_cannot_be_sent_says_so(rt: Runtime) -> None:
    lock = threading.Lock()

    @step
    def locked(n: int) -> bool:
        return lock.locked()

    with pytest.raises(StepError, match=r"locked is not in a module that a worker process can import, and cannot be sent .*lock"):
        await locked(1)


async def test_folder_environment_and_path_are_those_of_here(rt: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @step
    def around(n: int) -> tuple[str, str, str | None, bool]:
        return os.getcwd(), sys.path[-1], os.environ.get("ASHORE_TEST"), any("WORKER" in name for name in os.environ)

    before = await around(1)
    assert before == (os.getcwd(), sys.path[-1], None, False)
    monkeypatch.setenv("ASHORE_TEST", "set")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert await around(1) == (str(tmp_path), str(tmp_path), "set", False)
    assert len(pool_of(rt).pids) == 1


async def test_a_seed_is_for_one_attempt(rt: Runtime) -> None:
    @step(seed=7)
    def seeded(n: int) -> list[float]:
        import random  # noqa: PLC0415

        return [random.random() for _ in range(n)]

    @step
    def unseeded(n: int) -> list[float]:
        import random  # noqa: PLC0415

        return [random.random() for _ in range(n)]

    first = await seeded(3)
    by_chance = await unseeded(3)
    assert await seeded(3) == first
    assert await unseeded(3) != by_chance


async def test_numpy_is_seeded_though_the_step_imports_it(rt: Runtime) -> None:
    pytest.importorskip("numpy")

    @step(seed=7)
    def seeded(n: int) -> list[float]:
        import numpy as np  # noqa: PLC0415

        drawn: list[float] = np.random.rand(n).tolist()
        return drawn

    first = await seeded(3)
    assert await seeded(3) == first


async def test_a_seed_is_part_of_the_key(rt: Runtime, steps: Any) -> None:
    def draw(n: int) -> int:
        import random  # noqa: PLC0415

        return random.randrange(1 << 60)

    @pipeline
    def both(n: int) -> list[Any]:
        return [step(seed=1, cache=True)(draw)(n), step(seed=2, cache=True)(draw)(n), step(seed=1, cache=True)(draw)(n)]

    one, two, again = await both(1)
    assert one == again != two


async def test_what_a_worker_prints_is_shown_here(rt: Runtime, capfd: pytest.CaptureFixture[str]) -> None:
    @step
    def loud(n: int) -> int:
        print("to standard output: ü")
        print("to standard error", file=sys.stderr)
        subprocess.run(["echo", "from a child"], check=True)
        sys.stdout.write("half a line")
        return n

    assert await loud(1) == 1
    shown = capfd.readouterr()
    assert shown.out == "to standard output: ü\nfrom a child\nhalf a line\n"
    assert shown.err == "to standard error\n"


SCRIPT = """
    from __future__ import annotations
    import asyncio, os, sys
    from dataclasses import dataclass
    from ashore import Handle, Outputs, Runtime, each, pipeline, step

    @dataclass
    class Point:
        x: int

    class Parts(Outputs):
        low: Point
        high: Point

    def shift(n):
        return n + 1

    @step
    def parts(n: int) -> Parts:
        return Parts(Point(n), Point(shift(n)))

    @step
    def total(points: list[Point], whole: Parts) -> tuple[int, int]:
        assert all(type(point) is Point for point in points), points
        return sum(parts.fn(point.x).high.x for point in points), os.getpid()

    @pipeline
    def wired(n: int) -> Handle:
        made = parts(n)
        return total([made.low, made.high], made)

    async def main():
        async with Runtime(executor="process") as rt:
            value, pid = await wired(1)
            assert pid != os.getpid()
            print(value)

    asyncio.run(main())  # no guard: nothing imports this file
"""


def test_a_script_goes_by_value(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(dedent(SCRIPT))
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "ASHORE_HOME": str(tmp_path / ".ashore")}
    ran = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.returncode) == ("5\n", 0), ran.stderr


def test_a_notebook_goes_by_value(tmp_path: Path) -> None:
    """As cells: names in `__main__`, without a file, and defined again."""
    cells = dedent(SCRIPT).replace("asyncio.run(main())", "asyncio.run(main())\nshift = lambda n: n + 100\nasyncio.run(main())")
    program = f"import sys; exec(compile({cells!r}, '<cell 1>', 'exec'), sys.modules['__main__'].__dict__)"
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "ASHORE_HOME": str(tmp_path / ".ashore")}
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.returncode) == ("5\n302\n", 0), ran.stderr
