"""What is found in a simulated home, and what was executed outside of it, against what was asked for.

I3 outputs exist and match; I4 one outcome for each invocation; I5 nothing recorded is executed again; I6 the index is the fold of
the log; I8 nothing starts before its inputs; I9 everything ends; I10 and I11 each arrival once, and none missed; I13 failures are
told; I35 the result is that of the oracle.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.scenarios.graphs_oracle import Unit
from tests.scenarios.graphs_process import Told
from tests.scenarios.graphs_world import wrong_result
from tests.scenarios.sim_runtime_history import events_of
from tests.scenarios.sim_runtime_program import INBOX, Asked, AskedFiles, AskedGraph, grown, single
from tests.scenarios.sim_stores_history import Violation

from ashore.catalogue.projector import Projector
from ashore.engine.state import outputs_of
from ashore.events import (
    Arrived,
    CancelAsked,
    ElementsRan,
    Event,
    Output,
    RunEnded,
    RunStarted,
    StepFailed,
    StepRan,
    StepSkipped,
    text_digest,
)
from ashore.graph import Node, Ref
from ashore.ids import InvocationId, RunId
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.errors import StoreError
from ashore_stores.index.memory import MemoryIndex
from ashore_stores.keys import Position
from ashore_stores.logs.base import EventLog, Frame
from ashore_stores.ports import Clock
from ashore_stores.testing.index import dump

CHANGED: Final = ("ashore.errors:FileChanged", "ashore_stores.errors:Missing")
"""How a step fails whose file was changed or removed after it had arrived."""

HINDERED: Final = ("ashore_stores.errors:Unavailable", "ashore_stores.errors:Full")
"""How a step fails whose output a disk with faults did not take."""


@dataclass
class Recorded:
    """What the log has of one run, in its order."""

    started: RunStarted | None = None
    ended: RunEnded | None = None
    settled: list[tuple[str, int]] = field(default_factory=list)
    """Invocation and element (-1: the whole) of every outcome."""
    made: set[tuple[str, int]] = field(default_factory=set)
    """Those that have outputs."""
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    """Those that failed: class and message."""
    starts: int = 0
    ends: int = 0

    def receive(self, event: Event) -> None:
        if self.ended is not None and not isinstance(event, CancelAsked):  # who asks may not know of the end yet
            raise Violation("I4", f"after the end of run {self.ended.run} comes {event!r}")
        if isinstance(event, RunStarted):
            self.started, self.starts = event, self.starts + 1
        elif isinstance(event, RunEnded):
            self.ended, self.ends = event, self.ends + 1
        elif isinstance(event, StepRan | StepFailed | StepSkipped):
            self._settle(event.invocation, -1, is_made=isinstance(event, StepRan))
            if isinstance(event, StepFailed):
                self.failed[event.invocation.hex(), -1] = f"{event.failure.classes[0]}: {event.failure.message}"
        elif isinstance(event, ElementsRan):
            self._receive_elements(event)

    def _receive_elements(self, event: ElementsRan) -> None:
        for index in event.indices:
            self._settle(event.invocation, index, is_made=True)
        for index, failure in event.failed:
            self._settle(event.invocation, index, is_made=False)
            self.failed[event.invocation.hex(), index] = f"{failure.classes[0]}: {failure.message}"

    def _settle(self, invocation: InvocationId, index: int, *, is_made: bool) -> None:
        what = (invocation.hex(), index)
        if what in self.settled:
            raise Violation("I4", f"invocation {what} of run {self.started and self.started.run} has two outcomes")
        self.settled.append(what)
        if is_made:
            self.made.add(what)

    def has(self, invocation: str, unit: Unit) -> bool:
        return (invocation, unit.index) in self.settled or (invocation, -1) in self.settled


def recorded_in(frames: Iterable[Frame]) -> dict[RunId, Recorded]:
    """By run. Raises for a second outcome of anything."""
    runs: dict[RunId, Recorded] = {}
    for frame in frames:
        for _, event in events_of(frame):
            run: RunId | None = getattr(event, "run", None)
            if run is not None:
                runs.setdefault(run, Recorded()).receive(event)
    return runs


# Executions.


def check_executions(
    lines: Sequence[str], before: Mapping[RunId, Recorded], driven: Mapping[RunId, Asked], former: Sequence[str] = ()
) -> None:
    """What one life of the process executed, given what was recorded before it and the runs that it may have driven.

    `former`: what earlier lives executed, where it is not known how much of that was recorded.
    """
    cached = {unit.key for run, asked in driven.items() if run in before for unit in _made_units(asked, before[run]) if unit.key}
    left: list[Unit] = []
    ended = {line.removeprefix("end ") for line in former if line.startswith("end ")}
    joins = 0
    for run, asked in driven.items():
        known = before.get(run, Recorded())
        ended.update(unit.said for unit in _made_units(asked, known))
        ended.update(unit.said for _, unit in asked.units if unit.key in cached)
        if known.ended is None:
            left += [unit for name, unit in asked.units if not known.has(name, unit)]
            joins += isinstance(asked, AskedFiles) and asked.started.pipeline == grown.name
    _check_counts(lines, left, cached, joins)
    _check_inputs(lines, left, ended)


def _made_units(asked: Asked, recorded: Recorded) -> Iterator[Unit]:
    return (unit for name, unit in asked.units if (name, unit.index) in recorded.made)


def _check_counts(lines: Sequence[str], left: Sequence[Unit], cached: set[str], joins: int) -> None:
    executed = Counter(line.partition(" ")[2] for line in lines if line.startswith("start "))
    allowed = Counter(unit.said for unit in left if unit.key not in cached)
    for said, number in executed.items():
        if said.startswith("joined "):
            joins -= number
        elif number > allowed[said]:
            raise Violation("I5", f"{said} was executed {number} times in one life, {allowed[said]} at most are right")
    if joins < 0:
        raise Violation("I5", "files were joined more often than there were runs for it")


def _check_inputs(lines: Sequence[str], left: Sequence[Unit], ended: set[str]) -> None:
    needs: dict[str, list[frozenset[str]]] = {}
    for unit in left:
        needs.setdefault(unit.said, []).append(unit.needs)
    for line in lines:
        verb, _, said = line.partition(" ")
        if verb == "end":
            ended.add(said)
        elif not said.startswith("joined ") and not any(needed <= ended for needed in needs.get(said, [])):
            raise Violation("I8", f"{said} began before its inputs were there")


# Runs.


def check_order(asked: Mapping[RunId, Asked], recorded: Mapping[RunId, Recorded]) -> None:
    """No outcome stands in the log before those of its inputs (I8)."""
    for run, found in recorded.items():
        if found.started is None:
            raise Violation("I2", f"run {run} has events but no start")
        seen: set[str] = set()
        seen_elements: set[tuple[str, int]] = set()
        nodes = {node.invocation.hex(): node for node in asked[run].graph.nodes}
        for invocation, index in found.settled:
            node = nodes.get(invocation)
            if node is None:
                raise Violation("I2", f"run {run} never asked for {invocation}")
            if index >= 0 and (invocation, index) in found.made:
                _check_stages(node, index, seen_elements)
                seen_elements.add((invocation, index))
            inputs = [made.invocation.hex() for made in asked[run].graph.nodes if node in made.consumers]
            if (invocation, index) in found.made and not seen.issuperset(inputs):
                raise Violation("I8", f"{node!r} of run {run} has its outputs before its inputs have theirs")
            if index == -1 and (invocation, index) in found.made:
                seen.add(invocation)


def _check_stages(node: Node, index: int, seen: set[tuple[str, int]]) -> None:
    """An element stands in the log after those of earlier stages that it was made from."""
    for argument in node.arguments:
        each, template = argument.each, argument.template
        if each is not None and each.group.how == "zip" and isinstance(template, Ref) and template.node.fan:  # noqa: SIM102
            if (template.node.invocation.hex(), index) not in seen:
                raise Violation("I8", f"element {index} of {node!r} has its outputs before that of {template.node!r} has its own")


def check_result(asked: Asked, found: Recorded, told: Told, *, was_cancelled: bool, is_steady: bool) -> None:
    """A run that is over did what the oracle says; `is_steady`: no file was changed after it had arrived,
    and the disk had no faults."""
    if found.ended is None or told.result == "running":
        raise Violation("I9", f"{asked!r} never ended: {found.settled} of {[name for name, _ in asked.units]}")
    if found.ended.state == "cancelled":
        if not was_cancelled:
            raise Violation("I13", f"{asked!r} was cancelled by nobody")
    elif not is_steady and any(text.startswith(HINDERED) for text in found.failed.values()):
        return
    elif isinstance(asked, AskedGraph):
        wrong = wrong_result(asked.oracle, told)
        if wrong:
            raise Violation("I35" if told.failures is None else "I13", f"{asked!r}: {wrong[0]}")
    elif isinstance(asked, AskedFiles):
        _check_files(asked, found, told, is_steady)


def _check_files(asked: AskedFiles, found: Recorded, told: Told, is_steady: bool) -> None:
    strange = [
        text for text in found.failed.values() if not text.startswith(("ashore.errors:FileChanged", "ashore_stores.errors:Missing"))
    ]
    if strange or (found.failed and is_steady):
        raise Violation("I13", f"{asked!r} failed though nobody touched its files: {list(found.failed.values())}")
    left_out = [index for _, index in found.failed if index >= 0]
    expected = "" if told.failures else asked.result(left_out)
    if told.result != expected or (told.failures is not None) != (("failed" in found.ended.state) if found.ended else False):
        raise Violation("I35", f"{asked!r} gave {told.failures or told.result}, {expected} is right")


# Outputs, arrivals, the index.


async def check_outputs(frames: Iterable[Frame], artifacts: ArtifactStore) -> None:
    """Every output of every recorded step loads and matches (I3)."""
    checked: set[bytes] = set()
    for frame in frames:
        for position, event in events_of(frame):
            for output in _outputs_of(event):
                if output.digest in checked or output.format == "elements/1":
                    continue
                checked.add(output.digest)
                await _check_output(output, position, artifacts)


def _outputs_of(event: Event) -> Sequence[Output]:
    if isinstance(event, StepRan):
        return event.outputs
    if isinstance(event, ElementsRan):
        return [output for place in range(len(event.indices)) for output in outputs_of(event, place)]
    return ()


async def _check_output(output: Output, position: int, artifacts: ArtifactStore) -> None:
    try:
        data = output.data if output.data is not None else bytes(await artifacts.load(text_digest(output.digest)))
    except StoreError as error:
        raise Violation(
            "I3", f"the step at position {position} is recorded, its output {output.digest.hex()[:12]} is not there: {error}"
        ) from error
    if hashlib.sha256(data).digest() != output.digest or len(data) != output.size:
        raise Violation("I3", f"an output of the step at position {position} is not what its digest says")


def check_arrivals(frames: Sequence[Frame]) -> dict[str, bytes]:
    """Versions follow one another, and every arrival lies in the range of exactly one run of each pipeline. Newest by path."""
    arrived: list[tuple[int, Arrived]] = []
    started: list[RunStarted] = []
    newest: dict[str, Arrived] = {}
    for frame in frames:
        for position, event in events_of(frame):
            if isinstance(event, RunStarted) and event.arrivals is not None:
                started.append(event)
            elif isinstance(event, Arrived):
                _check_version(newest.get(event.path), event)
                newest[event.path] = event
                arrived.append((position, event))
    for pipeline in (single, grown):
        _check_ranges([event for event in started if event.pipeline == pipeline.name], arrived)
    return {path: event.digest for path, event in newest.items()}


def _check_version(before: Arrived | None, event: Arrived) -> None:
    version = 1 if before is None else before.version + 1
    if event.version != version or event.trigger != INBOX:
        raise Violation("I10", f"{event.path} arrives as version {event.version}, after {before and before.version}")
    if before is not None and before.digest == event.digest:
        raise Violation("I10", f"{event.path} arrived twice with one content, as versions {before.version} and {version}")


def _check_ranges(started: Sequence[RunStarted], arrived: Sequence[tuple[int, Arrived]]) -> None:
    end = 0
    newest: dict[str, bytes] = {}
    left = list(arrived)
    for event in started:
        assert event.arrivals is not None
        if event.arrivals.after != end or event.arrivals.upto <= end:
            raise Violation("I10", f"run {event.run} of {event.pipeline} takes {event.arrivals}, the one before it ended at {end}")
        end = event.arrivals.upto
        taken = [arrival for position, arrival in left if position <= end]
        left = [(position, arrival) for position, arrival in left if position > end]
        newest.update((arrival.path, arrival.digest) for arrival in taken)
        expected = [newest[path] for path in sorted(newest)] if event.pipeline == grown.name else [one.digest for one in taken]
        if [use.digest for use in event.files] != expected:
            raise Violation("I10", f"run {event.run} of {event.pipeline} got {len(event.files)} files, {len(expected)} are right")
    if left:
        raise Violation("I11", f"{len(left)} arrivals were given to no run, the first is {left[0]}")


async def check_index(log: EventLog, clock: Clock, last: Position, seed: int) -> None:
    """Folded bit by bit, by one projector or several, the index is the same as made at once, at every prefix tried (I6)."""
    chance = random.Random(f"index-{seed}")
    index, projector = MemoryIndex(), None
    for position in sorted({chance.randint(0, last) for _ in range(3)} | {int(last)}):
        if projector is None or chance.random() < 0.5:
            projector = Projector(log, index, clock)
        fresh = await projector.catch_up(Position(position))
        if fresh.notes or fresh.behind:
            raise Violation("I6", f"the index did not get to position {position}: {fresh}")
        if position != last and chance.random() < 0.5:
            continue
        whole = MemoryIndex()
        await Projector(log, whole, clock).catch_up((await index.cursor()).position)
        if await dump(whole) != await dump(index):
            raise Violation("I6", f"up to position {position} the index is not what it is when made at once")
