"""The turnstile between a run and its bodies: one outcome at a time, in the order of the log, live as resumed.

Its rules, all of them:

* an outcome is *seen* by the bodies when it has passed; before that it is, for them, not there yet;
* what passes while somebody waits for it wakes them, and nothing else passes before the bodies have come to rest again: however
  many turns of the loop a `gather`, `as_completed` or `asyncio.wait` takes to react, it reacts to the same thing after a crash;
* recorded outcomes that were asked for pass before new ones, in the order of the log;
* a recorded outcome waits while a call is missing that was made before it: a time-out of the body's own decides as it did then.

The bodies are at rest when the loop has nothing more to do in this turn. While only the run's own task makes calls and waits, that
needs no look at the loop: it is at rest when it waits. Where the loop does not tell, or others keep it busy, they count as
being at rest after `PATIENCE` turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Final, Protocol

from ashore.graph import Node

PATIENCE = 32
"""Turns of the loop after which the bodies count as being at rest, though the loop is busy."""

SEEN: Final = object()
"""Stands for the waiters of a node whose outcome has passed."""


class Waiter(Protocol):
    """What a body awaits: a future."""

    def done(self) -> bool: ...
    def set_result(self, result: None, /) -> None: ...


class _Caller:
    """The running task itself, which asks before it waits: what passes for it stops the others all the same."""

    def done(self) -> bool:
        return False

    def set_result(self, result: None, /) -> None:
        """It looks by itself."""


CALLER: Final = _Caller()


class Turns(Protocol):
    """What is needed of the loop."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Call it in the next turn."""
        ...

    def is_quiet(self) -> bool:
        """Whether the loop has nothing else to do now. False where it cannot be told."""
        ...


def wake(waiters: Iterable[Waiter]) -> bool:
    """Wake those that still wait; whether there were any."""
    woken = False
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
            woken = True
    return woken


class Turnstile:
    """The outcomes of one run on their way to its bodies. `passed(node)` is called for each, before its waiters wake."""

    __slots__ = (
        "_busy",
        "_holds",
        "_is_at_rest",
        "_is_watching",
        "_passed",
        "_recorded",
        "_settled",
        "_turns",
        "_waited",
        "is_solo",
        "rested",
    )

    def __init__(
        self, settled: deque[Node], turns: Turns, passed: Callable[[Node], None], holds: Callable[[int, Node], bool]
    ) -> None:
        """`holds(place, node)`: whether a recorded outcome has to wait for calls that were made before it."""
        self._holds = holds
        self._settled = settled
        self._recorded: list[tuple[int, int, Node]] = []
        self._turns = turns
        self._passed = passed
        self._is_at_rest = False
        self._is_watching = False
        self._waited = 0
        self._busy = 0
        self.rested: Callable[[], None] | None = None
        """What is called when the bodies are at rest, and nothing is on its way to them."""
        self.is_solo = True
        """Whether only the run's own task has made calls and waited so far."""

    @property
    def is_at_rest(self) -> bool:
        """Whether the bodies wait, and nothing is on its way to them."""
        return self._is_at_rest and not self._recorded and not self._settled

    def recorded(self, place: int, node: Node) -> None:
        """A call was made whose outcome is on record at this place; it passes when its turn comes."""
        heappush(self._recorded, (place, node.index, node))

    def rest(self) -> None:
        """The run's own task waits, and is the only one: whatever there is may pass."""
        self._is_at_rest = True
        self.turn()

    def stir(self) -> None:
        """A body does something: nothing passes until it has come to rest."""
        self._is_at_rest = False
        if not self.is_solo:
            self._watch()

    def hold(self) -> None:
        """A body is at work though it waits (a value is being read for it): nothing passes until `release`."""
        self._busy += 1
        self._is_at_rest = False

    def release(self) -> None:
        self._busy -= 1
        if not self.is_solo:
            self._watch()

    def turn(self) -> None:
        """Let pass what may."""
        while self._is_at_rest and (node := self._next()) is not None:
            waiters, node.waiters = node.waiters, SEEN
            self._passed(node)
            if waiters and wake(waiters):
                self._is_at_rest = False
            if not self._is_at_rest and not self.is_solo:
                self._watch()
        if self._is_at_rest and self.rested is not None:
            self.rested()

    def _next(self) -> Node | None:
        """What passes next, if anything may."""
        if self._recorded and not self._holds(self._recorded[0][0], self._recorded[0][2]):
            return heappop(self._recorded)[2]
        return self._settled.popleft() if self._settled else None

    def _watch(self) -> None:
        self._waited = 0
        if not self._is_watching:
            self._is_watching = True
            self._turns.soon(self._look)

    def _look(self) -> None:
        self._is_watching = False
        if self._busy or self.is_solo:
            return
        if self._turns.is_quiet() or self._waited >= PATIENCE:
            self._is_at_rest = True
            self.turn()
            return
        self._waited += 1
        self._is_watching = True
        self._turns.soon(self._look)
