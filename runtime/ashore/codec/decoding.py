"""Bytes to values: a new object each time, of the types that were encoded. Nothing is imported, no code comes from the bytes."""

from __future__ import annotations

import datetime as dt
import pathlib
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from ashore.codec.classes import find_class
from ashore.codec.encoding import UUID, Foreign
from ashore.codec.filling import fill, member
from ashore.codec.tags import Tag, Undecodable
from ashore.files import File
from ashore_stores.keys import Buffer

_NUMPY_DTYPE: Final = re.compile(r"[|<]([biu][1248]|f[248]|c8|c16|[US]\d+|[mM]8(\[\d*[a-zA-Z]+\])?)")
_CLASSES: Final = frozenset({Tag.DATACLASS, Tag.STRUCT, Tag.NAMEDTUPLE, Tag.ATTRS, Tag.MODEL})
_ZONE_KEY: Final = re.compile(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*")

Hook = Callable[[int, memoryview], Any]


def decoder(hook: Hook) -> Callable[[Buffer], Any]:
    """A decoder that gives extensions to `hook`. Raises `Undecodable` for whatever is wrong with the bytes."""
    unpack = msgspec.msgpack.Decoder(ext_hook=hook).decode

    def decode(data: Buffer) -> Any:
        try:
            return unpack(data)
        except Undecodable:
            raise
        except RecursionError as error:
            raise Undecodable("not an encoded value: it is nested too deep") from error
        except Exception as error:
            raise Undecodable(f"not an encoded value, or not of this version: {error}") from error

    return decode


class Decoding:
    """What the extensions mean."""

    def __init__(self, foreign: Foreign | None) -> None:
        self._foreign = foreign
        self._unpack = msgspec.msgpack.Decoder(ext_hook=self.extension).decode

    def extension(self, code: int, data: memoryview) -> Any:
        """The value of one extension."""
        reader = _BYTES.get(code)
        if reader is not None:
            return reader(bytes(data))
        node = self._unpack(data)
        if type(node) is not list:
            raise Undecodable(f"extension {code} is not an array")
        builder = _NODES.get(code)
        if builder is not None:
            return builder(node)
        return self._rare(code, node)

    def _rare(self, code: int, node: list[Any]) -> Any:
        if code in _CLASSES:
            name, fields, values, *beside = node
            return fill(find_class(name, Tag(code), fields), fields, values, beside)
        if code == Tag.ENUM:
            name, names, *stored = node
            return member(find_class(name, Tag.ENUM, ()), names, stored)
        if code == Tag.FOREIGN and self._foreign is not None:
            return self._foreign.load(node[0], node[1])
        raise Undecodable(f"extension {code} is not known here: the value was written by a newer version, or is no value")


def _dict(node: list[Any]) -> dict[Any, Any]:
    return dict(zip(node[::2], node[1::2], strict=True))


def _complex(node: list[Any]) -> complex:
    real, imaginary = node
    return complex(real, imaginary)


def _datetime(node: list[Any]) -> dt.datetime:
    *parts, fold, zone = node
    return dt.datetime(*parts, tzinfo=zone, fold=fold)  # type: ignore[misc]  # seven numbers


def _time(node: list[Any]) -> dt.time:
    *parts, fold, zone = node
    return dt.time(*parts, tzinfo=zone, fold=fold)  # type: ignore[misc]  # four numbers


def _zone(data: bytes) -> ZoneInfo:
    key = data.decode()
    if not _ZONE_KEY.fullmatch(key):
        raise Undecodable(f"no name of a time zone: {key!r}")
    return ZoneInfo(key)


def _path(node: list[Any]) -> pathlib.PurePath:
    name, text = node
    return _PATHS[name](text)


def _file(node: list[Any]) -> File:
    path, size, mtime_ns, digest = node
    return File(path, size, mtime_ns, digest)


def _numpy(node: list[Any]) -> Any:
    dtype, data = node
    if not _NUMPY_DTYPE.fullmatch(dtype):
        raise Undecodable(f"no type of a number: {dtype!r}")
    numpy = sys.modules.get("numpy")
    if numpy is None:
        raise Undecodable(
            f"the value holds a numpy scalar ({dtype}), and numpy is not imported here: `import numpy` first", module="numpy"
        )
    return numpy.frombuffer(data, dtype, count=1)[0] if data else numpy.zeros((), dtype)[()]


_PATHS: Final[dict[str, type[pathlib.PurePath]]] = {
    cls.__name__: cls for cls in (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath)
}

_BYTES: Final[dict[int, Callable[[bytes], Any]]] = {
    Tag.INTEGER: lambda data: int.from_bytes(data, "little", signed=True),
    Tag.TEXT: lambda data: data.decode("utf-8", "surrogatepass"),
    Tag.BYTEARRAY: bytearray,
    Tag.DECIMAL: lambda data: Decimal(data.decode("ascii")),
    Tag.ZONE: _zone,
    Tag.UUID: lambda data: UUID(bytes=data),
    Tag.ELLIPSIS: lambda _: ...,
    Tag.UNSET: lambda _: msgspec.UNSET,
}
"""Extensions whose payload is bytes."""

_NODES: Final[dict[int, Callable[[list[Any]], Any]]] = {
    Tag.TUPLE: tuple,
    Tag.SET: set,
    Tag.FROZENSET: frozenset,
    Tag.DICT: _dict,
    Tag.COMPLEX: _complex,
    Tag.DATE: lambda node: dt.date(*node),
    Tag.TIME: _time,
    Tag.DATETIME: _datetime,
    Tag.TIMEDELTA: lambda node: dt.timedelta(*node),
    Tag.TIMEZONE: lambda node: dt.timezone(*node),
    Tag.PATH: _path,
    Tag.FILE: _file,
    Tag.RANGE: lambda node: range(*node),
    Tag.SLICE: lambda node: slice(*node),
    Tag.NUMPY: _numpy,
}
"""Extensions whose payload is an array."""
