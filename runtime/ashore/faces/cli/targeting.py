"""From the words of `ashore run` to the call that they mean."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from ashore.errors import AshoreError, WrongArgument, did_you_mean
from ashore.faces.cli.troubles import BrokenTarget
from ashore.handles import Handle
from ashore.parameters import parsed
from ashore.signatures import Parameter
from ashore.targets import load_target
from ashore.works import Work
from ashore_stores.ports import Disk

_WILD: Final = re.compile(r"[*?\[]")
_ANY_DEPTH: Final = "**"


def loaded(target: str) -> Work[Any, Any]:
    """The step or pipeline that is meant. Raises `TargetError`; `BrokenTarget` if its file raises."""
    try:
        return load_target(target)
    except AshoreError:
        raise
    except Exception as error:
        raise BrokenTarget(f"{target.rpartition(':')[0] or target} cannot be imported: {type(error).__name__}: {error}") from error


def changed(work: Work[Any, Any], words: Sequence[str], disk: Disk, cwd: str) -> dict[str, Any]:
    """The arguments that these words `name=value` change. Raises `WrongArgument`."""
    try:
        return _arguments(work, words, disk, cwd)
    except WrongArgument as error:  # its place is a line of ours, which is of no use to anybody
        raise WrongArgument(error.what, where="", mend=error.mend) from error


def called(work: Work[Any, Any], words: Sequence[str], disk: Disk, cwd: str) -> Handle[Any]:
    """The call of `work` with these words `name=value`. Raises `WrongArgument`."""
    try:
        call: Handle[Any] = work(**_arguments(work, words, disk, cwd))
    except WrongArgument as error:  # its place is a line of ours, which is of no use to anybody
        raise WrongArgument(error.what, where="", mend=error.mend) from error
    call.claim()  # it will be started, or an error says why not
    return call


def _arguments(work: Work[Any, Any], words: Sequence[str], disk: Disk, cwd: str) -> dict[str, Any]:
    texts: dict[str, list[str]] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not name.isidentifier():
            raise WrongArgument(f"{word!r} is no argument", mend=f"Write name=value, such as {_example(work)}")
        texts.setdefault(name, []).append(text)
    return {name: _argument(work, name, given, disk, cwd) for name, given in texts.items()}


def _argument(work: Work[Any, Any], name: str, texts: Sequence[str], disk: Disk, cwd: str) -> Any:
    parameter = _parameter(work, name)

    def expand(text: str) -> Sequence[str]:
        return expanded(text, disk, cwd)

    values = [parsed(parameter, text, expand) for text in texts]
    if len(values) == 1:
        return values[0]
    if not all(isinstance(value, list) for value in values):
        raise WrongArgument(f"`{name}` was given {len(values)} times", mend="Give it once, or make it a list: name='[1, 2]'")
    return [item for value in values for item in value]


def _parameter(work: Work[Any, Any], name: str) -> Parameter:
    named = {parameter.name: parameter for parameter in work.parameters}
    further = next((parameter for parameter in work.parameters if parameter.kind is parameter.kind.VAR_KEYWORD), None)
    parameter = named.get(name) or further
    if parameter is None or parameter.kind is parameter.kind.VAR_POSITIONAL:
        takes = f"It takes {', '.join(named) or 'no arguments'}"
        raise WrongArgument(f"{work.name} has no parameter `{name}`", mend=did_you_mean(name, named) or takes)
    return parameter


def _example(work: Work[Any, Any]) -> str:
    return f"{work.parameters[0].name}=..." if work.parameters else f"none: {work.name} takes no arguments"


def expanded(pattern: str, disk: Disk, cwd: str) -> list[str]:
    """The files that a pattern names, sorted; a name without wildcards is itself. Raises `ValueError` if there are none.

    `*`, `?` and `[...]` stand for parts of one name, `**` for any number of folders; names that begin with a dot are meant only
    by patterns that begin with one.
    """
    if not _WILD.search(pattern):
        return [pattern]
    parts = [part for part in pattern.split("/") if part]
    found = sorted(set(_matching("/" if pattern.startswith("/") else "", parts, disk, cwd)))
    if not found:
        raise ValueError(f"no file in {cwd} is named like that")
    return found


def _matching(folder: str, parts: Sequence[str], disk: Disk, cwd: str) -> Iterator[str]:
    part, rest = parts[0], parts[1:]
    if part == _ANY_DEPTH:
        if rest:
            yield from _matching(folder, rest, disk, cwd)
        names, further = _names(folder, "*", disk, cwd), parts
    else:
        names, further = (_names(folder, part, disk, cwd) if _WILD.search(part) else [part]), rest
    for name in names:
        path = posixpath.join(folder, name)
        stat = disk.stat(posixpath.join(cwd, path))
        is_last = not rest
        if stat is not None and is_last and stat.kind != "directory":
            yield path
        if further and stat is not None and stat.kind == "directory":
            yield from _matching(path, further, disk, cwd)


def _names(folder: str, pattern: str, disk: Disk, cwd: str) -> list[str]:
    names = disk.names(posixpath.join(cwd, folder))
    return [name for name in names if fnmatchcase(name, pattern) and (not name.startswith(".") or pattern.startswith("."))]
