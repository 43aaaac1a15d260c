"""Paths that a module made from its own place: they count relative to it, so that two checkouts agree."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from types import FunctionType
from typing import Any, Final

_CODE_FOLDERS: Final = frozenset({"src", "lib", "python"})
"""Folders of code inside of a project's own."""


def placed(value: Any, function: FunctionType) -> Any:
    """An absolute path inside of the function's project, or above it, as it lies from there; any other value as it is."""
    if not isinstance(value, str | PurePath) or not str(value).startswith(os.sep):
        return value
    root = _root_of(function)
    path = os.path.normpath(str(value))
    if not root or not (path == root or path.startswith(root + os.sep) or root.startswith(path.rstrip(os.sep) + os.sep)):
        return value
    return (type(value).__name__, "from the project", os.path.relpath(path, root))


def _root_of(function: FunctionType) -> str:
    """The folder that the function's module is imported from; "" if it is in no file."""
    file = function.__globals__.get("__file__")
    if not isinstance(file, str):
        return ""
    file = os.path.abspath(file)
    paths = {os.path.abspath(path) for path in sys.path if path}
    folder = os.path.dirname(file)
    above = folder
    while above not in paths and above != os.path.dirname(above):
        above = os.path.dirname(above)
    found = above if above in paths else folder
    return os.path.dirname(found) if os.path.basename(found) in _CODE_FOLDERS else found
