"""Targets: where a pipeline's code is, "flights.py:retrain" or "package.module:retrain", and how it is imported."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from ashore.errors import TargetError
from ashore.works import Pipeline, Step, Work


def target_of(work: Work[Any, Any], root: str) -> str:
    """The target of a step or pipeline: by path if its file lies under the project's root, else by module."""
    file = work.file
    if file and os.path.isfile(file) and os.path.abspath(file).startswith(root.rstrip("/") + "/"):
        return f"{os.path.relpath(file, root)}:{work.qualname}"
    return f"{work.module}:{work.qualname}"


def load_target(target: str) -> Work[Any, Any]:
    """The step or pipeline that a target names. Raises `TargetError` naming what is there instead."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise TargetError(f"{target!r} is no target: write FILE.py:NAME or package.module:NAME")
    module = load_module(place)
    found = _within(module, name)
    if not isinstance(found, Work):
        names = [work.name for work in works_in(module)]
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names) or 'no steps or pipelines'}"
        raise TargetError(f"{place} has no step or pipeline {name!r}: {hint}")
    return found


def work_of_target(target: str, root: str) -> Work[Any, Any]:
    """The step or pipeline that a recorded target names: of a module that is imported already, else imported. Raises `TargetError`.

    `root` is the project's, which recorded paths are relative to.
    """
    place, _, name = target.rpartition(":")
    if "<locals>" in name:
        raise TargetError(f"{target} was defined inside a function", mend="Pass the pipeline itself")
    if place.endswith(".py") or "/" in place:
        path = os.path.join(root, place)
        for module in list(sys.modules.values()):
            if getattr(module, "__file__", None) == path and isinstance(found := _within(module, name), Work):
                return found
        target = f"{path}:{name}"
    return load_target(target)


def _within(module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def load_file(path: str) -> list[Pipeline[Any, Any]]:
    """All pipelines that a file defines, in its order."""
    return [work for work in works_in(load_module(path)) if isinstance(work, Pipeline)]


def load_module(place: str) -> ModuleType:
    """Import a file by path, under its stem as the module's name, or a module by its dotted name."""
    if place.endswith(".py") or "/" in place:
        return _load_path(os.path.abspath(place))
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and not place.startswith(error.name):
            raise
        raise TargetError(f"there is no module {place!r} (for a file, write its path: {place}.py:NAME)") from error


def works_in(module: ModuleType) -> list[Step[Any, Any] | Pipeline[Any, Any]]:
    """The steps and pipelines that a module defines."""
    return [value for value in vars(module).values() if isinstance(value, (Step, Pipeline)) and value.module == module.__name__]


def load_as(name: str, file: str) -> ModuleType:
    """The module that another process imported from this file under this name, under the same name. Raises `TargetError`."""
    known = sys.modules.get(name)
    if known is not None:
        return known
    spec = importlib.util.find_spec(name)
    if spec is not None and (not file or spec.origin == file):
        return importlib.import_module(name)
    if "." in name or not file:
        where = f"{spec.origin} instead of {file}" if spec is not None else "nothing"
        raise TargetError(f"importing {name!r} here finds {where}")
    if not os.path.isfile(file):
        raise TargetError(f"the file {file}, from which {name} was imported, is gone")
    return _execute(name, file)


def _load_path(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise TargetError(f"there is no file {path}")
    name = os.path.basename(path).removesuffix(".py")
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == path:
        return known
    return _execute(name, path)


def _execute(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} cannot be imported: it is no Python file")
    module = importlib.util.module_from_spec(spec)
    folder = os.path.dirname(path)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
