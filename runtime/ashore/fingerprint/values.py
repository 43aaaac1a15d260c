"""Values that code reads, as nodes: equal exactly if a step could not tell them apart.

Code inside of values (a dict of functions, an object's class, what a `partial` holds) is reached. Objects count by their state,
those of other people's classes by what they give for copying; what has none, counts by its type and is reported.
"""

from __future__ import annotations

import collections
import copyreg
import datetime as dt
import functools
import logging
import os
import pathlib
import re
import sys
import types
import typing
import weakref
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from zoneinfo import ZoneInfo

from ashore.codec import Unencodable, encode, is_plain
from ashore.files import File
from ashore.fingerprint.nodes import Large, Node, Sink, Watches, by_name
from ashore.fingerprint.owners import OWN, Owner, owner_of
from ashore.ids import hash_id
from ashore.supplies import Secret, Unfilled

_SHORT: Final = 256
"""Bytes of content that are remembered as they are, to be compared; of more a digest."""
_DEPTH: Final = 100
"""Containers in containers that are looked into."""

_SIMPLE: Final = frozenset({int, float, bool, bytes, complex, type(None), type(...), type(NotImplemented)})
_KNOWN: Final = frozenset({
    *(Decimal, dt.date, dt.time, dt.datetime, dt.timedelta, dt.timezone, ZoneInfo, range, slice, bytearray),
    *(sys.modules["uuid"].UUID,),
})  # fmt: skip
_BASES: Final = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex, collections.deque)
_NO_STATE: Final = frozenset({"__weakref__", "__dict__"})
_PATHS: Final = (pathlib.PurePath,)
_BUILT_IN: Final = (types.BuiltinFunctionType, types.MethodWrapperType)
_DESCRIPTORS: Final = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_TYPING: Final = (typing.TypeVar, typing.ParamSpec, typing.ForwardRef, typing.NewType)
_LOCKS: Final = frozenset({"lock", "RLock", "_RLock", "Condition", "Event", "Semaphore", "local", "_local", "ContextVar"})
_STATEFUL: Final = frozenset({"Random", "SystemRandom", "Generator", "RandomState"})
"""Classes of chance, of Python and numpy."""


def node(sink: Sink, value: Any, depth: int = 0) -> Node:
    """The node of any value. Raises `Large`."""
    kind = type(value)
    if kind in _SIMPLE:
        return encode(value) if value is not NotImplemented else "NotImplemented"
    if kind is str:
        sink.spend(len(value))
        return encode(value)
    if depth > _DEPTH:
        raise Large("lies in more containers than are looked into")
    inside = sink.inside
    if id(value) in inside:
        return ["again", depth - inside[id(value)]]
    inside[id(value)] = depth
    try:
        return _handler(value, kind)(sink, value, depth)
    finally:
        del inside[id(value)]


def _handler(value: Any, kind: type) -> Callable[[Sink, Any, int], Node]:
    found = _HANDLERS.get(kind)
    if found is None:
        found = next((handler for bases, handler in _KINDS if isinstance(value, bases)), _instance)
    return found


def _reached(sink: Sink, value: Any, depth: int) -> Node:
    return sink.reach(value)


def _bytes_of(sink: Sink, value: Any, depth: int) -> Node:
    if type(value) is bytearray:
        sink.watches.probe(lambda: bytes(value))
    return encode(value)


def _path(sink: Sink, value: Any, depth: int) -> Node:
    return [type(value).__name__, encode(str(value))]


def _sequence(sink: Sink, value: Any, depth: int) -> Node:
    sink.spend(len(value))
    if type(value) is list and is_plain(value):
        return _plain(sink, value)
    if type(value) is not tuple:
        sink.watches.view(value)
    return [type(value).__name__, getattr(value, "maxlen", None), [node(sink, item, depth + 1) for item in value]]


def _set(sink: Sink, value: Any, depth: int) -> Node:
    sink.spend(len(value))
    if type(value) is set:
        sink.watches.view(value)
    try:
        return [type(value).__name__, encode(value)]  # in canonical order
    except Unencodable:
        items = sorted(value, key=lambda item: by_name(node(_Silent(), item, depth + 1)))
        return [type(value).__name__, [node(sink, item, depth + 1) for item in items]]


def _dict(sink: Sink, value: Any, depth: int) -> Node:
    sink.spend(len(value))
    if type(value) is dict and is_plain(value):
        return _plain(sink, value)
    sink.watches.view(value)
    sink.watches.view(value.values())
    return ["dict", [[node(sink, key, depth + 1), node(sink, item, depth + 1)] for key, item in value.items()]]


def _plain(sink: Sink, value: Any) -> Node:
    data = encode(value)
    sink.spend(len(data))
    sink.watches.probe(lambda: _content(value))
    return data


def _content(value: Any) -> bytes:
    try:
        data = encode(value)
    except Unencodable:  # it has changed into something else
        return b""
    return data if len(data) <= _SHORT else hash_id(data)


