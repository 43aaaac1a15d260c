"""A body that has changed between two lives of a run: what it asks for no more is told, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.scenarios.live_constructs import double, number
from tests.scenarios.live_world import Life, first_life, next_life

from ashore import pipeline
from ashore.events import Invoked, RunEnded

CHANGED: set[str] = set()
"""What has changed in the bodies below since the first life."""


@pipeline
async def part(n: int) -> int:
    if "part" not in CHANGED:
        await number(n + 10)
    return await double(n)


@pipeline
async def whole() -> int:
    if "whole" not in CHANGED:
        await double(7)
    total = await part(1) + await part(2)
    if "dropped" not in CHANGED:
        total += await part(3)
    return await number(total)


def orphans_of(life: Life) -> list[tuple[str, str]]:
    """The step and the outermost sub-run of each orphan."""
    ended = life.events[-1]
    assert isinstance(ended, RunEnded)
    calls = {call.invocation: call for event in life.events if isinstance(event, Invoked) for call in event.calls}
    return sorted((calls[name].step, calls[name].scope.partition(":")[0]) for name in ended.orphans)


@pytest.fixture(autouse=True)
def _nothing_changed() -> Any:
    CHANGED.clear()
    yield
    CHANGED.clear()


@pytest.mark.parametrize(
    ("changed", "orphans"),
    [
        ((), []),
        (("whole",), [("double", "")]),
        (("part",), []),  # sub-runs that are done stay as they are, with all that they did
        (("whole", "dropped"), [("double", ""), ("double", "part"), ("number", ""), ("number", "part"), ("part", "")]),
    ],
)
def test_what_is_on_record_and_not_asked_for_is_told(changed: tuple[str, ...], orphans: list[tuple[str, str]]) -> None:
    first = first_life(whole, seed=1)
    assert orphans_of(first) == []
    CHANGED.update(changed)
    with capture_logs() as lines:
        again = next_life(first, len(first.events) - 1, whole, seed=2, late=False)
    assert orphans_of(again) == orphans
    told = [line for line in lines if "orphans" in line["event"]]
    assert [(line["count"], line["steps"]) for line in told] == (
        [(len(orphans), sorted({step for step, _ in orphans}))] if orphans else []
    )


def test_a_sub_run_that_goes_on_with_other_code_has_orphans_too() -> None:
    first = first_life(whole, seed=1)
    scopes = [call.scope for event in first.events if isinstance(event, Invoked) for call in event.calls]
    upto = next(
        place
        for place, event in enumerate(first.events, 1)
        if isinstance(event, Invoked) and any(call.scope == scopes[-2] and call.step == "double" for call in event.calls)
    )
    CHANGED.add("part")
    again = next_life(first, upto, whole, seed=2, late=False)
    assert orphans_of(again) == [("number", "part")]
