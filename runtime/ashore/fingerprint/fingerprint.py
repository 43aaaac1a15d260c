"""A step's fingerprint: which code it is, with everything of the user's own that it reaches, part by part.

What it was taken from is remembered and looked at again each time: as long as every name, function, class and value is the same
object with the same content, the fingerprint is the one of before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from ashore.codec import encode, show
from ashore.fingerprint import own_code
from ashore.fingerprint.closure import walked
from ashore.fingerprint.declared import Cache, names_in
from ashore.fingerprint.nodes import RULES, Fingerprint, Part, Watches
from ashore.ids import CodeId, hash_id

_KEPT: Final = 8
"""Fingerprints of one function that are remembered: there are several if the content of files that it declares changes."""
_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_NO_OPTIONS: Final[Mapping[str, object]] = {}
_NO_FILES: Final[Mapping[str, bytes]] = {}
_PLAIN: Final = Cache()


class _Taken(NamedTuple):
    """A fingerprint, and what it was taken from."""

    cache: Cache
    code: CodeType
    defaults: tuple[Any, ...] | None
    watches: Watches
    fingerprint: Fingerprint


_taken: WeakKeyDictionary[Callable[..., Any], dict[tuple[Any, ...], _Taken]] = WeakKeyDictionary()


def fingerprint_of(
    function: Callable[..., Any],
    *,
    name: str,
    role: str = "step",
    options: Mapping[str, object] = _NO_OPTIONS,
    cache: Cache = _PLAIN,
    files: Mapping[str, bytes] = _NO_FILES,
) -> Fingerprint:
    """The fingerprint as of now, by the rules of today. Microseconds if nothing changed since it was asked for last.

    `options` are those that change what comes out ("seed"), not how it is run; `files` the content digests of `cache.files`. Raises
    `Unencodable` for an option that is no plain value, `TypeError` for a callable without code of its own.
    """
    chosen = _chosen(cache, name, role, options, files)
    plain = _function(function, name)
    known = _known(function, plain, chosen)
    if known is not None:
        return known
    of = function.__self__ if isinstance(function, MethodType) else None
    walked_by = cache if of is None else msgspec.structs.replace(cache, extra=[cache.extra, of])
    taken = _take(plain, walked_by, [name, role], options, files)._replace(cache=cache)
    kept = _taken.setdefault(function, {})
    kept[chosen] = taken
    if len(kept) > _KEPT:
        del kept[next(iter(kept))]
    return taken.fingerprint


def remembered(
    function: Callable[..., Any],
    *,
    name: str,
    role: str,
    options: Mapping[str, object] = _NO_OPTIONS,
    cache: Cache = _PLAIN,
    files: Mapping[str, bytes] = _NO_FILES,
) -> Fingerprint | None:
    """The fingerprint if it was taken before and holds; else None: taking it may need a long walk. Microseconds."""
    return _known(function, _function(function, name), _chosen(cache, name, role, options, files))


def _chosen(cache: Cache, name: str, role: str, options: Mapping[str, object], files: Mapping[str, bytes]) -> tuple[Any, ...]:
    return (
        name,
        role,
        id(cache),
        encode(dict(sorted(options.items())), name="options") if options else b"",
        tuple(sorted(files.items())) if files else (),
    )


def _known(function: Callable[..., Any], plain: FunctionType, chosen: tuple[Any, ...]) -> Fingerprint | None:
    known = _taken.get(function)
    taken = known.get(chosen) if known is not None else None
    if taken is None or taken.code is not plain.__code__ or taken.defaults is not plain.__defaults__:
        return None
    return taken.fingerprint if taken.watches.hold() else None


def fingerprint_by(
    rules: int, function: Callable[..., Any], *, name: str, role: str = "step", options: Mapping[str, object] = _NO_OPTIONS
) -> Fingerprint:
    """The fingerprint by the rules of that version, to find again what was recorded under them. Raises `ValueError`."""
    if rules == 1:
        return own_code.fingerprint_of(function, name=name, role=role, options=options)
    if rules == RULES:
        return fingerprint_of(function, name=name, role=role, options=options)
    raise ValueError(f"there are no rules {rules} of fingerprints here: this version of ashore knows 1 to {RULES}")


def _function(function: Callable[..., Any], name: str) -> FunctionType:
    if isinstance(function, MethodType):
        function = function.__func__
    if not isinstance(function, FunctionType):
        raise TypeError(f"{name}: {function!r} is no Python function: a step is made of a `def` or an `async def`")
    return function


def _take(
    function: FunctionType, cache: Cache, called: list[str], options: Mapping[str, object], files: Mapping[str, bytes]
) -> _Taken:
    walk = walked(function, cache)
    parts = list(walk.parts)
    digests = [(file, files.get(file, b"")) for file in names_in(cache.files)]
    parts += [Part(f"file {file}", digest.hex() if digest else "not there") for file, digest in digests]
    settings = [(option, encode(value, name=f"option {option}")) for option, value in sorted(options.items())]
    parts += [Part(f"option {option}", json.dumps(show(data), ensure_ascii=False)) for option, data in settings]
    parts += [Part("step", called[0]), Part("role", called[1]), Part("python", _PYTHON), Part("rules", str(RULES))]
    code = CodeId(hash_id(encode([RULES, _PYTHON, called, settings, digests, walk.digest])))
    pairs = tuple((part.name, part.text) for part in parts)
    places = tuple(part.place for part in parts)
    found = Fingerprint(code, pairs, places, walk.unfollowed)
    return _Taken(cache, function.__code__, function.__defaults__, walk.watches, found)
