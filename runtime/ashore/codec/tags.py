"""The format of encoded values, and what can be wrong with one.

Plain values (None, bool, int of 64 bits, float, str, bytes, lists of them, dicts of them with str keys) are msgpack as everybody
knows it. Everything else is a msgpack extension: one of the codes below, and as its payload, where nothing else is said, the
msgpack of an array. Codes are never used again for something else.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Tag(IntEnum):
    """Extension codes. Part of the format."""

    TUPLE = 1
    SET = 2
    """Elements in the order of their encodings."""
    FROZENSET = 3
    DICT = 4
    """Keys of any type: key, value, key, value, ..."""
    INTEGER = 5
    """Beyond 64 bits: little-endian two's complement, as short as it can be."""
    TEXT = 6
    """With lone surrogates: UTF-8 with "surrogatepass"."""
    BYTEARRAY = 7
    COMPLEX = 8
    DECIMAL = 9
    """Its text, ASCII."""
    DATE = 10
    TIME = 11
    DATETIME = 12
    TIMEDELTA = 13
    TIMEZONE = 14
    """A fixed offset: timedelta, name or nil."""
    ZONE = 15
    """A zone of the time zone database: its key, UTF-8."""
    UUID = 16
    PATH = 17
    """Name of the class in `pathlib`, path."""
    FILE = 18
    """Path, size, mtime_ns, digest."""
    RANGE = 19
    SLICE = 20
    ELLIPSIS = 21
    UNSET = 22
    """`msgspec.UNSET`."""
    NUMPY = 23
    """A numpy scalar: dtype's text, its bytes."""
    ENUM = 32
    """Class, names of members (one; several for a flag), value if it is plain."""
    DATACLASS = 33
    """Class, field names, values."""
    STRUCT = 34
    NAMEDTUPLE = 35
    ATTRS = 36
    MODEL = 37
    """A pydantic model: class, field names, values, then what `ashore.codec.models.Beside` holds."""
    FOREIGN = 48
    """A value of another materializer: its format, its bytes (see `Foreign`)."""


DEPTH: Final = 100
"""How deep containers may lie in one another."""

_PATH_SHOWN: Final = 200
"""Characters of a path in a message."""


class Unencodable(TypeError):
    """A value that has no stored form. Says where in the value, what is there, and how to mend it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what, mend)
        self.what = what
        self.mend = mend
        self.name = "value"
        """What people call the whole value."""
        self._steps: list[str] = []

    def inside(self, step: str) -> None:
        """The value lies in another, at `step`: "[3]", "['x']", ".field"."""
        self._steps.append(step)

    @property
    def path(self) -> str:
        """Where in the value: "['x'][3]"."""
        return "".join(reversed(self._steps))

    def __str__(self) -> str:
        path = self.path if len(self.path) <= _PATH_SHOWN else f"{self.path[:_PATH_SHOWN]}..."
        return f"{self.name}{path} {self.what}: {self.mend}"


class Undecodable(ValueError):
    """Bytes that are no encoded value, or that need what this program does not have. Nothing of them was executed."""

    def __init__(self, message: str, *, module: str = "") -> None:
        super().__init__(message)
        self.module = module
        """The module that must be imported first, if that is what is missing."""
