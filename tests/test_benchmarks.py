"""The benchmarks' arithmetic: a table that flatters would be worse than none."""

from __future__ import annotations

import json

import pytest
from benchmarks.harness import SMALL, Goals, Question, Row, paired
from benchmarks.report import json_lines, table

QUESTION = Question(1, "how much", durable="power cut")
GOALS = Goals(must=2.5, goal=1.0, moonshot=0.5)


def row(*rounds: tuple[float, float], goals: Goals = GOALS, more_is_better: bool = False) -> Row:
    return Row("chain", "bare task", rounds, "us", goals, more_is_better=more_is_better)


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() -> None:
    measured = row((1, 3), (10, 20), (2, 2))
    assert (measured.ratio, measured.limit, measured.ours) == (2.0, 2, 3)
    assert measured.spread == (1.5, 2.5)


@pytest.mark.parametrize(("ours", "met"), [(0.5, "moonshot"), (0.6, "goal"), (1.0, "goal"), (2.5, "must"), (2.6, "no")])
def test_the_best_goal_that_is_met_is_named(ours: float, met: str) -> None:
    assert row((1, ours), (1, ours)).met == met


@pytest.mark.parametrize(("ours", "met"), [(0.6, "no"), (0.7, "must"), (1.2, "goal"), (1.5, "moonshot")])
def test_where_more_is_better_goals_are_floors(ours: float, met: str) -> None:
    assert row((1, ours), (1, ours), goals=Goals(0.7, 1.0, 1.5), more_is_better=True).met == met


def test_rounds_alternate_and_the_first_does_not_count() -> None:
    calls: list[str] = []

    def noted(name: str, number: int) -> float:
        calls.append(f"{name} {number}")
        return number * len(name)

    rounds = paired(lambda number: noted("limit", number), lambda number: noted("ours", number), 2)
    assert calls == ["limit 0", "ours 0", "limit 1", "ours 1", "limit 2", "ours 2"]
    assert rounds == ((5, 4), (10, 8))


def test_the_report_says_what_was_measured_where_and_what_of_it_is_durable() -> None:
    answers = [(QUESTION, row((1, 2), (1, 2)))]
    [line] = [json.loads(line) for line in json_lines(answers, SMALL)]
    assert line["rounds"] == [[1, 2], [1, 2]]
    assert line["question"]["durable"] == "power cut"
    assert {"machine", "versions", "commit", "size", "ratio", "met"} <= set(line)
    assert "how much: chain" in table(answers)
    assert table(answers).endswith("must")
