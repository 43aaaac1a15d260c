"""Steps that act on the world: what came of an attempt that has no outcome on record, and who can say so."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from ashore.attempts import Trials
from ashore.codec import decode
from ashore.engine.fanout import Element
from ashore.engine.invoke import arguments_for, spread
from ashore.engine.means import Means
from ashore.engine.units import Unit, node_of
from ashore.engine.values import Blobs
from ashore.errors import StepError
from ashore.events import Held
from ashore.graph import Node
from ashore.ids import RunId, hash_id
from ashore.policies import Done

_SHORT: Final = 8
"""Digits of a run's id that are shown."""

Verdict: TypeAlias = Done | str | None
"""It has happened, with this result; or why nobody knows; None: it has not, and may be done again."""


def key_of(run: RunId, node: Node, element: int) -> str:
    """What names a call for the world outside: the same over attempts and restarts."""
    return hash_id(run.encode(), node.invocation, str(element).encode()).hex()


def surely_held(run: RunId, nodes: Sequence[Node], at: float) -> list[Held]:
    """What holds the run before anything of it executes: lost attempts of which only people can say what came."""
    return [
        held(run, node, index, trials, at, "")
        for node in nodes
        if node.trials is not None
        for index, trials in node.trials.lost()
        if trials.answer is None and trials.policy.check is None and trials.policy.on_lost == "hold"
    ]


def held(run: RunId, node: Node, element: int, trials: Trials, at: float, why: str) -> Held:
    """The run rests because of this attempt."""
    place = f"[{element}]" if element >= 0 else ""
    reason = f"{node.work.name}{place} began (attempt {trials.begun}), and nobody knows whether it has happened"
    mend = (
        f"`ashore resume {run[:_SHORT]} --done VALUE` if it has (VALUE is what it would have returned), "
        f"`ashore resume {run[:_SHORT]} --again` if it has not"
    )
    return Held(run, node.invocation, f"{reason}{f': {why}' if why else ''}", mend, at, trials.begun, element)


async def verdict_on(unit: Unit, trials: Trials, blobs: Blobs, means: Means, key: str) -> Verdict:
    """What came of the last attempt: as somebody has said, as the step's `check=` says, or as `on_lost=` says to take it."""
    if trials.answer is not None:
        return Done(decode(trials.answer.value)) if trials.answer.is_done else None
    if trials.policy.check is not None:
        try:
            return _done(await _checked(unit, trials.policy.check, blobs, means, key))
        except Exception as error:  # noqa: BLE001  # a callback of the user's
            name = getattr(trials.policy.check, "__qualname__", repr(trials.policy.check))
            return f"{name}, which could say so, raised {type(error).__name__}: {error}"
    return None if trials.policy.on_lost == "retry" else ""


def _done(said: Any) -> Done | None:
    if said is None or isinstance(said, Done):
        return said
    raise StepError(
        f"it returned {type(said).__name__}", mend="A check= function returns Done(value), or None if it has not happened"
    )


async def _checked(unit: Unit, check: Any, blobs: Blobs, means: Means, key: str) -> Any:
    """Call the step's check with the step's own arguments, and with `key` if it has a parameter of that name."""
    work = node_of(unit).work
    positional, named = spread(work, arguments_for(unit, blobs))
    await means.supplies.open(work)
    named |= means.supplies.given(work)
    if "key" in inspect.signature(check).parameters and "key" not in work.definition.binder.names:
        named["key"] = key
    if inspect.iscoroutinefunction(check):
        return await check(*positional, **named)
    return await means.ports.workers.run(partial(check, *positional, **named))


def element_of(unit: Unit) -> int:
    """Which element of a fan-out it is; -1 if it is none."""
    return unit.index if type(unit) is Element else -1
