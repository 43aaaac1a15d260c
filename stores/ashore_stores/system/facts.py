"""What this machine has to offer: room on the disk, and how much it lets be watched. For people to read, nothing depends on it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Final

from ashore_stores.errors import Missing
from ashore_stores.system.disk import translated

_INOTIFY: Final = "/proc/sys/fs/inotify"


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes of a file system that this user may still write, and of all of it."""

    free: int
    total: int


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """How much one user may watch, over all processes."""

    instances: int
    watches: int


def room_at(path: str) -> Room:
    """The room of the file system that this path lies on. Raises `Missing`, `Unavailable`."""
    try:
        found = os.statvfs(path)
    except OSError as error:
        raise translated(error, "look at", path) from error
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def watch_limits() -> WatchLimits | None:
    """The limits of inotify; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        return WatchLimits(_number("max_user_instances"), _number("max_user_watches"))
    except (OSError, ValueError):
        return None


def _number(name: str) -> int:
    with open(f"{_INOTIFY}/{name}", encoding="ascii") as file:
        return int(file.read())


def permissions_of(path: str) -> int:
    """The permission bits of a file or folder. Raises `Missing`."""
    try:
        return os.stat(path).st_mode & 0o777
    except OSError as error:
        raise Missing(f"there is no {path}") from error
