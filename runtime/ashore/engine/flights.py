"""Single flight: of calls with equal cache keys, in whichever run of a runtime, one is made at a time; the others wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ashore.ids import CacheKey, RunId


@dataclass(slots=True)
class Flight:
    """A call under way, and who waits for it."""

    unit: Any
    run: RunId
    waiting: list[tuple[RunId, Callable[[], None]]] = field(default_factory=list)


class Flights:
    """The calls under way, by key.

    Waiting holds nothing: whoever waits has asked for no thread, no limit and no share of the machine yet. So those who wait and
    the one that they wait for are never in one another's way.
    """

    def __init__(self) -> None:
        self._flights: dict[CacheKey, Flight] = {}

    def __repr__(self) -> str:
        waiting = sum(len(flight.waiting) for flight in self._flights.values())
        return f"<Flights {len(self._flights)} under way, {waiting} waiting>"

    def is_under_way(self, key: CacheKey) -> bool:
        """Whether a call with this key is being made."""
        return key in self._flights

    def takes_off(self, key: CacheKey, unit: Any, run: RunId) -> None:
        """`unit` is made whatever else is: it is the one under way, if no other is."""
        self._flights.setdefault(key, Flight(unit, run))

    def joins(self, key: CacheKey, unit: Any, run: RunId, landed: Callable[[], None]) -> bool:
        """False: `unit` is the one under way from now on, until it lands. True: another is, and `landed` is called after it.

        Then it looks again for what is known under the key, and may be the next one under way.
        """
        flight = self._flights.get(key)
        if flight is None:
            self._flights[key] = Flight(unit, run)
            return False
        if flight.unit is unit:
            return False
        flight.waiting.append((run, landed))
        return True

    def land(self, key: CacheKey, unit: Any) -> None:
        """The call has an outcome, whatever it is."""
        flight = self._flights.get(key)
        if flight is not None and flight.unit is unit:
            del self._flights[key]
            for _, landed in flight.waiting:
                landed()

    def let_go(self, is_over: Callable[[Any], bool]) -> None:
        """Those that will have no outcome, as what they belong to is over."""
        for key, flight in [(key, flight) for key, flight in self._flights.items() if is_over(flight.unit)]:
            self.land(key, flight.unit)

    def leave(self, run: RunId) -> None:
        """A run waits for nothing more, and makes nothing more."""
        for flight in self._flights.values():
            if flight.waiting:
                flight.waiting = [one for one in flight.waiting if one[0] != run]
        for key, flight in [(key, flight) for key, flight in self._flights.items() if flight.run == run]:
            self.land(key, flight.unit)
