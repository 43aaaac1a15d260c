"""What steps return that cannot be kept, or is not what they said; it fails the attempt and is kept on the error."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.runtime.engine_misbehaving import both, executed, outcome_of, sibling

from ashore import Handle, MaterializeError, Outputs, Runtime, StepError, StepFailure, pipeline, step

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


# What they return.


class Opaque:
    """Has no stored form."""


class EvilEqual:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparing")

    __hash__ = None  # type: ignore[assignment]


def cyclic(x: int) -> Any:
    found: list[Any] = [x]
    found.append(found)
    return found


def deep(x: int) -> Any:
    found: Any = x
    for _ in range(50_000):
        found = [found]
    return found


UNSTORABLE: dict[str, Callable[[int], Any]] = {
    "an object": lambda x: Opaque(),
    "evil equality": lambda x: EvilEqual(),
    "evil equality in a list": lambda x: [EvilEqual()],
    "a cycle": cyclic,
    "a deep list": deep,
    "a function": lambda x: cyclic,
    "a generator": lambda x: (n for n in range(x)),
    "a lock": lambda x: threading.Lock(),
    "a module": lambda x: asyncio,
}


@pytest.mark.parametrize("kind", UNSTORABLE)
async def test_what_cannot_be_stored_fails_the_attempt_and_is_kept_on_the_error(rt: Runtime, kind: str) -> None:
    for bad in both(UNSTORABLE[kind]):
        failure = await outcome_of(bad, 1)
        assert isinstance(failure, MaterializeError), repr(failure)
        assert hasattr(failure, "value")
    gc.collect()


async def test_a_handle_that_a_step_returns_is_refused(rt: Runtime) -> None:
    inner = sibling(1)

    def body(x: int) -> Any:
        return inner

    for bad in both(body):
        assert isinstance(await outcome_of(bad, 1), Exception)
    assert await inner == 1


LIES: dict[str, tuple[Any, Any]] = {
    "str for int": (int, "one"),
    "None for int": (int, None),
    "list[str] for list[int]": (list[int], ["a"]),
    "one output too few": (tuple[int, int], (1,)),
    "no tuple at all": (tuple[int, int], 5),
    "a tuple of wrong ones": (tuple[int, int], (1, "b")),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_step_that_lies_about_its_result_fails_naming_both(rt: Runtime, lie: str) -> None:
    annotation, value = LIES[lie]

    def liar(x: int) -> Any:
        return value

    liar.__annotations__["return"] = annotation
    failure = await outcome_of(step(liar), 1)
    assert isinstance(failure, StepError)
    assert not isinstance(failure, StepFailure)  # that is one whose own class is not known
    assert "liar" in str(failure)
    assert failure.value == value  # type: ignore[attr-defined]  # what was computed is not thrown away


async def test_outputs_by_name_must_be_what_they_say(rt: Runtime) -> None:
    class Halves(Outputs):
        left: int
        right: int

    @step
    async def wrong(x: int) -> Halves:
        return (x, x)  # type: ignore[return-value]  # the lie that is tried here

    assert isinstance(await outcome_of(wrong, 1), StepError)


async def test_a_huge_result_is_a_blob_and_the_loop_lives(rt: Runtime) -> None:
    @step
    def huge(x: int) -> bytes:
        return bytes(30_000_000)

    @step
    def size(data: bytes) -> int:
        return len(data)

    @pipeline
    def sized() -> Handle[int]:
        return size(huge(1))

    with anyio.fail_after(60):
        assert await sized() == 30_000_000
