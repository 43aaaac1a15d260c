"""Runs and the closure: a result is reused as long as everything that its step reaches is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ashore import Cache, File, Handle, Runtime, pipeline, step

pytestmark = pytest.mark.anyio

executed: list[str] = []
"""The steps add to it: that is state, and does not keep them from being reused."""

FACTOR = 2


def scaled(x: int) -> int:
    return x * FACTOR


@step
def length(file: File) -> int:
    executed.append("length")
    return scaled(len(Path(file.path).read_text()))


@step(cache=Cache(files=["rates.txt"], env=["CLOSURE_RATE"]))
def rated(length: int) -> str:
    executed.append("rated")
    return f"{length} at {Path(__file__).name}"


@pipeline
def measured(file: File) -> Handle[str]:
    return rated(length(file))


@pytest.fixture
def file(tmp_path: Path) -> File:
    (tmp_path / "a.txt").write_text("abc")
    executed.clear()
    return File(tmp_path / "a.txt")


async def test_steps_that_count_their_calls_are_reused(rt: Runtime, file: File) -> None:
    for _ in range(3):
        await measured(file)
    assert executed == ["length", "rated"]


async def test_a_constant_of_a_helper_and_the_helper(rt: Runtime, file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await measured(file) == "6 at test_closure_runs.py"
    monkeypatch.setitem(globals(), "FACTOR", 3)
    assert await measured(file) == "9 at test_closure_runs.py"
    monkeypatch.setitem(globals(), "FACTOR", 2)
    assert await measured(file) == "6 at test_closure_runs.py"
    assert executed == ["length", "rated", "length", "rated"]
    monkeypatch.setitem(globals(), "scaled", lambda x: x + FACTOR)
    assert await measured(file) == "5 at test_closure_runs.py"


async def test_declared_files_and_environment(rt: Runtime, file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("length", "rated"):
        await measured(file)
        assert executed.count(name) == 1
    (tmp_path / "rates.txt").write_text("1")
    await measured(file)
    assert executed == ["length", "rated", "rated"], "a declared file is there now"
    await measured(file)
    (tmp_path / "rates.txt").write_text("22")
    await measured(file)
    assert executed == ["length", "rated", "rated", "rated"]
    monkeypatch.setenv("CLOSURE_RATE", "5")
    await measured(file)
    assert executed == ["length", *["rated"] * 4]


async def test_the_parts_are_on_record(rt: Runtime, file: File) -> None:
    made: Any = await rt.start(measured(file))
    await made
    parts = dict(length.fingerprint.taken().parts)
    assert parts["constant FACTOR"] == "2"
    assert "helper scaled" in parts
    assert "not followed" in str(length.fingerprint.explain())
