"""Bodies that decide while they run, construct by construct: crashed after each event, resumed under other schedules."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.scenarios.live_constructs import CONSTRUCTS, RACING
from tests.scenarios.live_world import Life, first_life, next_life

from ashore.events import RunEnded, StepRan

SCHEDULES = int(os.environ.get("ASHORE_SCHEDULES", "2"))
"""Schedules under which each construct is run and cut off everywhere; the issue asks for 50."""


def recorded(life: Life, upto: int) -> set[bytes]:
    return {event.invocation for event in life.events[:upto] if isinstance(event, StepRan)}


def check_next(life: Life, upto: int, pipeline: Any, seed: int) -> Life:
    """The life after a crash does nothing that was recorded, and comes to its end."""
    again = next_life(life, upto, pipeline, seed, late=bool(upto % 2))
    done = recorded(life, upto)
    twice = [event for event in again.events[upto:] if isinstance(event, StepRan) and event.invocation in done]
    assert not twice
    assert isinstance(again.events[-1], RunEnded)
    return again


@pytest.mark.parametrize("pipeline", CONSTRUCTS, ids=lambda pipeline: pipeline.name)
def test_cut_off_after_each_event_and_resumed_it_comes_to_the_same(pipeline: Any) -> None:
    for seed in range(SCHEDULES):
        whole = first_life(pipeline, seed)
        for upto in range(1, len(whole.events)):
            place = f"seed {seed}, cut after {upto} of {len(whole.events)} events ({whole.events[upto - 1]})"
            again = check_next(whole, upto, pipeline, 1000 + seed * 100 + upto)
            assert again.outcome == whole.outcome or pipeline in RACING, place
            replayed = check_next(again, len(again.events) - 1, pipeline, 5000 + seed * 100 + upto)
            assert replayed.outcome == again.outcome, place
            assert replayed.outside.counted() == again.outside.counted(), f"{place}: with all on record, something was done again"