def _method(sink: Sink, value: Any, depth: int) -> Node:
    return ["method", node(sink, value.__func__, depth + 1), node(sink, value.__self__, depth + 1)]


def _wrapper(sink: Sink, value: Any, depth: int) -> Node:
    return [type(value).__name__, node(sink, value.__func__, depth + 1)]


def _property(sink: Sink, value: Any, depth: int) -> Node:
    return ["property", *(node(sink, part, depth + 1) for part in (value.fget, value.fset, value.fdel))]


def _partial(sink: Sink, value: Any, depth: int) -> Node:
    keywords = dict(sorted(value.keywords.items()))
    return [type(value).__name__, *(node(sink, part, depth + 1) for part in (value.func, value.args, keywords))]


def _cached_property(sink: Sink, value: Any, depth: int) -> Node:
    return ["cached_property", node(sink, value.func, depth + 1)]


def _dispatcher(sink: Sink, value: Any, depth: int) -> Node:
    return ["singledispatchmethod", node(sink, value.dispatcher, depth + 1)]


def _wrapped(sink: Sink, value: Any, depth: int) -> Node:
    return ["cache", node(sink, value.__wrapped__, depth + 1)]


def _built_in(sink: Sink, value: Any, depth: int) -> Node:
    of = value.__self__
    if of is None or isinstance(of, types.ModuleType):
        sink.uses(owner_of(value) if of is None else owner_of(of))
        return ["built-in", value.__name__]
    if isinstance(of, type) and owner_of(of) is not OWN:
        sink.uses(owner_of(of))
        return ["built-in", of.__qualname__, value.__name__]
    return ["built-in", value.__name__, node(sink, of, depth + 1)]


def _descriptor(sink: Sink, value: Any, depth: int) -> Node:
    return ["descriptor", value.__name__]


def _alias(sink: Sink, value: Any, depth: int) -> Node:
    return ["type", node(sink, value.__origin__, depth + 1), [node(sink, part, depth + 1) for part in value.__args__]]


def _union(sink: Sink, value: Any, depth: int) -> Node:
    return ["union", [node(sink, part, depth + 1) for part in value.__args__]]


def _typing(sink: Sink, value: Any, depth: int) -> Node:
    return ["typing", getattr(value, "__name__", "")]


def _pattern(sink: Sink, value: Any, depth: int) -> Node:
    return ["pattern", encode(value.pattern), value.flags]


def _logger(sink: Sink, value: Any, depth: int) -> Node:
    return ["logger"]


def _namespace(sink: Sink, value: Any, depth: int) -> Node:
    sink.watches.view(vars(value).values())
    kept = [(name, item) for name, item in vars(value).items() if not sink.is_state(value, name)]
    return ["namespace", [[name, node(sink, item, depth + 1)] for name, item in kept]]


def _member(sink: Sink, value: Any, depth: int) -> Node:
    return ["member", node(sink, type(value), depth + 1), str(value.name)]


def _supplied(sink: Sink, value: Any, depth: int) -> Node:
    return ["supplied", repr(value)]  # its name is part of the code; the value of a secret is not even here


def _other_type(sink: Sink, value: Any, depth: int) -> Node:
    return ["of type", type(value).__qualname__]


_HANDLERS: Final[dict[type, Callable[[Sink, Any, int], Node]]] = {
    **dict.fromkeys(_KNOWN, _bytes_of),
    **dict.fromkeys((list, tuple, collections.deque), _sequence),
    **dict.fromkeys((set, frozenset), _set),
    **dict.fromkeys((dict, types.MappingProxyType, collections.OrderedDict), _dict),
    File: _bytes_of,
    **dict.fromkeys((Secret, Unfilled), _supplied),
    types.FunctionType: _reached,
    types.ModuleType: _reached,
    types.MethodType: _method,
    **dict.fromkeys((staticmethod, classmethod), _wrapper),
    property: _property,
    **dict.fromkeys((functools.partial, functools.partialmethod), _partial),
    functools.cached_property: _cached_property,
    functools.singledispatchmethod: _dispatcher,
    type(functools.lru_cache(len)): _wrapped,
    **dict.fromkeys(_BUILT_IN, _built_in),
    **dict.fromkeys(_DESCRIPTORS, _descriptor),
    types.GenericAlias: _alias,
    types.UnionType: _union,
    types.SimpleNamespace: _namespace,
    re.Pattern: _pattern,
    **dict.fromkeys(_TYPING, _typing),
    **dict.fromkeys((weakref.ref, weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet), _other_type),
}
_KINDS: Final[tuple[tuple[Any, Callable[[Sink, Any, int], Node]], ...]] = (
    (type, _reached),
    (types.ModuleType, _reached),
    (Enum, _member),
    (_PATHS, _path),
    (logging.Logger, _logger),
    (type(typing.List[int]), _alias),  # noqa: UP006  # the class of typing's own
)


