"""Lengths of time as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.durations import WrongDuration, duration_text, seconds_of


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1w", 604800),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("1h30m", 5400),
        (" 1 h 30 m ", 5400),
        ("0s", 0),
        (90, 90),
        (0.25, 0.25),
        (timedelta(minutes=2), 120),
    ],
)
def test_a_number_with_a_unit_is_seconds(written: str | float | timedelta, seconds: float) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize(
    "written", ["", " ", "1", "s", "1 day", "-1s", "1s!", "1d-2h", "1y", "nan", "infs", True, None, -1, float("inf"), float("nan")]
)
def test_anything_else_is_refused_and_told_how_to_write_it(written: object) -> None:
    with pytest.raises(WrongDuration, match=r"fit: cache=.* is no length of time") as caught:
        seconds_of(written, "fit: cache=", where="flow.py:3")  # type: ignore[arg-type]
    assert "1d" in str(caught.value)
    assert "flow.py:3" in str(caught.value)


@given(st.integers(min_value=1, max_value=10**8))
def test_the_text_of_whole_seconds_says_the_same_length(seconds: int) -> None:
    assert seconds_of(duration_text(seconds)) == seconds
