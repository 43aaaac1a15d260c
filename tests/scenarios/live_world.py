"""A simulated world for bodies that decide while they run: a run is made, cut off after each of its events in turn, and resumed.

The log is the reference in memory, so that a prefix of it is exactly what a crash left; the loop shuffles whatever is ready at
the same time, by a seed. An outside remembers what it was asked for, and how much of the run was on record then: after a crash
it knows what came to it before that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ashore.codec import decode as decode_value
from ashore.errors import RunHeld
from ashore.events import Event, Held, Invoked, RunStarted, StepRan, decode, encode
from ashore.handles import Handle
from ashore.home import open_home
from ashore.ids import RunId
from ashore.runs import Driven, Run
from ashore.runtime import Runtime
from ashore.stack import Stack
from ashore_stores.artifacts.memory import MemoryArtifactStore
from ashore_stores.logs.base import NO_MARK, Batch, Frame
from ashore_stores.logs.memory import MemoryEventLog, MemoryHome
from ashore_stores.testing.loop import simulate
from ashore_stores.testing.world import sim_ports


@dataclass(slots=True)
class Receipt:
    """Something that the outside was asked for."""

    what: str
    recorded: int
    """How many events of the run were stated by then."""


@dataclass(slots=True)
class Outside:
    """The world outside: it remembers across crashes."""

    receipts: list[Receipt] = field(default_factory=list)
    recorded: Callable[[], int] = lambda: 0

    def receive(self, what: str) -> None:
        self.receipts.append(Receipt(what, self.recorded()))

    def counted(self) -> Counter[str]:
        return Counter(receipt.what for receipt in self.receipts)

    def as_of(self, recorded: int, *, late: bool) -> Outside:
        """What it had been asked for when so many events were stated; `late`: also what came to it right after the last of them."""
        return Outside([one for one in self.receipts if one.recorded < recorded + late])


OUTSIDE = Outside()
"""The outside of the life that is lived now: what the steps of the tests talk to."""


@dataclass(slots=True)
class Life:
    """What came of a life."""

    run: RunId
    outcome: Any
    """The result, or the type and text of what failed it."""
    events: list[Event]
    frames: list[Frame]
    artifacts: MemoryArtifactStore
    outside: Outside


def events_of(frames: Sequence[Frame], run: RunId) -> list[Event]:
    return [event for frame in frames for event in decode(frame.batch.body, frame.count) if getattr(event, "run", None) == run]


def first_life(call: Callable[[], Handle[Any]], seed: int) -> Life:
    """A whole life of a call, with nothing before it."""
    return _live(MemoryHome(), MemoryArtifactStore(), Outside(), seed, lambda rt: rt.start(call()))


def next_life(before: Life, upto: int, pipeline: Any, seed: int, *, late: bool) -> Life:
    """The life after a crash that left the first `upto` events of the run."""
    home = _cut(before.frames, before.run, upto)
    return _live(
        home, before.artifacts, before.outside.as_of(upto, late=late), seed, lambda rt: rt.run(before.run), resume=pipeline
    )


def answered_life(before: Life, pipeline: Any, seed: int) -> Life:
    """The life after somebody looked outside, and said what came of one of the calls that hold the run."""
    calls = {call.invocation: call for event in before.events if isinstance(event, Invoked) for call in event.calls}
    held = calls[[event for event in before.events if isinstance(event, Held)][-1].invocation]
    what = f"charge {decode_value(dict(held.params)['order'])}"
    others = [call for call in calls.values() if (call.step, call.params) == (held.step, held.params)]
    said: dict[str, Any] = {"step": f"{held.step}:{held.invocation.hex()[:8]}"}
    if before.outside.counted()[what] >= len(others):
        said["done"] = f"receipt of {what.removeprefix('charge ')}"
    else:
        said["again"] = True
    return resumed_life(before, pipeline, seed, **said)


def resumed_life(before: Life, pipeline: Any, seed: int, **said: Any) -> Life:
    """The life in which a run that is held goes on."""
    home = MemoryHome()
    for frame in before.frames:
        home.add(frame.owner, frame.batch)
    return _live(home, before.artifacts, before.outside, seed, lambda rt: rt.resume(pipeline, before.run, **said))


def _live(
    home: MemoryHome,
    artifacts: MemoryArtifactStore,
    outside: Outside,
    seed: int,
    get: Callable[[Runtime], Any],
    resume: Any = None,
) -> Life:
    global OUTSIDE
    OUTSIDE = outside

    async def main() -> Life:
        ports = sim_ports(seed)
        place = await ports.workers.run(lambda: open_home(ports, "/home", create=True))
        log = MemoryEventLog(ports, home)
        stack = Stack(place, ports, log, artifacts)
        async with Runtime(stack, resume=[resume] if resume is not None else []) as rt:
            run = await get(rt)
            outside.recorded = lambda: _stated(run, home)
            outcome = await _outcome(run)
        frames = list(home.frames)
        return Life(run.id, outcome, events_of(frames, run.id), frames, artifacts, outside)

    return simulate(main, seed)


async def _outcome(run: Run[Any]) -> Any:
    try:
        return await run
    except RunHeld:
        return "held"
    except Exception as error:  # noqa: BLE001  # whatever it is: the next life must come to the same
        failures = getattr(error, "failures", ())
        return type(error).__name__, sorted(f"{type(one).__name__}: {one}" for one in failures)


def _stated(run: Run[Any], home: MemoryHome) -> int:
    pending = run._course.drive.journal._events if isinstance(run._course, Driven) else []
    return len(events_of(home.frames, run.id)) + len(pending)


def _cut(frames: Sequence[Frame], run: RunId, upto: int) -> MemoryHome:
    """A home with the frames up to an event of the run, which ends the last of them."""
    home = MemoryHome()
    left = upto
    for frame in frames:
        events = decode(frame.batch.body, frame.count)
        mine = [event for event in events if getattr(event, "run", None) == run]
        if not mine:
            home.add(frame.owner, frame.batch)
            continue
        taken = events if len(mine) <= left else events[: events.index(mine[left])]
        left -= min(left, len(mine))
        if taken:
            whole = len(taken) == len(events)
            batch = frame.batch
            entries = batch.entries if whole or any(isinstance(event, RunStarted) for event in taken) else ()
            marks = batch.marks if whole else b"".join(map(_mark, taken))
            home.add(frame.owner, Batch(encode(taken), len(taken), marks, entries, batch.topics))
        if not left:
            break
    return home


def _mark(event: Event) -> bytes:
    return (event.key or NO_MARK) if isinstance(event, StepRan) else NO_MARK
