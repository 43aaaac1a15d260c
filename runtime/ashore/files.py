"""A file as a value: a reference to it, and what it was when somebody looked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import PurePath


@dataclass(frozen=True, slots=True, init=False)
class File:
    """A file by its path: `File("inbox/jan.csv")`. Usable wherever a path is.

    A reference that never reads by itself. The runtime looks when a file is passed to a step or returned by one, and the size,
    time and content digest of that look travel with it. Two are equal if path and digest are: content that changed is another
    version, a file that was only touched is the same one.
    """

    path: str
    size: int = field(default=-1, compare=False)
    """In bytes; -1 until looked at."""
    mtime_ns: int = field(default=-1, compare=False)
    """When it was last changed, in nanoseconds since the epoch; -1 until looked at."""
    digest: bytes = b""
    """SHA-256 of the content, 32 bytes; empty until looked at."""

    def __init__(self, path: str | os.PathLike[str], size: int = -1, mtime_ns: int = -1, digest: bytes = b"") -> None:
        text = os.fspath(path)
        if not isinstance(text, str):
            raise TypeError(f"File({path!r}): the path is {type(text).__name__}, not text; use os.fsdecode(...)")
        if not text or "\0" in text:
            raise ValueError(f"File({text!r}): a path is not empty and has no NUL character")
        for name, value in (("path", text), ("size", size), ("mtime_ns", mtime_ns), ("digest", digest)):
            object.__setattr__(self, name, value)

    @property
    def name(self) -> str:
        """The last part of the path: "jan.csv"."""
        return PurePath(self.path).name

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"File({self.path!r})"

    def __rich_repr__(self) -> object:
        yield self.path
        if self.digest:
            yield "size", self.size
            yield "digest", f"sha256-{self.digest.hex()[:12]}"
