"""Bugs planted in what lets bodies resume: each is caught by a construct, and would pass ordinary tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.museum.planting import Bug, planted
from tests.scenarios import live_constructs as constructs
from tests.scenarios import test_live

from ashore.engine.live.bodies import Bodies
from ashore.engine.live.missing import Missing
from ashore.engine.live.parking import Parking
from ashore.engine.live.record import Record
from ashore.engine.live.turnstile import Turnstile
from ashore.graph import Node
from ashore.ids import InvocationId


def _all_at_once(right: Any, turnstile: Turnstile) -> None:
    """Everything that is there passes in one turn of the loop."""
    left = -1
    while turnstile._is_at_rest and left != (left := len(turnstile._recorded) + len(turnstile._settled)):
        right(turnstile)
        turnstile._is_at_rest = True


def _new_before_recorded(right: Any, turnstile: Turnstile, place: int, node: Node) -> None:
    """What is on record passes when it is asked for, not in the order of the log."""
    right(turnstile, node.index, node)


def _one_for_all(right: Any, bodies: Bodies, identity: InvocationId, work: Any, *, acts: bool) -> InvocationId:
    """Equal calls are one, whatever they do."""
    latest = bodies._latest.get(identity)
    return identity if latest is None else latest.invocation


def _never(right: Any, *arguments: Any) -> bool:
    return False


def _nothing_recorded(right: Any, record: Record, invocation: InvocationId, *, is_body: bool) -> None:
    """What is on record is done again."""
    return


def _all_handled(right: Any, bodies: Bodies, error: Any, body: Any) -> Any:
    """A failure that nobody waited for does not count."""
    bodies._handled.update(node.invocation for node in bodies._parts.machine.failures)
    return right(bodies, error, body)


def _holds_nothing(right: Any, missing: Missing, place: int, node: Node) -> bool:
    """A recorded outcome passes though a call is missing that was made before it."""
    return False


BUGS = (
    Bug("all at once", "outcomes pass though the bodies have not come to rest", ((Turnstile, "turn", _all_at_once),)),
    Bug("order of calls", "recorded outcomes pass in the order of the calls", ((Turnstile, "recorded", _new_before_recorded),)),
    Bug("time-outs forgotten", "a time-out decides otherwise when resumed", ((Missing, "holds", _holds_nothing),)),
    Bug("equal effects", "two equal charges are one", ((Bodies, "occurrence", _one_for_all),)),
    Bug("nothing parked", "a changed body charges anew at once", ((Parking, "takes", _never),)),
    Bug("done again", "what is on record is done again", ((Record, "take", _nothing_recorded),)),
    Bug("unhandled failures", "a failure that nobody waited for is forgotten", ((Bodies, "_broken", _all_handled),)),
)


HUNTS: dict[str, Callable[[], None]] = {
    "all at once": lambda: cut_everywhere(constructs.waited_for_first),
    "order of calls": lambda: cut_everywhere(constructs.completed_first),
    "time-outs forgotten": lambda: test_live.test_nobody_is_charged_twice(constructs.charged_after_a_time_out),
    "equal effects": lambda: test_live.test_nobody_is_charged_twice(constructs.charged_equally),
    "nothing parked": lambda: test_live.test_a_changed_body_charges_nobody_anew_before_somebody_says_so(test_live.deploy),
    "done again": lambda: cut_everywhere(constructs.loop),
    "unhandled failures": test_live.test_what_nobody_handles_fails_the_run,
}


def cut_everywhere(pipeline: Any) -> None:
    test_live.test_cut_off_after_each_event_and_resumed_it_comes_to_the_same(pipeline)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_constructs_catch(bug: Bug) -> None:
    try:
        with planted(bug):
            HUNTS[bug.name]()
    except (Exception, AssertionError):  # noqa: BLE001  # whatever it is, it was noticed
        return
    finally:
        constructs.Version.is_new = False
    pytest.fail(f"nothing noticed that {bug.what}")
