"""Arrow values: exact, without a copy, equal bytes for equal values; no extension type ever wakes up."""

from __future__ import annotations

from typing import Any

import pytest

from ashore.materialize import Unloadable, Unserialisable, dump_value, load_value, may_share

pa = pytest.importorskip("pyarrow")

from tests.runtime.samples import arrow as sample  # noqa: E402  # needs pyarrow

LARGE = 1 << 30


def stored(value: Any) -> tuple[str, bytes]:
    dumped = dump_value(value, limit=LARGE)
    assert dumped.data is not None
    return dumped.format, dumped.data


@pytest.mark.parametrize("name", [name for name in sample.samples() if name != "in containers"])
def test_values_and_schemas_are_the_same(name: str) -> None:
    value = sample.samples()[name]
    loaded = load_value(*stored(value))
    assert loaded.equals(value)
    loaded.validate(full=True)
    if hasattr(value, "schema"):
        assert loaded.schema.equals(value.schema, check_metadata=True)


def test_loaded_tables_are_views_of_what_is_stored() -> None:
    form, data = stored(pa.table({"x": range(100_000)}))
    before = pa.total_allocated_bytes()
    loaded = load_value(form, memoryview(data))
    assert pa.total_allocated_bytes() - before < 10_000
    assert may_share(form, loaded)


def test_what_lies_under_nulls_does_not_count() -> None:
    valid = pa.py_buffer(b"\x05")
    one, other = (
        pa.Array.from_buffers(pa.int32(), 3, [valid, pa.array([1, under, 3], pa.int32()).buffers()[1]]) for under in (7, 8)
    )
    assert one.equals(other)
    assert stored(pa.table({"x": one})) == stored(pa.table({"x": other}))


class Waking(pa.ExtensionType):  # type: ignore[misc, name-defined]
    woken = 0

    def __init__(self) -> None:
        super().__init__(pa.int64(), "test.waking")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"cos\nsystem\n(S'true'\ntR."

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Waking:
        cls.woken += 1
        return cls()


def streamed(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def test_extension_types_are_refused_both_ways_and_never_woken() -> None:
    waking = pa.ExtensionArray.from_storage(Waking(), pa.array([1, 2]))
    nested = pa.StructArray.from_arrays([waking], ["inner"])
    pa.register_extension_type(Waking())
    try:
        Waking.woken = 0
        for array in (waking, nested):
            table = pa.table({"x": array})
            with pytest.raises(Unserialisable, match=r"the column 'x' is of the extension type .*\.cast\(int64\)"):
                dump_value(table, limit=LARGE)
            data = streamed(table)
            for form in ("arrow-table/1", "arrow-array/1", "arrow-batch/1", "arrow-chunks/1", "pandas-frame/1"):
                with pytest.raises(Unloadable, match="extension type"):
                    load_value(form, data)
        assert Waking.woken == 0
    finally:
        pa.unregister_extension_type("test.waking")


def test_metadata_that_would_name_an_extension_type_is_refused() -> None:
    field = pa.field("x", pa.int64(), metadata={"ARROW:extension:name": "test.waking", "ARROW:extension:metadata": b"evil"})
    with pytest.raises(Unserialisable, match="ARROW:extension"):
        dump_value(pa.table({"x": [1]}, schema=pa.schema([field])), limit=LARGE)


def test_other_metadata_is_only_data() -> None:
    evil = {b"pandas": b'{"index_columns": ["os.system"]}', b"ARROW:schema": b"cos\nsystem\n(S'true'\ntR.", b"\x80\x04": b"\xff\0"}
    table = pa.table({"x": [1]}).replace_schema_metadata(evil)
    assert load_value(*stored(table)).schema.metadata == evil


@pytest.mark.parametrize("cut", [0, 3, 7, 8, 40, 200])
def test_cut_streams_are_unloadable(cut: int) -> None:
    form, data = stored(pa.table({"x": [1, 2], "y": ["a", "b"]}))
    with pytest.raises(Unloadable):
        load_value(form, data[:cut])


@pytest.mark.parametrize(
    "data", [b"PAR1" + b"\0" * 100, b"ARROW1\0\0" + b"\0" * 100, b"\xff" * 100, b"\xff\xff\xff\xff\x10\0\0\0" + b"\xff" * 16]
)
def test_other_files_are_unloadable(data: bytes) -> None:
    with pytest.raises(Unloadable):
        load_value("arrow-table/1", data)


def bits(values: bytes, length: int) -> Any:
    return pa.Array.from_buffers(pa.bool_(), length, [None, pa.py_buffer(values)])


def lists(offsets: list[int], inner: Any, valid: bytes) -> Any:
    buffers = [pa.py_buffer(valid), pa.array(offsets, pa.int32()).buffers()[1]]
    return pa.Array.from_buffers(pa.list_(inner.type), len(offsets) - 1, buffers, children=[inner])


def test_how_nested_arrays_came_to_lie_in_their_buffers_does_not_count() -> None:
    pairs = [
        (bits(b"\x07", 3), bits(b"\xff", 3)),
        (lists([0, 1, 1, 2], pa.array([1, 2]), b"\x07"), lists([1, 2, 2, 3], pa.array([7, 1, 2, 9]), b"\xff")),
        (lists([0, 1, 1, 2], pa.array([1, 2]), b"\x05"), lists([0, 1, 2, 3], pa.array([1, 7, 2]), b"\xfd")),
        (lists([0, 1, 2], bits(b"\x01", 2), b"\x03"), lists([3, 4, 5], bits(b"\xe9", 5), b"\xff")),
        tuple(
            pa.StructArray.from_arrays([pa.array(["a", hidden]), bits(b"\x01", 2)], ["s", "b"], mask=pa.array([False, True]))
            for hidden in ("b", "long" * 9)
        ),
        tuple(
            pa.FixedSizeListArray.from_arrays(pa.array([1, 2, hidden, 4]), 2, mask=pa.array([False, True])) for hidden in (3, None)
        ),
    ]
    for one, other in pairs:
        assert one.equals(other)
        assert stored(pa.table({"x": one})) == stored(pa.table({"x": other}))
        assert load_value(*stored(one)).equals(one)
