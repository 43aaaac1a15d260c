"""Plain values, and containers of anything that has a materializer: "value/1"."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib
import io
import pathlib
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from ashore.codec import Codec, Undecodable, Unencodable, encode_with
from ashore.files import File
from ashore.materialize.base import Materializer, Unloadable, Unserialisable, reads_content
from ashore.materialize.registry import by_format, find
from ashore_stores.artifacts.base import Sink
from ashore_stores.keys import Buffer

_IMMUTABLE: Final = frozenset(
    {
        *(int, float, complex, str, bytes, bool, type(None), range, Decimal, File),
        *(dt.date, dt.time, dt.datetime, dt.timedelta, dt.timezone, pathlib.PosixPath, pathlib.PurePosixPath),
    }
)
_IMPORTED: Final = frozenset({"numpy"})
"""What may be imported because a value needs it: libraries, never modules of users."""


def dump_bytes(materializer: Materializer, value: Any) -> tuple[bytes, bytes]:
    """A dump in memory, and the content digest."""
    sink = io.BytesIO()
    materializer.dump(value, sink)
    data = sink.getvalue()
    reader = reads_content(materializer)
    return data, materializer.content(value) if reader is None else reader.content_of(data)


class _Nested:
    """Arrays, tables and models inside of plain values, each in its own format."""

    def __init__(self) -> None:
        self.has_content = False
        """Whether a materializer supplied a content digest."""

    def dump(self, value: Any) -> tuple[str, bytes] | None:
        materializer = find(type(value))
        if materializer is None:
            return None
        try:
            data, content = dump_bytes(materializer, value)
        except Unserialisable as error:
            raise Unencodable(f"cannot be stored: {error.what}", error.mend) from error
        except Exception as error:
            what = f"cannot be stored as {materializer.format}: {type(error).__name__}: {error}"
            raise Unencodable(what, "return another type, or mend the materializer") from error
        self.has_content = self.has_content or bool(content)
        return materializer.format, self._kept(data, content)

    def _kept(self, data: bytes, content: bytes) -> bytes:
        return data

    def load(self, format: str, data: Buffer) -> Any:
        return by_format(format).load(data)


class _Contents(_Nested):
    """The same with contents in place of dumps."""

    def _kept(self, data: bytes, content: bytes) -> bytes:
        return content or data


class ValueMaterializer:
    """Everything that the codec knows, with whatever else has a materializer inside."""

    format = "value/1"

    def __init__(self) -> None:
        self._decode = Codec(_Nested()).decode

    def encode(self, value: Any, name: str = "value") -> tuple[bytes, bytes]:
        """The stored form and the content digest. Raises `Unserialisable`."""
        nested = _Nested()
        try:
            data = encode_with(nested, value, name=name)
            content = encode_with(_Contents(), value, name=name) if nested.has_content else b""
        except Unencodable as error:
            mend = f"{error.mend[:1].upper()}{error.mend[1:]}"
            raise Unserialisable(f"{error.name}{error.path} {error.what}", mend=mend) from error
        return data, hashlib.sha256(content).digest() if content else b""

    def dump(self, value: Any, sink: Sink) -> None:
        sink.write(self.encode(value)[0])

    def load(self, data: Buffer) -> Any:
        try:
            return self._decode(data)
        except Undecodable as error:
            if error.module not in _IMPORTED:
                raise Unloadable(str(error)) from error
            importlib.import_module(error.module)
        return self._decode(data)

    def content(self, value: Any) -> bytes:
        return self.encode(value)[1]

    def shares(self, value: Any) -> bool:
        kind = type(value)
        if kind in _IMMUTABLE:
            return True
        if kind is tuple or kind is frozenset:
            return all(map(self.shares, value))
        return isinstance(value, Enum)


VALUES: Final = ValueMaterializer()
