"""Calls that are on record and that the bodies have not made again yet: what came after them waits for them.

A time-out of a body's own is on record only by what the body did after it, before the late outcome was there. So a recorded
outcome does not pass while such a call is missing: the time-out runs out again, and the body does what it did. A body that was
changed never makes the call: it is waited for as long as it took then, and some more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from ashore.engine.live.record import Record
from ashore.graph import Node
from ashore.ids import RunId
from ashore.notices import log

_SOME_MORE, _TIMES, _LONGEST = 1.0, 1.5, 120.0
"""Seconds, and times of what it took, for which a call is waited for; seconds at most."""


class Timer(Protocol):
    """Something that will be called."""

    def cancel(self) -> None: ...


class Missing:
    """The calls of one run that are waited for. `later(seconds, callback)` gives a timer; `turn()` lets pass what may."""

    def __init__(
        self, run: RunId, record: Record, later: Callable[[float, Callable[[], None]], Timer], turn: Callable[[], None]
    ) -> None:
        self._run = run
        self._record = record
        self._later = later
        self._turn = turn
        self._timer: Timer | None = None

    def holds(self, place: int, node: Node) -> bool:
        """Whether the recorded outcome at this place has to wait."""
        missing = self._record.missing(place)
        if missing is None:
            return False
        if self._timer is None:
            took = max(0.0, node.asked - missing.at)
            self._timer = self._later(min(_LONGEST, _SOME_MORE + _TIMES * took), partial(self._no_longer, place))
        return True

    def close(self) -> None:
        """Nothing passes any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _no_longer(self, place: int) -> None:
        self._timer = None
        calls = self._record.miss_no_more(place)
        if calls:
            steps = sorted({call.step for call in calls})
            log.info("calls that are on record are not waited for any longer", run=self._run, steps=steps)
        self._turn()
