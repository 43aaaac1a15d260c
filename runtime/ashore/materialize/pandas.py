"""pandas frames, series and indexes: an Arrow stream, and beside it in the schema's metadata what Arrow has no place for.

Labels, index, dtypes, categories, names, attrs and frequencies come back as they were, or the value is refused when it is dumped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from ashore.codec import Unencodable, decode, encode
from ashore.materialize.arrow import read_table, write_table
from ashore.materialize.base import Materializer, Unloadable, Unserialisable
from ashore.materialize.columns import Column, Columns, Spec, Taken
from ashore_stores.artifacts.base import Sink
from ashore_stores.keys import Buffer

_KEY: Final = b"ashore"
_INDEXES: Final = (pd.Index, pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex, pd.CategoricalIndex, pd.IntervalIndex)


class FrameMaterializer:
    format = "pandas-frame/1"

    def dump(self, value: pd.DataFrame, sink: Sink) -> None:
        _exact(value, pd.DataFrame)
        columns = Columns(dump_index)
        specs = []
        for place in range(value.shape[1]):
            try:
                specs.append(columns.put(_column_of(value.iloc[:, place]), value.columns[place]))
            except Unserialisable as error:
                raise Unserialisable(f"in column {value.columns[place]!r}, {error.what}", mend=error.mend) from error
        spec = {
            "columns": specs,
            "labels": dump_index(value.columns),
            "index": _put_index(value.index, columns),
            **_beside(value),
        }
        _write(columns, spec, sink)

    def load(self, data: Buffer) -> pd.DataFrame:
        spec, taken = _read(data)
        arrays = [taken.take(column) for column in spec["columns"]]
        index = _take_index(spec["index"], taken)
        series = {place: pd.Series(array, index, dtype=array.dtype, copy=False) for place, array in enumerate(arrays)}
        frame = pd.DataFrame(series, index)
        frame.columns = load_index(spec["labels"])
        _put_beside(frame, spec)
        return frame

    def content(self, value: pd.DataFrame) -> bytes:
        return b""

    def shares(self, value: pd.DataFrame) -> bool:
        return False

    def size(self, value: pd.DataFrame) -> int:
        return int(value.memory_usage(index=True, deep=False).sum())


class SeriesMaterializer:
    format = "pandas-series/1"

    def dump(self, value: pd.Series[Any], sink: Sink) -> None:
        _exact(value, pd.Series)
        columns = Columns(dump_index)
        column = columns.put(_column_of(value), value.name)
        spec = {"column": column, "name": _name(value.name), "index": _put_index(value.index, columns), **_beside(value)}
        _write(columns, spec, sink)

    def load(self, data: Buffer) -> pd.Series[Any]:
        spec, taken = _read(data)
        array = taken.take(spec["column"])
        series: pd.Series[Any] = pd.Series(
            array, _take_index(spec["index"], taken), dtype=array.dtype, copy=False, name=decode(spec["name"])
        )
        _put_beside(series, spec)
        return series

    def content(self, value: pd.Series[Any]) -> bytes:
        return b""

    def shares(self, value: pd.Series[Any]) -> bool:
        return False

    def size(self, value: pd.Series[Any]) -> int:
        return int(value.memory_usage(index=True, deep=False))


class IndexMaterializer:
    format = "pandas-index/1"

    def dump(self, value: pd.Index[Any], sink: Sink) -> None:
        columns = Columns(dump_index)
        spec = {"index": _put_index(value, columns)}
        _write(columns, spec, sink)

    def load(self, data: Buffer) -> pd.Index[Any]:
        spec, taken = _read(data)
        return _take_index(spec["index"], taken)

    def content(self, value: pd.Index[Any]) -> bytes:
        return b""

    def shares(self, value: pd.Index[Any]) -> bool:
        return False  # its name can be set

    def size(self, value: pd.Index[Any]) -> int:
        return int(value.memory_usage(deep=False))


def dump_index(index: pd.Index[Any]) -> bytes:
    """An index that is part of something, as bytes of its own."""
    sink = io.BytesIO()
    _index.dump(index, sink)
    return sink.getvalue()


def load_index(data: bytes) -> pd.Index[Any]:
    return _index.load(data)


def _exact(value: Any, cls: type) -> None:
    if type(value) is not cls:
        name = cls.__name__
        what = f"a {type(value).__name__} is a subclass of pandas.{name}, and would come back as a plain one"
        raise Unserialisable(what, mend=f"Return pandas.{name}(...) of it, or register a materializer for it")


def _column_of(series: pd.Series[Any]) -> Column:
    return series.to_numpy() if isinstance(series.dtype, np.dtype) else series.array


def _beside(value: Any) -> dict[str, Any]:
    """What a frame or series carries beside its data."""
    try:
        attrs = encode(value.attrs) if value.attrs else b""
    except Unencodable as error:
        raise Unserialisable(f"its attrs{error.path} {error.what}", mend="Take it out of .attrs") from error
    return {"attrs": attrs, "duplicates": value.flags.allows_duplicate_labels}


def _put_beside(value: Any, spec: Mapping[str, Any]) -> None:
    if spec["attrs"]:
        value.attrs = decode(spec["attrs"])
    if not spec["duplicates"]:
        value.flags.allows_duplicate_labels = False


def _name(name: Any) -> bytes:
    try:
        return encode(name)
    except Unencodable as error:
        raise Unserialisable(f"its name {error.what}", mend="Use text for names") from error


def _put_index(index: pd.Index[Any], columns: Columns) -> Spec:
    if type(index) is pd.RangeIndex:
        return ["range", index.start, index.stop, index.step, _name(index.name)]
    if type(index) is pd.MultiIndex:
        levels = [dump_index(level.rename(None)) for level in index.levels]
        return [
            "multi",
            [_name(name) for name in index.names],
            levels,
            [columns.put(np.asarray(codes), "index") for codes in index.codes],
        ]
    if type(index) not in _INDEXES:
        raise Unserialisable(
            f"an index of the type {type(index).__name__}", mend="Use an index of pandas itself: pandas.Index(...)"
        )
    column = columns.put(index.to_numpy() if isinstance(index.dtype, np.dtype) else index.array, "index")
    return ["index", _name(index.name), column, _frequency(index)]


def _frequency(index: pd.Index[Any]) -> str | None:
    freq = index.freq if isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)) else None
    if freq is None:
        return None
    text = str(freq.freqstr)
    try:
        is_kept = pd.tseries.frequencies.to_offset(text) == freq
    except ValueError:
        is_kept = False
    if not is_kept:
        raise Unserialisable(f"an index of the frequency {freq!r}, which has no name of its own", mend="Set index.freq = None")
    return text


def _take_index(spec: Spec, taken: Taken) -> pd.Index[Any]:
    kind, *details = spec
    if kind == "range":
        start, stop, step, name = details
        return pd.RangeIndex(start, stop, step, name=decode(name))
    if kind == "multi":
        names, levels, codes = details
        loaded: list[Any] = [load_index(level) for level in levels]
        return pd.MultiIndex(loaded, [taken.take(code) for code in codes], names=[decode(name) for name in names])
    if kind != "index":
        raise Unloadable(f"an index of an unknown kind {kind!r}: it was written by a newer version")
    name, column, freq = details
    array = taken.take(column)
    index: Any = pd.Index(array, dtype=array.dtype, name=decode(name), copy=False)
    if freq is not None:
        index.freq = freq
    return index  # type: ignore[no-any-return]


def _write(columns: Columns, spec: Mapping[str, Any], sink: Sink) -> None:
    table = pa.Table.from_arrays(columns.arrays, columns.names).replace_schema_metadata({_KEY: encode(spec)})
    write_table(table, sink)


def _read(data: Buffer) -> tuple[Mapping[str, Any], Taken]:
    table = read_table(data)
    spec = decode((table.schema.metadata or {}).get(_KEY, b""))
    return spec, Taken(_arrays(table), load_index)


def _arrays(table: pa.Table) -> Iterator[pa.Array[Any]]:
    for column in table.columns:
        yield column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # type: ignore[misc]  # an array, in truth


_index: Final = IndexMaterializer()

MATERIALIZERS: Mapping[type, Materializer] = {
    pd.DataFrame: FrameMaterializer(),
    pd.Series: SeriesMaterializer(),
    pd.Index: _index,
}
