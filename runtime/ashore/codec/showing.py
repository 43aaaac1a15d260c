"""Encoded values as JSON can show them to people. Looks no class up and builds none: safe on whatever bytes there are."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ashore.codec.decoding import Decoding, decoder
from ashore.codec.tags import Tag, Undecodable

_BYTES_SHOWN: Final = 32
_FORMATS: Final = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}
_FLOATS: Final = {"f2": "e", "f4": "f", "f8": "d"}


def show(data: bytes | memoryview) -> Any:
    """What the value is, in dicts with str keys, lists, numbers, text, booleans and None. Raises `Undecodable`."""
    return _json(_decode(data))


def _extension(code: int, data: memoryview) -> Any:
    if code in _SHOWN:
        return _SHOWN[code](_unpack(data))
    if code in _LISTS:
        return [_json(item) for item in _unpack(data)]
    return _json(_plain.extension(code, data))


def _object(node: list[Any]) -> Any:
    name, fields, values, *_ = node
    return {"class": _class(name), **{str(field): _json(value) for field, value in zip(fields, values, strict=True)}}


def _model(node: list[Any]) -> Any:
    extra = node[4]
    return _object(node) | (_json(extra) if isinstance(extra, dict) else {})


def _enum(node: list[Any]) -> Any:
    name, names, *_ = node
    return f"{_class(name)}.{'|'.join(names)}"


def _dict(node: list[Any]) -> Any:
    keys = [_json(key) for key in node[::2]]
    values = [_json(value) for value in node[1::2]]
    texts = [key if isinstance(key, str) else repr(key) for key in keys]
    if len(set(texts)) == len(texts) and all(isinstance(key, (str, int, float, bool, type(None))) for key in keys):
        return dict(zip(texts, values, strict=True))
    return [list(pair) for pair in zip(keys, values, strict=True)]


def _file(node: list[Any]) -> Any:
    path, size, _, digest = node
    return {"file": _json(path), "size": size, "digest": f"sha256-{digest.hex()}"} if digest else {"file": _json(path)}


def _numpy(node: list[Any]) -> Any:
    dtype, data = node
    if dtype[1] in "US":
        return data.decode("utf-32-le" if dtype[1] == "U" else "utf-8", "replace").rstrip("\0")
    form = (_FORMATS | _FLOATS).get(dtype[1:])
    return _json(struct.unpack(f"<{form}", data)[0]) if form else f"{dtype[1:]} {_json(data)}"


def _foreign(node: list[Any]) -> Any:
    return {"format": str(node[0]), "bytes": len(node[1])}


def _class(name: str) -> str:
    return str(name).replace(":", ".").removeprefix("__main__.")


def _json(value: Any) -> Any:
    """`value` without what JSON has no form for."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (bytes, bytearray)):
        return _bytes(bytes(value))
    if isinstance(value, dict):
        return {key if isinstance(key, str) else repr(key): _json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    return str(value)


def _bytes(data: bytes) -> str:
    more = f"... ({len(data)} bytes)" if len(data) > _BYTES_SHOWN else ""
    return f"0x{data[:_BYTES_SHOWN].hex()}{more}"


class _Bare(Decoding):
    """What needs no class."""

    def _rare(self, code: int, node: list[Any]) -> Any:
        raise Undecodable(f"extension {code} has no place here, or is not known: the value was written by a newer version")


_plain: Final = _Bare(None)
_unpack: Final = msgspec.msgpack.Decoder(ext_hook=_extension).decode
_decode: Final = decoder(_extension)
_LISTS: Final = frozenset({Tag.TUPLE, Tag.SET, Tag.FROZENSET})
_SHOWN: Final[dict[int, Callable[[Any], Any]]] = {
    Tag.DICT: _dict,
    Tag.DATACLASS: _object,
    Tag.STRUCT: _object,
    Tag.NAMEDTUPLE: _object,
    Tag.ATTRS: _object,
    Tag.MODEL: _model,
    Tag.ENUM: _enum,
    Tag.FILE: _file,
    Tag.NUMPY: _numpy,
    Tag.FOREIGN: _foreign,
    Tag.PATH: lambda node: _json(node[1]),
}
