"""Steps that run in a process of their own: what they are given, what comes back, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

import ashore.executors.opening
from ashore import File, Handle, Outputs, Runtime, StepError, each, fixed, pipeline, resource, step

pytestmark = pytest.mark.anyio

Executor = Literal["thread", "process"]

LARGE = 100_000


class Point(NamedTuple):
    x: int
    y: int


class Parts(Outputs):
    head: list[int]
    rest: bytes


@step
def number(n: int) -> int:
    return n


@step
def large(n: int) -> bytes:
    return bytes([n]) * LARGE


@step
def point(n: int) -> Point:
    return Point(n, -n)


@step
def pair(n: int) -> tuple[int, bytes]:
    return n, bytes([n]) * LARGE


@step
def parts(n: int) -> Parts:
    return Parts(list(range(n)), bytes([n]) * LARGE)


@step
def shown(*values: Any, **named: Any) -> str:
    """What a step is given: types, and values or sizes."""
    return repr([_short(value) for value in (*values, *named.values())])


@step
def seen(value: Any, other: Any = None) -> str:
    return shown.fn(value, other)


def _short(value: Any) -> Any:
    if isinstance(value, (bytes, memoryview)):
        return f"{type(value).__name__} {value[:1]!r} * {len(value)}"
    if isinstance(value, File):
        return Path(value).read_text()
    if type(value) in (list, tuple):
        return type(value)(map(_short, value))
    if type(value) is dict:
        return {key: _short(item) for key, item in value.items()}
    return value


@step
def sizes(values: list[bytes]) -> list[int]:
    return [len(value) for value in values]


@step
def names(folder: str) -> list[File]:
    return [File(f"{folder}/{name}") for name in ("a", "b")]


@step
def written(folder: str) -> File:
    path = Path(folder, "made")
    path.write_text("made by a step")
    return File(path)


def wired_arguments(folder: str, files: list[File]) -> list[Handle[str]]:
    whole = pair(3)
    first, second = whole
    made = parts(4)
    return [
        shown(1, "text", 2.5, None, [1, {"a": (2, b"3")}], Point(5, 6)),
        shown(number(1), large(2), point(3)),
        shown(whole, first, second),
        shown(made, made.head, made.rest),
        shown([number(1), {"deep": (point(2), large(1), 7)}], key=fixed({"k": number(9)})),
        shown(files[0], [files[1]], written(folder)),
        shown(sizes(large(each([1, 2, 3])))),
    ]


def fanned_arguments(folder: str, files: list[File]) -> list[Any]:
    return [
        seen(each([1, "two", Point(3, 4), [5]]), 6),
        seen(*each(large(each([1, 2])), ["a", "b"])),
        seen(each(files)),
        seen(each([[number(1)], {"k": large(2)}])),
        seen(large(each([1, 2]))),
        seen(pair(each([1, 2]))),
        seen(parts(each([1, 2]))),
        seen(each(names(folder))),
        sizes(large(each([1, 2]))),
    ]


WIRINGS: dict[str, Callable[[str, list[File]], list[Any]]] = {"arguments": wired_arguments, "fan-outs": fanned_arguments}


@pytest.fixture
def files(tmp_path: Path) -> str:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"content of {name}")
    return str(tmp_path)


async def result_of(home: Path, wiring: Callable[[str, list[File]], list[Any]], folder: str, executor: Executor = "thread") -> Any:
    async with Runtime(home=home, executor=executor) as runtime:
        return await (await runtime.start(pipeline(wiring)(folder, [File(f"{folder}/{name}") for name in ("a", "b")])))


@pytest.mark.parametrize("executor", ["inline", "process"])
@pytest.mark.parametrize("wiring", WIRINGS)
async def test_a_step_is_given_the_same_in_another_process(
    executor: str, wiring: str, tmp_path: Path, files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_threads = await result_of(tmp_path / "threads", WIRINGS[wiring], files)
    if executor == "inline":
        monkeypatch.setattr(ashore.executors.opening, "shared_artifacts", lambda stack: None)
    elsewhere = await result_of(tmp_path / "processes", WIRINGS[wiring], files, "process")
    assert elsewhere == on_threads
    assert all(on_threads)


async def test_what_is_open_here_is_not_sent(home: Path) -> None:
    @step(process=True)
    def query(day: str, db: Any = resource("db")) -> str:
        return day

    async with Runtime(home=home, resources={"db": object()}):
        with pytest.raises(StepError, match=r"query runs in a process of its own, and its resource 'db' is open in this one"):
            await query("today")
