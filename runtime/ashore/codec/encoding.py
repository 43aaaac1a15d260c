"""Values to bytes. Equal values of equal type give equal bytes, in every process and under every hash seed."""

from __future__ import annotations

import datetime as dt
import pathlib
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import chain
from types import EllipsisType
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

from ashore.codec.classes import members_of, name_of, shape_of, values_of
from ashore.codec.models import beside
from ashore.codec.tags import DEPTH, Tag, Unencodable
from ashore.files import File

_pack: Final = msgspec.msgpack.Encoder().encode

_ATOMS: Final = frozenset({int, float, str, bool, bytes, type(None)})
_PLAIN: Final = _ATOMS | {list, dict}
_SMALL: Final = 16
"""Up to this many elements a loop beats a set of types."""
_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1
_NUMBERS: Final = "biufc"
"""Kinds of numpy's dtypes that are numbers."""
_SHOWN: Final = 60
"""Characters of a key in an error's path."""

_MEND: Final = (
    "return what describes it (numbers, text, containers, a dataclass, a File), or register a materializer: ashore.register(...)"
)

UUID: Final = sys.modules["uuid"].UUID  # loaded by msgspec; named so since random ids come in by a port


class Foreign(Protocol):
    """Stored forms for what the codec does not know itself: arrays, tables, models inside of plain values."""

    def dump(self, value: Any) -> tuple[str, bytes] | None:
        """Format and bytes; None if it knows no more than the codec. Raises `Unencodable`."""
        ...

    def load(self, format: str, data: memoryview) -> Any: ...


def is_plain(value: Any, depth: int = DEPTH - 1) -> bool:
    """Whether msgpack brings exactly this value back: exact types only, dicts with str keys, not too deep."""
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is dict:
        if len(value) > _SMALL:
            return set(map(type, value)) == {str} and _are_plain(value.values(), depth)
        for key, item in value.items():
            if type(key) is not str or not (type(item) in _ATOMS or (depth and is_plain(item, depth - 1))):
                return False
        return True
    return kind is list and _are_plain(value, depth)


def _are_plain(items: Iterable[object], depth: int) -> bool:
    kinds = set(map(type, items))
    if kinds <= _ATOMS:
        return True
    return depth > 0 and kinds <= _PLAIN and all(is_plain(item, depth - 1) for item in items)


def pack_plain(value: object) -> bytes | None:
    """The bytes of a plain value; None if it is not plain after all (a large int, a lone surrogate)."""
    try:
        return _pack(value)
    except (OverflowError, UnicodeEncodeError):
        return None


