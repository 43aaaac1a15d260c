"""Who need not be called: a unit whose outputs are known under its cache key, or are just being made by another call."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, Protocol

from ashore.engine.keys import key_of
from ashore.engine.means import Means
from ashore.engine.outcomes import Outcomes
from ashore.engine.units import Unit, node_of
from ashore.events import RunSpace
from ashore.graph import Graph, Node
from ashore.ids import CacheKey, RunId
from ashore.notices import log
from ashore.refreshing import ALL
from ashore_stores.logs.base import Entry

_ALWAYS: Final = -math.inf


class Host(Protocol):
    """What it needs of its run."""

    means: Means
    run: RunId
    graph: Graph
    outcomes: Outcomes
    has_blobs: bool

    def spawn(self, work: Coroutine[Any, Any, None], *, kept: bool = False) -> None: ...

    def is_over_for(self, unit: Unit) -> bool: ...

    async def alone(self, unit: Unit) -> None: ...


class Serving:
    """For one run. `refreshed`: the names of steps that are called again though their outputs are known, or all."""

    def __init__(self, host: Host, refreshed: frozenset[str]) -> None:
        self._host = host
        self._refreshed = refreshed
        self._reuse = host.means.reuse
        self._now = host.means.ports.clock.now
        self._waiting: deque[Unit] = deque()
        """Units whose outputs are being looked up, in this order."""
        self._renewing: dict[CacheKey, Unit] = {}
        """Of refreshed calls: which one makes the new output of a key."""

    def serve(self, unit: Unit) -> bool:
        """Whether a reusable unit needs no call now: it is settled, or will be when its outputs are read or made. Never waits."""
        if type(unit) is Node:
            unit.key = key_of(unit)
        key = unit.key
        if self._refreshed and self._is_refreshed(unit):
            if self._renews(unit):
                return False
            if self._reuse.flights.is_under_way(key):
                return self._joins(unit)
        made = self._reuse.made(key, self._oldest(unit))
        if made is not None and all([output.data is not None for output in made.outputs]):
            self._host.outcomes.reused(unit, made)
            return True
        if made is not None or self._reuse.is_recorded(key):
            self._look_up(unit)
            return True
        return self._joins(unit)

    def _look_up(self, unit: Unit) -> None:
        """Have it looked up, one after the other: many elements are in one frame of the log, which is read once for all of them."""
        self._waiting.append(unit)
        if len(self._waiting) == 1:
            self._host.spawn(self._look_all_up())

    async def _look_all_up(self) -> None:
        while self._waiting:
            unit = self._waiting[0]
            try:
                is_found = self._host.is_over_for(unit) or await self.found(unit)
            except Exception:  # noqa: BLE001  # whatever it is, it is told there
                is_found = False
            self._waiting.popleft()
            if not is_found:
                self._host.spawn(self._host.alone(unit))

    async def found(self, unit: Unit) -> bool:
        """As `serve`, for one that may wait: its outputs are read, from the log and the store."""
        if type(unit) is Node:
            unit.key = key_of(unit)
        if self._refreshed and self._is_refreshed(unit):
            if self._renews(unit):
                return False
            if self._reuse.flights.is_under_way(unit.key):
                return self._joins(unit)
        made = await self._reuse.find(unit.key, self._oldest(unit))
        if made is None:
            return self._joins(unit)
        self._host.has_blobs = self._host.has_blobs or any([output.data is None for output in made.outputs])
        self._host.outcomes.reused(unit, made)
        return True

    def told(self) -> tuple[Entry, ...]:
        """At the run's end: what tells all processes that keys were renewed because this run was asked to."""
        unmet = self._host.graph.never_refreshed()
        if unmet:
            log.warning("refresh names steps that the run never called", steps=unmet, run=self._host.run)
        return (Entry(RunSpace.REFRESHED, b"", self._host.run.encode()),) if self._refreshed else ()

    def _joins(self, unit: Unit) -> bool:
        return self._reuse.flights.joins(unit.key, unit, self._host.run, partial(self._landed, unit))

    def _landed(self, unit: Unit) -> None:
        if not self._host.is_over_for(unit):
            self._host.spawn(self._host.alone(unit))

    def _is_refreshed(self, unit: Unit) -> bool:
        return ALL in self._refreshed or node_of(unit).work.name in self._refreshed

    def _renews(self, unit: Unit) -> bool:
        """Whether it is this call that makes its key's new output: the first one of the run, or the next if that failed."""
        key, reuse = unit.key, self._reuse
        renewing = self._renewing.get(key, unit)
        if renewing is not unit and (reuse.flights.is_under_way(key) or not reuse.is_refused(key)):
            return False
        self._renewing[key] = unit
        reuse.refuse(key)
        reuse.flights.takes_off(key, unit, self._host.run)
        return True

    def _oldest(self, unit: Unit) -> float:
        """When what is served to a unit must have been made, at the earliest."""
        ttl = node_of(unit).work.definition.ttl
        return _ALWAYS if ttl == math.inf else self._now() - ttl
