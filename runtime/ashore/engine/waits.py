"""Waits: for time to pass, for a moment, for somebody's answer. One task each, that wakes now and then to look at the clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from ashore.engine.journal import Journal
from ashore.engine.means import Means
from ashore.engine.outcomes import Outcomes
from ashore.engine.state import DONE
from ashore.engine.values import arguments_of, dump_whole, load_output
from ashore.events import Answered, Event, Invoked, Output, RunSpace, StepRan, StepStarted, encode
from ashore.files import File
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
        self.taken: set[tuple[str, bytes, int]] = set()
        """Files that were given to this run, as they were."""
        self._means = means
        self._clock = means.ports.clock
        self._run = run
        self._journal = journal
        self._outcomes = outcomes
        self._asked: dict[InvocationId, anyio.Event] = {}
        self._questions: list[InvocationId] = []
        self._turns: dict[str, anyio.Lock] = {}

    async def wait(self, node: Node) -> None:
        """Wait as the node says, and settle it."""
        begun = self._begin(node)
        try:
            value = await self._outcome(node, begun, arguments_of(node, {}))
            output = dump_whole(node.work, value)
        except Exception as error:  # noqa: BLE001  # a folder that cannot be watched, ...
            if node.state < DONE:
                self._outcomes.broke(node, error, begun)
            return
        assert isinstance(output, Output)
        if node.state < DONE:  # nobody let go of it meanwhile
            self._outcomes.ran(node, (output,), begun, self._clock.now())

    async def _outcome(self, node: Node, begun: float, arguments: Mapping[str, Any]) -> Any:
        match node.work.name:
            case "approval":
                return await self._answer(node, begun, arguments)
            case "arrival":
                async with self._turns.setdefault(arguments["pattern"], anyio.Lock()):  # who asked first is given the first
                    return await self._arrival(arguments["pattern"])
            case "sleep":
                return await self._pass(begun + arguments["seconds"])
            case _:
                return await self._pass(arguments["at"])

    async def _arrival(self, pattern: str) -> File:
        """The next file that this run has not been given yet, of those that arrived since it began."""
        ticket = self._journal.flush()
        if ticket is not None:
            await self._means.log.durable(ticket)
        frames = await self._means.log.about(self._run.encode())

        def takes(file: File) -> bool:
            mark = (file.name, file.digest, file.mtime_ns)
            is_new = mark not in self.taken
            self.taken.add(mark)
            return is_new

        return await self._means.inboxes.next(pattern, frames[0].first, takes)

    def recall(self, events: Sequence[Event]) -> None:
        """What is on record of this run: since when it waits, and which files it was given."""
        arrivals: set[InvocationId] = set()
        for event in events:
            if isinstance(event, StepStarted):
                self.begun.setdefault(event.invocation, event.at)
            elif isinstance(event, Invoked):
                arrivals.update(call.invocation for call in event.calls if call.step == "arrival")
            elif isinstance(event, StepRan) and event.invocation in arrivals:
                file = load_output(event.outputs[0], {})
                if isinstance(file, File):
                    self.taken.add((file.name, file.digest, file.mtime_ns))

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
