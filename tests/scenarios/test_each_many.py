"""`each` over many elements that are artifacts: first run, no change, ten changed, one failed and then repaired.

`ASHORE_ELEMENTS` asks for more than CI runs (100000). What is executed is counted exactly, and so are events and bytes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ashore import File, Runtime, each, pipeline, step
from ashore.errors import RunFailed
from ashore.events import decode

pytestmark = pytest.mark.anyio

ELEMENTS = int(os.environ.get("ASHORE_ELEMENTS", "3000"))
CHANGED = 10
FRAME = 1024
executed: Counter[str] = Counter()
BROKEN = "ASHORE_TEST_BROKEN"
"""In the environment while one element fails."""


@step
async def size(file: File) -> int:
    executed["size"] += 1
    if file.name == "7.txt" and os.environ.get(BROKEN):
        raise ValueError("seven")
    return file.size


@step
async def number(x: int) -> int:
    return x


@step
async def square(x: int) -> int:
    executed["square"] += 1
    if x == -7 and os.environ.get(BROKEN):
        raise ValueError("seven")
    return x * x


@step(cache=False)
async def total(xs: list[int]) -> int:
    return sum(xs)


@pipeline
def of_files(files: list[File]) -> Any:
    return total(size(each(files, on_error="collect")))


@pipeline
def of_handles(numbers: list[int]) -> Any:
    return total(square(each(number(each(numbers)), on_error="collect")))


class Files:
    """A folder of files; the pipeline over all of them."""

    step = "size"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.sizes = [1 + index % 5 for index in range(ELEMENTS)]
        for index, bytes_of in enumerate(self.sizes):
            self.write(index, bytes_of)

    def write(self, index: int, bytes_of: int) -> None:
        (self.folder / f"{index}.txt").write_text(f"{index:08}"[:8] * bytes_of)

    def change(self, index: int) -> None:
        self.sizes[index] += 7
        self.write(index, self.sizes[index])

    def call(self) -> Any:
        return of_files([File(str(self.folder / f"{index}.txt")) for index in range(ELEMENTS)])

    def expected(self) -> int:
        return sum(8 * bytes_of for bytes_of in self.sizes)


class Handles:
    """Numbers that a step gives, one by one."""

    step = "square"

    def __init__(self, folder: Path) -> None:
        self.numbers = list(range(1, ELEMENTS + 1))

    def change(self, index: int) -> None:
        self.numbers[index] = -index

    def call(self) -> Any:
        return of_handles(list(self.numbers))

    def expected(self) -> int:
        return sum(number * number for number in self.numbers)


async def run_of(rt: Runtime, call: Any) -> tuple[Any, int, int]:
    """The run, how many events it wrote, and how many bytes these are."""
    run = await rt.start(call)
    await run.wait()
    frames = await rt.stack.log.about(run.id.encode())
    events = [event for frame in frames for event in decode(frame.batch.body, frame.count)]
    return run, len(events), sum(len(frame.batch.body) for frame in frames)


@pytest.mark.parametrize("made", [Files, Handles])
async def test_what_changed_is_executed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[Path], Files | Handles]
) -> None:
    elements = made(tmp_path / "data")
    frames = ELEMENTS // FRAME + 2
    async with Runtime(home=tmp_path / ".ashore") as rt:

        async def executes(count: int) -> Any:
            executed.clear()
            run, events, length = await run_of(rt, elements.call())
            assert executed[elements.step] == count
            assert events <= 8 + 4 * frames  # columns, not an event for each
            assert length < 2_500 + 600 * ELEMENTS
            return run

        assert await (await executes(ELEMENTS)) == elements.expected()
        assert await (await executes(0)) == elements.expected()
        for index in range(20, 20 + CHANGED):
            elements.change(index)
        assert await (await executes(CHANGED)) == elements.expected()
        elements.change(7)
        monkeypatch.setenv(BROKEN, "yes")
        failed = await executes(1)
        with pytest.raises(RunFailed, match="of_") as caught:
            await failed
        assert [str(error) for error in caught.value.failures[0].exceptions] == ["seven"]  # type: ignore[attr-defined]
        monkeypatch.delenv(BROKEN)
        assert await (await executes(1)) == elements.expected()  # the one that failed, and no other


async def test_a_process_after_this_one_executes_nothing(tmp_path: Path) -> None:
    elements = Handles(tmp_path)
    for count in (ELEMENTS, 0):
        executed.clear()
        async with Runtime(home=tmp_path / ".ashore") as rt:
            run, _, _ = await run_of(rt, elements.call())
            assert await run == elements.expected()
        assert executed["square"] == count
