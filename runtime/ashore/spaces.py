"""The runtime's registers in the log. Their numbers are part of the format: never given twice."""

from __future__ import annotations

from enum import IntEnum

from ashore_stores.logs.base import LASTING


class RunSpace(IntEnum):
    """The runtime's registers in the log (see `ashore_stores.logs.base.Space`). Part of the format."""

    OPEN_RUNS = 16
    """run id -> owner id of who drives it, or HELD; cleared when the run has ended."""
    ARRIVALS = 17
    """hash of (trigger, name in its folder) -> encoded [version number, size, mtime_ns, digest] of the newest arrival."""
    TRIGGERED = 18
    """pipeline name -> position (8 bytes, little-endian) up to which its trigger's arrivals were given to runs."""
    SERVING = 19
    """pipeline name -> owner id of the daemon that serves it."""
    CANCELS = 20
    """run id -> b"asked"; cleared when the run has ended."""
    REFRESHED = 23
    """b"" -> id of the last run that made results anew because it was asked to: what processes remember of results is old."""
    ANSWERS = 21
    """run id and invocation of a question -> b"yes", b"no" or b"late"; cleared when the run has ended."""
    STARTS = LASTING
    """hash of (pipeline, start key) -> run id and arguments' digest."""
