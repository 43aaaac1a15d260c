"""What lies in a folder that a pattern names: regular files to take, and the rest refused with a reason.

The scan is the truth; hints only say where to look. Nothing is opened here, and no link is followed below the folder itself.
Blocking: call it on a worker.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from ashore_stores.ports import Disk, FileKind, FileStat

REFUSALS: Final[dict[FileKind, str]] = {
    "directory": "a folder, not a file",
    "link": "a symbolic link, which is never followed: put the file itself there, or a hard link",
    "other": "not a regular file (a pipe, a socket or a device), and never opened",
}

_WILD: Final = re.compile(r"[*?\[]")


class BadPattern(ValueError):
    """A pattern that no folder can be watched for. Says what is wrong and how to write it."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which files of one folder a trigger takes. Names beginning with a dot are taken only by a pattern that begins with one."""

    text: str
    """As written: the trigger's id."""
    root: str
    """The absolute folder that relative patterns start from."""
    folder: str
    """The absolute folder that is watched."""
    names: str
    """What the names in it must match."""

    def matches(self, name: str) -> bool:
        return fnmatchcase(name, self.names) and (not name.startswith(".") or self.names.startswith("."))

    def path(self, name: str) -> str:
        """Where the file of this name is, absolute."""
        return posixpath.join(self.folder, name)


def parse_pattern(text: str, root: str) -> Pattern:
    """The pattern `text`, relative to the absolute folder `root`. Raises `BadPattern`."""
    folder, names = posixpath.split(text)
    if "\0" in text or not names or names in (".", ".."):
        raise BadPattern(f"{text!r} names no files: write a folder and what its files are called, such as new('inbox/*.csv')")
    if _WILD.search(folder):
        raise BadPattern(f"{text!r} has a wildcard in its folder: only the last part may have one, write one pattern per folder")
    return Pattern(text, root, posixpath.normpath(posixpath.join(root, folder)), names)


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that matches."""

    name: str
    stat: FileStat


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that matches and cannot be taken."""

    name: str
    reason: str


def look(disk: Disk, pattern: Pattern, name: str) -> Found | Refused | None:
    """What is there under this name; None if nothing is, or nothing that matches."""
    stat = disk.stat(pattern.path(name)) if pattern.matches(name) else None
    if stat is None:
        return None
    return Found(name, stat) if stat.kind == "file" else Refused(name, REFUSALS[stat.kind])


def scan(disk: Disk, pattern: Pattern) -> Iterator[Found | Refused]:
    """Everything in the folder that matches, by name; nothing if there is no such folder."""
    for name in disk.names(pattern.folder):
        found = look(disk, pattern, name)
        if found is not None:
            yield found
