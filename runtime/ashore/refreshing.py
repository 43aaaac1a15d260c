"""Which steps a run is to do again, though their results are known: `retrain(...).refresh("fit")`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ashore.errors import GraphError, user_line

ALL: Final = "*"
"""Stands for all steps of the run."""


def names_of(steps: Iterable[Any]) -> tuple[str, ...]:
    """Steps by their names, each once; none at all means all. Raises `GraphError`."""
    names = [step if isinstance(step, str) else getattr(step, "name", None) for step in steps]
    for step, name in zip(steps, names, strict=True):
        if not isinstance(name, str) or not name:
            raise GraphError(
                f"refresh({step!r}): that is no step", where=user_line(), mend='Name steps: refresh("fit"), refresh(fit)'
            )
    return tuple(dict.fromkeys(name for name in names if name is not None)) or (ALL,)
