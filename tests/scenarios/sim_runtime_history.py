"""What a simulated home was given and what its users were told, over all lives of its process; and the check of what is found.

Told is whatever reached somebody: a position that is durable, a frame that was read, a run that was started or has ended, an
arrival. The invariants by their numbers are those of `sim_stores_history`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.scenarios.sim_stores_history import FENCED, Violation

from ashore.events import Arrived, Event, RunEnded, RunStarted, decode
from ashore.ids import RunId
from ashore_stores.keys import START, Cursor, Position
from ashore_stores.logs.base import Batch, Claim, Entry, EventLog, Frame, Judged, LogStatistics, Space, Ticket


@dataclass(slots=True, eq=False)
class Submission:
    """A batch that a life of the process handed in."""

    batch: Batch
    life: int
    claim: Claim | None = None
    ticket: Ticket | None = None
    position: Position | None = None
    is_lost: bool = False

    @property
    def place(self) -> Position | None:
        return self.position if self.ticket is None else self.ticket.position

    @property
    def is_refused(self) -> bool:
        return self.is_lost or (self.ticket is not None and self.ticket.error is not None)


@dataclass(slots=True)
class History:
    """All of it. `on_told` is called when users were told something, so that the power can fail just after."""

    life: int = 0
    submissions: list[Submission] = field(default_factory=list)
    shown: dict[int, bytes] = field(default_factory=dict)
    """First position -> body of frames that somebody read as durable."""
    durable: int = 0
    acked: dict[int, bytes] = field(default_factory=dict)
    """Last position -> body of frames that were handed in and said to be durable."""
    told: Counter[str] = field(default_factory=Counter)
    """How often who was told what: "started", "ended", "arrived"."""
    started: dict[RunId, str] = field(default_factory=dict)
    ended: dict[RunId, tuple[str, str]] = field(default_factory=dict)
    arrived: dict[tuple[str, int], bytes] = field(default_factory=dict)
    happened: dict[int, Event] = field(default_factory=dict)
    on_told: Callable[[], None] = field(default=lambda: None)
    _waiting: list[Submission] = field(default_factory=list)
    _bodies: dict[bytes, list[Submission]] = field(default_factory=dict)

    # What was handed in, and became durable.

    def submit(self, batch: Batch, claim: Claim | None = None, ticket: Ticket | None = None) -> Submission:
        submission = Submission(batch, self.life, claim, ticket)
        self.submissions.append(submission)
        self._waiting.append(submission)
        self._bodies.setdefault(batch.body, []).append(submission)
        return submission

    def begin_life(self) -> None:
        self.life += 1
        self._waiting = []

    def see_durable(self, position: int) -> None:
        self.durable = max(self.durable, position)
        left = []
        for submission in self._waiting:
            place = submission.place
            if place is not None and place <= position and not submission.is_refused:
                self.acked[place] = submission.batch.body
            elif not submission.is_refused:
                left.append(submission)
        self._waiting = left

    def show(self, frame: Frame) -> None:
        """A reader was shown this frame as durable."""
        before = self.shown.setdefault(frame.first, frame.batch.body)
        if before != frame.batch.body:
            raise Violation("I33", f"position {frame.first} was shown as {_short(before)}, now as {_short(frame.batch.body)}")
        self.see_durable(frame.last)

    # What users were told.

    def tell_started(self, run: RunId, key: str) -> None:
        self.started[run] = key
        self._tell("started")

    def tell_ended(self, run: RunId, state: str, result: str) -> None:
        before = self.ended.setdefault(run, (state, result))
        if before != (state, result):
            raise Violation("I30", f"run {run} had ended {before}, now it is {(state, result)}")
        self._tell("ended")

    def tell_arrived(self, event: Arrived) -> None:
        self.arrived[event.path, event.version] = event.digest
        self._tell("arrived")

    def tell_happened(self, position: int, event: Event) -> None:
        before = self.happened.setdefault(position, event)
        if before != event:
            raise Violation("I34", f"position {position} was told as {before!r}, now as {event!r}")

    def _tell(self, what: str) -> None:
        self.told[what] += 1
        self.on_told()

    # The check.

    def check(self, frames: Sequence[Frame]) -> None:
        """That this log, read whole, keeps every promise that was made so far."""
        self._check_order(frames)
        self._check_acked(frames)
        self._check_queues(frames)
        self._fold(frames)
        self._check_told({position: event for frame in frames for position, event in events_of(frame)})

    def _check_order(self, frames: Sequence[Frame]) -> None:
        found: Counter[bytes] = Counter()
        position = 0
        for frame in frames:
            body = frame.batch.body
            if frame.first != position + 1:
                raise Violation("I2", f"after position {position} comes {frame.first}")
            position = frame.last
            submitted = self._bodies.get(body, [])
            if not submitted:
                raise Violation("I2", f"nobody handed in {_short(body)} (position {frame.first})")
            found[body] += 1
            if found[body] > sum(not submission.is_lost for submission in submitted):
                raise Violation("I2", f"{_short(body)} is there {found[body]} times")
            if frame.batch != submitted[0].batch and not set(submitted[0].batch.entries) <= set(frame.batch.entries):
                raise Violation("I2", f"{_short(body)} came back as {frame.batch!r}")

    def _check_acked(self, frames: Sequence[Frame]) -> None:
        by_last = {int(frame.last): frame.batch.body for frame in frames}
        for position, body in self.acked.items():
            if by_last.get(position) != body:
                raise Violation(
                    "I1", f"{_short(body)} was durable at {position}, now {_short(by_last.get(position, b'-'))} is there"
                )
        by_first = {int(frame.first): frame.batch.body for frame in frames}
        for first, body in self.shown.items():
            if by_first.get(first) != body:
                raise Violation("I34", f"{_short(body)} was shown at {first}, now {_short(by_first.get(first, b'-'))} is there")
        end = frames[-1].last if frames else 0
        if self.durable > end:
            raise Violation("I1", f"the log was durable up to {self.durable}, now it ends at {end}")

    def _check_queues(self, frames: Sequence[Frame]) -> None:
        """Of the facts of one life a prefix is there, in its order."""
        places = {frame.batch.body: int(frame.first) for frame in frames}
        for life in range(self.life + 1):
            facts = [one for one in self.submissions if one.life == life and one.claim is None and not one.is_refused]
            kept = [places.get(one.batch.body) for one in facts if len(self._bodies[one.batch.body]) == 1]
            there = [place for place in kept if place is not None]
            if there != sorted(there) or kept[: len(there)] != there:
                raise Violation(
                    "I2", f"of the facts of life {life} a later one is there without an earlier one, or in another order"
                )

    def _fold(self, frames: Sequence[Frame]) -> None:
        """Every claim holds where it stands, and nothing follows of an owner that was taken over."""
        registers: dict[tuple[int, bytes], bytes] = {}
        for frame in frames:
            if registers.get((Space.OWNERS, frame.owner)) == FENCED:
                raise Violation("I15", f"position {frame.first} is from owner {frame.owner.hex()}, which was fenced before")
            claims = [one.claim for one in self._bodies[frame.batch.body] if one.claim is not None]
            for claim in claims[:1]:
                held = registers.get((claim.space, claim.key))
                if held != claim.expected:
                    raise Violation("I33", f"position {frame.first} claimed {claim.expected!r}, but it was {held!r}")
            for entry in frame.batch.entries:
                _put(registers, entry)

    def _check_told(self, events: Mapping[int, Event]) -> None:
        found = dict(fact for event in events.values() for fact in _facts_of(event))
        promised: dict[object, object] = {("started", run): key for run, key in self.started.items()}
        promised |= {("ended", run): state for run, (state, _) in self.ended.items()}
        promised |= {("arrived", path, version): digest for (path, version), digest in self.arrived.items()}
        for what, value in promised.items():
            if found.get(what) != value:
                raise Violation("I1", f"{what} was told as {value!r}, by the log it is {found.get(what)!r}")
        for position, event in self.happened.items():
            if events.get(position) != event:
                raise Violation("I34", f"{event!r} was told at position {position}, now {events.get(position)!r} is there")


class Witness:
    """An event log, and somebody who writes down what it is given and what it says."""

    def __init__(self, log: EventLog, history: History) -> None:
        self._log = log
        self._history = history

    def __repr__(self) -> str:
        return f"<Witness of {self._log!r}>"

    @property
    def owner(self) -> bytes | None:
        return self._log.owner

    @property
    def durable_position(self) -> Position:
        return self._log.durable_position

    async def own(self) -> bytes:
        return await self._log.own()

    async def wait_gone(self, owner: bytes) -> None:
        await self._log.wait_gone(owner)

    async def is_alive(self, owner: bytes) -> bool:
        return await self._log.is_alive(owner)

    def queue(self, batch: Batch) -> Ticket:
        ticket = self._log.queue(batch)
        self._history.submit(batch, ticket=ticket)
        return ticket

    async def room(self) -> None:
        await self._log.room()

    async def append(self, claims: Sequence[Claim]) -> list[Judged]:
        submissions = [self._history.submit(claim.batch, claim) for claim in claims]
        judged = await self._log.append(claims)
        for submission, verdict in zip(submissions, judged, strict=True):
            submission.position, submission.is_lost = verdict.position, not verdict.won
        return judged

    async def durable(self, upto: Ticket | Position) -> Position:
        position = await self._log.durable(upto)
        self._history.see_durable(position)
        return position

    async def refresh(self) -> Position:
        position = await self._log.refresh()
        self._history.see_durable(position)
        return position

    def register(self, space: int, key: bytes) -> bytes | None:
        return self._log.register(space, key)

    def registers(self, space: int) -> Mapping[bytes, bytes]:
        return self._log.registers(space)

    def marked(self, mark: bytes) -> Sequence[Position]:
        return self._log.marked(mark)

    async def frame_at(self, position: Position) -> Frame:
        return await self._log.frame_at(position)

    async def read(self, after: Cursor | Position = START, upto: Position | None = None) -> AsyncIterator[Frame]:
        async for frame in self._log.read(after, upto):
            self._history.show(frame)
            yield frame

    async def follow(self, after: Cursor | Position = START) -> AsyncIterator[Frame]:
        async for frame in self._log.follow(after):
            self._history.show(frame)
            yield frame

    async def about(self, topic: bytes) -> list[Frame]:
        return await self._log.about(topic)

    def statistics(self) -> LogStatistics:
        return self._log.statistics()

    async def aclose(self) -> None:
        await self._log.aclose()


def events_of(frame: Frame) -> list[tuple[int, Event]]:
    """The events of a frame with their positions."""
    return list(enumerate(decode(frame.batch.body, frame.count), start=int(frame.first)))


def _facts_of(event: Event) -> list[tuple[object, object]]:
    """What users may have been told because of this event."""
    if isinstance(event, RunStarted):
        return [(("started", event.run), event.key)]
    if isinstance(event, RunEnded):
        return [(("ended", event.run), event.state)]
    if isinstance(event, Arrived):
        return [(("arrived", event.path, event.version), event.digest)]
    return []


def _put(registers: dict[tuple[int, bytes], bytes], entry: Entry) -> None:
    if entry.value:
        registers[entry.space, entry.key] = entry.value
    else:
        registers.pop((entry.space, entry.key), None)


def _short(body: bytes) -> str:
    return repr(body[:60])
