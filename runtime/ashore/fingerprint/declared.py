"""What a step says about its cache beside what its code says: `@step(cache=Cache(...))`."""

from __future__ import annotations

from typing import Any

import msgspec


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """More or less than what the code shows. Results are reused under it as under `cache=True`."""

    extra: Any = None
    """What else a result depends on: values, functions, classes, modules, or a list or dict of such. Code counts as if called."""
    ignore: str | tuple[str, ...] | list[str] = ()
    """What does not count, though it is read: parameters ("verbose"), parts as `explain()` names them ("constant DEBUG")."""
    env: str | tuple[str, ...] | list[str] = ()
    """Environment variables that are read: their values count."""
    files: str | tuple[str, ...] | list[str] = ()
    """Files that are read, relative to the project's root: their content counts."""

    def __post_init__(self) -> None:
        for option in ("ignore", "env", "files"):
            value = getattr(self, option)
            if not isinstance(value, str | list | tuple) or not all(isinstance(name, str) for name in value):
                raise TypeError(f'Cache({option}={value!r}): give names as texts: Cache({option}=["..."])')

    @property
    def ignored(self) -> frozenset[str]:
        """The names in `ignore`."""
        return frozenset(names_in(self.ignore))


def names_in(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """One name or several, as several, sorted."""
    return (value,) if isinstance(value, str) else tuple(sorted(set(value)))
