"""Plain values."""

from __future__ import annotations

from typing import Any

from tests.runtime.values import Colour, Point, Record


def samples() -> dict[str, Any]:
    return {
        "dict": {"loss": 0.5, "n": 3, "names": ["a", None, True]},
        "set": {"a", ("b", 2), None, frozenset({"x", "y", "z"})},
        "objects": [Point(1, Record("r", {Colour.RED: b"x"})), (1, 2.0)],
    }
