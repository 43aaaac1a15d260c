"""How a bug is put back: a function is swapped for a wrong one, for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

Swap = tuple[object, str, Callable[..., Any] | bytes]
"""An owner, a name in it, and what stands there instead; a function gets the right one as its first argument."""


@dataclass(frozen=True, slots=True)
class Bug:
    """One exhibit."""

    name: str
    what: str
    swaps: tuple[Swap, ...]
    seeds: int = 300
    """Within so many seeds it must be caught."""
    harness: str = "sim_stores"
    """Which simulation hunts it."""


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The product with this bug in it."""
    with ExitStack() as stack:
        for owner, name, wrong in bug.swaps:
            stack.enter_context(_swapped(owner, name, wrong))
        yield


@contextmanager
def _swapped(owner: object, name: str, wrong: Callable[..., Any] | bytes) -> Iterator[None]:
    right = vars(owner)[name]  # what is not there any more must be noticed

    def instead(*arguments: Any, **named: Any) -> Any:
        assert callable(wrong)
        return wrong(right, *arguments, **named)

    setattr(owner, name, instead if callable(wrong) else wrong)
    try:
        yield
    finally:
        setattr(owner, name, right)
