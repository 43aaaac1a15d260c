"""pandas values of every dtype and index."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

N = 4

array: Any = pd.array  # its overloads know only some of what it takes


def arrays() -> dict[str, Any]:
    zoned = pd.date_range("2026-01-01", periods=N, freq="D", tz="Europe/Berlin")
    return {
        "int": np.arange(N),
        "u1": np.arange(N, dtype="u1"),
        "float": np.array([1.5, np.nan, -0.0, np.inf]),
        "float16": np.arange(N, dtype="f2"),
        "bool": np.array([True, False, True, True]),
        "complex": np.array([1j, 2, 3, np.nan]),
        "datetime": pd.date_range("2026-01-01", periods=N, unit="s"),
        "datetime with gaps": pd.to_datetime(["2026-01-01", "NaT", "2026-01-03", "NaT"]),
        "zoned": zoned,
        "fixed zone": zoned.tz_convert(dt.timezone(dt.timedelta(hours=2))),
        "timedelta": pd.to_timedelta([1, 2, None, 3], unit="s"),
        "str": ["x", None, "z", "é"],
        "string": array(["q", None, "r", "s"], dtype="string"),
        "python string": array(["q", None, "r", "s"], dtype=pd.StringDtype("python")),
        "object text": pd.Series(["a", None, "b", "c"], dtype=object),
        "mixed": pd.Series([1, "a", None, (1, {"k": 2.5})], dtype=object),
        "missing": pd.Series([pd.NaT, pd.NA, np.nan, None], dtype=object),
        "objects": pd.Series([dt.date(2026, 1, 1), Decimal("1.0"), b"x", True], dtype=object),
        "lists": pd.Series([[1, 2], [3, 4], [], [5]], dtype=object),
        "surrogate": pd.Series(["a\ud800", "b", "c", "d"], dtype=object),
        "category": pd.Categorical(["u", "v", "u", None], categories=["v", "u", "unused"], ordered=True),
        "cut": pd.cut([1, 2, 3, 4], 2),
        "period": pd.period_range("2026-01", periods=N, freq="M"),
        "interval": pd.interval_range(0, N),
        "Int64": array([1, None, 3, 4], dtype="Int64"),
        "UInt8": array([1, None, 3, 4], dtype="UInt8"),
        "Float32": array([1.5, None, 2, 3], dtype="Float32"),
        "boolean": array([True, None, False, True], dtype="boolean"),
        "arrow int": array([1, None, 3, 4], dtype="int64[pyarrow]"),
        "arrow list": array([[1], None, [2, 3], []], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    }


def columns() -> dict[str, Any]:
    """A series and a frame of each kind of column."""
    found: dict[str, Any] = {}
    for name, values in arrays().items():
        series: Any = pd.Series(values, name=name)
        found[name] = series
        found[f"{name} in a frame"] = pd.DataFrame({"x": series, "y": series[::-1].reset_index(drop=True)})
        found[f"{name} without rows"] = series.iloc[:0]
    return found


def indexes() -> dict[str, Any]:
    return {
        "int": pd.Index([3, 1, 1], name="n"),
        "range": pd.RangeIndex(2, 9, 3, name="r"),
        "days": pd.date_range("2026-01-01", periods=3, freq="D"),
        "months": pd.date_range("2026-01-01", periods=3, freq="ME", tz="UTC"),
        "moments": pd.DatetimeIndex(["2026-01-01", "2026-01-05", "2026-01-02"]),
        "hours": pd.timedelta_range(0, periods=3, freq="h"),
        "object": pd.Index(["a", None], dtype=object),
        "mixed": pd.Index([1, "a", ("t", 1)], dtype=object),
        "str": pd.Index(["a", "b"]),
        "category": pd.CategoricalIndex(list("aba")),
        "interval": pd.interval_range(0, 3),
        "period": pd.period_range("2026", periods=2, freq="Q"),
        "multi": pd.MultiIndex.from_tuples([(1, "a"), (2, None), (1, "a")], names=["x", None]),
        "product": pd.MultiIndex.from_product([pd.date_range("2026", periods=2), ["a", "b"]])[1:],
        "bool": pd.Index([True, False]),
        "empty": pd.Index([], dtype=object),
    }


def odd() -> dict[str, Any]:
    grid = pd.DataFrame(np.arange(8).reshape(2, 4), columns=pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["p", None]))
    twice = pd.DataFrame([[1, "a", 2.0]] * 3, columns=["x", "x", 3])
    twice.attrs = {"source": ("file", 1)}
    twice.columns.name = "labels"
    return {
        "duplicate columns": twice,
        "many labels": grid,
        "backwards": grid[::-1],
        "strided": grid.iloc[:, ::2],
        "empty": pd.DataFrame(),
        "rows only": pd.DataFrame(index=[1, 2]),
        "columns only": pd.DataFrame(columns=["a"]),
        "no duplicates": pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
        "odd name": pd.Series([1], name=("n", 1)),
        "in containers": {"train": grid, "names": [pd.Series([1])]},
    }


def samples() -> dict[str, Any]:
    return {
        **{f"column {name}": value for name, value in columns().items()},
        **{f"index {name}": index for name, index in indexes().items()},
        **{f"frame on {name}": pd.DataFrame({"x": range(len(index))}, index) for name, index in indexes().items()},
        **odd(),
    }
