"""Names for bytes, ranges and places in the order: small frozen values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NewType, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What can be written, hashed or loaded without a copy."""

Position = NewType("Position", int)
"""How many events of the log lie at or before a place: the n-th event has position n, the start is 0."""

START = Position(0)

Digest = NewType("Digest", str)
"""A content digest that names its algorithm: ``sha256-`` and 64 hex digits. Safe as a file name on every system."""

_ALGORITHM = "sha256"
_HEX_LENGTH = 64


def digest_of(*buffers: Buffer) -> Digest:
    """The digest of these bytes, taken as one sequence."""
    hasher = hashlib.sha256()
    for buffer in buffers:
        hasher.update(buffer)
    return Digest(f"{_ALGORITHM}-{hasher.hexdigest()}")


def parse_digest(text: str) -> Digest:
    """`text` as a digest. Raises `ValueError` unless it is exactly one: names from outside never become paths unchecked."""
    algorithm, _, digits = text.partition("-")
    if algorithm != _ALGORITHM or len(digits) != _HEX_LENGTH or not set(digits) <= set("0123456789abcdef"):
        raise ValueError(f"not a digest: {text!r}; a digest is 'sha256-' and 64 lower-case hex digits")
    return Digest(text)


@dataclass(frozen=True, slots=True)
class Span:
    """A range of bytes: from `start`, `length` bytes or up to the end."""

    start: int = 0
    length: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.length is not None and self.length < 0):
            raise ValueError(f"a span has no negative numbers: {self}")


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place in the log that can be checked: a frame's last position and that frame's checksum."""

    position: Position = START
    checksum: int = 0
