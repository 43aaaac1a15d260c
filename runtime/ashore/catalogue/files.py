"""What a file was, version by version, and what read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ashore.catalogue.access import Access
from ashore.catalogue.artifacts import FileVersion
from ashore.catalogue.naming import SHORT, listed
from ashore.errors import NotFound
from ashore.events import path_text, text_path


class Reader:
    """An invocation that took a version of a file as an argument."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.run: str = row["run"]
        self.pipeline: str = row["pipeline"]
        self.step: str = row["step"]
        self.invocation: str = row["invocation"]
        self.state: str = row["state"]
        self.argument: str = row["argument"]
        self.digest: str = f"sha256-{row['digest'].hex()}"
        """Of the version that it took."""

    def __repr__(self) -> str:
        return f"<Reader {self.step}({self.argument}) in run {self.run[:SHORT]} of {self.pipeline}: {self.state}>"


class FileHistory:
    """A file on record."""

    def __init__(self, path: str, versions: list[FileVersion], readers: list[Reader], runs: list[str]) -> None:
        self.path = path
        self.versions = versions
        """The newest first."""
        self.readers = readers
        """The invocations that took it, the newest first."""
        self.runs = runs
        """The runs that were started with it, the newest first."""

    @property
    def newest(self) -> FileVersion:
        """The version that arrived last, or else was taken last."""
        return self.versions[0]

    def __repr__(self) -> str:
        return f"<FileHistory {self.path!r}: {len(self.versions)} versions, {len(self.readers)} readers>"


async def history_of(access: Access, path: str) -> FileHistory:
    """By the path as it was given, or by its end. Raises `NotFound` if there is none, or more than one."""
    text = path_text(path)
    rows = await access.ask("files_at", {"path": text})
    if not rows:
        ending = [row["path"] for row in await access.ask("paths_ending", {"tail": "/" + text.removeprefix("./").lstrip("/")})]
        if len(ending) != 1:
            raise NotFound(f"{path!r} may be any of {listed(ending)}" if ending else f"no file {path!r} is on record")
        (text,) = ending
        rows = await access.ask("files_at", {"path": text})
    readers = [Reader(row) for row in await access.ask("readers", {"path": text})]
    runs = [row["id"] for row in await access.ask("given_to", {"path": text})]
    return FileHistory(text_path(text), [FileVersion(access, row) for row in rows], readers, runs)
