"""polars values: equal in values and data types, the same bytes for equal ones, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ashore.materialize import Unloadable, Unserialisable, check_loads_back, dump_value, load_value, may_share

pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

from polars.testing import assert_frame_equal, assert_series_equal  # noqa: E402  # needs polars
from polars.testing.parametric import dataframes  # noqa: E402
from tests.runtime.samples import polars as sample  # noqa: E402

LARGE = 1 << 30
NOT_STORED = [pl.Object, *(getattr(pl, name) for name in ("Int128", "UInt128", "Extension") if hasattr(pl, name))]


def stored(value: Any) -> tuple[str, bytes]:
    dumped = dump_value(value, limit=LARGE)
    assert dumped.data is not None
    return dumped.format, dumped.data


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(dataframes(excluded_dtypes=NOT_STORED, allow_null=True, allow_chunks=True, max_cols=3, max_size=6), st.integers(1, 3))
def test_frames_of_any_data_type_come_back(frame: Any, every: int) -> None:
    for part in (frame, frame[1:], frame.gather_every(every), pl.concat([frame, frame], rechunk=False)):
        form, data = stored(part)
        check_loads_back(part, form, data)
        assert_frame_equal(load_value(form, data), part, check_exact=True)
        assert stored(part.rechunk()) == (form, data)  # chunks do not count


@pytest.mark.parametrize("name", sample.columns())
def test_series_keep_name_data_type_and_values(name: str) -> None:
    series = sample.columns()[name]
    for part in (series, series.clear(), series[1:]):
        loaded = load_value(*stored(part))
        assert_series_equal(loaded, part, check_exact=True)
        assert loaded.dtype == part.dtype


def test_categories_do_not_depend_on_what_else_the_process_has_seen() -> None:
    before = stored(pl.Series(["b", "a"], dtype=pl.Categorical))
    pl.Series(["z", "y", "x"], dtype=pl.Categorical)
    other = pl.concat([pl.Series(["unused"], dtype=pl.Categorical), pl.Series(["b", "a"], dtype=pl.Categorical)])[1:]
    assert stored(other) == before


def test_what_lies_under_nulls_does_not_count() -> None:
    hidden = pl.DataFrame({"x": [{"k": 1}, {"k": 2}], "y": [[1], [2, 3]], "z": [5, 6]})
    seen = hidden.select(pl.when(pl.int_range(pl.len()) == 0).then(pl.all()))
    plain = pl.DataFrame({"x": [{"k": 1}, None], "y": [[1], None], "z": [5, None]})
    assert seen.equals(plain)
    assert stored(seen) == stored(plain)


def test_a_frame_without_columns_keeps_its_height() -> None:
    for frame in (pl.DataFrame(), sample.samples()["rows only"]):
        assert load_value(*stored(frame)).shape == frame.shape


def test_frames_are_given_to_one_consumer_each() -> None:
    form, data = stored(pl.DataFrame({"x": [1, 2]}))
    one, other = load_value(form, data), load_value(form, data)
    one[0, "x"] = 5
    assert other["x"].to_list() == [1, 2]
    assert not may_share(form, one)


class Mine(pl.DataFrame):  # type: ignore[misc, name-defined]
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: pl.LazyFrame({"x": [1]}), r"LazyFrame is work that was not done yet.*Return frame\.collect\(\)"),
        (lambda: Mine({"x": [1]}), r"a Mine is a subclass of polars\.DataFrame.*Return polars\.DataFrame"),
        (
            lambda: pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)}),
            r"in column 'x', the data type Object.*Python objects",
        ),
        (lambda: pl.DataFrame({"x": pl.Series([1], dtype=pl.Int128)}), r"in column 'x', the data type Int128.*Decimal\(38, 0\)"),
        (lambda: [pl.LazyFrame({"x": [1]})], r"result\[0\] cannot be stored: a polars\.LazyFrame"),
    ],
)
def test_what_would_not_come_back_is_refused(value: Any, message: str) -> None:
    with pytest.raises(Unserialisable, match=message):
        dump_value(value(), limit=LARGE)


@pytest.mark.parametrize("cut", [0, 3, 8, 40, 200])
def test_cut_streams_are_unloadable(cut: int) -> None:
    form, data = stored(pl.DataFrame({"x": [1, 2], "y": ["a", "b"]}))
    with pytest.raises(Unloadable):
        load_value(form, data[:cut])
