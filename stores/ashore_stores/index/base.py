"""The index: tables made from the log, and where in the log they stand. Derived, so that it may be lost at any time.

It knows rows, never what an event means; what a change is says `ashore_stores.index.changes`, what the tables and the
documented views hold says `sql/schema.sql`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ashore_stores.errors import StoreError
from ashore_stores.index.changes import Change, Row, Table
from ashore_stores.keys import Cursor


class BadQuery(StoreError):
    """The statement cannot be run: it is not SQL, names what is not there, or would write. The message says which."""


@dataclass(frozen=True, slots=True)
class Rows:
    """An answer: column names and rows."""

    columns: tuple[str, ...]
    rows: list[Row]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def records(self) -> list[dict[str, Any]]:
        """Each row by column name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class MetadataIndex(Protocol):
    """Rows and a cursor, moved together. One projector at a time, any number of readers in any process."""

    async def cursor(self) -> Cursor:
        """Up to where the log is folded in; the start if nothing is. Raises `Corrupt`, `Unavailable`."""
        ...

    def take_seat(self) -> bool:
        """Become the one projector, of all tasks and processes; False if it is taken, or if this is a newer version's index."""
        ...

    def leave_seat(self) -> None:
        """Let others project."""
        ...

    def lost(self) -> str:
        """What became of the one that was here before, if there is none now; "" otherwise. Only for who has the seat."""
        ...

    async def apply(self, changes: Sequence[Change], *, after: Cursor, upto: Cursor) -> None:
        """Make the changes, in order, and move the cursor from `after` to `upto`: all of it or nothing.

        Raises `Conflict` if the cursor is not at `after` (somebody else projected), `Corrupt`, `Full`, `ReadOnly`, `Unavailable`.
        """
        ...

    async def find(self, table: Table, by: tuple[str, ...], keys: Sequence[Row], columns: tuple[str, ...]) -> list[Row]:
        """The `columns` of the rows whose columns `by` equal one of `keys`, in no promised order."""
        ...

    async def last(self, table: Table) -> int:
        """The greatest key of a table with one integer key; 0 if it is empty."""
        ...

    async def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> Rows:
        """What a statement answers. It can read only. Raises `BadQuery`, `Corrupt`, `Unavailable`."""
        ...

    async def ask(self, name: str, params: Mapping[str, Any]) -> Rows:
        """One of the named questions of `sql/queries.sql`."""
        ...

    async def restart(self) -> None:
        """Begin again, empty, with the cursor at the start. Only for who has the seat; readers move over by themselves."""
        ...

    async def aclose(self) -> None:
        """Let go. Idempotent."""
        ...
