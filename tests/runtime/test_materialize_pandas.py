"""pandas values: equal in every respect, or refused at once with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from ashore.codec import encode
from ashore.materialize import Unloadable, Unserialisable, dump_value, load_value

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

import numpy as np  # noqa: E402  # pandas brings it
from tests.runtime.samples import pandas as sample  # noqa: E402  # needs pandas
from tests.runtime.values import same  # noqa: E402

LARGE = 1 << 30


def again(value: Any) -> Any:
    dumped = dump_value(value, limit=LARGE)
    assert dumped.data is not None
    return load_value(dumped.format, memoryview(dumped.data))


def check(loaded: Any, value: Any) -> None:
    """All that a user can see is the same: dtypes, labels, types of cells, frequency, names, attrs, flags."""
    assert type(loaded) is type(value)
    if isinstance(value, pd.Index):
        pd.testing.assert_index_equal(loaded, value, exact=True)
        assert same(list(loaded.names), list(value.names))
        assert getattr(loaded, "freq", None) == getattr(value, "freq", None)
        return
    assert same(dict(loaded.attrs), dict(value.attrs))
    assert loaded.flags == value.flags
    check(loaded.index, value.index)
    if isinstance(value, pd.Series):
        pd.testing.assert_series_equal(loaded, value)
        assert loaded.dtype == value.dtype
        cells = [cell for cell in value.tolist() if cell is not pd.NaT]
        assert same([cell for cell in loaded.tolist() if cell is not pd.NaT], cells) or value.dtype != object
        return
    check(loaded.columns, value.columns)
    for place in range(value.shape[1]):
        check(loaded.iloc[:, place], value.iloc[:, place])


@pytest.mark.parametrize("name", [name for name in sample.samples() if name != "in containers"])
def test_values_come_back_equal(name: str) -> None:
    value = sample.samples()[name]
    check(again(value), value)


def test_loaded_frames_can_be_changed_and_nobody_else_sees_it() -> None:
    dumped = dump_value(pd.DataFrame({"x": [1, 2], "y": [0.5, 1.5], "z": pd.array([1, None], "Int64")}), limit=LARGE)
    data = bytearray(dumped.data or b"")
    one, other = (load_value(dumped.format, data) for _ in range(2))
    one.loc[0, ["x", "y", "z"]] = [9, 9.5, 9]
    one["x"].to_numpy(copy=True)[0] = 7
    assert other.loc[0].tolist() == [1, 0.5, 1]
    assert bytes(data) == dumped.data
    series = again(pd.Series([1, 2]))
    series.iloc[0] = 5
    assert series.tolist() == [5, 2]


def test_the_bytes_of_equal_frames_are_equal_however_they_lie_in_memory() -> None:
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    apart = pd.DataFrame({name: frame[name].to_numpy().copy() for name in "abc"})
    assert dump_value(frame, limit=LARGE) == dump_value(apart, limit=LARGE) == dump_value(frame.copy(), limit=LARGE)
    masked, other = pd.array([1, 2], "Int64"), pd.array([1, 3], "Int64")
    masked[1] = other[1] = None
    assert dump_value(pd.Series(masked), limit=LARGE) == dump_value(pd.Series(other), limit=LARGE)


class Frame(pd.DataFrame):  # type: ignore[misc, name-defined]
    pass


def with_attrs() -> Any:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["x"] = [object()]
    return frame


REFUSED: dict[str, tuple[Any, str]] = {
    "subclass": (Frame({"a": [1]}), "a Frame is a subclass of pandas.DataFrame"),
    "objects": (pd.DataFrame({"a": [1], "b": [object()]}), "in column 'b', a column of objects, in which row 0 is an object"),
    "deep": (pd.Series([1, {"k": [len]}]), r"row 1 \['k'\]\[0\] is a builtin_function_or_method"),
    "arrays": (pd.Series([np.zeros(2)]), "row 0 is a numpy.ndarray"),
    "timestamps": (pd.Series([pd.Timestamp("2026-01-01")], dtype=object), "row 0 is a pandas.*Timestamp"),
    "sparse": (
        pd.DataFrame({"a": pd.array([0, 1], pd.SparseDtype(int))}),
        r"in column 'a', a column of dtype Sparse.*\.astype\(int64\)",
    ),
    "index": (pd.DataFrame({"a": [1]}, index=[object()]), "is an object"),
    "labels": (pd.DataFrame([[1]], columns=[object()]), "is an object"),
    "name": (pd.Series([1], name=(len,)), r"its name is a builtin_function_or_method"),
    "attrs": (with_attrs(), r"its attrs\['x'\]\[0\] is an object"),
    "extension": (
        pd.Series([b"0" * 16], dtype=pd.ArrowDtype(pa.binary(16))).to_frame("u").astype("object").map(lambda _: iter(())),
        "row 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_equal_is_refused_with_the_reason(name: str) -> None:
    value, message = REFUSED[name]
    with pytest.raises(Unserialisable, match=message):
        dump_value(value, limit=LARGE)


def hostile(spec: Any) -> bytes:
    table = pa.table({"0": [1, 2]}).replace_schema_metadata({b"ashore": encode(spec)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"index": ["pickle", b"x"]},
        {"index": ["index", b"\xc0", ["object", "O"], None]},
        {"index": ["index", b"\xc0", ["numpy", "O"], None], "columns": [["cells"]]},
        {"index": ["index", b"\xc0", ["zoned", b"\xc7\x01\x0f/"], None]},
        {"index": ["range", "a", 1, 1, b"\xc0"]},
        "text",
    ],
)
def test_hostile_descriptions_are_unloadable(spec: Any) -> None:
    for form in ("pandas-frame/1", "pandas-index/1"):
        with pytest.raises(Unloadable):
            load_value(form, hostile(spec))
