"""The sources of everything that a step reaches: to show, to compare, and to keep beside its results."""

from __future__ import annotations

import inspect
import linecache
import textwrap
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import CodeType, FunctionType, MethodType
from typing import Any

from ashore.fingerprint.closure import walked
from ashore.fingerprint.declared import Cache
from ashore.fingerprint.facts import facts_of


def sources_of(function: Callable[..., Any], cache: Cache | None = None) -> dict[str, str]:
    """Source by the name of its part: functions and classes as they stand in their files, values as `name = value`.

    A function whose file says something else by now than what runs is not shown as it stands there: the text says so.
    """
    if isinstance(function, MethodType):
        function = function.__func__
    if not isinstance(function, FunctionType):
        raise TypeError(f"{function!r} is no Python function")
    walk = walked(function, cache or Cache())
    found = {name: _source(value) for name, value in walk.sources}
    for part in walk.parts:
        kind, _, rest = part.name.partition(" ")
        if part.name not in found and kind in ("constant", "variable", "default", "class", "extra"):
            found[part.name] = f"{rest.rpartition('.')[2]} = {part.text}\n"
        elif kind == "distribution":
            found[part.name] = f"{rest}=={part.text.partition(' ')[0]}\n"
    return found


def _source(value: Any) -> str:
    try:
        text = textwrap.dedent(inspect.getsource(value.__code__ if isinstance(value, FunctionType) else value))
    except (OSError, TypeError, IndentationError):
        return f"# the source of {value.__qualname__} is not at hand\n"
    if isinstance(value, FunctionType) and not _is_current(value):
        return f"# {value.__qualname__} runs as it was imported: {value.__code__.co_filename} has been changed since\n"
    return text


def _is_current(function: FunctionType) -> bool:
    """Whether the file still says what runs."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename, function.__globals__)
    named = _compiled("".join(lines), code.co_filename)
    return any(facts_of(one).digest == facts_of(code).digest for one in named if one.co_qualname == code.co_qualname)


@lru_cache(maxsize=8)
def _compiled(text: str, file: str) -> tuple[CodeType, ...]:
    """All code in a file: many functions of one closure stand in the same."""
    try:
        return tuple(_codes(compile(text, file, "exec", dont_inherit=True)))
    except SyntaxError:
        return ()


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
