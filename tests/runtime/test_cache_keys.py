"""What a cache key is made of: one rule for calls and elements, and what a step declares not to count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ashore import Cache, File, GraphError, Handle, Runtime, Step, each, pipeline, step
from ashore.durations import WrongDuration
from ashore.events import ElementsRan, StepDefined, StepRan, decode
from ashore_stores.logs.base import MARK_SIZE

pytestmark = pytest.mark.anyio


@dataclass
class Counted:
    """How often steps ran. The steps' functions reach it, and change it: so it is state, and counts nothing."""

    runs: list[str] = field(default_factory=list)

    def ran(self, what: object) -> None:
        self.runs.append(str(what))

    def taken(self) -> list[str]:
        runs, self.runs = self.runs, []
        return runs


COUNTED = Counted()


@pytest.fixture(autouse=True)
def _nothing_counted() -> None:
    COUNTED.taken()


@step
def read(file: File, unit: str = "m") -> str:
    COUNTED.ran(f"read {file.name}")
    return Path(file.path).read_text() + unit


@step(cache=True)
def double(number: int) -> int:
    COUNTED.ran(number)
    return 2 * number


@step
def join(texts: list[str]) -> str:
    return "".join(texts)


@step(cache=Cache(ignore=["note", "threads"]))
def measure(text: str, *, note: str = "", threads: int = 1) -> int:
    COUNTED.ran(f"measure {text!r} for {note!r}")
    return len(text)


@step(cache=True)
def numbers(count: int) -> list[int]:
    return list(range(count))


@pipeline
def alone(file: File) -> Handle[str]:
    return read(file)


@pipeline
def together(files: list[File]) -> Handle[str]:
    return join(read(each(files)))


@pipeline
def doubled(number: int) -> Handle[int]:
    return double(number)


@pipeline
def all_doubled(count: int) -> Handle[list[int]]:
    return double(each(numbers(count)))


@pipeline
def measured(file: File, note: str) -> Handle[int]:
    return measure(read(file), note=note)


@pytest.fixture
def files(tmp_path: Path) -> list[File]:
    names = ["a.txt", "b.txt", "c.txt"]
    for name in names:
        (tmp_path / name).write_text(f"text of {name}")
    return [File(str(tmp_path / name)) for name in names]


async def recorded(rt: Runtime, kind: type[Any]) -> list[Any]:
    await rt.stack.log.refresh()
    events = [event async for frame in rt.stack.log.read() for event in decode(frame.batch.body, frame.count)]
    return [event for event in events if isinstance(event, kind)]


async def keys_of(rt: Runtime, name: str) -> set[bytes]:
    """Of all executions of a step that are on record."""
    keys = {event.key for event in await recorded(rt, StepRan) if event.key}
    for event in await recorded(rt, ElementsRan):
        keys |= {event.keys[start : start + MARK_SIZE] for start in range(0, len(event.keys), MARK_SIZE)}
    return keys


async def test_what_a_fan_out_made_of_a_file_serves_a_call_with_that_file_and_the_other_way_round(
    tmp_path: Path, files: list[File]
) -> None:
    async with Runtime(home=tmp_path / ".ashore"):
        assert await together(files[:2]) == "text of a.txtmtext of b.txtm"
        assert sorted(COUNTED.taken()) == ["read a.txt", "read b.txt"]
        assert await alone(files[0]) == "text of a.txtm"
        assert await alone(files[2]) == "text of c.txtm"
        assert COUNTED.taken() == ["read c.txt"]
        assert await together(files) == "text of a.txtmtext of b.txtmtext of c.txtm"
        assert COUNTED.taken() == []


async def test_plain_values_too(tmp_path: Path) -> None:
    async with Runtime(home=tmp_path / ".ashore"):
        assert await all_doubled(3) == [0, 2, 4]
        assert sorted(COUNTED.taken()) == ["0", "1", "2"]
        assert await doubled(2) == 4
        assert await doubled(7) == 14
        assert COUNTED.taken() == ["7"]
        assert await all_doubled(8) == [0, 2, 4, 6, 8, 10, 12, 14]
        assert sorted(COUNTED.taken()) == ["3", "4", "5", "6"]


async def test_an_ignored_parameter_is_in_no_key(tmp_path: Path, files: list[File]) -> None:
    async with Runtime(home=tmp_path / ".ashore") as rt:
        assert await measured(files[0], "first") == 14
        assert await measured(files[0], "second") == 14
        assert COUNTED.taken() == ["read a.txt", "measure 'text of a.txtm' for 'first'"]
        run = await rt.start(measured(files[0], "third"))
        await run
        why = await run.why()
        assert why["measure"][0].verdict == "cached"
        (defined,) = [event for event in await recorded(rt, StepDefined) if event.step == "measure"]
        assert defined.ignored == ("note", "threads")


async def test_an_ignored_parameter_is_no_reason(tmp_path: Path, files: list[File]) -> None:
    async with Runtime(home=tmp_path / ".ashore") as rt:
        await measured(files[0], "first")
        run = await rt.start(measured(files[1], "second"))
        await run
        (reason,) = (await run.why())["measure"]
        assert [change.name for change in reason.changes] == ["text"]


async def test_what_was_not_followed_is_on_record(tmp_path: Path) -> None:
    async with Runtime(home=tmp_path / ".ashore") as rt:
        assert await dynamic("len") == 1
        (defined,) = await recorded(rt, StepDefined)
        assert any("eval" in what for what, _, _ in defined.unfollowed), defined.unfollowed
        ((_, where, mend),) = defined.unfollowed
        assert where.endswith(f"{Path(__file__).name}:{dynamic.line + 2}")
        assert mend
        assert len(defined.places) == len(defined.parts)
        assert defined.places[0].startswith(Path(__file__).name)


@step
def dynamic(name: str) -> int:
    return int(eval(name)("x"))


@pytest.mark.parametrize("cache", ["1 day", "", -1, 0.0, object(), Ellipsis])
def test_what_is_no_cache_is_refused_where_it_stands(cache: Any) -> None:
    with pytest.raises((GraphError, TypeError)) as caught:
        step(cache=cache)(lambda: None)
    assert "cache" in str(caught.value)


def test_a_time_to_live_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(WrongDuration, match="keeps nothing"):
        Cache(ttl="0s")


@pytest.mark.parametrize(
    ("cache", "asked", "seconds"),
    [
        (None, None, float("inf")),
        (True, True, float("inf")),
        (False, False, float("inf")),
        ("1d", True, 86400.0),
        (timedelta(minutes=1), True, 60.0),
        (Cache(ttl="2h", env="LANG"), True, 7200.0),
        (Cache(ignore="note"), True, float("inf")),
    ],
)
def test_the_short_forms_say_the_same_as_the_long_one(cache: Any, asked: bool | None, seconds: float) -> None:
    def f(note: str) -> int:
        return 1

    made: Step[Callable[[str], int], Any] = step(cache=cache)(f)
    assert made.options.cache is asked
    assert made.definition.ttl == seconds
