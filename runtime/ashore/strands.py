"""Strands: by which of several concurrent tasks a call was made, where that matters.

A step is named by its inputs, so it does not matter which task of a body asks for it, or when. What acts on the world or on time
(steps with `effects=True`, `sleep`, `approval`, `now`, `random`, `uuid`) is told apart by how often it was asked for, too, and
that only means something within one task: the body's own task is one strand, and each other task that makes such calls names
its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

current_strand: Final[ContextVar[str]] = ContextVar("ashore_strand", default="")
"""The name of the strand that the running code belongs to; "" if it has none."""


@contextmanager
def strand(name: object) -> Iterator[None]:
    """Within the block, what acts on the world or on time is counted for `name`: one customer's charges, apart from another's.

    A strand belongs to one task: an equal call from a second living task under the same name is `AmbiguousCall`.
    """
    token = current_strand.set(str(name))
    try:
        yield
    finally:
        current_strand.reset(token)
