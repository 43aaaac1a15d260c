"""The home: the one folder in which everything about a project's runs lives.

`$ASHORE_HOME`, else the nearest `.ashore/` upwards, else a new one at the project's root. Layout, part of the format:

    format.json   {"format": 1, "digest": "sha256", "id": "..."}
    .gitignore    "*"
    log/          the event log        artifacts/   blobs by digest        index/   derived: may be dropped at any time
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec

from ashore.errors import HomeError
from ashore_stores.errors import Conflict, Missing, NewerFormat, StoreError
from ashore_stores.ports import Disk, Ports

FORMAT = 1
_FOLDER = ".ashore"
_ROOT_SIGNS = ("pyproject.toml", "ashore.toml", ".git")


class _Format(msgspec.Struct):
    format: int
    digest: str
    id: str


@dataclass(frozen=True, slots=True)
class Home:
    """A home that exists and whose format is understood."""

    path: str
    root: str
    """The project's root: what relative patterns and targets are relative to."""
    id: str
    is_new: bool = False

    @property
    def log(self) -> str:
        return f"{self.path}/log"

    @property
    def artifacts(self) -> str:
        return f"{self.path}/artifacts"

    @property
    def index(self) -> str:
        return f"{self.path}/index"


def project_root(disk: Disk, start: str) -> str:
    """The nearest folder upwards that holds a pyproject.toml, ashore.toml or .git; else `start`."""
    for folder in _upwards(start):
        if any(disk.stat(f"{folder}/{sign}") is not None for sign in _ROOT_SIGNS):
            return folder
    return start


def find_home(disk: Disk, start: str | None = None) -> str:
    """Where the home is, or would be made."""
    named = os.environ.get("ASHORE_HOME")
    if named:
        return os.path.abspath(os.path.expanduser(named))
    start = start or os.getcwd()
    for folder in _upwards(start):
        stat = disk.stat(f"{folder}/{_FOLDER}")
        if stat is not None and stat.kind == "directory":
            return f"{folder}/{_FOLDER}"
    return f"{project_root(disk, start)}/{_FOLDER}"


def open_home(ports: Ports, path: str | os.PathLike[str] | None = None, *, create: bool = True) -> Home:
    """The home at `path` (None: found as said above), made if it is not there yet and `create`.

    Raises `HomeError` if there is none or it cannot be made, `NewerFormat` if a newer ashore wrote it.
    """
    disk = ports.disk
    where = os.path.abspath(os.fspath(path)) if path is not None else find_home(disk)
    try:
        known = _read_format(disk, where)
        is_new = known is None
        if known is None:
            if not create:
                raise HomeError(f"no ashore home at {where}: run a pipeline first, or name one with --home or ASHORE_HOME")
            known = _make(ports, where)
    except NewerFormat:
        raise
    except StoreError as error:
        raise HomeError(f"the home {where} cannot be used: {error}. Name another with --home or ASHORE_HOME") from error
    parent = os.path.dirname(where)
    root = parent if os.path.basename(where) == _FOLDER else project_root(disk, parent)
    return Home(where, root, known.id, is_new)


def _read_format(disk: Disk, where: str) -> _Format | None:
    try:
        file = disk.open(f"{where}/format.json")
    except Missing:
        return None
    try:
        raw = file.read(file.size(), 0)
    finally:
        file.close()
    try:
        known = msgspec.json.decode(raw, type=_Format)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HomeError(f"{where}/format.json is damaged ({error}): restore it, or move the folder away to begin anew") from error
    if known.format > FORMAT or known.digest != "sha256":
        raise NewerFormat(
            f"the home {where} has format {known.format} with {known.digest} digests; this ashore knows format {FORMAT}: "
            "update ashore (nothing was touched)"
        )
    return known


def _make(ports: Ports, where: str) -> _Format:
    """Make the home; of several processes at once, one makes it and all use it."""
    disk = ports.disk
    disk.make_folder(where)
    made = _Format(FORMAT, "sha256", ports.random.token(8).hex())
    _put(ports, where, ".gitignore", b"*\n")
    try:
        _put(ports, where, "format.json", msgspec.json.encode(made) + b"\n")
    except Conflict:
        known = _read_format(disk, where)
        assert known is not None
        return known
    parent = os.path.dirname(where)
    disk.flush_folder(parent)
    return _read_format(disk, where) or made


def _put(ports: Ports, where: str, name: str, content: bytes) -> None:
    """Write a small file whole, durable, unless it is there already (`Conflict` for the format, which must be one's own)."""
    disk = ports.disk
    if disk.stat(f"{where}/{name}") is not None:
        if name == "format.json":
            raise Conflict(f"{where}/{name} is there already")
        return
    temporary = f"{where}/.{name}.{ports.random.token(4).hex()}"
    file = disk.open(temporary, write=True, create=True, exclusive=True)
    try:
        file.write(content, 0)
        file.flush()
    finally:
        file.close()
    if name == "format.json" and disk.stat(f"{where}/{name}") is not None:
        disk.remove(temporary)
        raise Conflict(f"{where}/{name} is there already")
    disk.rename(temporary, f"{where}/{name}")
    disk.flush_folder(where)


def _upwards(start: str) -> list[str]:
    folders = [os.path.abspath(start)]
    while (parent := os.path.dirname(folders[-1])) != folders[-1]:
        folders.append(parent)
    return folders
