"""Arrow values of every kind."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def samples() -> dict[str, Any]:
    table = pa.table(
        {
            "i": pa.array([1, None, 3], pa.int32()),
            "s": ["x", None, "z"],
            "l": [[1], None, [2, 3]],
            "d": pa.array(["u", "v", "u"]).dictionary_encode(),
            "b": [True, None, False],
            "st": [{"k": 1}, None, {"k": 2}],
        }
    ).replace_schema_metadata({"made": "by hand"})
    return {
        "table": table,
        "slice": table.slice(1),
        "chunks": pa.concat_tables([table, table]),
        "no rows": table.schema.empty_table(),
        "no columns": pa.table({}),
        "batch": table.to_batches()[0],
        "array": pa.array([1, None, 3]),
        "array slice": pa.array([1, 2, 3])[1:],
        "empty array": pa.array([], pa.string()),
        "chunked": table.column("l"),
        "in containers": [table, {"x": pa.array([1])}],
    }
