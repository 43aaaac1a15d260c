"""Whose code something is: the user's own, that of an installed distribution, or Python's.

An installed distribution is what has a RECORD that names the module's file; so an editable install, and a file that lies among
the installed ones without a RECORD, are the user's own. Looked up once per module and process, in what installers leave;
`importlib.metadata` would cost 60 ms more.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from types import ModuleType
from typing import Any, Final, NamedTuple

from ashore.ids import hash_id

_STDLIB: Final = os.path.dirname(os.__file__)
_PACKAGES: Final = ("site-packages", "dist-packages")
_OURS: Final = frozenset({"ashore", "ashore_stores"})
"""The runtime itself is no part of a step: what of it matters (formats, rules) has versions of its own in the key."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Installed(NamedTuple):
    """An installed distribution, by what it contains."""

    name: str
    version: str
    digest: bytes
    """Of the RECORD: each file's path and hash, without what an installer adds."""
    requires: tuple[str, ...]
    """Names of the distributions that it asks for, without its extras."""


class Owner(NamedTuple):
    """Whose a module is."""

    kind: str
    """"own", "python", "ashore" or "installed"."""
    distribution: Installed | None = None


OWN: Final = Owner("own")
PYTHON: Final = Owner("python")
OURS: Final = Owner("ashore")

_owners: dict[tuple[str, str], Owner] = {}
_installed: dict[str, Installed | None] = {}
_there: dict[str, dict[str, str]] = {}
_tops: dict[tuple[str, str], str] = {}
"""Where a package's files were found last, to be asked first."""


def owner_of(value: Any) -> Owner:
    """Whose a function, class or module is."""
    if isinstance(value, ModuleType):
        return owner_of_module(value.__name__)
    module = getattr(value, "__module__", None)
    names = getattr(value, "__globals__", None)
    if isinstance(names, dict):
        module = names.get("__name__", module)
    return owner_of_module(module) if isinstance(module, str) else OWN


def owner_of_module(name: str) -> Owner:
    """Whose the module of this name is; a module that is not there is the user's own."""
    if name == "__main__":
        return OWN
    top = name.partition(".")[0]
    if top in _OURS:
        return OURS
    if top == "builtins" or top in sys.builtin_module_names:
        return PYTHON
    file = _file_of(name)
    known = _owners.get((name, file))
    if known is None:
        known = _owners[name, file] = _owner(name, file)
    return known


def _file_of(name: str) -> str:
    module = sys.modules.get(name)
    if module is not None:
        spec = getattr(module, "__spec__", None)
        return str(getattr(module, "__file__", None) or getattr(spec, "origin", None) or "")
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, AttributeError, ValueError):
        return ""
    if spec is None:
        return ""
    return str(spec.origin or next(iter(spec.submodule_search_locations or ()), ""))


def _owner(name: str, file: str) -> Owner:
    if file in ("built-in", "frozen"):
        return PYTHON
    if not file:
        return PYTHON if name.partition(".")[0] in sys.stdlib_module_names and name not in sys.modules else OWN
    parts = file.replace("\\", "/").split("/")
    if file.startswith(_STDLIB + os.sep) and not any(folder in parts for folder in _PACKAGES):
        return PYTHON
    found = _distribution_of(name, file)
    return Owner("installed", found) if found is not None else OWN


def installed(name: str) -> Installed | None:
    """The installed distribution of this name; None if there is none, or if it is the user's own (editable)."""
    name = _canonical(name)
    if name not in _installed:
        places = (_installed_in(folder).get(name) for folder in sys.path if folder)
        place = next((place for place in places if place), None)
        _installed[name] = _read(name, place) if place else None
    return _installed[name]


def with_required(first: Installed) -> list[Installed]:
    """The distribution and, transitively, those that it requires and that are installed, by name."""
    found = {first.name: first}
    waiting = [first]
    while waiting:
        for name in waiting.pop().requires:
            required = installed(name)
            if required is not None and required.name not in found:
                found[required.name] = required
                waiting.append(required)
    return [found[name] for name in sorted(found)]


def _distribution_of(name: str, file: str) -> Installed | None:
    """The distribution whose RECORD names the file, looked for in the folder that its package stands in."""
    top = _canonical(name.partition(".")[0])
    for folder in _folders(file):
        relative = file[len(folder) + 1 :].replace(os.sep, "/")
        there = _installed_in(folder)
        first = _tops.get((folder, top), top)
        for distribution in sorted(there, key=lambda one: one != first):
            record = _text(f"{there[distribution]}/RECORD")
            if record.startswith(f"{relative},") or f"\n{relative}," in record or f"\n{relative}/" in record:
                _tops[folder, top] = distribution
                return installed(distribution)
    return None


def _installed_in(folder: str) -> dict[str, str]:
    """Where installers left their notes on each distribution of a folder, by canonical name."""
    if folder not in _there:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            names = []
        found = [name for name in names if name.endswith(".dist-info")]
        _there[folder] = {_canonical(name.partition("-")[0]): f"{folder}/{name}" for name in found}
    return _there[folder]


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _folders(file: str) -> list[str]:
    """The folders above a file that modules are imported from, nearest first."""
    paths = {os.path.normpath(path) for path in sys.path if path}
    folders = []
    folder = os.path.dirname(file)
    while folder != os.path.dirname(folder):
        if folder in paths:
            folders.append(folder)
        folder = os.path.dirname(folder)
    return folders


def _read(name: str, place: str) -> Installed | None:
    files = sorted(line for line in _text(f"{place}/RECORD").splitlines() if _counts(line))
    if not files:
        return None
    version = os.path.basename(place).removesuffix(".dist-info").partition("-")[2]
    head = _text(f"{place}/METADATA").partition("\n\n")[0].splitlines()
    asked = [line.partition(": ")[2] for line in head if line.startswith("Requires-Dist: ") and "extra" not in line]
    required = {_canonical(match[0]) for text in asked if (match := _NAME.match(text))}
    return Installed(name, version, hash_id(*(line.encode() for line in files)), tuple(sorted(required)))


def _counts(line: str) -> bool:
    """Whether a line of a RECORD is content: not what installers add, nor scripts, which name the interpreter's place."""
    path, _, rest = line.partition(",")
    return (
        rest.startswith("sha")
        and not path.startswith("..")
        and ".dist-info/" not in path
        and not path.endswith((".pyc", ".pth"))
        and not path.startswith("_editable_")
        and "__editable__" not in path
    )


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
