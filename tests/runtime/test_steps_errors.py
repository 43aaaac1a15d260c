"""The errors themselves: what they carry, and that they survive what is done to exceptions."""

from __future__ import annotations

import copy

import pytest

from ashore.errors import AshoreError, GraphError, KeyConflict, NotAValue, RunCancelled, RunFailed, WrongArgument, did_you_mean


def test_the_message_is_where_what_and_mend() -> None:
    error = GraphError("fit has no parameter `lrr`", where="flights.py:31", mend="Did you mean `lr`?")
    assert str(error) == "flights.py:31: fit has no parameter `lrr`. Did you mean `lr`?"
    assert (error.what, error.where, error.mend) == ("fit has no parameter `lrr`", "flights.py:31", "Did you mean `lr`?")
    assert str(AshoreError("only what")) == "only what"


def test_errors_are_also_what_python_would_have_raised() -> None:
    assert issubclass(NotAValue, TypeError)
    assert issubclass(NotAValue, AttributeError)
    assert issubclass(WrongArgument, TypeError)
    for kind in (NotAValue, WrongArgument, RunFailed, RunCancelled, KeyConflict):
        assert issubclass(kind, AshoreError)


def test_a_failed_run_is_a_group_of_its_failures() -> None:
    failures = [ValueError("a"), TypeError("b")]
    error = RunFailed("run 7f3a of retrain failed", failures, run="7f3a")
    assert error.run == "7f3a"
    assert error.failures == tuple(failures)
    values, rest = error.split(ValueError)
    assert isinstance(values, RunFailed)
    assert values.run == "7f3a"
    assert rest is not None
    assert rest.exceptions == (failures[1],)
    caught: list[BaseException] = []
    try:
        raise error
    except* ValueError as group:
        caught.extend(group.exceptions)
    except* TypeError as group:
        caught.extend(group.exceptions)
    assert caught == failures


def test_a_key_conflict_has_both_argument_sets() -> None:
    error = KeyConflict("k", "retrain", {"lr": "0.1"}, {"lr": "0.2"}, run="7f3a5678aaaa")
    assert "'k' is taken by run 7f3a5678, retrain(lr=0.1)" in str(error)
    assert "retrain(lr=0.2)" in str(error)
    assert "another key" in error.mend
    assert (error.recorded, error.asked, error.key) == ({"lr": "0.1"}, {"lr": "0.2"}, "k")


def test_a_key_conflict_says_first_what_differs_and_shows_no_value_whole() -> None:
    same, points = "[" + "1, " * 1000 + "]", "[" + "2, " * 1000 + "]"
    error = KeyConflict("k", "retrain", {"table": same, "lr": "0.1"}, {"table": same, "lr": points})
    assert str(error).startswith("lr differs: the key 'k' is taken by retrain(lr=0.1, table=[1, 1,")
    assert "asked for was retrain(lr=[2, 2," in str(error)
    assert len(str(error)) < 600
    assert error.asked["lr"] == points
    several = KeyConflict("k", "retrain", {"a": "1", "b": "2"}, {"a": "2", "b": "3", "c": "4"})
    assert str(several).startswith("a, b, c differ: ")


def test_errors_can_be_copied() -> None:
    originals = [
        GraphError("what", where="f.py:1", mend="mend"),
        NotAValue("what", where="f.py:1", mend="mend"),
        KeyConflict("k", "retrain", {}, {"lr": "1"}),
        RunFailed("failed", [ValueError("a")], run="7f3a"),
        RunCancelled("cancelled", run="7f3a"),
    ]
    for original in originals:
        copied = copy.copy(original)
        assert type(copied) is type(original)
        assert str(copied) == str(original)
        assert copied.__dict__ == original.__dict__


def test_a_graph_error_that_names_no_line_names_the_one_that_is_running() -> None:
    assert GraphError("what").where.startswith(f"{__file__}:")
    assert GraphError("what", where="").where == ""


@pytest.mark.parametrize(("name", "wanted"), [("lrr", "Did you mean `lr`?"), ("zzz", "")])
def test_did_you_mean(name: str, wanted: str) -> None:
    assert did_you_mean(name, ["lr", "train"]) == wanted
