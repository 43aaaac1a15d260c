"""How a bug is put back: a function is swapped for a wrong one, for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

Swap = tuple[object, str, Callable[..., Any]]
"""An owner, the name of its function, and what stands there instead; that gets the right function as its first argument."""


@dataclass(frozen=True, slots=True)
class Bug:
    """One exhibit. `breaks` are the invariants that may report it."""

    name: str
    what: str
    swaps: tuple[Swap, ...]
    seeds: int = 300
    """Within so many seeds it must be caught."""


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The product with this bug in it."""
    with ExitStack() as stack:
        for owner, name, wrong in bug.swaps:
            stack.enter_context(_swapped(owner, name, wrong))
        yield


@contextmanager
def _swapped(owner: object, name: str, wrong: Callable[..., Any]) -> Iterator[None]:
    right = vars(owner)[name]  # a function that is not there any more must be noticed

    def instead(*arguments: Any, **named: Any) -> Any:
        return wrong(right, *arguments, **named)

    setattr(owner, name, instead)
    try:
        yield
    finally:
        setattr(owner, name, right)
