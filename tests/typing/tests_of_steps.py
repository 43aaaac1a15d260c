"""What a user's unit tests look like: typed, no runtime."""

from __future__ import annotations

import inspect
from typing import assert_type

import pytest

from ashore import Handle, NotAValue, step


@step
def add(a: int, *, b: int = 1) -> int:
    """Add."""
    return a + b


@step
async def slowly(a: int) -> int:
    return a


def test_def() -> None:
    assert add.fn(1, b=2) == 3


async def test_async() -> None:
    assert await slowly.fn(1) == 1


async def test_as_a_run_of_one() -> None:
    call = add(1, b=2)
    assert_type(call, Handle[int])
    assert await call == 3


def test_forgotten() -> None:
    with pytest.raises(NotAValue, match="await it"):
        assert add(1, b=2) == 3  # type: ignore[comparison-overlap]  # mypy says so, and so does the run


def test_looks_like_the_function() -> None:
    assert str(inspect.signature(add.fn)) == "(a: 'int', *, b: 'int' = 1) -> 'int'"
    assert str(inspect.signature(add)) == str(inspect.signature(add.fn))
    assert add.__doc__ == "Add."
