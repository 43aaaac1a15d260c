"""What a step says about its cache beside what its code says: `@step(cache=Cache(...))`."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ashore.durations import Duration, WrongDuration, seconds_of


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """How long results are good for, and what counts more or less than the code shows. They are reused as under `cache=True`."""

    ttl: Duration | None = None
    """How long a result is served, from the end of the execution that made it, by the clock on the wall: "30s", "2h", "1d".
    Always, if None."""
    extra: Any = None
    """What else a result depends on: values, functions, classes, modules, or a list or dict of such. Code counts as if called."""
    ignore: str | tuple[str, ...] | list[str] = ()
    """What does not count, though it is read: parameters ("verbose"), parts as `explain()` names them ("constant DEBUG").
    A result is served whatever an ignored parameter is: it is the one that was computed first."""
    env: str | tuple[str, ...] | list[str] = ()
    """Environment variables that are read: their values count."""
    files: str | tuple[str, ...] | list[str] = ()
    """Files that are read, relative to the project's root: their content counts."""

    def __post_init__(self) -> None:
        for option in ("ignore", "env", "files"):
            value = getattr(self, option)
            if not isinstance(value, str | list | tuple) or not all(isinstance(name, str) for name in value):
                raise TypeError(f'Cache({option}={value!r}): give names as texts: Cache({option}=["..."])')

        if self.ttl is not None and not seconds_of(self.ttl, "Cache(ttl=...): "):
            raise WrongDuration(f"Cache(ttl={self.ttl!r}) keeps nothing", mend="Write cache=False for a step that always runs")

    @property
    def seconds(self) -> float:
        """`ttl` in seconds; infinity if there is none."""
        return math.inf if self.ttl is None else seconds_of(self.ttl)

    @property
    def ignored(self) -> frozenset[str]:
        """The names in `ignore`."""
        return frozenset(names_in(self.ignore))


def names_in(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """One name or several, as several, sorted."""
    return (value,) if isinstance(value, str) else tuple(sorted(set(value)))
