"""A value of every kind that has a stored form, made anew at each call: what two processes compare."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, cast

_NEEDS = {
    "plain": (),
    "numpy": ("numpy",),
    "arrow": ("pyarrow",),
    "pandas": ("pandas", "pyarrow"),
    "sklearn": ("sklearn", "skops"),
    "polars": ("polars", "pyarrow"),
    "models": ("pydantic", "attrs"),
}

PRESENT = [kind for kind, needs in _NEEDS.items() if all(importlib.util.find_spec(need) for need in needs)]
"""The kinds whose libraries are installed here."""


def samples(kind: str) -> dict[str, Any]:
    """Values by what is special about them."""
    return cast("dict[str, Any]", importlib.import_module(f"tests.runtime.samples.{kind}").samples())
