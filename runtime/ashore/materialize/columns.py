"""pandas columns as Arrow columns, by dtype: each kind has its description, and comes back exactly, or is refused.

A description is a list that begins with the kind; its Arrow arrays, all of the column's length, are put and taken in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from ashore.codec import Codec, Unencodable, encode
from ashore.materialize.arrow import check_type
from ashore.materialize.base import Unloadable, Unserialisable

Spec: TypeAlias = list[Any]
Column: TypeAlias = Any
"""A numpy array, or a pandas extension array."""
DumpIndex: TypeAlias = Callable[[Any], bytes]
LoadIndex: TypeAlias = Callable[[bytes], Any]

_NUMBERS: Final = "biuf"
_MASKED: Final = {
    "b": pd.arrays.BooleanArray,
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
    "f": pd.arrays.FloatingArray,
}


class Columns:
    """Arrow arrays on their way out; `dump_index` stores the indexes that columns contain (categories, bounds)."""

    def __init__(self, dump_index: DumpIndex) -> None:
        self.arrays: list[pa.Array[Any]] = []
        self.names: list[str] = []
        """What other readers of the stream see; nothing here reads them."""
        self._name = ""
        self._dump_index = dump_index

    def put(self, column: Column, name: object) -> Spec:
        """Add a column; returns its description. Raises `Unserialisable`."""
        self._name = str(name).encode("utf-8", "replace").decode()
        dtype = column.dtype
        if isinstance(dtype, np.dtype):
            return self._put_numpy(np.asarray(column))
        writer = _WRITERS.get(type(dtype))
        if writer is None:
            mend = (
                f"Convert it: .astype({dtype.subtype!s})"
                if isinstance(dtype, pd.SparseDtype)
                else "Convert it to a dtype of pandas"
            )
            raise Unserialisable(f"a column of dtype {dtype}", mend=mend)
        return writer(self, column)

    def _add(self, array: pa.Array[Any]) -> None:
        self.arrays.append(array)
        self.names.append(self._name)

    def _put_numpy(self, array: np.ndarray[Any, Any]) -> Spec:
        dtype = array.dtype
        if dtype.kind == "O":
            return self._put_objects(array)
        if dtype.kind not in f"{_NUMBERS}Mmc" or not dtype.isnative or dtype.itemsize > (16 if dtype.kind == "c" else 8):
            raise Unserialisable(f"a column of dtype {dtype}", mend='Convert it, for example with .astype("f8")')
        array = np.ascontiguousarray(array)
        if dtype.kind == "c":
            raw = pa.py_buffer(array.tobytes())
            self._add(pa.Array.from_buffers(pa.binary(dtype.itemsize), len(array), [None, raw]))
        else:
            self._add(pa.array(array, from_pandas=False))
        return ["numpy", dtype.str]

    def _put_objects(self, array: np.ndarray[Any, Any]) -> Spec:
        """Text as text; anything else cell by cell, each with its type."""
        cells = array.tolist()
        if set(map(type, cells)) <= {str, type(None)}:
            try:
                self._add(pa.array(cells, pa.large_string()))
            except UnicodeEncodeError:
                pass
            else:
                return ["text"]
        self._add(pa.array([_encode_cell(cell, row) for row, cell in enumerate(cells)], pa.large_binary()))
        return ["cells"]

    def _put_category(self, column: pd.Categorical) -> Spec:
        self._add(pa.array(np.ascontiguousarray(column.codes)))
        return ["category", bool(column.ordered), self._dump_index(column.categories)]

    def _put_zoned(self, column: Any) -> Spec:
        try:
            zone = encode(column.dtype.tz)
        except Unencodable as error:
            raise Unserialisable(
                f"a column with a time zone that {error.what}", mend='Use .dt.tz_convert("Europe/Berlin")'
            ) from error
        self._add(pa.array(np.asarray(column.tz_convert(None)), from_pandas=False))
        return ["zoned", zone]

    def _put_period(self, column: Any) -> Spec:
        self._add(pa.array(column.asi8))
        return ["period", column.dtype.name.removeprefix("period[").removesuffix("]")]

    def _put_interval(self, column: Any) -> Spec:
        return ["interval", column.closed, self._dump_index(pd.Index(column.left)), self._dump_index(pd.Index(column.right))]

    def _put_string(self, column: Any) -> Spec:
        self._add(_one(pa.array(column, pa.large_string(), from_pandas=True)))
        return ["string", column.dtype.storage, column.dtype.na_value is pd.NA]

    def _put_masked(self, column: Any) -> Spec:
        kind = column.dtype.numpy_dtype
        self._add(pa.array(column.to_numpy(dtype=kind, na_value=kind.type(0)), from_pandas=False))
        self._add(pa.array(np.asarray(column.isna())))
        return ["masked", kind.str]

    def _put_arrow(self, column: Any) -> Spec:
        array = _one(column.__arrow_array__())
        check_type(array.type, "")
        self._add(array)
        return ["arrow"]


_WRITERS: Final[dict[type, Callable[[Columns, Any], Spec]]] = {
    pd.CategoricalDtype: Columns._put_category,
    pd.DatetimeTZDtype: Columns._put_zoned,
    pd.PeriodDtype: Columns._put_period,
    pd.IntervalDtype: Columns._put_interval,
    pd.StringDtype: Columns._put_string,
    pd.ArrowDtype: Columns._put_arrow,
    **dict.fromkeys((pd.BooleanDtype, pd.Float32Dtype, pd.Float64Dtype), Columns._put_masked),
    **dict.fromkeys((pd.Int8Dtype, pd.Int16Dtype, pd.Int32Dtype, pd.Int64Dtype), Columns._put_masked),
    **dict.fromkeys((pd.UInt8Dtype, pd.UInt16Dtype, pd.UInt32Dtype, pd.UInt64Dtype), Columns._put_masked),
}


class Taken:
    """Arrow arrays on their way in: columns that can be written to, nothing of them shared with the stored bytes."""

    def __init__(self, arrays: Iterator[pa.Array[Any]], load_index: LoadIndex) -> None:
        self._arrays = arrays
        self._load_index = load_index

    def take(self, spec: Spec) -> Column:
        """The next column. Raises `Unloadable`."""
        kind, *details = spec
        reader = _READERS.get(kind)
        if reader is None:
            raise Unloadable(f"a column of an unknown kind {kind!r}: it was written by a newer version")
        return reader(self, *details)

    def _numbers(self) -> np.ndarray[Any, Any]:
        return np.array(next(self._arrays).to_numpy(zero_copy_only=False))

    def _numpy(self, dtype: str) -> Column:
        if np.dtype(dtype).kind != "c":
            numbers = self._numbers()
            if numbers.dtype != np.dtype(dtype):
                raise Unloadable(f"a column of dtype {dtype} was stored as {numbers.dtype}")
            return numbers
        raw = b"".join(cell or b"" for cell in next(self._arrays).to_pylist())
        return np.frombuffer(bytearray(raw), dtype)

    def _text(self) -> Column:
        return _objects(next(self._arrays).to_pylist())

    def _cells(self) -> Column:
        return _objects([_cells.decode(cell or b"") for cell in next(self._arrays).to_pylist()])

    def _category(self, is_ordered: bool, categories: bytes) -> Column:
        dtype = pd.CategoricalDtype(self._load_index(categories), is_ordered)
        return pd.Categorical.from_codes(self._numbers(), dtype=dtype)

    def _zoned(self, zone: bytes) -> Column:
        naive = pd.DatetimeIndex(self._numbers())
        return naive.tz_localize("UTC").tz_convert(_cells.decode(zone)).array

    def _period(self, freq: str) -> Column:
        return pd.arrays.PeriodArray(self._numbers(), dtype=pd.PeriodDtype(freq))

    def _interval(self, closed: Any, left: bytes, right: bytes) -> Column:
        return pd.arrays.IntervalArray.from_arrays(self._load_index(left), self._load_index(right), closed)

    def _string(self, storage: Any, is_na: bool) -> Column:
        dtype: Any = pd.StringDtype(storage) if is_na else pd.StringDtype(storage, na_value=np.nan)
        return dtype.__from_arrow__(next(self._arrays))

    def _masked(self, dtype: str) -> Column:
        values, mask = self._numbers(), self._numbers()
        return _MASKED[np.dtype(dtype).kind](values, mask)

    def _arrow(self) -> Column:
        return pd.arrays.ArrowExtensionArray(pa.chunked_array([next(self._arrays)]))


_READERS: Final[dict[Any, Callable[..., Column]]] = {
    "numpy": Taken._numpy,
    "text": Taken._text,
    "cells": Taken._cells,
    "category": Taken._category,
    "zoned": Taken._zoned,
    "period": Taken._period,
    "interval": Taken._interval,
    "string": Taken._string,
    "masked": Taken._masked,
    "arrow": Taken._arrow,
}


class _Missing:
    """pandas's own signs of a missing value, as cells."""

    def dump(self, value: Any) -> tuple[str, bytes] | None:
        return ("NA", b"") if value is pd.NA else ("NaT", b"") if value is pd.NaT else None

    def load(self, format: str, data: Any) -> Any:
        return {"NA": pd.NA, "NaT": pd.NaT}[format]


_cells: Final = Codec(_Missing())


def _encode_cell(cell: Any, row: int) -> bytes:
    try:
        return _cells.encode(cell)
    except Unencodable as error:
        mend = "Convert the column to a dtype of pandas, or its cells to plain values"
        raise Unserialisable(
            f"a column of objects, in which row {row} {error.path} {error.what}".replace("  ", " "), mend=mend
        ) from error


def _objects(cells: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty(len(cells), object)
    for row, cell in enumerate(cells):
        array[row] = cell
    return array


def _one(array: Any) -> Any:
    """One array, of what may be chunked."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