class Encoding:
    """One value's way to bytes, where it is not plain."""

    __slots__ = ("foreign", "numbers")

    def __init__(self, foreign: Foreign | None, *, numbers: bool) -> None:
        self.foreign = foreign
        self.numbers = numbers
        """Whether numpy's numbers become Python's."""

    def bytes_of(self, value: object) -> bytes:
        return _pack(self.node(value, 0))

    def node(self, value: Any, depth: int) -> Any:
        """`value` as msgpack can write it. Raises `Unencodable`."""
        handler = _HANDLERS.get(type(value))
        return handler(self, value, depth) if handler is not None else self._other(value, depth)

    def items(self, values: Iterable[Any], depth: int, step: Callable[[int], str] = "[{}]".format) -> list[Any]:
        """The nodes of a container's elements; `step` is how the n-th is reached."""
        if depth >= DEPTH:
            raise Unencodable(f"lies more than {DEPTH} containers deep, or contains itself", "store a flatter value without cycles")
        nodes: list[Any] = []
        try:
            for value in values:
                nodes.append(self.node(value, depth + 1))
        except Unencodable as error:
            error.inside(step(len(nodes)))
            raise
        return nodes

    def _other(self, value: Any, depth: int) -> Any:
        cls = type(value)
        if cls.__module__ == "numpy" and isinstance(value, sys.modules["numpy"].generic):
            return self._numpy(value)
        if self.foreign is not None and (stored := self.foreign.dump(value)) is not None:
            return _ext(Tag.FOREIGN, stored)
        shape = shape_of(cls)
        if shape is None:
            raise _unknown(cls)
        name = name_of(cls)
        if shape.tag is Tag.ENUM:
            plain = [value.value] if is_plain(value.value) and pack_plain(value.value) is not None else []
            return _ext(shape.tag, [name, members_of(value), *plain])
        values = self.items(values_of(value, shape), depth, lambda index: f".{shape.fields[index]}")
        more = self._beside(value, depth) if shape.tag is Tag.MODEL else ()
        return _ext(shape.tag, [name, shape.fields, values, *more])

    def _beside(self, model: Any, depth: int) -> list[Any]:
        given, *held = beside(model)
        return [given, *self.items(held, depth, lambda index: (".model_extra", ".__pydantic_private__")[index])]

    def _numpy(self, value: Any) -> Any:
        dtype = value.dtype
        if self.numbers and dtype.kind in _NUMBERS:
            return self.node(value.item(), 0)
        if dtype.kind not in f"{_NUMBERS}mMUS" or (dtype.kind in "fc" and dtype.str[1:] not in ("f2", "f4", "f8", "c8", "c16")):
            raise Unencodable(f"is a {_type_text(type(value))}", "convert it with .item(), or to a type of at most 64 bits")
        little = dtype.newbyteorder("<")
        return _ext(Tag.NUMPY, (little.str, value.astype(little).tobytes()))


def _raw(tag: Tag, data: bytes) -> Ext:
    return Ext(int(tag), data)


def _ext(tag: Tag, node: Any) -> Ext:
    return Ext(int(tag), _pack(node))


def _unknown(cls: type) -> Unencodable:
    text = _type_text(cls)
    what = f"is {'an' if text[0] in 'aeiou' else 'a'} {text}"
    for base in (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float):
        if issubclass(cls, base):
            return Unencodable(f"{what}, which would come back as a plain {base.__name__}", f"return {base.__name__}(...) of it")
    return Unencodable(f"{what}, which has no stored form", _MEND)


