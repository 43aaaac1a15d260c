"""`ashore.open`: what a home has on record, from any process."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from ashore.stack import open_stack

if TYPE_CHECKING:
    from ashore.catalogue import Catalogue


async def open(home: str | os.PathLike[str] | None = None, *, create: bool = False) -> Catalogue:  # ashore.open is its name
    """The catalogue of a home: runs, steps, artifacts and lineage, to be read while a daemon runs, or while nothing does.

    `home` as for `Runtime`; `create`: make it if there is none. Raises `HomeError` if there is none or it cannot be used. Use
    it by `async with await ashore.open() as cat`, or close it by `await cat.aclose()`.
    """
    catalogue = import_module("ashore.catalogue")  # a third of what an import of ashore would cost those who never ask
    stack = await open_stack(home=home, create=create)
    opened: Catalogue = catalogue.of_stack(stack)
    return opened
