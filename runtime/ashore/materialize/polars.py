"""polars frames and series: an Arrow stream as that of pandas, and beside it in the schema's metadata the dtypes of the columns.

Chunks do not count, nor do the numbers that categories have in a process: those are stored as text, at the top of a column by a
dictionary in the order of their appearance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

import polars as pl
import pyarrow as pa

from ashore.codec import decode, encode
from ashore.materialize.arrow import read_table, write_table
from ashore.materialize.base import Materializer, Unloadable, Unserialisable
from ashore_stores.artifacts.base import Sink
from ashore_stores.keys import Buffer

Dtype: TypeAlias = Any
"""A polars data type; its classes and their instances are both used as such."""
Spec: TypeAlias = list[Any]
"""A data type, described: its name, then what it is made of."""

_KEY: Final = b"ashore"
_LAYOUT: Final = pl.CompatLevel.oldest()
"""Text in one buffer, not in views of several: equal columns give equal bytes."""
_PLAIN: Final = (
    *("Null", "Boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float16", "Float32", "Float64", "String", "Binary", "Date", "Time"),
)
"""Types that are all said by their names; a polars that does not have one of them yet cannot have values of it."""


class FrameMaterializer:
    format = "polars-frame/1"

    def dump(self, value: pl.DataFrame, sink: Sink) -> None:
        _exact(value, pl.DataFrame)
        columns = value.get_columns()
        _write(columns, {"height": value.height}, sink)

    def load(self, data: Buffer) -> pl.DataFrame:
        spec, columns = _read(data)
        return pl.DataFrame(columns) if columns else _without_columns(spec["height"])

    def content(self, value: pl.DataFrame) -> bytes:
        return b""

    def shares(self, value: pl.DataFrame) -> bool:
        return False  # its columns can be set

    def size(self, value: pl.DataFrame) -> int:
        return int(value.estimated_size())


class SeriesMaterializer:
    format = "polars-series/1"

    def dump(self, value: pl.Series, sink: Sink) -> None:
        _exact(value, pl.Series)
        _write([value], {}, sink)

    def load(self, data: Buffer) -> pl.Series:
        _, (series,) = _read(data)
        return series

    def content(self, value: pl.Series) -> bytes:
        return b""

    def shares(self, value: pl.Series) -> bool:
        return False

    def size(self, value: pl.Series) -> int:
        return int(value.estimated_size())


class LazyMaterializer:
    """Refuses: a plan of work is no value."""

    format = "polars-lazy/1"

    def dump(self, value: pl.LazyFrame, sink: Sink) -> None:
        what = "a polars.LazyFrame is work that was not done yet, and may read files or call functions when it is"
        raise Unserialisable(what, mend="Return frame.collect(), a polars.DataFrame")

    def load(self, data: Buffer) -> Any:
        raise Unloadable("a polars.LazyFrame has no stored form: nothing can have been stored as one")

    def content(self, value: pl.LazyFrame) -> bytes:
        return b""

    def shares(self, value: pl.LazyFrame) -> bool:
        return False


def _exact(value: Any, cls: type) -> None:
    if type(value) is not cls:
        name = cls.__name__
        what = f"a {type(value).__name__} is a subclass of polars.{name}, and would come back as a plain one"
        raise Unserialisable(what, mend=f"Return polars.{name}(...) of it, or register a materializer for it")


def _without_columns(height: int) -> pl.DataFrame:
    if not height:
        return pl.DataFrame()
    return pl.DataFrame({"": range(height)}).drop("")


# --- columns ---


def _write(columns: list[pl.Series], beside: Mapping[str, Any], sink: Sink) -> None:
    specs = [_described(column.dtype, column.name) for column in columns]
    arrays = [_to_arrow(column, spec) for column, spec in zip(columns, specs, strict=True)]
    spec = {"columns": specs, **beside}
    table = pa.Table.from_arrays(arrays, [column.name for column in columns])
    write_table(table.replace_schema_metadata({_KEY: encode(spec)}), sink)


def _read(data: Buffer) -> tuple[Mapping[str, Any], list[pl.Series]]:
    table = read_table(data)
    spec = decode((table.schema.metadata or {}).get(_KEY, b""))
    columns = [
        _from_arrow(name, column, _dtype_of(described))
        for name, column, described in zip(table.column_names, table.columns, spec["columns"], strict=True)
    ]
    return spec, columns


def _to_arrow(column: pl.Series, spec: Spec) -> Any:
    stored = _stored_dtype(column.dtype)
    if stored != column.dtype:
        column = column.cast(stored)
    array = column.rechunk().to_arrow(compat_level=_LAYOUT)
    return array.dictionary_encode() if spec[0] in _WITH_CATEGORIES else array


def _from_arrow(name: str, column: Any, dtype: Dtype) -> pl.Series:
    series = cast("pl.Series", pl.from_arrow(column, rechunk=False)).alias(name)
    return series if series.dtype == dtype else series.cast(dtype)


# --- data types ---


def _described(dtype: Dtype, name: str) -> Spec:
    """A data type as it is stored. Raises `Unserialisable`."""
    kind = type(dtype).__name__
    if kind in _PLAIN:
        return [kind]
    describe = _DESCRIBED.get(kind)
    if describe is None:
        mend = _MENDS.get(kind, "Convert it to a data type of polars itself: .cast(...)")
        raise Unserialisable(f"in column {name!r}, the data type {dtype}, which has no stored form", mend=mend)
    return [kind, *describe(dtype, name)]


def _categories(dtype: Dtype, _name: str) -> Spec:
    categories = getattr(dtype, "categories", None)  # of their own only since polars 1.32
    if categories is None or categories.is_global():
        return []
    return [categories.name(), categories.namespace(), type(categories.physical()).__name__]


_DESCRIBED: Final[Mapping[str, Callable[[Dtype, str], Spec]]] = {
    "Datetime": lambda dtype, _: [dtype.time_unit, dtype.time_zone],
    "Duration": lambda dtype, _: [dtype.time_unit],
    "Decimal": lambda dtype, _: [dtype.precision, dtype.scale],
    "Enum": lambda dtype, _: [dtype.categories.to_list()],
    "Categorical": _categories,
    "List": lambda dtype, name: [_described(dtype.inner, name)],
    "Array": lambda dtype, name: [_described(dtype.inner, name), dtype.size],
    "Struct": lambda dtype, name: [[[field.name, _described(field.dtype, name)] for field in dtype.fields]],
}
_MENDS: Final = {
    "Object": "Give the column a data type of polars: pl.Series(..., dtype=...); Python objects cannot be stored",
    "Int128": "Use .cast(pl.Decimal(38, 0)), or pl.Int64 where that has room for it",
    "UInt128": "Use .cast(pl.Decimal(38, 0)), or pl.UInt64 where that has room for it",
}
_WITH_CATEGORIES: Final = frozenset({"Enum", "Categorical"})


def _dtype_of(spec: Spec) -> Dtype:
    """The data type of a description. Raises `Unloadable`."""
    kind, *parts = spec
    build = _BUILT.get(kind)
    if build is not None:
        return build(*parts)
    if kind not in _PLAIN or not hasattr(pl, kind):
        raise Unloadable(f"the data type {kind} of a polars column is not known here: it was written by a newer version")
    return getattr(pl, kind)()


def _categorical(*categories: Any) -> Dtype:
    if not categories:
        return pl.Categorical()
    name, namespace, physical = categories
    return pl.Categorical(pl.Categories(name, namespace=namespace, physical=getattr(pl, physical)))


_BUILT: Final[Mapping[str, Callable[..., Dtype]]] = {
    "Datetime": lambda unit, zone: pl.Datetime(unit, zone),
    "Duration": lambda unit: pl.Duration(unit),
    "Decimal": lambda precision, scale: pl.Decimal(precision, scale),
    "Enum": lambda categories: pl.Enum(categories),
    "Categorical": _categorical,
    "List": lambda inner: pl.List(_dtype_of(inner)),
    "Array": lambda inner, size: pl.Array(_dtype_of(inner), size),
    "Struct": lambda fields: pl.Struct([pl.Field(name, _dtype_of(inner)) for name, inner in fields]),
}


def _stored_dtype(dtype: Dtype) -> Dtype:
    """The same with text in the place of categories: their numbers are of one process."""
    kind = type(dtype).__name__
    if kind in _WITH_CATEGORIES:
        return pl.String()
    if kind == "List":
        return pl.List(_stored_dtype(dtype.inner))
    if kind == "Array":
        return pl.Array(_stored_dtype(dtype.inner), dtype.size)
    if kind == "Struct":
        return pl.Struct([pl.Field(field.name, _stored_dtype(field.dtype)) for field in dtype.fields])
    return dtype


MATERIALIZERS: Mapping[type, Materializer] = {
    pl.DataFrame: FrameMaterializer(),
    pl.Series: SeriesMaterializer(),
    pl.LazyFrame: LazyMaterializer(),
}
