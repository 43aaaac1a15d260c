"""What the fold keeps of open runs, and how its rows become changes."""

from __future__ import annotations

from typing import Any, Final

from ashore.ids import InvocationId, hash_id
from ashore_stores.index.changes import RUN, Change, Row, Set

_POSITIVE: Final = (1 << 63) - 1


class OpenRun:
    """A run whose events may still come, and the numbers of its invocations."""

    __slots__ = ("is_new", "is_over", "is_whole", "no", "origins", "steps")

    def __init__(self, no: int, *, is_whole: bool, is_new: bool) -> None:
        self.no = no
        self.steps: dict[InvocationId, int] = {}
        self.origins: dict[int, int] = {}
        """Of reused invocations: the number of the one that made the outputs."""
        self.is_whole = is_whole
        """Whether `steps` has all of them: its first event was seen here."""
        self.is_new = is_new
        """Whether its row is of this slice."""
        self.is_over = False


def add(changes: list[Change], change: Change) -> None:
    """Tell a change, if there is anything in it."""
    if change.rows:
        changes.append(change)


def grouped(changed: dict[int, dict[str, Any]]) -> list[Change]:
    """Changes of rows that are there, those of the same columns together."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for no, values in changed.items():
        groups.setdefault(tuple(values), []).append((*values.values(), no))
    return [Set(RUN, columns, rows) for columns, rows in groups.items()]


def number(*parts: bytes) -> int:
    """A number for what many rows share: a hash, so that it is the same in every index."""
    return int.from_bytes(hash_id(*parts)[:8], "big") & _POSITIVE
