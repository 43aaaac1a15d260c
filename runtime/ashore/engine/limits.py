"""Which attempt may begin: limits of concurrency and rate, and shares of the machine. Pure: it never waits, and is told the time.

Wishes with the same place (a step, or a step and a key) stand in one queue, by priority and then in the order of asking. Of
different queues, each goes on by itself, except that a wish that the machine has no room for keeps what it wants: a large one is
not overtaken for ever by small ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, Final, final

from ashore.errors import StepError
from ashore.policies import Capacity, Policy

_SLACK: Final = 1e-9
"""Seconds, so that a sleeper who wakes when it was told to is not too early by a rounding."""


@final
class Wish:
    """One attempt that wants to begin. `granted()` is called when it may."""

    __slots__ = ("gpus", "granted", "is_in", "is_over", "key", "order", "policy")

    def __init__(self, policy: Policy, key: Hashable, granted: Callable[[], None]) -> None:
        self.policy = policy
        self.key = key
        self.granted = granted
        self.order = 0
        self.is_in = False
        self.is_over = False
        """Whether it was withdrawn before it was let in, or has left."""
        self.gpus: tuple[int, ...] = ()
        """The numbers of the GPUs that it has, once it is in."""

    def __lt__(self, other: Wish) -> bool:
        return (-self.policy.priority, self.order) < (-other.policy.priority, other.order)


@dataclass(slots=True)
class _Queue:
    """The wishes of one place."""

    inside: int = 0
    starts: deque[float] = field(default_factory=deque)
    """When the last ones began, as far as the rate asks."""
    waiting: list[Wish] = field(default_factory=list)

    def head(self) -> Wish | None:
        while self.waiting and self.waiting[0].is_over:
            heappop(self.waiting)
        return self.waiting[0] if self.waiting else None

    def free_at(self, wish: Wish, now: float) -> float | None:
        """When the limit allows one more: `now` or earlier if it does already, None if another has to leave first."""
        limit = wish.policy.limit
        if limit is None:
            return now
        if limit.concurrency is not None and self.inside >= limit.concurrency:
            return None
        if limit.pace is None:
            return now
        count, seconds = limit.pace
        while self.starts and self.starts[0] + seconds <= now + _SLACK:
            self.starts.popleft()
        return now if len(self.starts) < count else self.starts[len(self.starts) - count] + seconds


class Admission:
    """Who is in, and who waits."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.next_at: float | None = None
        """When a rate lets the next one in, as of the last `admit`."""
        self._cpus = capacity.cpus
        self._memory = capacity.bytes
        self._gpus = list(range(capacity.gpus))
        self._queues: dict[Hashable, _Queue] = {}
        self._asked = 0
        self._stirred: set[Hashable] = set()
        """Queues in which something may have changed."""
        self._timed: set[Hashable] = set()
        """Queues whose first waits for its rate."""
        self._short: set[Hashable] = set()
        """Queues whose first waits for the machine."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not wish.is_over for queue in self._queues.values() for wish in queue.waiting)

    @property
    def inside(self) -> int:
        """How many are in."""
        return sum(queue.inside for queue in self._queues.values())

    def ask(self, wish: Wish) -> None:
        """Stand in the queue."""
        self._asked += 1
        wish.order = self._asked
        heappush(self._queues.setdefault(wish.key, _Queue()).waiting, wish)
        self._stirred.add(wish.key)

    def leave(self, wish: Wish) -> None:
        """It is over, or is not wanted any more. Once is enough, twice does no harm."""
        if wish.is_over:
            return
        wish.is_over = True
        queue = self._queues[wish.key]
        if wish.is_in:
            queue.inside -= 1
            self._cpus += wish.policy.cpus
            self._memory += wish.policy.memory
            self._gpus = sorted((*self._gpus, *wish.gpus))
        self._stirred.add(wish.key)

    def admit(self, now: float) -> list[Wish]:
        """Those that may begin now, in order; they are in from now on, until they leave."""
        admitted: list[Wish] = []
        stirred, self._stirred = self._stirred | self._timed | self._short, set()
        heads = [wish for key in stirred if (wish := self._head(key)) is not None]
        heapify(heads)
        kept: set[str] = set()
        while heads:
            wish = heappop(heads)
            if self._enters(wish, now, kept):
                admitted.append(wish)
                following = self._head(wish.key)
                if following is not None:
                    heappush(heads, following)
        self.next_at = min((self._free_at(key, now) for key in self._timed), default=None)
        return admitted

    def _enters(self, wish: Wish, now: float, kept: set[str]) -> bool:
        queue = self._queues[wish.key]
        self._timed.discard(wish.key)
        self._short.discard(wish.key)
        at = queue.free_at(wish, now)
        if at is None:
            return False
        if at > now:
            self._timed.add(wish.key)
            return False
        wanted = {name for name in ("cpus", "memory", "gpus") if getattr(wish.policy, name)}
        if wanted & kept or not self._has_room(wish.policy):
            kept |= wanted
            self._short.add(wish.key)
            return False
        self._enter(queue, wish, now)
        return True

    def _has_room(self, policy: Policy) -> bool:
        return policy.cpus <= self._cpus + _SLACK and policy.memory <= self._memory and policy.gpus <= len(self._gpus)

    def _enter(self, queue: _Queue, wish: Wish, now: float) -> None:
        heappop(queue.waiting)
        wish.is_in = True
        queue.inside += 1
        if wish.policy.limit is not None and wish.policy.limit.rate is not None:
            queue.starts.append(now)
        self._cpus -= wish.policy.cpus
        self._memory -= wish.policy.memory
        wish.gpus, self._gpus = tuple(self._gpus[: wish.policy.gpus]), self._gpus[wish.policy.gpus :]

    def _head(self, key: Hashable) -> Wish | None:
        """The first of a queue. An empty one is forgotten, unless its rate still counts."""
        queue = self._queues.get(key)
        head = queue.head() if queue is not None else None
        if queue is not None and head is None:
            self._timed.discard(key)
            self._short.discard(key)
            if not queue.inside and not queue.starts:
                del self._queues[key]
        return head

    def _free_at(self, key: Hashable, now: float) -> float:
        head = self._queues[key].waiting[0]
        at = self._queues[key].free_at(head, now)
        return now if at is None else at


def limit_key(policy: Policy, arguments: Mapping[str, Any]) -> str:
    """The key of its limit for these arguments. Raises `StepError` if it cannot be made."""
    if policy.limit is None or not policy.limit.key:
        return ""
    key = policy.limit.key
    try:
        return str(key(**arguments)) if callable(key) else key.format(**arguments)
    except Exception as error:
        what = (
            f"the key of its limit, {getattr(key, '__qualname__', repr(key))}, could not be made: {type(error).__name__}: {error}"
        )
        raise StepError(what, mend="Make it from plain arguments of the step") from error
