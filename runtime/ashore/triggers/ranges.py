"""Which arrivals a triggered run stands for. Pure: folds the arrivals of the log, in order, and says what the next run gets.

A run's range is (after, upto]; the next one begins where it ended; so every arrival lies in exactly one. What has been given to
runs is the pipeline's cursor in the log, moved by the claim that starts a run.
"""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ashore.events import Arrivals, Arrived, RunSpace, decode
from ashore_stores.keys import START
from ashore_stores.logs.base import Frame

CURSOR_SIZE = 8


def encode_cursor(position: int) -> bytes:
    """A pipeline's cursor, as its register holds it."""
    return position.to_bytes(CURSOR_SIZE, "little")


def decode_cursor(value: bytes | None) -> int:
    """The position in the register; the start if nothing was ever given."""
    return START if value is None else int.from_bytes(value, "little")


@dataclass(frozen=True, slots=True)
class Arrival:
    """An arrival with its place in the log."""

    position: int
    event: Arrived

    @property
    def name(self) -> str:
        """Which file of the trigger's folder it is: the same one after the folder was moved. As events write paths."""
        return posixpath.basename(self.event.path)


def arrivals_in(frame: Frame) -> list[Arrival]:
    """The arrivals of a frame. Frames without any are told by their key table and not decoded."""
    if not any(entry.space == RunSpace.ARRIVALS for entry in frame.batch.entries):
        return []
    events = enumerate(decode(frame.batch.body, frame.count), start=frame.first)
    return [Arrival(position, event) for position, event in events if isinstance(event, Arrived)]


@dataclass(frozen=True, slots=True)
class Share:
    """What the next run gets."""

    arrivals: Arrivals
    """Its range."""
    files: tuple[Arrived, ...]
    """One arrival, or for a coalescing pipeline the newest version of every file up to the range's end, ordered by name."""


class Intake:
    """What has arrived for one pipeline and was not given to a run yet."""

    def __init__(self, trigger: str, cursor: int, *, coalescing: bool) -> None:
        self._trigger = trigger
        self._is_coalescing = coalescing
        self._cursor = cursor
        """Up to here arrivals have been given to runs."""
        self._newest: dict[str, Arrived] = {}
        """name -> newest version, of all that arrived; kept for coalescing pipelines only."""
        self._waiting: deque[Arrival] = deque()
        """Arrivals after the cursor, in order; of a coalescing pipeline only the last."""

    def __repr__(self) -> str:
        return f"<Intake {self._trigger!r} given up to {self._cursor}, {len(self._waiting)} waiting>"

    @property
    def cursor(self) -> int:
        return self._cursor

    def arrived(self, arrivals: Iterable[Arrival]) -> bool:
        """Fold in the arrivals of a frame, in log order, whatever their trigger; whether anything waits now."""
        for arrival in arrivals:
            if arrival.event.trigger == self._trigger:
                self._fold(arrival)
        return bool(self._waiting)

    def _fold(self, arrival: Arrival) -> None:
        if self._is_coalescing:
            self._newest[arrival.name] = arrival.event
            self._waiting.clear()
        if arrival.position > self._cursor:
            self._waiting.append(arrival)

    def next(self) -> Share | None:
        """What a run that starts now gets; None if nothing waits."""
        if not self._waiting:
            return None
        first = self._waiting[0]
        files = tuple(self._newest[name] for name in sorted(self._newest)) if self._is_coalescing else (first.event,)
        return Share(Arrivals(self._trigger, self._cursor, first.position), files)

    def given(self, upto: int) -> None:
        """A run was started, by whomever, for everything up to this position."""
        self._cursor = max(self._cursor, upto)
        while self._waiting and self._waiting[0].position <= self._cursor:
            self._waiting.popleft()
