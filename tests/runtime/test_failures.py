"""Exceptions as the log keeps them: raised again they say what they said."""

from __future__ import annotations

import pytest

from ashore.engine.failures import exception_of, failure_of
from ashore.errors import GraphError, StepError


class Odd(ValueError):
    """A class with a constructor of its own."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} is not {right}")


def kept(error: Exception) -> Exception:
    try:
        raise error
    except Exception as raised:  # noqa: BLE001  # as the engine catches it
        return exception_of(failure_of(raised))


@pytest.mark.parametrize(
    "error",
    [ValueError("no such day", 3), KeyError("day"), StepError("wrong", where="flights.py:3", mend="Mend it"), GraphError("wrong")],
    ids=repr,
)
def test_an_exception_is_raised_again_as_itself(error: Exception) -> None:
    again = kept(error)
    assert type(again) is type(error)
    assert (str(again), again.args) == (str(error), error.args)


def test_a_class_that_cannot_be_made_again_is_named() -> None:
    again = kept(Odd(1, 2))
    assert type(again).__name__ == "StepFailure"
    assert "Odd: 1 is not 2" in str(again)
