"""What writers were promised in a simulated world, and the check that the log which is found afterwards keeps it.

The invariants by their numbers: I1 what was acknowledged is there, byte for byte; I2 no holes, no reordering, nothing invented;
I3 a frame's blobs exist and match; I15 nothing of a fenced owner; I33 one order, and claims were judged in it; I34 what was shown
as durable stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ashore_stores.keys import Digest
from ashore_stores.logs.base import Batch, Claim, Entry, Frame, Space, Ticket

COUNTERS, ARRIVALS, KEYED = 16, 17, 130
"""Spaces of registers: counted up by compare-and-append, one arrival per version, keyed starts that are kept for ever."""

FENCED = b"fenced"


class Violation(AssertionError):
    """A promise was broken."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


@dataclass(slots=True, eq=False)
class Submission:
    """Something that a process handed in."""

    batch: Batch
    process: str
    claim: Claim | None = None
    blobs: tuple[Digest, ...] = ()
    ticket: Ticket | None = None
    is_lost: bool = False

    @property
    def is_refused(self) -> bool:
        return self.is_lost or (self.ticket is not None and self.ticket.error is not None)


@dataclass(slots=True)
class History:
    """All that was handed in, promised and shown, over all processes and boots."""

    submitted: dict[bytes, Submission] = field(default_factory=dict)
    queues: dict[str, list[Submission]] = field(default_factory=dict)
    acked: dict[bytes, int] = field(default_factory=dict)
    shown: dict[int, bytes] = field(default_factory=dict)
    durable: int = 0
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    living: dict[bytes, Callable[[], bool]] = field(default_factory=dict)
    on_ack: Callable[[int], None] = field(default=lambda count: None)

    def copy(self) -> History:
        queues = {process: list(queue) for process, queue in self.queues.items()}
        return History(
            dict(self.submitted), queues, dict(self.acked), dict(self.shown), self.durable, dict(self.blobs), list(self.alarms)
        )

    def submit(self, submission: Submission) -> None:
        self.submitted[submission.batch.body] = submission
        self.queues.setdefault(submission.process, []).append(submission)

    def ack(self, submission: Submission, position: int) -> None:
        self.acked[submission.batch.body] = position
        self.see_durable(position)
        self.on_ack(len(self.acked))

    def judge_dead(self, owner: bytes) -> None:
        """Somebody was told that this owner is dead."""
        lives = self.living.get(owner)
        if lives is not None and lives():
            raise Violation("I15", f"owner {owner.hex()} was called dead, but lives")

    def see_durable(self, position: int) -> None:
        self.durable = max(self.durable, position)

    def show(self, frame: Frame) -> None:
        """A reader was shown this frame as durable."""
        before = self.shown.setdefault(frame.first, frame.batch.body)
        if before != frame.batch.body:
            raise Violation("I33", f"position {frame.first} was shown as {before!r}, now as {frame.batch.body!r}")
        self.see_durable(frame.last)

    def check(self, frames: Sequence[Frame]) -> None:
        """That this log, read whole, keeps every promise."""
        found = self._check_order(frames)
        self._check_promises(found, frames)
        self._check_queues(found)
        if self.alarms:
            raise Violation("I17", self.alarms[0])

    def fold(self, frames: Sequence[Frame]) -> dict[tuple[int, bytes], bytes]:
        """The registers after these frames; raises if a claim did not hold where it stands, or a fenced owner wrote."""
        registers: dict[tuple[int, bytes], bytes] = {}
        for frame in frames:
            submission = self.submitted[frame.batch.body]
            if registers.get((Space.OWNERS, frame.owner)) == FENCED:
                raise Violation("I15", f"{_short(frame.batch.body)} is from owner {frame.owner.hex()}, which was fenced before")
            claim = submission.claim
            held = None if claim is None else registers.get((claim.space, claim.key))
            if claim is not None and held != claim.expected:
                what = f"claimed {claim.key!r} to be {claim.expected!r}, but it was {_short(held or b'absent')}"
                raise Violation("I33", f"{_short(frame.batch.body)} {what}")
            missing = set(submission.batch.entries) - set(frame.batch.entries)
            if missing:
                raise Violation("I2", f"{frame.batch.body!r} came back without {missing}")
            for entry in frame.batch.entries:
                if entry.space == ARRIVALS and (ARRIVALS, entry.key) in registers:
                    raise Violation("I10", f"{entry.key!r} arrived twice, the second time as {_short(frame.batch.body)}")
                _put(registers, entry)
        return registers

    def _check_order(self, frames: Sequence[Frame]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        position = 0
        for frame in frames:
            body = frame.batch.body
            if frame.first != position + 1:
                raise Violation("I2", f"after position {position} comes {frame.first}")
            position = frame.last
            submission = self.submitted.get(body)
            if submission is None:
                raise Violation("I2", f"nobody handed in {_short(body)} (position {frame.first})")
            if body in found:
                raise Violation("I2", f"{_short(body)} is there twice, at {found[body]} and {frame.last}")
            if frame.count != submission.batch.count:
                raise Violation("I2", f"{_short(body)} has {frame.count} events, not {submission.batch.count}")
            found[body] = frame.last
        self.fold(frames)
        return found

    def _check_promises(self, found: dict[bytes, int], frames: Sequence[Frame]) -> None:
        for body, position in self.acked.items():
            if found.get(body) != position:
                raise Violation("I1", f"{_short(body)} was acknowledged at {position}, now it is at {found.get(body)}")
        by_first: dict[int, bytes] = {frame.first: frame.batch.body for frame in frames}
        for first, body in self.shown.items():
            if by_first.get(first) != body:
                raise Violation(
                    "I34", f"{_short(body)} was shown as durable at {first}, now {_short(by_first.get(first, b'nothing'))} is there"
                )
        end = frames[-1].last if frames else 0
        if self.durable > end:
            raise Violation("I1", f"the log was durable up to {self.durable}, now it ends at {end}")

    def _check_queues(self, found: dict[bytes, int]) -> None:
        """Of what one process handed in, a prefix is there, in its order."""
        for process, queue in self.queues.items():
            positions = [(item, found.get(item.batch.body)) for item in queue if not item.is_refused]
            present = [position for _, position in positions if position is not None]
            if present != sorted(present):
                raise Violation("I2", f"what {process} handed in is in another order")
            facts = [position for item, position in positions if item.claim is None]
            kept = [position for position in facts if position is not None]
            if facts[: len(kept)] != kept:
                raise Violation("I2", f"of what {process} handed in, an earlier fact is missing though a later one is there")


def _put(registers: dict[tuple[int, bytes], bytes], entry: Entry) -> None:
    if entry.value:
        registers[entry.space, entry.key] = entry.value
    else:
        registers.pop((entry.space, entry.key), None)


def _short(body: bytes) -> str:
    return body[:40].decode(errors="replace")
