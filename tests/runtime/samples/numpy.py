"""Arrays of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np


def samples() -> dict[str, Any]:
    grid = np.arange(24.0).reshape(4, 6)
    spaced = np.dtype({"names": ["é", "b"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 24})
    gaps = np.array([(1, 2.0), (3, 4.0)], spaced)
    return {
        "c": grid,
        "f": np.asfortranarray(grid),
        "strided": grid[::2, 1::3],
        "backwards": grid[::-1],
        "zero-dim": np.array(3.5),
        "empty": np.zeros((0, 3), "i2"),
        "big-endian": np.arange(5, dtype=">i4"),
        "bool": grid > 3,
        "text": np.array(["a", "bé", ""]),
        "bytes": np.array([b"a", b"bc"]),
        "times": np.array(["2026-01-01", "NaT"], "M8[us]"),
        "complex": np.array([1 + 2j, np.nan]),
        "records": gaps,
        "in containers": {"w": [grid, (np.arange(3),)], "score": np.float32(0.5)},
    }