def _instance(sink: Sink, value: Any, depth: int) -> Node:
    kind = type(value)
    owner = owner_of(kind)
    if owner.kind == "ashore":
        plain = getattr(value, "__wrapped__", None)
        return ["step", node(sink, plain, depth + 1)] if isinstance(plain, types.FunctionType) else ["ashore", kind.__name__]
    array = _array(sink, value) if owner.kind == "installed" else None
    if array is not None:
        return array
    return _own(sink, value, depth) if owner is OWN else _foreign(sink, value, owner, depth)


def _array(sink: Sink, value: Any) -> Node | None:
    """A numpy array or number, by its bytes."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not hasattr(value, "tobytes"):
        return None
    if dtype is None or getattr(dtype, "hasobject", True):
        return None
    sink.uses(owner_of(type(value)))
    sink.spend(int(value.nbytes))
    if shape:
        sink.watches.probe(lambda: (value.shape, str(value.dtype), hash_id(value.tobytes())))
    return ["array", str(dtype.str), list(shape), hash_id(value.tobytes())]


def _own(sink: Sink, value: Any, depth: int) -> Node:
    """An object of the user's own class: its class and its attributes."""
    kind = type(value)
    state = dict(getattr(value, "__dict__", {}))
    slots = [name for base in kind.__mro__ for name in _slots(base) if hasattr(value, name)]
    if hasattr(value, "__dict__"):
        sink.watches.view(vars(value).values())
    if slots:
        sink.watches.probe(lambda: [id(getattr(value, name, None)) for name in slots])
    state.update({name: getattr(value, name) for name in slots})
    sink.spend(len(state) + 1)
    base = next((base for base in _BASES if isinstance(value, base)), None)
    content = node(sink, base(value), depth + 1) if base is not None and not sink.is_state(value, "") else None
    if base in (dict, list, set, collections.deque):
        sink.watches.view(value)
    shown = [(name, state[name]) for name in sorted(state) if name not in _NO_STATE and not sink.is_state(value, name)]
    return ["object", sink.reach(kind), content, [[name, node(sink, item, depth + 1)] for name, item in shown]]


def _slots(kind: type) -> list[str]:
    fields = vars(kind).get("__struct_fields__")
    if isinstance(fields, tuple):
        return list(fields)
    slots = vars(kind).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [f"_{kind.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name for name in names]


def _foreign(sink: Sink, value: Any, owner: Owner, depth: int) -> Node:
    """An object of another's class: what it gives to be copied from."""
    kind = type(value)
    sink.uses(owner)
    shown = ["of type", kind.__qualname__]
    if kind.__name__ in _LOCKS or kind is type(os.environ):
        return shown
    if kind.__name__ in _STATEFUL:
        sink.notice(f"it is a {kind.__qualname__}, whose state changes with its use", "Make it inside the step, from a seed")
        return shown
    try:
        registered = copyreg.dispatch_table.get(kind)
        reduced = registered(value) if registered is not None else value.__reduce_ex__(2)
    except Exception:  # noqa: BLE001  # whatever a class raises that cannot be copied
        mend = "Make it inside the step, or pass what it is made of as a parameter"
        sink.notice(f"it is a {kind.__module__}.{kind.__qualname__}, whose state cannot be looked at", mend)
        return shown
    made = [*shown, _reduced(sink, reduced, depth)]
    if not isinstance(sink, _Silent) and not _is_fixed(kind):
        sink.watches.probe(lambda: hash_id(by_name(_foreign(_Silent(), value, owner, depth))))
    return made


def _reduced(sink: Sink, reduced: Any, depth: int) -> Node:
    if isinstance(reduced, str):
        return reduced
    make, arguments, state, *items = [*reduced, None, None, None][:5]
    parts = [list(part) if part is not None else None for part in items]
    made = getattr(make, "__qualname__", "")
    inside = [node(sink, part, depth + 1) for part in (list(arguments), _without_privates(state), *parts)]
    return [made if owner_of(make) is not OWN else node(sink, make, depth + 1), *inside]


def _without_privates(state: Any) -> Any:
    return dict(sorted(state.items())) if isinstance(state, dict) and all(isinstance(key, str) for key in state) else state


def _is_fixed(kind: type) -> bool:
    return kind.__module__ in ("fractions", "string", "operator", "struct") or kind.__qualname__ in ("dtype", "itemgetter")


class _Silent(Sink):
    """A sink that only makes nodes, to compare them: references are by identity."""

    def __init__(self) -> None:
        self.watches = _unwatched
        self.inside: dict[int, int] = {}

    def reach(self, value: Any) -> Node:
        return getattr(value, "__qualname__", getattr(value, "__name__", type(value).__qualname__))

    def uses(self, owner: Owner) -> None:
        pass

    def notice(self, what: str, mend: str) -> None:
        pass

    def is_state(self, value: Any, name: str) -> bool:
        return False

    def spend(self, amount: int) -> None:
        pass


class _Unwatched(Watches):
    """Watches nothing."""

    def view(self, view: Any) -> None:
        pass

    def probe(self, question: Callable[[], object]) -> None:
        pass


_unwatched: Final = _Unwatched()
