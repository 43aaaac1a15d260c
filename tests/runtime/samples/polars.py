"""polars values of every data type."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl


def columns() -> dict[str, pl.Series]:
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 6)  # noqa: DTZ001  # polars' own have none, either
    made: dict[str, tuple[list[Any], Any]] = {
        "int": ([1, None, 3], pl.Int32),
        "u1": ([1, 2, 255], pl.UInt8),
        "float": ([1.5, float("nan"), None], pl.Float64),
        "f4": ([-0.0, float("inf"), None], pl.Float32),
        "bool": ([True, None, False], pl.Boolean),
        "text": (["a", None, "é"], pl.String),
        "bytes": ([b"x", None, b""], pl.Binary),
        "date": ([dt.date(2026, 1, 1), None, None], pl.Date),
        "time": ([dt.time(1, 2, 3), None, None], pl.Time),
        "moment": ([moment, None, moment], pl.Datetime("ms")),
        "zoned": ([moment, None, moment], pl.Datetime("ns", "Europe/Berlin")),
        "span": ([dt.timedelta(1), None, dt.timedelta(0)], pl.Duration("us")),
        "decimal": ([Decimal("1.50"), None, Decimal("-2.25")], pl.Decimal(10, 2)),
        "nothing": ([None, None, None], pl.Null),
        "category": (["u", None, "a"], pl.Categorical),
        "enum": (["u", None, "a"], pl.Enum(["unused", "a", "u"])),
        "list": ([[1], None, []], pl.List(pl.Int64)),
        "list of categories": ([["a", None], None, []], pl.List(pl.Categorical)),
        "array": ([[1, 2], None, [3, 4]], pl.Array(pl.Int8, 2)),
        "grid": ([[[1], [2]], None, [[3], [None]]], pl.Array(pl.Int8, (2, 1))),
        "struct": ([{"k": 1, "e": "a"}, None, {"k": None, "e": None}], pl.Struct({"k": pl.Int64, "e": pl.Enum(["a"])})),
    }
    return {name: pl.Series(name, values, dtype) for name, (values, dtype) in made.items()}


def samples() -> dict[str, Any]:
    every = columns()
    frame = pl.DataFrame(list(every.values()))
    return {
        **{f"column {name}": series for name, series in every.items()},
        **{f"column {name} without rows": series.clear() for name, series in every.items()},
        **{f"column {name}, a part": series[1:] for name, series in every.items()},
        "frame": frame,
        "chunks": pl.concat([frame[1:], frame], rechunk=False),
        "no rows": frame.clear(),
        "no columns": pl.DataFrame(),
        "rows only": frame.select([]),
        "series without a name": pl.Series([1, 2]),
        "in containers": {"train": frame, "names": [every["text"]]},
    }
