"""What is on record of a run, gathered by invocation. Pure: folded from the run's own events.

Where a run was gone on with after a failure, the last outcome of an invocation is the one that counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ashore.engine.state import outputs_of
from ashore.events import (
    Call,
    ElementsRan,
    Event,
    FileUse,
    Input,
    Invoked,
    Output,
    Reported,
    RunEnded,
    RunStarted,
    StepFailed,
    StepRan,
    StepSkipped,
    StepStarted,
)
from ashore.ids import CacheKey, CodeId, InvocationId, RunId
from ashore.redoing import effective
from ashore_stores.logs.base import MARK_SIZE

ALL_OUTPUTS = -1


@dataclass(frozen=True, slots=True)
class Definition:
    """A step's code as it was fingerprinted, part by part."""

    code: CodeId
    step: str
    file: str = ""
    line: int = 0
    parts: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    """Where each part stands: "clean.py:10-14"."""
    ignored: frozenset[str] = frozenset()
    """Parameters that do not count."""
    role: str = "step"


@dataclass(slots=True)
class Elements:
    """The elements of a fan-out, by index."""

    outputs: dict[int, tuple[Output, ...]] = field(default_factory=dict)
    keys: dict[int, CacheKey] = field(default_factory=dict)
    reused: dict[int, RunId] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    files: dict[int, list[FileUse]] = field(default_factory=dict)

    def receive(self, event: ElementsRan) -> None:
        """Some more of them are known."""
        reused = dict(event.reused)
        for place, index in enumerate(event.indices):
            self.outputs[index] = outputs_of(event, place)
            self.failed.discard(index)
            self.reused.pop(index, None)
            if event.keys:
                self.keys[index] = CacheKey(event.keys[place * MARK_SIZE : (place + 1) * MARK_SIZE])
            if index in reused:
                self.reused[index] = reused[index]
        self.failed.update(index for index, _ in event.failed)
        for use in event.files:
            self.files.setdefault(index_in(use.argument), []).append(use)


@dataclass(slots=True)
class Invocation:
    """One call, and what became of it."""

    call: Call
    outcome: StepRan | StepFailed | StepSkipped | None = None
    started: StepStarted | None = None
    elements: Elements | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    """The last value of each number that it reported; of an element of a fan-out as "loss[3]"."""

    @property
    def name(self) -> str:
        """As people name it: with the sub-run that it belongs to."""
        return f"{self.call.scope}/{self.call.step}" if self.call.scope else self.call.step

    @property
    def state(self) -> str:
        """As the catalogue has it: waiting, running, done, cached, failed or skipped."""
        outcome = self.outcome
        if isinstance(outcome, StepRan):
            return "cached" if outcome.reused_run else "done"
        if isinstance(outcome, StepFailed):
            return "failed"
        if isinstance(outcome, StepSkipped):
            return "cancelled" if outcome.was_running else "skipped"
        return "waiting" if self.started is None and self.elements is None else "running"

    @property
    def key(self) -> bytes:
        """The cache key that its outcome is on record under; of a fan-out its elements' keys, together."""
        if self.elements is not None:
            return b"".join(self.elements.keys[index] for index in sorted(self.elements.keys))
        return self.outcome.key if isinstance(self.outcome, StepRan) else b""

    def made(self, output: int = ALL_OUTPUTS, element: int = -1) -> tuple[bytes, ...] | None:
        """The identities of what it made: of one output or all, of one element or all. None: nothing is known of that."""
        if self.elements is not None:
            chosen = sorted(self.elements.outputs) if element < 0 else [element]
            rows: list[tuple[Output, ...]] = [self.elements.outputs.get(index, ()) for index in chosen]
        else:
            rows = [self.outcome.outputs] if isinstance(self.outcome, StepRan) else []
        several = max((len(row) for row in rows), default=0) > 1
        return (
            tuple([one.identity for row in rows for one in (row[output : output + 1] if output >= 0 and several else row)]) or None
        )


class Facts:
    """A run as its events have it."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.started: RunStarted | None = None
        self.ended: RunEnded | None = None
        self.invocations: dict[InvocationId, Invocation] = {}
        for event in effective(events):
            self._receive(event)

    def __iter__(self) -> Iterator[Invocation]:
        """In the order in which they were asked for."""
        return iter(self.invocations.values())

    def of(self, step: str) -> list[Invocation]:
        """Those of one step."""
        return [one for one in self if one.call.step == step]

    @property
    def codes(self) -> set[CodeId]:
        return {one.call.code for one in self}

    def taken(self, one: Invocation) -> dict[str, tuple[bytes, ...] | None]:
        """What a call took from others, by argument: the identities of the contents; None where nothing was made yet."""
        found: dict[str, list[bytes] | None] = {}
        for given in one.call.inputs:
            name = root_of(given.argument)
            contents = self._content(given)
            before = found.setdefault(name, [])
            found[name] = None if before is None or contents is None else [*before, *contents]
        return {name: None if contents is None else tuple(contents) for name, contents in found.items()}

    def producers(self, one: Invocation) -> dict[str, list[Invocation]]:
        """Which calls made what a call took, by argument."""
        found: dict[str, list[Invocation]] = {}
        for given in one.call.inputs:
            maker = self.invocations.get(given.producer)
            makers = found.setdefault(root_of(given.argument), [])
            if maker is not None and maker not in makers:
                makers.append(maker)
        return found

    def _content(self, given: Input) -> tuple[bytes, ...] | None:
        maker = self.invocations.get(given.producer)
        return None if maker is None else maker.made(given.output, given.element)

    def _receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.started = event
        elif isinstance(event, RunEnded):
            self.ended = event
        elif isinstance(event, Invoked):
            for call in event.calls:
                self.invocations.setdefault(call.invocation, Invocation(call))
        elif isinstance(event, StepRan | StepFailed | StepSkipped | StepStarted | ElementsRan | Reported):
            one = self.invocations.get(event.invocation)
            if one is not None:
                _settle(one, event)


def _settle(one: Invocation, event: StepRan | StepFailed | StepSkipped | StepStarted | ElementsRan | Reported) -> None:
    if isinstance(event, Reported):
        place = f"[{event.element}]" if event.element >= 0 else ""
        one.metrics |= {f"{metric.name}{place}": metric.value for metric in event.metrics}
    elif isinstance(event, StepStarted):
        one.started = event
    elif isinstance(event, ElementsRan):
        one.elements = one.elements or Elements()
        one.elements.receive(event)
    else:
        one.outcome = event
        if isinstance(event, StepRan) and event.elements >= 0:
            one.elements = one.elements or Elements()


def root_of(argument: str) -> str:
    """ "tables" of "tables[3]": which argument a place lies in."""
    return argument.partition("[")[0]


def index_in(argument: str) -> int:
    """12 of "file[12]"; -1 if it names no place."""
    number = argument.rpartition("[")[2].removesuffix("]")
    return int(number) if number.isdecimal() else -1


def files_of(one: Invocation) -> dict[str, list[FileUse]]:
    """The files that a call was given, by argument, those of a fan-out's elements too, in order."""
    found: dict[str, dict[FileUse, None]] = {}
    elements: Sequence[FileUse] = ()
    if one.elements is not None:
        elements = [use for _, uses in sorted(one.elements.files.items()) for use in uses]
    for use in (*one.call.files, *elements):
        found.setdefault(root_of(use.argument), {})[use] = None
    return {name: list(uses) for name, uses in found.items()}
