"""Bodies that decide while they run, construct by construct: crashed after each event, resumed under other schedules."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.scenarios.live_constructs import (
    CHARGING,
    CONSTRUCTS,
    RACING,
    Version,
    changed,
    changed_in_order,
    charged_equally,
    handled,
    unhandled,
)
from tests.scenarios.live_world import Life, answered_life, first_life, next_life, resumed_life

from ashore.events import Held, RunEnded, StepFailed, StepRan, StepStarted

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
            assert replayed.events[-1].orphans == (), place  # type: ignore[union-attr]  # the end of a run
            assert replayed.outside.counted() == again.outside.counted(), f"{place}: with all on record, something was done again"


@pytest.mark.parametrize("pipeline", CHARGING, ids=lambda pipeline: pipeline.name)
def test_nobody_is_charged_twice(pipeline: Any) -> None:
    """The outside counts by what it is asked for; crashes lie between its receipt and our record of it, too."""
    for seed in range(SCHEDULES):
        whole = first_life(pipeline, seed)
        for upto in range(1, len(whole.events)):
            for late in (False, True):
                place = f"seed {seed}, cut after {upto} of {len(whole.events)} events ({whole.events[upto - 1]}), late={late}"
                life = next_life(whole, upto, pipeline, 1000 + seed * 100 + upto, late=late)
                for turn in range(8):
                    if life.outcome != "held":
                        break
                    assert held_for_unknown(life), place
                    life = answered_life(life, pipeline, 3000 + seed * 100 + upto * 10 + turn)
                assert life.outcome != "held", place
                charges = Counter({what: count for what, count in life.outside.counted().items() if what.startswith("charge")})
                allowed = 2 if pipeline is charged_equally else 1
                assert max(charges.values()) == allowed, f"{place}: {charges}"
                assert sum(charges.values()) == len(life.outcome if isinstance(life.outcome, list) else [0]), f"{place}: {charges}"


def deploy() -> None:
    """The new version of the bodies that have one."""
    Version.is_new = True


@pytest.fixture
def new_version() -> Iterator[Callable[[], None]]:
    yield deploy
    Version.is_new = False


def test_what_nobody_handles_fails_the_run() -> None:
    assert first_life(unhandled, 0).outcome == ("RunFailed", ["ValueError: no 1"])
    assert first_life(handled, 0).outcome == "no 1, 1"


def test_a_changed_body_charges_nobody_anew_before_somebody_says_so(new_version: Callable[[], None]) -> None:
    whole = first_life(changed, 1)
    new_version()
    held = next_life(whole, len(whole.events) - 1, changed, 2, late=True)
    assert held.outcome == "held"
    assert held.outside.counted() == {"charge order 9": 1}
    (why,) = [event for event in held.events if isinstance(event, Held)]
    assert (
        "changed changed: charge(order='order 9') is on record, the new code asks for charge(order='order 9 in EUR')" in why.reason
    )
    assert f"ashore resume {held.run[:8]} --allow charge" in why.mend
    again = resumed_life(held, changed, 3)
    assert again.outcome == "held"
    allowed = resumed_life(again, changed, 4, allow=["charge"])
    assert allowed.outcome == ["receipt of order 9 in EUR"]
    assert allowed.outside.counted() == {"charge order 9": 1, "charge order 9 in EUR": 1}


def test_a_new_charge_waits_until_the_recorded_one_was_asked_for(new_version: Callable[[], None]) -> None:
    whole = first_life(changed_in_order, 1)
    new_version()
    again = next_life(whole, len(whole.events) - 1, changed_in_order, 2, late=True)
    assert again.outcome == ["receipt of order 10", "receipt of order 9"]
    assert again.outside.counted() == {"charge order 9": 1, "charge order 10": 1}


def held_for_unknown(life: Life) -> bool:
    """Whether what holds the run began, and has no outcome on record: nothing else ever holds a body that was not changed."""
    held = [event for event in life.events if isinstance(event, Held)]
    settled = {event.invocation for event in life.events if isinstance(event, (StepRan, StepFailed))}
    started = {event.invocation for event in life.events if isinstance(event, StepStarted)}
    return all(event.attempt and event.invocation in started for event in held) and held[-1].invocation not in settled
