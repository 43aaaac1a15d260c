"""What the projection tells the index: plain rows of tables, many at a time.

The tables are those of `sql/schema.sql`; here are their columns, in the order in which rows have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the index: its key and all its columns."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Put:
    """Rows of all the table's columns; each takes the place of the row with its key."""

    table: Table
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Keep:
    """As `Put`, but a row that is there already stays as it is."""

    table: Table
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Set:
    """New values of some columns: rows of those columns, then the key. A key without a row is passed over."""

    table: Table
    columns: tuple[str, ...]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Add:
    """Numbers to add to columns: rows of those columns, then the key. A key without a row is passed over."""

    table: Table
    columns: tuple[str, ...]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Remove:
    """Rows to take away, by key. A key without a row is passed over."""

    table: Table
    rows: Sequence[Row]


Change: TypeAlias = Put | Keep | Set | Add | Remove

CALL: Final = Table("call", ("id",), ("id", "step", "scope", "code", "fan"))
STEP: Final = Table("step", ("no",), ("no", "run", "invocation", "call", "params"))
FORM: Final = Table("form", ("id",), ("id", "outputs", "format", "type", "inline"))
OUTCOME: Final = Table(
    "outcome",
    ("step",),
    ("step", "state", "attempt", "ready", "started", "ended", "position", "cache_key", "form", "digest", "size"),
)
REUSE: Final = Table("reuse", ("step",), ("step", "origin"))
FAN: Final = Table("fan", ("step",), ("step", "elements", "skipped", "done", "cached", "failed"))
TROUBLE: Final = Table("trouble", ("step",), ("step", "because", "error", "location", "traceback"))
RUN: Final = Table(
    "run",
    ("no",),
    (
        *("no", "id", "pipeline", "target", "params", "owner", "environment", "key", "parent"),
        *("trigger", "arrivals_after", "arrivals_upto", "started", "state", "ended", "cancel_asked", "position"),
        *("failed_step", "error", "location", "traceback"),
    ),
)
OUTPUT: Final = Table("output", ("step", "output"), ("step", "output", "digest", "size", "format", "type", "inline"))
USE: Final = Table("use", ("consumer", "argument"), ("consumer", "argument", "source", "output", "element"))
AWAITED: Final = Table("awaited", ("body", "place"), ("body", "place", "source", "output"))
MADE_OF: Final = Table("made_of", ("consumer",), ("consumer", "body", "given"))
FILE: Final = Table("file", ("id",), ("id", "path", "digest", "size", "mtime_ns"))
READING: Final = Table("reading", ("step", "argument"), ("step", "argument", "file"))
GIVEN: Final = Table("given", ("run", "argument"), ("run", "argument", "file"))
ARRIVAL: Final = Table("arrival", ("no",), ("no", "trigger", "path", "version", "file", "reason", "at"))
OWNER: Final = Table("owner", ("id",), ("id", "pid", "host", "user", "command", "at"))
TAG: Final = Table("tag", ("no",), ("no", "name", "pipeline", "step", "run", "invocation", "output", "at"))
ENVIRONMENT: Final = Table("environment", ("id",), ("id", "python", "platform", "versions", "git_commit"))
CODE: Final = Table(
    "code", ("id", "step"), ("id", "step", "role", "file", "line", "parts", "doc", "places", "unfollowed", "ignored")
)
METRIC: Final = Table(
    "metric", ("position", "place"), ("position", "place", "step", "element", "attempt", "name", "at_step", "value", "at")
)

TABLES: Final = (
    *(RUN, CALL, STEP, FORM, OUTCOME, REUSE, FAN, TROUBLE, OUTPUT, USE, AWAITED, MADE_OF, FILE, READING, GIVEN),
    *(ARRIVAL, TAG, OWNER, ENVIRONMENT, CODE, METRIC),
)
