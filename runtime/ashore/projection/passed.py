"""What passed through bodies: the values that each was given, in order, and the calls that may have been made of them."""

from __future__ import annotations

from collections.abc import Mapping

from ashore.events import Invoked, StepRan
from ashore.ids import InvocationId, RunId, hash_id
from ashore_stores.index.changes import Row

_POSITIVE = (1 << 63) - 1


def awaited_rows(event: Invoked, steps: Mapping[InvocationId, int]) -> list[Row]:
    """(body, place, source, output) of each value that a body was given."""
    return [
        (_body(event.run, one.scope), one.place, steps[one.invocation], one.output)
        for one in event.awaited
        if one.invocation in steps
    ]


def made_of_rows(event: Invoked, steps: Mapping[InvocationId, int]) -> list[Row]:
    """(consumer, body, given) of each call with a plain value that its body may have made of what it had been given."""
    return [(steps[call.invocation], _body(event.run, call.scope), call.given) for call in event.calls if call.given]


def made_of_row(event: StepRan, step: int) -> Row:
    """(consumer, body, given) of a sub-run whose body made its result of what it had been given."""
    return step, _body(event.run, event.body), event.given


def _body(run: RunId, scope: str) -> int:
    return int.from_bytes(hash_id(run.encode(), scope.encode())[:8], "big") & _POSITIVE
