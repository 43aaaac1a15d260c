"""Lengths of time as people write them: "30s", "5m", "2h", "1d", "500ms"."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Final, TypeAlias

from ashore.errors import GraphError

Duration: TypeAlias = str | int | float | timedelta
"""Seconds, or a text with a unit."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")


class WrongDuration(GraphError, ValueError):
    """A text or number that is no length of time."""


def seconds_of(duration: Duration, what: str = "", *, where: str | None = None) -> float:
    """Its seconds: "1h30m" is 5400.0. Raises `WrongDuration`; `what` says whose it is: "fit: timeout="."""
    seconds = _seconds(duration)
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        mend = 'Write a number with a unit: "500ms", "30s", "5m", "2h", "1d", "1h30m"'
        raise WrongDuration(f"{what}{duration!r} is no length of time", where=where, mend=mend)
    return seconds


def duration_text(seconds: float) -> str:
    """A length of time as people read it: "30s", "1h30m", "250ms"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    left, parts = round(seconds, 1), []
    for unit in ("d", "h", "m"):
        number, left = divmod(left, _UNITS[unit])
        if number:
            parts.append(f"{number:.0f}{unit}")
    if left >= 0.05 or not parts:
        parts.append(f"{round(left, 1):g}s")
    return "".join(parts)


def _seconds(duration: Duration) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, int | float) and not isinstance(duration, bool):
        return float(duration)
    if not isinstance(duration, str):
        return None
    seconds, end = 0.0, 0
    text = duration.strip()
    for part in _PART.finditer(text):
        if part.start() != end:
            return None
        seconds += float(part[1]) * _UNITS[part[2]]
        end = part.end()
    return seconds if text and end == len(text) else None
