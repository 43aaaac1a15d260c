"""The first rules of fingerprints, kept so that what was recorded under them can be computed again: never change them.

Covered are the step's own code object with what is nested in it, its defaults, its closure, and the values of the module's globals
that it reads, as far as they are plain values; not the name of the module, so that a notebook cell and the file it moved into
agree.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from ashore.codec import Unencodable, encode, is_plain, show
from ashore.fingerprint.code import CodeFacts, facts_of
from ashore.fingerprint.nodes import Fingerprint
from ashore.ids import CodeId, hash_id

_TEXT_SHOWN: Final = 80
"""Characters of a value in a part's text; of longer ones the start and a digest."""
_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_FIXED: Final = frozenset({int, float, complex, str, bytes, bool, type(None)})
_CODE: Final = (FunctionType, BuiltinFunctionType, ModuleType, type)
_NO_OPTIONS: Final[Mapping[str, object]] = {}


class _Taken(NamedTuple):
    """A fingerprint, and what it was taken from: it holds as long as that is the same."""

    values: tuple[Any, ...]
    is_fixed: bool
    """Whether all values are of types that cannot change."""
    fingerprint: Fingerprint


_facts: WeakKeyDictionary[Callable[..., Any], tuple[Any, CodeFacts]] = WeakKeyDictionary()
_taken: WeakKeyDictionary[Callable[..., Any], dict[tuple[str, str, bytes], _Taken]] = WeakKeyDictionary()


def fingerprint_of(
    function: Callable[..., Any], *, name: str, role: str = "step", options: Mapping[str, object] = _NO_OPTIONS
) -> Fingerprint:
    """The fingerprint as of now: globals and defaults are looked at each time, code once.

    `options` are those that change what comes out ("seed"), not how it is run. Raises `Unencodable` for an option that is no plain
    value, `TypeError` for a callable without code of its own.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        raise TypeError(f"{name}: {function!r} is no Python function: a step is made of a `def` or an `async def`")
    facts = _facts_of(function)
    named = list(_values(function, facts))
    chosen = (name, role, encode(dict(sorted(options.items())), name="options") if options else b"")
    known = _taken.setdefault(function, {})
    taken = known.get(chosen)
    if taken is None or not _holds(taken, named):
        made = _take(facts, named, name, role, options)
        values = tuple([value for _, value in named])
        taken = known[chosen] = _Taken(values, all(type(value) in _FIXED for value in values), made)
    return taken.fingerprint


def _holds(taken: _Taken, named: list[tuple[str, Any]]) -> bool:
    return (
        taken.is_fixed
        and len(named) == len(taken.values)
        and all(new[1] is old for new, old in zip(named, taken.values, strict=True))
    )


def _facts_of(function: Callable[..., Any]) -> CodeFacts:
    code = function.__code__
    known = _facts.get(function)
    if known is None or known[0] is not code:
        known = _facts[function] = (code, facts_of(code))
    return known[1]


def _values(function: Any, facts: CodeFacts) -> Iterator[tuple[str, Any]]:
    """What the code depends on beside itself, by the name of its part; code of others is left out, if it is not in the closure."""
    code = function.__code__
    defaults = function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    for name, value in zip(positional[len(positional) - len(defaults) :], defaults, strict=True):
        yield f"default {name}", value
    for name, value in sorted((function.__kwdefaults__ or {}).items()):
        yield f"default {name}", value
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"variable {name}", cell.cell_contents
        except ValueError:  # not set yet
            continue
    module = function.__globals__
    for name in facts.globals:
        value = module.get(name)
        if name in module and not isinstance(value, _CODE):
            yield f"constant {name}", value


def _take(facts: CodeFacts, named: list[tuple[str, Any]], name: str, role: str, options: Mapping[str, object]) -> Fingerprint:
    parts: list[tuple[str, bytes, str]] = [("code", facts.digest, facts.digest.hex())]
    for part, value in named:
        data = _data_of(part, value)
        if data is not None:
            parts.append((part, data, _text(value, data)))
    for option, value in sorted(options.items()):
        data = encode(value, name=f"option {option}")
        parts.append((f"option {option}", data, _text(value, data)))
    parts += [(part, text.encode(), text) for part, text in (("step", name), ("role", role), ("python", _PYTHON))]
    code = hash_id(*(item for part, data, _ in parts for item in (part.encode(), data)))
    return Fingerprint(CodeId(code), tuple((part, text) for part, _, text in parts), rules=1)


def _data_of(part: str, value: Any) -> bytes | None:
    """The bytes that stand for a value; of a constant that is no plain value none: it is not covered."""
    if isinstance(value, FunctionType):
        return facts_of(value.__code__).digest
    try:
        return encode(value)
    except Unencodable:
        kind = type(value)
        return None if part.startswith("constant ") else encode(f"{kind.__module__}.{kind.__qualname__}")


def _text(value: Any, data: bytes) -> str:
    if isinstance(value, FunctionType):
        return f"function {data.hex()}"
    shown = json.dumps(show(data), ensure_ascii=False)
    text = shown if is_plain(value) else f"{type(value).__name__} {shown}"
    return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}... ({hash_id(data).hex()})"
