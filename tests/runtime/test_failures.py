"""Exceptions as the log keeps them: raised again they say what they said."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from ashore import codec
from ashore.codec import Unencodable, encode
from ashore.engine.failures import exception_of, failure_of
from ashore.errors import GraphError, StepError, did_you_mean


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


def test_what_is_told_has_the_users_lines_and_none_of_ours() -> None:
    """A fit of ours that fails, and the error of ours that it becomes: where we found out says nothing to users."""

    def theirs() -> None:
        encode(object())

    try:
        theirs()
    except Unencodable as cause:
        try:
            raise StepError("has no stored form") from cause
        except StepError as error:
            told = failure_of(error)
    assert told.where.startswith(f"{__file__}:")
    assert f"{PurePath(__file__).name}" in told.traceback
    assert f"{PurePath(codec.__file__).parents[1]}/" not in told.traceback
    assert "in theirs\n" in told.traceback


def test_an_error_of_ours_without_a_line_of_theirs_is_its_sentence() -> None:
    try:
        encode(object())
    except Unencodable as error:
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        told = failure_of(error)
    assert told.where == ""
    assert told.traceback == f"ashore.codec.tags.Unencodable: {told.message}\n"


def test_a_bug_of_ours_is_told_with_our_lines() -> None:
    try:
        did_you_mean("lr", 4)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        told = failure_of(error)
    folder = str(PurePath(codec.__file__).parents[1])
    assert told.where.startswith(folder)
    assert folder in told.traceback
