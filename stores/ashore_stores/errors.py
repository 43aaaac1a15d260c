"""What can go wrong in a store, said so that the caller knows what to do next.

Every driver error is translated once, at the edge where it happens, with ``from``. A message names what failed, where, what
is kept, and the mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ashore_stores.keys import Position


class StoreError(Exception):
    """Any store's trouble."""


class Missing(StoreError):
    """There is no such key: do not retry."""


class Conflict(StoreError):
    """Somebody wrote first: read `current`, then decide."""

    def __init__(self, message: str, *, key: bytes = b"", current: bytes | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.current = current


class Unavailable(StoreError):
    """Not now: nothing was acknowledged, a retry may succeed."""


class Full(Unavailable):
    """The disk is full or a limit was reached: nothing half-written was left, free some room and go on."""


class ReadOnly(StoreError):
    """The place cannot be written (permission, read-only file system, unsafe network file system): what is there stays readable."""


class Corrupt(StoreError):
    """The bytes are not what was written: nothing is served, nothing is cut. Names the file and the offset."""

    def __init__(self, message: str, *, path: str = "", offset: int = -1, position: Position | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset
        self.position = position


class NewerFormat(StoreError):
    """Written by a newer ashore: nothing was touched; update ashore to write here."""


class Closed(StoreError):
    """The store was closed (or inherited by a forked child, whose copy is closed for good)."""


class Fenced(StoreError):
    """Another process took over what this owner ran: stop, nothing of this owner is accepted any more."""


class NotDurable(StoreError):
    """A flush failed, so that the outcome is unknown: the bytes may or may not be on the disk; never acknowledged."""
