"""What every run of a runtime works with, handed down as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ashore.engine.gate import Gate
from ashore.engine.looking import Looker
from ashore.engine.processes import Processes
from ashore.engine.reuse import Reuse
from ashore.engine.supplies import Supplies
from ashore.engine.threads import Threads
from ashore.files import File
from ashore_stores.artifacts.base import ArtifactStore
from ashore_stores.logs.base import EventLog
from ashore_stores.ports import Ports


class Inboxes(Protocol):
    """Where files arrive."""

    async def next(self, pattern: str, after: int, takes: Callable[[File], bool]) -> File:
        """The first file that arrived at `pattern` after this position of the log, or arrives, and that `takes` wants."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """Stores, ports and what is shared by all runs."""

    log: EventLog
    artifacts: ArtifactStore
    ports: Ports
    reuse: Reuse
    threads: Threads
    processes: Processes
    looker: Looker
    supplies: Supplies
    gate: Gate
    inboxes: Inboxes
    grace: float = 10.0
    """Seconds that a cancelled `def` step in a thread is waited for before it is named abandoned."""
