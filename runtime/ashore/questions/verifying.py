"""A run's decisions, derived once more from its record and compared with what it did. Nothing of it executes.

Derived are: which calls its pipeline asks for with the recorded arguments, the cache key of each call from the recorded code,
arguments and contents, that nothing ran before its inputs were there and nothing twice, that what was reused is what is on record
under that key, and how the run had to end. Keys of single elements of fan-outs are taken as they are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from ashore.engine.keys import key_of
from ashore.engine.state import DONE, Machine
from ashore.events import Call, Event, StepFailed, StepRan, StepSkipped
from ashore.graph import Graph, Node, call_of
from ashore.ids import CacheKey, RunId
from ashore.questions.facts import Elements, Facts, Invocation
from ashore.questions.why import SHORT, Made
from ashore.results import encode_result

Kind: TypeAlias = Literal["pipeline", "call", "key", "order", "reuse", "outcome"]

_COMPARED: Final = ("step", "scope", "inputs", "files", "params", "fan")
"""What of a call has to be the same; its code is taken as it is recorded."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A decision that is not what the record says."""

    kind: Kind
    step: str
    """The call that it is about; "" is the run itself."""
    text: str

    def __str__(self) -> str:
        return f"{self.step}: {self.text}" if self.step else self.text


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of it. `is_sound`: every decision is as recorded. Printed, it says so or what is not."""

    run: str
    pipeline: str
    findings: tuple[Finding, ...]
    checked: Mapping[str, int]
    """How many of each were derived: calls, keys, reuses, outcomes."""
    notes: tuple[str, ...] = ()
    """What could not be derived, and why."""

    @property
    def is_sound(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        counted = ", ".join(f"{count} {name}" for name, count in self.checked.items())
        how = "as recorded" if self.is_sound else f"{len(self.findings)} not as recorded"
        lines = [f"run {self.run[:SHORT]} of {self.pipeline}: {how} ({counted})"]
        return "\n".join([*lines, *(f"  {one}" for one in self.findings), *(f"  note: {note}" for note in self.notes)])

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"sound": self.is_sound}


@dataclass(slots=True)
class Recorded:
    """What is derived from: the run's own events, and what stands under the keys that it reused."""

    run: str
    events: Sequence[Event]
    made: Mapping[CacheKey, Sequence[Made]] = field(default_factory=dict)


def verify(recorded: Recorded, wire: Callable[[], Graph]) -> Verified:
    """Derive a run's decisions and compare. `wire` calls the pipeline's body with the recorded arguments; a body that awaits is not
    called, since that would execute it: its calls are taken as recorded, and a note says so."""
    facts = Facts(recorded.events)
    pipeline = facts.started.pipeline if facts.started else ""
    notes = [] if facts.ended else ["the run has not ended: its end is not derived"]
    findings = [*_order(recorded.events, facts), *_reuses(facts, recorded.made)]
    checked = {"calls": len(facts.invocations), "keys": 0, "reuses": _count_reuses(facts), "outcomes": _count_outcomes(facts)}
    try:
        graph = wire()
    except Exception as error:  # noqa: BLE001  # the pipeline's body is the user's: whatever it raises now, it did not raise then
        text = f"the pipeline cannot be wired with the recorded arguments any more: {type(error).__name__}: {error}"
        return Verified(recorded.run, pipeline, (Finding("pipeline", "", text), *findings), checked, tuple(notes))
    if graph.body is not None:
        notes.append("an `async def` pipeline decides while it runs: its calls and their keys are taken as recorded")
    else:
        calls = list(_calls(facts, graph))
        keys = _Keys(recorded.events, facts, graph)
        findings = [*calls, *keys.findings, *findings]
        checked["keys"] = keys.count
        if not calls and facts.ended is not None:
            findings += _end(facts, graph)
    return Verified(recorded.run, pipeline, tuple(findings), checked, tuple(notes))


# --- what is asked for ---


def _calls(facts: Facts, graph: Graph) -> Iterator[Finding]:
    for one in facts:
        node = graph.by_invocation.get(one.call.invocation)
        if node is None:
            yield Finding("call", one.name, f"was called{_with(one.call)}, and the pipeline does not ask for that any more")
        else:
            changed = [name for name in _COMPARED if getattr(call_of(node), name) != getattr(one.call, name)]
            if changed:
                yield Finding("call", one.name, f"its {', '.join(changed)} are not those that are recorded")
    for node in graph.nodes:
        if node.invocation not in facts.invocations:
            call = call_of(node)
            yield Finding("call", Invocation(call).name, f"the pipeline asks for it{_with(call)}, and it was not called")


def _with(call: Call) -> str:
    names = [name for name, _ in call.params]
    return f" with other `{'`, `'.join(names)}`" if names else ""


# --- keys ---


