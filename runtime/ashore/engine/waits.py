"""Waits: for time to pass, for a moment, for somebody's answer. One task each, that wakes now and then to look at the clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import anyio

from ashore.engine.journal import Journal
from ashore.engine.means import Means
from ashore.engine.outcomes import Outcomes
from ashore.engine.state import DONE
from ashore.engine.values import arguments_of, dump_whole
from ashore.events import Answered, Output, RunSpace, StepStarted, encode
from ashore.graph import Node
from ashore.ids import ID_SIZE, InvocationId, RunId
from ashore_stores.logs.base import Batch, Claim, Entry, EventLog

_LOOK = 60.0
"""Seconds after which a wait looks at the clock again: it may have been set, or the machine may have slept. Not if it says that it
is steady, as the clocks of tests do."""

YES, NO, LATE = b"yes", b"no", b"late"
"""What a register of answers holds."""


def answer_key(run: RunId, invocation: InvocationId) -> bytes:
    """The key of the register in which a question of a run is answered, once."""
    return run.encode() + invocation


def asked_of(key: bytes) -> tuple[RunId, InvocationId]:
    """The run and the question of such a key."""
    return RunId(key[:-ID_SIZE].decode()), InvocationId(key[-ID_SIZE:])


class Waits:
    """The waits of one run. `begun`: since when those on record have been waiting."""

    def __init__(self, means: Means, run: RunId, journal: Journal, outcomes: Outcomes) -> None:
        self.begun: dict[InvocationId, float] = {}
        self._means = means
        self._clock = means.ports.clock
        self._run = run
        self._journal = journal
        self._outcomes = outcomes
        self._asked: dict[InvocationId, anyio.Event] = {}
        self._questions: list[InvocationId] = []

    async def wait(self, node: Node) -> None:
        """Wait as the node says, and settle it."""
        begun = self._begin(node)
        arguments = arguments_of(node, {})
        answer = None
        if node.work.name == "approval":
            answer = await self._answer(node, begun, arguments)
        else:
            await self._pass(begun + arguments["seconds"] if "seconds" in arguments else arguments["at"])
        if node.state < DONE:  # nobody let go of it meanwhile
            self._outcomes.ran(node, (_value(node, answer),), begun, self._clock.now())

    def forgotten(self) -> list[Entry]:
        """The registers of this run's questions, emptied: it is over."""
        return [Entry(RunSpace.ANSWERS, answer_key(self._run, invocation), b"") for invocation in self._questions]

    def answered(self, invocation: InvocationId) -> None:
        """Somebody answered: it is in the register."""
        asked = self._asked.get(invocation)
        if asked is not None:
            asked.set()

    def _begin(self, node: Node) -> float:
        begun = self.begun.get(node.invocation)
        if begun is None:
            begun = self._clock.now()
            self._journal.record(StepStarted(self._run, node.invocation, begun))
            self._journal.flush()
        return begun

    async def _pass(self, moment: float) -> None:
        """Wait until a moment by the wall clock; if that is set back meanwhile, not longer than it seemed at the beginning."""
        look = math.inf if getattr(self._clock, "is_steady", False) else _LOOK
        left = moment - self._clock.now()
        end = self._clock.monotonic() + left
        while (left := min(moment - self._clock.now(), end - self._clock.monotonic())) > 0:
            await self._clock.sleep(min(left, look))

    async def _answer(self, node: Node, begun: float, arguments: Mapping[str, Any]) -> bool:
        asked = self._asked[node.invocation] = anyio.Event()
        self._questions.append(node.invocation)
        log, key = self._means.log, answer_key(self._run, node.invocation)
        timeout = arguments["patience"]
        try:
            if log.register(RunSpace.ANSWERS, key) is None:
                async with anyio.create_task_group() as group:
                    if timeout is not None:
                        group.start_soon(self._time_out, node, begun + timeout)
                    await asked.wait()
                    group.cancel_scope.cancel()
        finally:
            del self._asked[node.invocation]
        return log.register(RunSpace.ANSWERS, key) == YES

    async def _time_out(self, node: Node, moment: float) -> None:
        """Nobody answered in time: that is the answer, unless one came first."""
        await self._pass(moment)
        await answer(self._means.log, Answered(self._run, node.invocation, False, True, self._clock.now()))
        self.answered(node.invocation)


async def answer(log: EventLog, event: Answered) -> bool:
    """Answer a question, if nobody has yet; whether this is the answer that holds."""
    run, how = event.run, LATE if event.is_late else YES if event.yes else NO
    key, topic = answer_key(run, event.invocation), run.encode()
    await log.own()
    batch = Batch(encode([event]), 1, entries=(Entry(RunSpace.ANSWERS, key, how),), topics=(topic,))
    (judged,) = await log.append([Claim(RunSpace.ANSWERS, key, None, batch)])
    if judged.position is None:
        return False
    await log.durable(judged.position)
    return True


def _value(node: Node, value: bool | None) -> Output:
    output = dump_whole(node.work, value)
    assert isinstance(output, Output)
    return output
