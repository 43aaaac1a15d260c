"""Time that stands still until a test says how much of it passes."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from ashore.durations import Duration, seconds_of

START: Final = 1_900_000_000.0
"""Wall time at first, in seconds: 2030-03-17 17:46:40 UTC."""

_QUIET: Final = 25
"""Turns of the loop in which nobody works, after which what was woken is taken to have settled."""
_PATIENCE: Final = 10_000
"""Looks at work on other threads, a millisecond each, before time goes on all the same."""


class ManualClock:
    """The `Clock` of a test: `await clock.advance("7d")` lets a week pass in a moment.

    Who sleeps meanwhile wakes at its own time, in order, and what it does then comes before what is due later: a loop of seven
    sleeps of a day ends with the week.
    """

    def __init__(self, start: float = START, *, is_steady: bool = True) -> None:
        """`is_steady=False`: wall time may `jump`, and who waits for a moment looks again each minute, as with a real clock."""
        self.is_steady = is_steady
        self._start = self._now = start
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._numbers = count()
        self._busy: Callable[[], bool] = _never

    def __repr__(self) -> str:
        return f"<ManualClock {timedelta(seconds=self.monotonic())} after its start, {self.sleepers} sleeping>"

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await checkpoint()
            return
        sleeper = (self._now + seconds, next(self._numbers), anyio.Event())
        heapq.heappush(self._sleepers, sleeper)
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    @property
    def sleepers(self) -> int:
        """How many sleep now."""
        return len(self._sleepers)

    async def advance(self, by: Duration) -> None:
        """Let time pass: "7d", "1h 30m", seconds or a timedelta. Returns when what was woken has settled."""
        end = self._now + seconds_of(by)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, event = heapq.heappop(self._sleepers)
            self._now = max(self._now, due)
            event.set()
            if not self._sleepers or self._sleepers[0][0] > due:
                await self._settle()
        self._now = end
        await self._settle()

    def jump(self, by: Duration) -> None:
        """Wall time is set to another one, as by an administrator ("-2h": back); the clock of durations does not move."""
        if self.is_steady:
            raise ValueError("the wall time of a steady clock does not jump: make it by ManualClock(is_steady=False)")
        seconds = seconds_of(by) if not isinstance(by, str) or not by.startswith("-") else -seconds_of(by[1:])
        self._now += seconds
        self._start += seconds
        self._sleepers = [(due + seconds, number, event) for due, number, event in self._sleepers]

    def watch(self, busy: Callable[[], bool]) -> None:
        """Before time goes on, wait until nobody is busy: `MemoryStack` says so of its threads."""
        self._busy = busy

    async def _settle(self) -> None:
        quiet = looks = 0
        while quiet < _QUIET:
            if self._busy() and looks < _PATIENCE:
                quiet, looks = 0, looks + 1
                await anyio.sleep(0.001)
            else:
                quiet += 1
                await checkpoint()


def _never() -> bool:
    return False
