"""Arrow tables, batches and arrays: the IPC stream format, loaded as views of the stored bytes.

Extension types are refused both ways: a schema that names one is turned away before Arrow reads it, since reading it would run
what is registered under that name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import pyarrow as pa

from ashore.materialize.base import Materializer, Unloadable, Unserialisable
from ashore.materialize.settling import settled
from ashore_stores.artifacts.base import Sink
from ashore_stores.keys import Buffer

_CONTINUATION: Final = b"\xff\xff\xff\xff"
_EXTENSION: Final = b"ARROW:extension"
"""How the metadata of a field names an extension type."""


class ArrowMaterializer:
    """One kind of Arrow value, as a stream of record batches."""

    def __init__(self, format: str, to_table: Callable[[Any], pa.Table], from_table: Callable[[pa.Table], Any]) -> None:
        self.format = format
        self._to_table = to_table
        self._from_table = from_table

    def dump(self, value: Any, sink: Sink) -> None:
        write_table(self._to_table(value), sink)

    def load(self, data: Buffer) -> Any:
        return self._from_table(read_table(data))

    def content(self, value: Any) -> bytes:
        return b""

    def shares(self, value: Any) -> bool:
        return True

    def size(self, value: Any) -> int:
        return int(value.nbytes)


def write_table(table: pa.Table, sink: Sink) -> None:
    """Write a table as a stream; equal values in equal chunks give equal bytes. Raises `Unserialisable`."""
    schema = table.schema
    for field in schema:
        check_type(field.type, field.name)
    if _EXTENSION in schema.serialize().to_pybytes():
        mend = "Take that out of the metadata: table.replace_schema_metadata(...)"
        raise Unserialisable(f"a table whose schema mentions {_EXTENSION.decode()!r} in its metadata", mend=mend)
    with pa.PythonFile(cast("io.IOBase", _Writing(sink)), mode="w") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(pa.RecordBatch.from_arrays([settled(column) for column in batch.columns], schema=schema))


def read_table(data: Buffer) -> pa.Table:
    """The table of a stream, as a view of it. Raises `Unloadable`."""
    view = memoryview(data).cast("B")
    length = int.from_bytes(view[4:8], "little")
    if bytes(view[:4]) != _CONTINUATION or length > len(view) - 8:
        raise Unloadable("not an Arrow stream")
    if _EXTENSION in bytes(view[8 : 8 + length]):
        raise Unloadable("an Arrow stream with an extension type: loading one would run code that the stream names")
    try:
        with pa.ipc.open_stream(pa.py_buffer(view)) as reader:
            table = reader.read_all()
        table.validate()
    except (pa.ArrowException, OSError) as error:
        raise Unloadable(f"not an Arrow stream: {error}") from error
    return table


def check_type(type: pa.DataType, name: str) -> None:
    """Raise `Unserialisable` if an extension type is in it."""
    if isinstance(type, pa.BaseExtensionType):
        raise Unserialisable(
            f"the column {name!r} is of the extension type {type}, and loading one would run code",
            mend=f"Store what it is made of: .cast({type.storage_type})",
        )
    for inner in _inner(type):
        check_type(inner, name)


def _inner(type: pa.DataType) -> Iterator[pa.DataType]:
    if pa.types.is_dictionary(type) or pa.types.is_run_end_encoded(type):
        yield type.value_type
    for index in range(type.num_fields):
        yield type.field(index).type


class _Writing:
    """A sink as a file that Arrow writes to."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._position = 0

    def write(self, data: Any) -> int:
        size = self._sink.write(memoryview(data))
        self._position += size
        return size

    def tell(self) -> int:
        return self._position

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _of_array(array: pa.Array[Any]) -> pa.Table:
    return pa.Table.from_batches([pa.RecordBatch.from_arrays([array], [""])])


def _to_array(table: pa.Table) -> pa.Array[Any]:
    column = table.column(0)
    return column.chunk(0) if column.num_chunks else column.combine_chunks()  # type: ignore[return-value]  # an array, in truth


def _of_batch(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _to_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


MATERIALIZERS: Mapping[type, Materializer] = {
    pa.Table: ArrowMaterializer("arrow-table/1", lambda table: table, lambda table: table),
    pa.RecordBatch: ArrowMaterializer("arrow-batch/1", _of_batch, _to_batch),
    pa.Array: ArrowMaterializer("arrow-array/1", _of_array, _to_array),
    pa.ChunkedArray: ArrowMaterializer("arrow-chunks/1", lambda chunks: pa.table({"": chunks}), lambda table: table.column(0)),
}
