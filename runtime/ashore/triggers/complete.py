"""When is a file complete. Pure: it is told of hints and looks with the time of each, and says when to look again.

A file that was closed after writing or renamed into place is complete at once; everything else when two looks QUIET seconds apart
saw the same size, time of change and inode.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ashore_stores.ports import FileStat

QUIET: Final = 2.0
"""Seconds between two equal looks."""

LOOKING: Final = float("inf")
"""Not due: a look is under way. A hint that comes meanwhile makes it due again, so that none is lost."""


@dataclass(slots=True)
class Candidate:
    """A file that may be complete soon."""

    due: float
    """When to look next; LOOKING while somebody does."""
    is_settled: bool = False
    """It was closed or renamed into place, and nothing else was heard since: the next look will do."""
    seen: FileStat | None = None
    """What the look that counts as the first one saw."""
    since: float = 0.0
    """When that was."""


class Candidates:
    """The files of one trigger that are not known to be complete."""

    def __init__(self) -> None:
        self._by_name: dict[str, Candidate] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        settled = sum(candidate.is_settled for candidate in self._by_name.values())
        return f"<Candidates {len(self)}, {settled} of them settled>"

    def hint(self, name: str, now: float, *, complete: bool) -> None:
        """Something happened to this file. The last hint counts: what was closed may have been opened for writing again."""
        candidate = self._by_name.setdefault(name, Candidate(now))
        candidate.due = now
        candidate.is_settled = complete

    def look(self, name: str, stat: FileStat, now: float) -> bool:
        """Whether the file is complete, as this look shows; if so it is no candidate any more."""
        candidate = self._by_name.setdefault(name, Candidate(LOOKING))
        if candidate.is_settled or (candidate.seen == stat and now - candidate.since >= QUIET):
            del self._by_name[name]
            return True
        if candidate.seen != stat:
            candidate.seen, candidate.since = stat, now
        candidate.due = min(candidate.due, candidate.since + QUIET)
        return False

    def again(self, name: str, now: float) -> None:
        """It changed while it was read, or could not be read now: two equal looks from here on, unless a hint comes first."""
        self._by_name.setdefault(name, Candidate(now + QUIET))

    def is_settled(self, name: str) -> bool:
        candidate = self._by_name.get(name)
        return candidate is not None and candidate.is_settled

    def dismiss(self, names: Iterable[str]) -> None:
        """The look found nothing new there. Those stay that were hinted at since."""
        for name in names:
            candidate = self._by_name.get(name)
            if candidate is not None and candidate.due == LOOKING:
                del self._by_name[name]

    def take_due(self, now: float) -> list[str]:
        """Which files to look at now: `look` or `dismiss` is to follow for each."""
        names = [name for name, candidate in self._by_name.items() if candidate.due <= now]
        for name in names:
            self._by_name[name].due = LOOKING
        return names

    def next_due(self) -> float:
        """When the next look is due; LOOKING if none is."""
        return min((candidate.due for candidate in self._by_name.values()), default=LOOKING)
