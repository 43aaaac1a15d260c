"""numpy arrays: the npy format, written and read here. Nothing in it is ever unpickled; arrays are loaded as read-only views."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np

from ashore.materialize.base import Materializer, Unloadable, Unserialisable
from ashore_stores.artifacts.base import Sink
from ashore_stores.keys import Buffer

_MAGIC: Final = b"\x93NUMPY"
_HEADER_LIMIT: Final = 1 << 20
"""Bytes of a header: what is longer is no header of ours."""
_ALIGNMENT: Final = 64
"""Where data begins, in bytes: mapped arrays are aligned for every processor."""
_SLAB: Final = 16 << 20
"""Bytes that are written at a time."""


class NumpyMaterializer:
    """Any array of numbers, booleans, times, text or records of them."""

    format = "npy/1"

    def dump(self, value: np.ndarray[Any, Any], sink: Sink) -> None:
        if type(value) is not np.ndarray:
            raise Unserialisable(
                f"a {type(value).__name__} is a subclass of numpy.ndarray, and would come back as a plain one",
                mend="Return np.asarray(...) of it",
            )
        _check(value.dtype)
        array = _settled(value)
        is_fortran = not array.flags.c_contiguous
        sink.write(_header(array.dtype, array.shape, is_fortran=is_fortran))
        if array.nbytes:
            flat = (array.T if is_fortran else array).reshape(-1)
            raw = flat.view(np.uint8).data
            for start in range(0, len(raw), _SLAB):
                sink.write(raw[start : start + _SLAB])

    def load(self, data: Buffer) -> np.ndarray[Any, Any]:
        view = memoryview(data).cast("B")
        shape, order, dtype, start = _read_header(view)
        size = math.prod(shape) * dtype.itemsize
        if len(view) - start != size:
            raise Unloadable(f"an npy array of {size} bytes was stored in {len(view) - start}")
        array = np.ndarray(shape, dtype, view, start, order=order) if size else np.empty(shape, dtype, order)
        array.flags.writeable = False
        return array

    def content(self, value: np.ndarray[Any, Any]) -> bytes:
        return b""

    def shares(self, value: np.ndarray[Any, Any]) -> bool:
        return not value.flags.writeable

    def size(self, value: np.ndarray[Any, Any]) -> int:
        return value.nbytes


def _header(dtype: np.dtype[Any], shape: tuple[int, ...], *, is_fortran: bool) -> bytes:
    """The header of npy version 3: its text is UTF-8."""
    descr = np.lib.format.dtype_to_descr(dtype)
    text = f"{{'descr': {descr!r}, 'fortran_order': {is_fortran}, 'shape': {shape!r}, }}".encode()
    padding = -(len(_MAGIC) + 6 + len(text) + 1) % _ALIGNMENT
    text += b" " * padding + b"\n"
    return _MAGIC + b"\x03\x00" + len(text).to_bytes(4, "little") + text


def _check(dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise Unserialisable(
            f"an array of dtype {dtype} holds Python objects",
            mend="Give it a dtype of numbers, times or text (.astype(...)), or return a list",
        )
    if any(_is_longdouble(leaf) for leaf in _leaves(dtype)):
        raise Unserialisable(f"{dtype} is not the same on every machine", mend='Use .astype("f8") or .astype("c16")')
    if not _is_kept(dtype):
        raise Unserialisable(f"an array of dtype {dtype} would not come back the same from npy", mend="Convert it to a basic dtype")


def _is_kept(dtype: np.dtype[Any]) -> bool:
    if dtype.metadata is not None:
        return False
    try:
        return bool(np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) == dtype)
    except (TypeError, ValueError):
        return False


def _leaves(dtype: np.dtype[Any]) -> list[np.dtype[Any]]:
    if dtype.subdtype is not None:
        return _leaves(dtype.subdtype[0])
    if dtype.fields is None:
        return [dtype]
    return [leaf for field in dtype.fields.values() for leaf in _leaves(field[0])]


def _is_longdouble(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16)


def _settled(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array in one piece, with zeros in the gaps between the fields of its records."""
    if array.dtype.fields is not None:
        settled = np.zeros(array.shape, array.dtype, "F" if array.flags.fnc else "C")
        _copy_fields(array, settled)
        return settled
    if array.flags.c_contiguous or array.flags.f_contiguous:
        return array
    return np.ascontiguousarray(array)


def _copy_fields(source: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> None:
    for name in source.dtype.names or ():
        if target[name].dtype.fields is not None:
            _copy_fields(source[name], target[name])
        else:
            target[name] = source[name]


def _read_header(view: memoryview) -> tuple[tuple[int, ...], Any, np.dtype[Any], int]:
    """Shape, order, dtype and where the data begins. Raises `Unloadable`."""
    if bytes(view[:6]) != _MAGIC or len(view) < 12 or view[6] not in (1, 2, 3):
        raise Unloadable("not an npy file")
    width = 2 if view[6] == 1 else 4
    length = int.from_bytes(view[8 : 8 + width], "little")
    start = 8 + width + length
    if length > _HEADER_LIMIT or start > len(view):
        raise Unloadable("an npy file with a header that is cut or too long")
    shape, order, dtype = _parsed(bytes(view[8 + width : start]), "utf-8" if view[6] == 3 else "latin-1")
    return shape, order, dtype, start


@lru_cache(maxsize=256)
def _parsed(header: bytes, encoding: str) -> tuple[tuple[int, ...], Any, np.dtype[Any]]:
    try:
        fields = ast.literal_eval(header.decode(encoding).strip())
        shape, is_fortran, dtype = fields["shape"], fields["fortran_order"], np.lib.format.descr_to_dtype(fields["descr"])
    except (SyntaxError, ValueError, TypeError, KeyError, IndexError, MemoryError, RecursionError) as error:
        raise Unloadable(f"an npy file with a header that cannot be read: {error}") from error
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise Unloadable(f"an npy file with the shape {shape!r}")
    if dtype.hasobject:
        raise Unloadable("an npy file with Python objects in it: they are pickled, and never loaded")
    return shape, "F" if is_fortran else "C", dtype


MATERIALIZERS: Mapping[type, Materializer] = {np.ndarray: NumpyMaterializer()}