def _type_text(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _key_text(key: object) -> str:
    if type(key) in (str, int, bytes, float, bool):
        text = ascii(key) if type(key) is str and not key.isprintable() else repr(key)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"<{_type_text(type(key))}>"


def has_form(cls: type) -> bool:
    """Whether values of this class can be encoded, as far as the class tells."""
    is_scalar = cls.__module__ == "numpy" and issubclass(cls, sys.modules["numpy"].generic)
    return cls in _HANDLERS or is_scalar or shape_of(cls) is not None


def _atom(_encoding: Encoding, value: Any, _depth: int) -> Any:
    return value


def _int(_encoding: Encoding, value: int, _depth: int) -> Any:
    if _INT_MIN <= value <= _INT_MAX:
        return value
    return _raw(Tag.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def _str(_encoding: Encoding, value: str, _depth: int) -> Any:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return _raw(Tag.TEXT, value.encode("utf-8", "surrogatepass"))
    return value


def _list(encoding: Encoding, value: list[Any], depth: int) -> Any:
    return encoding.items(value, depth)


def _tuple(encoding: Encoding, value: tuple[Any, ...], depth: int) -> Any:
    return _ext(Tag.TUPLE, encoding.items(value, depth))


def _dict(encoding: Encoding, value: dict[Any, Any], depth: int) -> Any:
    keys = list(value)
    nodes = encoding.items(keys, depth, lambda index: f"'s key {_key_text(keys[index])}")
    values = encoding.items(value.values(), depth, lambda index: f"[{_key_text(keys[index])}]")
    if all(type(node) is str for node in nodes):
        return dict(zip(nodes, values, strict=True))
    return _ext(Tag.DICT, list(chain.from_iterable(zip(nodes, values, strict=True))))


def _set(encoding: Encoding, value: set[Any], depth: int) -> Any:
    return _ext(Tag.SET, _sorted(encoding, value, depth))


def _frozenset(encoding: Encoding, value: frozenset[Any], depth: int) -> Any:
    return _ext(Tag.FROZENSET, _sorted(encoding, value, depth))


def _sorted(encoding: Encoding, values: Iterable[Any], depth: int) -> list[msgspec.Raw]:
    nodes = encoding.items(values, depth, lambda _: "{an element}")
    return [msgspec.Raw(data) for data in sorted(map(_pack, nodes))]


def _datetime(encoding: Encoding, value: dt.datetime, depth: int) -> Any:
    parts = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold)
    return _ext(Tag.DATETIME, [*parts, _zone_of(encoding, value.tzinfo, depth)])


def _time(encoding: Encoding, value: dt.time, depth: int) -> Any:
    parts = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return _ext(Tag.TIME, [*parts, _zone_of(encoding, value.tzinfo, depth)])


def _zone_of(encoding: Encoding, zone: dt.tzinfo | None, depth: int) -> Any:
    if zone is None or type(zone) in (dt.timezone, ZoneInfo):
        return encoding.node(zone, depth)
    raise Unencodable(f"has the time zone {_type_text(type(zone))}", "use datetime.timezone or zoneinfo.ZoneInfo")


def _timedelta(_encoding: Encoding, value: dt.timedelta, _depth: int) -> Any:
    return _ext(Tag.TIMEDELTA, (value.days, value.seconds, value.microseconds))


def _timezone(encoding: Encoding, value: dt.timezone, depth: int) -> Any:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # what copy and pickle use: name only if one was given
    return _ext(Tag.TIMEZONE, [encoding.node(part, depth) for part in (offset, *name)])


def _zone(_encoding: Encoding, value: ZoneInfo, _depth: int) -> Any:
    if value.key is None:
        raise Unencodable("is a time zone without a name", "make it with ZoneInfo(name)")
    return _raw(Tag.ZONE, value.key.encode())


def _path(encoding: Encoding, value: pathlib.PurePath, depth: int) -> Any:
    return _ext(Tag.PATH, (type(value).__name__, encoding.node(str(value), depth)))


def _file(encoding: Encoding, value: File, depth: int) -> Any:
    return _ext(Tag.FILE, (encoding.node(value.path, depth), value.size, value.mtime_ns, value.digest))


def _range(encoding: Encoding, value: range, depth: int) -> Any:
    return _ext(Tag.RANGE, encoding.items((value.start, value.stop, value.step), depth))


def _slice(encoding: Encoding, value: slice, depth: int) -> Any:
    return _ext(Tag.SLICE, encoding.items((value.start, value.stop, value.step), depth))


_HANDLERS: Final[dict[type, Callable[[Encoding, Any, int], Any]]] = {
    **dict.fromkeys((float, bool, bytes, type(None)), _atom),
    **dict.fromkeys((pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath), _path),
    int: _int,
    str: _str,
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set,
    frozenset: _frozenset,
    bytearray: lambda _encoding, value, _depth: _raw(Tag.BYTEARRAY, bytes(value)),
    complex: lambda _encoding, value, _depth: _ext(Tag.COMPLEX, (value.real, value.imag)),
    Decimal: lambda _encoding, value, _depth: _raw(Tag.DECIMAL, str(value).encode()),
    UUID: lambda _encoding, value, _depth: _raw(Tag.UUID, value.bytes),
    EllipsisType: lambda _encoding, _value, _depth: _raw(Tag.ELLIPSIS, b""),
    msgspec.UnsetType: lambda _encoding, _value, _depth: _raw(Tag.UNSET, b""),
    dt.date: lambda _encoding, value, _depth: _ext(Tag.DATE, (value.year, value.month, value.day)),
    dt.time: _time,
    dt.datetime: _datetime,
    dt.timedelta: _timedelta,
    dt.timezone: _timezone,
    ZoneInfo: _zone,
    File: _file,
    range: _range,
    slice: _slice,
}