class _Keys:
    """The keys of calls, each made when what it takes has been folded in."""

    def __init__(self, events: Sequence[Event], facts: Facts, graph: Graph) -> None:
        self.count = 0
        self.findings: list[Finding] = []
        machine = Machine(graph)
        for event in events:
            node = graph.by_invocation.get(event.invocation) if isinstance(event, StepRan) else None
            if isinstance(event, StepRan) and node is not None and not node.fan:
                self._check(node, event, facts)
            machine.receive(event)

    def _check(self, node: Node, event: StepRan, facts: Facts) -> None:
        one = facts.invocations.get(node.invocation)
        if one is None or any(source.node.state != DONE for argument in node.arguments for source in argument.refs):
            return  # what it took is not there: the order is wrong, and that is found elsewhere
        self.count += 1
        node.code = one.call.code
        if bool(event.key) != node.is_reusable:
            how = "is reused by its key, and would not be" if event.key else "is not reused, and would be"
            self.findings.append(Finding("key", one.name, how))
        elif event.key and key_of(node) != event.key:
            derived = key_of(node).hex()[:SHORT]
            text = f"its key is {event.key.hex()[:SHORT]} on record, and {derived} by its code, arguments and inputs"
            self.findings.append(Finding("key", one.name, text))


# --- order ---


def _order(events: Sequence[Event], facts: Facts) -> Iterator[Finding]:
    """Inputs come first, and an outcome is final."""
    done: set[bytes] = set()
    settled: set[bytes] = set()
    for event in events:
        if not isinstance(event, StepRan | StepFailed | StepSkipped):
            continue
        one = facts.invocations.get(event.invocation)
        if one is None:
            yield Finding("order", "", f"{event.invocation.hex()[:SHORT]} has an outcome, and nobody has asked for it")
            continue
        if event.invocation in settled:
            yield Finding("order", one.name, "has two outcomes")
        settled.add(event.invocation)
        if isinstance(event, StepRan):
            done.add(event.invocation)
            if event.key or not event.reused_run:  # else it was given from the start, as a reproduction's sources are
                yield from _too_early(one, facts, done)


def _too_early(one: Invocation, facts: Facts, done: set[bytes]) -> Iterator[Finding]:
    for given in one.call.inputs:
        maker = facts.invocations.get(given.producer)
        is_stage = maker is not None and one.call.fan and maker.call.fan  # takes elements as they come
        if given.producer not in done and not is_stage:
            name = maker.name if maker is not None else given.producer.hex()[:SHORT]
            yield Finding("order", one.name, f"has an outcome before `{given.argument}`, from {name}, was there")


# --- reuse ---


def _reuses(facts: Facts, made: Mapping[CacheKey, Sequence[Made]]) -> Iterator[Finding]:
    for one in facts:
        outcome = one.outcome
        if isinstance(outcome, StepRan) and outcome.reused_run and outcome.key:  # without one it was given, not looked up
            content = tuple(output.identity for output in outcome.outputs)
            if not _stands(made.get(outcome.key, ()), outcome.reused_run, content):
                yield Finding("reuse", one.name, f"run {outcome.reused_run[:SHORT]} has no such output under its key on record")
        if one.elements is not None:
            yield from _reused_elements(one, one.elements, made)


def _reused_elements(one: Invocation, elements: Elements, made: Mapping[CacheKey, Sequence[Made]]) -> Iterator[Finding]:
    for index, run in elements.reused.items():
        content = tuple(output.identity for output in elements.outputs[index])
        if not _stands(made.get(elements.keys.get(index, CacheKey(b"")), ()), run, content):
            yield Finding("reuse", f"{one.name}[{index}]", f"run {run[:SHORT]} has no such output under its key on record")


def _stands(made: Sequence[Made], run: RunId, content: tuple[bytes, ...]) -> bool:
    """Whether that run made this under the key."""
    return any(one.run == run and one.content == content for one in made)


def _count_reuses(facts: Facts) -> int:
    single = sum(one.state == "cached" for one in facts)
    return single + sum(len(one.elements.reused) for one in facts if one.elements is not None)


def _count_outcomes(facts: Facts) -> int:
    return sum(one.outcome is not None for one in facts)


# --- the end ---


def _end(facts: Facts, graph: Graph) -> Iterator[Finding]:
    """How a wired run has to end: as its calls did."""
    ended = facts.ended
    assert ended is not None
    failed = {one.call.invocation for one in facts if isinstance(one.outcome, StepFailed)}
    if ended.state == "cancelled":
        return
    expected = "failed" if failed else "done"
    if ended.state != expected:
        yield Finding("outcome", "", f"it ended as {ended.state}, and its calls make that {expected}")
    for name in failed ^ set(ended.failed):
        yield Finding("outcome", facts.invocations[name].name, "failed, and that is not what the run's end says")
    for one in facts:
        if one.outcome is None:
            yield Finding("outcome", one.name, "has no outcome, and the run has ended")
    if ended.state == expected == "done" and encode_result(graph.result) != ended.result:
        yield Finding("outcome", "", "its result is not what its calls make")
