"""Values to stored forms and back, whatever their type: what the engine calls."""

from __future__ import annotations

from typing import Any

import msgspec

from ashore.codec import decode, is_plain, pack_plain
from ashore.materialize.base import MaterializeError, Materializer, NotEqual, Unloadable, Unserialisable, estimates, reads_content
from ashore.materialize.builtin import VALUES, dump_bytes
from ashore.materialize.registry import by_format, find, type_name
from ashore_stores.artifacts.base import Sink
from ashore_stores.keys import Buffer

VALUE_FORMAT = VALUES.format
"""The format of values that have no materializer of their own: that of `ashore.codec`."""
_MEND = "Return a type that has a stored form, or register one for it: ashore.register({type}, materializer)"


class Dumped(msgspec.Struct, frozen=True, gc=False):
    """A value in its stored form."""

    format: str
    """The materializer and its version."""
    type: str
    """The value's type, as people write it."""
    data: bytes | None
    """The stored bytes; None if they are more than the limit: then `dump_to` writes them."""
    content: bytes
    """The content digest, if the dumps of equal values are not byte-equal; else empty."""
    size: int
    """Of the stored bytes; about that, if `data` is None."""


def dump_value(value: Any, *, limit: int, name: str = "result") -> Dumped:
    """`value` in its stored form, if that has at most `limit` bytes.

    Raises `Unserialisable`: the message calls the value `name` and says where in it the trouble is; `.value` is it.
    """
    if is_plain(value) and (data := pack_plain(value)) is not None:
        size = len(data)
        return Dumped(VALUE_FORMAT, type(value).__name__, data if size <= limit else None, b"", size)
    try:
        return _dump(value, limit, name)
    except MaterializeError as error:
        error.value = value
        raise


def _dump(value: Any, limit: int, name: str) -> Dumped:
    cls = type(value)
    materializer = find(cls)
    if materializer is None:
        materializer = VALUES
        data, content = VALUES.encode(value, name)
    else:
        estimating = estimates(materializer)
        if estimating is not None and (size := estimating.size(value)) > limit:
            return Dumped(materializer.format, type_name(cls), None, b"", size)
        data, content = _dumped(materializer, value, name)
    return Dumped(materializer.format, type_name(cls), data if len(data) <= limit else None, content, len(data))


def dump_to(value: Any, sink: Sink) -> None:
    """Write the stored form of `value`. Raises `Unserialisable`."""
    materializer = find(type(value)) or VALUES
    try:
        materializer.dump(value, sink)
    except MaterializeError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, NotImplementedError) as error:
        raise _refused(materializer, value, "result", error) from error


def _dumped(materializer: Materializer, value: Any, name: str) -> tuple[bytes, bytes]:
    try:
        return dump_bytes(materializer, value)
    except Unserialisable as error:
        what = error.what
        raise Unserialisable(f"{name}, a {type_name(type(value))}, cannot be stored: {what}", mend=error.mend) from error
    except MaterializeError:
        raise
    except Exception as error:
        raise _refused(materializer, value, name, error) from error


def _refused(materializer: Materializer, value: Any, name: str, error: Exception) -> Unserialisable:
    kind = type_name(type(value))
    what = f"{name}, a {kind}, cannot be stored as {materializer.format}: {_told(error)}"
    return Unserialisable(what, mend=_MEND.format(type=kind))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).rstrip('.')}"


def load_value(format: str, data: Buffer) -> Any:
    """The value: a new object, or a view of `data` that cannot be written to. Raises `Unloadable`."""
    if format == VALUE_FORMAT:
        return VALUES.load(data)
    materializer = by_format(format)
    try:
        return materializer.load(data)
    except MaterializeError:
        raise
    except Exception as error:
        raise Unloadable(f"the stored bytes are not {format}: {_told(error)}") from error


def may_share(format: str, value: Any) -> bool:
    """Whether a loaded value may be given to several consumers: none of them can change it."""
    return by_format(format).shares(value) if format != VALUE_FORMAT else VALUES.shares(value)


def check_loads_back(value: Any, format: str, data: Buffer) -> None:
    """Load what was stored and see that it is the same: of the same type, and of the same content when dumped again.

    Raises `NotEqual`, or `Unserialisable` if it cannot be loaded at all; `.value` is the value.
    """
    try:
        _check_loads_back(value, format, data)
    except MaterializeError as error:
        error.value = value
        raise


def _check_loads_back(value: Any, format: str, data: Buffer) -> None:
    kind = type_name(type(value))
    try:
        loaded = decode(data) if format == VALUE_FORMAT and is_plain(value) else load_value(format, data)
    except (MaterializeError, ValueError) as error:
        what = f"a {kind} was stored as {format} and cannot be loaded again: {str(error).rstrip('.')}"
        raise Unserialisable(what, mend=_MEND.format(type=kind)) from error
    if type(loaded) is not type(value):
        what = f"a {kind} comes back as a {type_name(type(loaded))} from {format}"
        raise NotEqual(what, mend=_MEND.format(type=kind))
    if not _has_content(loaded, value, format, data):
        what = f"a {kind} that is stored as {format} comes back with other content"
        raise NotEqual(what, mend="Return a value that its materializer keeps, or mend the materializer")


def _has_content(loaded: Any, value: Any, format: str, data: Buffer) -> bool:
    materializer = by_format(format) if format != VALUE_FORMAT else VALUES
    reader = reads_content(materializer)
    if reader is not None:
        return dump_bytes(materializer, loaded)[1] == reader.content_of(data)
    comparing = _Comparing(data)
    materializer.dump(loaded, comparing)
    if comparing.is_equal:
        return True
    content = materializer.content(value)
    return bool(content) and content == materializer.content(loaded)


class _Comparing:
    """A sink that compares what is written with bytes that are there."""

    def __init__(self, data: Buffer) -> None:
        self._data = memoryview(data).cast("B")
        self._position = 0
        self._is_equal = True

    def write(self, data: Buffer, /) -> int:
        chunk = memoryview(data).cast("B")
        end = self._position + len(chunk)
        self._is_equal = self._is_equal and self._data[self._position : end] == chunk
        self._position = end
        return len(chunk)

    @property
    def is_equal(self) -> bool:
        return self._is_equal and self._position == len(self._data)
