"""A run once more, from the beginning: its sources as they are recorded, everything else made anew, and the contents compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from ashore.driving import Fork, refuse_effects
from ashore.errors import GraphError
from ashore.events import Call, ElementsRan, Event, Invoked, StepRan
from ashore.graph import Graph
from ashore.ids import NO_KEY, InvocationId, RunId
from ashore.questions.changes import input_changes
from ashore.questions.deriving import started_in
from ashore.questions.diffing import pairs
from ashore.questions.facts import Facts, Invocation, files_of
from ashore.questions.going import drives_for, work_of
from ashore.questions.reading import facts_of, recorded_of
from ashore.questions.why import SHORT
from ashore.refreshing import ALL
from ashore.runs import Run
from ashore.starting import prepared_again, wired
from ashore.works import Work


@dataclass(frozen=True, slots=True)
class Differing:
    """A call that did not make what it had made."""

    step: str
    invocation: str
    text: str
    is_root: bool
    """Whether it took the same and made something else; otherwise what it took differs already."""

    def __str__(self) -> str:
        return f"{self.step}: {self.text}"


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What came of it. `is_same`: every content is what it was. Printed, it says so, or which step differs."""

    run: str
    """The new run."""
    original: str
    pipeline: str
    state: str
    same: int
    """How many calls made what they had made."""
    differing: tuple[Differing, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_same(self) -> bool:
        return not self.differing

    def __str__(self) -> str:
        what = "reproduces" if self.is_same else "does not reproduce"
        count = f"{self.same} calls made the same" + (f", {len(self.differing)} did not" if self.differing else "")
        lines = [f"run {self.run[:SHORT]} {what} run {self.original[:SHORT]} of {self.pipeline}: {count}"]
        return "\n".join([*lines, *(f"  {one}" for one in self.differing), *(f"  note: {note}" for note in self.notes)])

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"is_same": self.is_same}


async def reproduce_run(run: Run[Any], work: Work[Any, Any] | None) -> Reproduced:
    """See `Run.reproduce`."""
    drives = await drives_for(run)
    await drives.stack.log.refresh()
    recorded = await recorded_of(drives.stack.log, run.id)
    facts, started = Facts(recorded.events), started_in(recorded)
    if facts.ended is None:
        raise GraphError(f"run {run.id[:SHORT]} has not ended", mend="Await it first")
    work = work or work_of(run, started, drives)
    prepared = replace(prepared_again(work, started), refresh=(ALL,))
    given = _kept(facts, wired(prepared))
    fork = Fork(run.id, without_effects=bool(wired(prepared).body), given=list(_given(recorded.events, facts, given)))
    again = await drives.start_now(prepared, fork)
    state = await again.wait()
    return compared(run.id, facts, again.id, await facts_of(drives.stack.log, again.id), state)


def _kept(facts: Facts, graph: Graph) -> set[InvocationId]:
    """The calls whose outcomes are taken as recorded: of sources, and of steps that act on the world."""
    kept = {one.call.invocation for one in facts if isinstance(one.outcome, StepRan) and _is_source(one)}
    for node in graph.nodes:
        policy = node.work.definition.options.policy
        if policy is not None and policy.effects:
            one = facts.invocations.get(node.invocation)
            if one is None or not isinstance(one.outcome, StepRan):
                refuse_effects([node.work])
            kept.add(node.invocation)
    return kept


def _is_source(one: Invocation) -> bool:
    return not one.call.inputs and not files_of(one) and not one.key


def _given(events: Sequence[Event], facts: Facts, kept: set[InvocationId]) -> Iterator[Event]:
    """The outcomes of these calls, with the calls, as the new run states them: reused from the recorded one."""
    calls: list[Call] = [one.call for one in facts if one.call.invocation in kept]
    if calls:
        yield Invoked(events[0].run, tuple(calls))  # type: ignore[union-attr]  # a run's own events name it
    for event in events:
        if isinstance(event, StepRan) and event.invocation in kept:
            single = event.elements < 0
            origin = (event.reused_run or event.run, event.reused_invocation or event.invocation)
            run, invocation = origin if single else (RunId(""), InvocationId(b""))
            yield msgspec.structs.replace(event, key=NO_KEY, reused_run=run, reused_invocation=invocation)
        elif isinstance(event, ElementsRan) and event.invocation in kept:
            yield msgspec.structs.replace(event, keys=b"", reused=tuple((index, event.run) for index in event.indices))


def compared(original: str, before: Facts, run: str, after: Facts, state: str) -> Reproduced:
    """Call by call, what was made then and what is made now."""
    same = 0
    differing: list[Differing] = []
    notes: set[str] = set()
    for one, other in pairs(before, after):
        if one is not None and other is not None and one.call.code != other.call.code:
            notes.add(f"the code of {one.name} is not what it was")
        found = _difference(before, one, after, other)
        if found is not None:
            differing.append(found)
        else:
            same += 1
    pipeline = before.started.pipeline if before.started else ""
    return Reproduced(run, original, pipeline, state, same, tuple(differing), tuple(sorted(notes)))


def _difference(before: Facts, one: Invocation | None, after: Facts, other: Invocation | None) -> Differing | None:
    if one is None or other is None:
        present = one or other
        assert present is not None
        text = "was called, and is not now" if other is None else "is called now, and was not"
        return Differing(present.name, present.call.invocation.hex(), text, is_root=True)
    if one.made() == other.made() and one.state.replace("cached", "done") == other.state.replace("cached", "done"):
        return None
    changes = list(input_changes(before.taken(one), after.taken(other), after.producers(other)))
    ends = f"is {other.state}, and was {one.state}" if other.made() is None or one.made() is None else "made other content"
    because = "; ".join(map(str, changes)) if changes else "from the same inputs"
    return Differing(one.name, one.call.invocation.hex(), f"{ends}: {because}" if changes else f"{ends} {because}", not changes)
