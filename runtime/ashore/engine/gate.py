"""Where attempts wait until they may begin: the shell around the admission, one for all runs of a runtime."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from functools import cached_property

import anyio
from anyio.abc import TaskGroup

from ashore.engine.limits import Admission, Wish
from ashore.errors import InternalError
from ashore.graph import Node
from ashore.policies import Capacity, Policy
from ashore_stores.ports import Clock


class Gate:
    """Lets attempts in. Who waits costs a wish in a queue, no task; one timekeeper serves all limits of a rate."""

    def __init__(self, clock: Clock, look: Callable[[], Capacity]) -> None:
        """`look()` says what there is to share; it is asked when the first attempt needs to know."""
        self._look = look
        self._clock = clock
        self._group: TaskGroup | None = None
        self._nap: anyio.CancelScope | None = None
        """The timekeeper's sleep, while there is one."""
        self._keeps_time = False
        self._until = 0.0
        self._is_stirred = False
        self._is_turning = False

    def __repr__(self) -> str:
        return f"<Gate {self._admission.inside} in, {self._admission.waiting} waiting>"

    @cached_property
    def capacity(self) -> Capacity:
        """What the attempts share."""
        return self._look()

    @cached_property
    def _admission(self) -> Admission:
        return Admission(self.capacity)

    def check(self, nodes: Iterable[Node]) -> None:
        """Raise `NotOnThisMachine` if one of these steps can never run here."""
        for node in nodes:
            if node.trials is not None and node.trials.policy.is_admitted:
                self.capacity.refuse(node.work.name, node.trials.policy, f"{node.work.file}:{node.work.line}")

    def open(self, group: TaskGroup) -> None:
        """From now on the timekeeper has a place to live."""
        self._group = group

    def ask(self, wish: Wish) -> None:
        """Have `wish.granted` called as soon as it may begin: now, or when another leaves."""
        self._admission.ask(wish)
        self._turn()

    @asynccontextmanager
    async def inside(self, policy: Policy, place: Hashable, unwanted: anyio.Event) -> AsyncIterator[None]:
        """Wait until it may begin, or is not wanted any more; leave at the end."""
        granted = anyio.Event()
        wish = Wish(policy, place, granted.set)
        try:
            self.ask(wish)
            if not granted.is_set():
                async with anyio.create_task_group() as group:
                    group.start_soon(_until, unwanted, group.cancel_scope)
                    await granted.wait()
                    group.cancel_scope.cancel()
            yield
        finally:
            self.leave(wish)

    def leave(self, wish: Wish) -> None:
        """The attempt is over, or is not wanted any more."""
        self._admission.leave(wish)
        self._turn()

    def _turn(self) -> None:
        """Let in who may. One that is let in may leave at once: then it is the others' turn in the same loop, not deeper."""
        self._is_stirred = True
        if self._is_turning:
            return
        self._is_turning = True
        try:
            while self._is_stirred:
                self._is_stirred = False
                for wish in self._admission.admit(self._clock.monotonic()):
                    wish.granted()
        finally:
            self._is_turning = False
        self._see_to_time()

    def _see_to_time(self) -> None:
        at = self._admission.next_at
        if at is None:
            if self._nap is not None:
                self._nap.cancel()
        elif not self._keeps_time:
            self._keeps_time = True
            if self._group is None:
                raise InternalError("the gate is not open")
            self._group.start_soon(self._keep_time)
        elif at < self._until and self._nap is not None:
            self._nap.cancel()

    async def _keep_time(self) -> None:
        """Sleep until a rate lets the next one in, as long as somebody waits for one."""
        try:
            while (at := self._admission.next_at) is not None:
                self._until = at
                with anyio.CancelScope() as self._nap:
                    await self._clock.sleep(max(0.0, at - self._clock.monotonic()))
                self._nap = None
                self._turn()
        finally:
            self._keeps_time = False
            self._nap = None


async def _until(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
