"""New calls that act on the world, made by a changed body while recorded ones of that step are not asked for yet.

A body that was changed between a crash and its resumption may ask for another charge than the one that is on record: nobody
can tell whether it is meant in addition or in its place. So it waits until what is on record was asked for, too; if the run comes
to rest before that, people decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ashore.codec import decode
from ashore.engine.live.record import Record
from ashore.events import Call, Held
from ashore.graph import Node, call_of
from ashore.ids import RunId

PATIENCE: Final = 1.0
"""Seconds for which a run must have been at rest before it is held."""
_SHORT: Final = 8
_SHOWN: Final = 60


class Parking:
    """The calls of one run that wait."""

    def __init__(self, run: RunId) -> None:
        self.nodes: list[Node] = []
        self._run = run

    def takes(self, node: Node, record: Record) -> bool:
        """Whether this call has to wait; it is kept then."""
        if record.is_empty or not acts(node) or record.has_call(node.invocation) or not record.unclaimed(node.work.name):
            return False
        self.nodes.append(node)
        return True

    def leave(self, record: Record) -> list[Node]:
        """Those that need not wait any more."""
        free = [node for node in self.nodes if not record.unclaimed(node.work.name)]
        if free:
            self.nodes = [node for node in self.nodes if record.unclaimed(node.work.name)]
        return free

    def held(self, record: Record, pipeline: str, at: float) -> list[Held]:
        """What people are told when the run is at rest."""
        run = self._run[:_SHORT]
        mend = "`ashore resume {run} --allow {step}` if the new call is meant as well, or `ashore cancel {run}`"
        return [
            Held(
                self._run,
                node.invocation,
                f"{pipeline} changed: {_several(record.unclaimed(node.work.name))} is on record, "
                f"the new code asks for {_shown(call_of(node))}",
                mend.format(run=run, step=node.work.name),
                at,
            )
            for node in self.nodes
        ]


def acts(node: Node) -> bool:
    """Whether it acts on the world."""
    return node.trials is not None and node.trials.policy.effects


def _several(calls: Iterable[Call]) -> str:
    return ", ".join(_shown(call) for call in calls)


def _shown(call: Call) -> str:
    parts = [f"{name}={_value(data)}" for name, data in call.params]
    parts += [f"{taken.argument}=..." for taken in call.inputs if taken.argument not in dict(call.params)]
    return f"{call.step}({', '.join(parts)})"


def _value(data: bytes) -> str:
    try:
        text = repr(decode(data))
    except Exception:  # noqa: BLE001  # a class that is gone
        return "..."
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
